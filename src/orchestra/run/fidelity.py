"""What earlier work a node's model sees: the fidelity mode, the thread, the preamble (E40, E41).

Everything here is a pure function of the graph, the state and recorded events; the same inputs give the same text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from orchestra.graph.conditions import text_of
from orchestra.graph.model import Edge, Graph, Node
from orchestra.graph.report import plural
from orchestra.run.declare import BlobRef
from orchestra.run.events import (
    AgentResponded,
    AgentTurnCompleted,
    EdgeSelected,
    Recorded,
    StageCompleted,
    StageFailed,
    StageRetrying,
    ToolExecuted,
    WarningRaised,
)
from orchestra.run.routing import edge_keys
from orchestra.run.state import ENGINE_KEYS, RunState

FULL, TRUNCATE, COMPACT = "full", "truncate", "compact"
BUDGET: Mapping[str, int] = {"summary:low": 600, "summary:medium": 1500, "summary:high": 3000}
"""Tokens of each summary, at four characters a token."""

VALUE = 200
"""Characters of a value that a preamble shows."""


class Earlier(Struct, frozen=True, kw_only=True):
    """The earlier work that a node's model sees: fidelity, thread of ``full``, or preamble."""

    mode: str
    thread: str
    preamble: str = ""


def incoming(graph: Graph, state: RunState) -> Edge | None:
    """The edge by which the current node was entered; None after a jump, or at the start."""
    source, _arrow, _target = state.arrived_by.partition("->")
    if source not in graph.nodes:
        return None
    pairs = zip(edge_keys(graph, source), graph.outgoing(source), strict=True)
    return next((edge for key, edge in pairs if key == state.arrived_by), None)


def mode_of(graph: Graph, node: Node, edge: Edge | None) -> str:
    """The fidelity of a node: its incoming edge's, its own, the graph's, else ``compact``."""
    of_edge = edge.text("fidelity") if edge is not None else ""
    return of_edge or node.text("fidelity") or graph.text("default_fidelity") or COMPACT


def thread_of(graph: Graph, node: Node, edge: Edge | None, previous: str) -> str:
    """The thread of a node with fidelity ``full``; the id of the node before it where nothing names one."""
    of_edge = edge.text("thread_id") if edge is not None else ""
    subgraph = next((inner.css_class for inner in node.subgraphs if inner.css_class), "")
    return node.text("thread_id") or of_edge or graph.text("thread_id") or subgraph or previous or node.id


def preamble(mode: str, graph: Graph, state: RunState, context: Mapping[str, Any], past: Sequence[Recorded]) -> str:
    """The text before the prompt; empty for ``full``. ``past`` are recorded events, oldest first (E41)."""
    if mode == FULL:
        return ""
    head = [f"Goal: {graph.goal}"] if graph.goal else []
    if mode == TRUNCATE:
        return "\n".join([*head, f"Run: {state.session}"])
    if mode == COMPACT:
        return "\n".join([*head, *_finished_lines(state, graph.start), *_values(context)])
    return "\n".join([*head, *_summary(mode, past, BUDGET.get(mode, 600) * 4)])


def _finished_lines(state: RunState, start: str) -> list[str]:
    done = [
        f"- {node}: {record.status}" for node, record in state.nodes.items() if record.status and record.ended_ms
    ]
    return ["Finished stages:", *done] if done else []


_HIDDEN = ("internal.", "graph.", "run.", "parallel.results")


def _values(context: Mapping[str, Any]) -> list[str]:
    shown = [
        f"- {key}: {_short(value)}"
        for key, value in sorted(context.items())
        if key not in ENGINE_KEYS and not key.startswith(_HIDDEN)
    ]
    return ["Values:", *shown] if shown else []


def _short(value: Any) -> str:
    text = value.preview if isinstance(value, BlobRef) else text_of(value)
    text = " ".join(text.split())
    return text if len(text) <= VALUE else text[:VALUE] + "…"


def _summary(mode: str, past: Sequence[Recorded], room: int) -> Iterator[str]:
    """What happened, newest first, as far as it fits."""
    ended = [one.event for one in past if isinstance(one.event, StageCompleted | StageFailed)]
    failed = sum(isinstance(event, StageFailed) for event in ended)
    agent_turns = sum(isinstance(one.event, AgentTurnCompleted) for one in past)
    counts = f"So far: {plural(len(ended), 'stage')} ended, {failed} failed; {plural(agent_turns, 'agent turn')}."
    yield counts
    room -= len(counts)
    if mode == "summary:low":
        return
    yield "Newest first:"
    for recorded in reversed(past):
        line = _line(recorded, whole=mode == "summary:high")
        if line and len(line) + 1 > room:
            return
        if line:
            room -= len(line) + 1
            yield line


def _line(recorded: Recorded, *, whole: bool) -> str:
    match recorded.event:
        case StageCompleted() as event if event.handler not in ("start", "exit", "conditional"):
            said = _short(event.response) if whole and event.response else ""
            values = ", ".join(f"{key}={_short(value)}" for key, value in event.context_updates.items())
            parts = (f"- {event.node}: {event.word or event.status}", event.notes, values, said)
            return "; ".join(part for part in parts if part)
        case StageFailed() as event:
            return f"- {event.node}: failed: {_short(event.failure_reason)}"
        case StageRetrying() as event:
            return f"- {event.node}: attempt {event.attempt} failed: {_short(event.failure_reason)}"
        case WarningRaised() as event:
            return f"- warning: {_short(event.message)}"
        case EdgeSelected() as event if event.gate:
            return f"- goal gate {event.gate} sent the run back to {event.target}"
        case AgentTurnCompleted() as event if whole and event.tool_calls:
            return f"- {event.node} called {', '.join(str(call.get('name')) for call in event.tool_calls)}"
        case AgentResponded() as event if whole:
            answer: Any = event.messages[-1] if event.messages else None
            text = answer.get("text") if isinstance(answer, Mapping) else ""
            return f"- {event.node} said: {_short(text)}" if text else ""
        case ToolExecuted() as event if whole:
            return f"- {event.node}: exit code {event.exit_code}"
        case _:
            return ""
