"""A recorded walk beside the one that a graph gives now: the same outcomes lead the same way, or part somewhere.

Every event that records a decision of the engine is held against what ``next_step`` says of the state before it.
The outcomes come from the record alone, so nothing is run and nothing is asked (S27).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from orchestra.graph.model import Graph
from orchestra.run.events import (
    EdgeSelected,
    Event,
    PipelineCompleted,
    PipelineFailed,
    PipelineRestarted,
    StageFailed,
    StageRetrying,
    StageStarted,
)
from orchestra.run.outcome import Json
from orchestra.run.plain import clean
from orchestra.run.retry import attempts_of
from orchestra.run.secrets import Redactor
from orchestra.run.state import RunState
from orchestra.run.steps import Advance, Execute, Finish, Refuse, Restart, Retry, Step, next_step


class Decision(Struct, frozen=True, kw_only=True):
    """What comes next, as a record or a graph says it. ``kind`` is enter, go, refuse, restart, complete or fail;
    ``why`` the reason in words, ``candidates`` the edges considered, as ``EdgeSelected`` has them."""

    kind: str
    node: str
    target: str = ""
    visit: int = 0
    attempt: int = 0
    of: int = 0
    edge: str = ""
    rule: int = 0
    gate: str = ""
    restart: bool = False
    why: str = ""
    candidates: tuple[Mapping[str, Json], ...] = ()

    def leads(self) -> tuple[object, ...]:
        """Where it leads, whatever the reason."""
        return (self.kind, self.node, self.target, self.visit, self.attempt, bool(self.gate), self.restart)

    def whole(self) -> tuple[object, ...]:
        """All that decides, the reason's words left out."""
        return (*self.leads(), self.of, self.edge, self.rule, self.gate)


class Parting(Struct, frozen=True, kw_only=True):
    """Where the walks part: at which turn of the record, after or at which node, and what each says."""

    depth: int
    node: str
    recorded: Decision | None
    now: Decision | None
    why: str = ""


def decided(state: RunState, event: Event) -> Decision | None:
    """The decision that an event records; None for one that records none."""
    match event:
        case StageStarted():
            return Decision(kind="enter", node=event.node, visit=event.visit, attempt=event.attempt, of=event.of)
        case EdgeSelected():
            return Decision(
                kind="go",
                node=event.source,
                target=event.target,
                edge=event.edge,
                rule=event.rule,
                gate=event.gate,
                restart=event.restart,
                why=event.reason,
                candidates=event.candidates,
            )
        case PipelineRestarted():
            return Decision(kind="restart", node=event.node, target=event.target)
        case PipelineCompleted():
            return Decision(kind="complete", node=event.node)
        case PipelineFailed():
            return Decision(kind="fail", node=event.node, why=event.error, candidates=_routed(event.routing))
        case StageFailed() if state.stage is None or state.stage.refused:
            return Decision(kind="refuse", node=event.node, visit=event.visit, why=event.failure_reason)
        case _:
            return None


def _routed(routing: Mapping[str, Json]) -> tuple[Mapping[str, Json], ...]:
    found: Any = routing.get("candidates") or ()
    return tuple(found)


def meant(step: Step) -> Decision:
    """The decision that a step is."""
    match step:
        case Execute() | Retry():
            return Decision(kind="enter", node=step.node, visit=step.visit, attempt=step.attempt, of=step.of)
        case Refuse():
            return Decision(kind="refuse", node=step.node, visit=step.visit, why=clean(step.reason))
        case Advance():
            return _went(step, restart=False)
        case Restart():
            if step.advance is not None:
                return _went(step.advance, restart=True)
            return Decision(kind="restart", node=step.source, target=step.target)
        case Finish():
            shown = tuple(candidate.as_map() for candidate in step.candidates)
            kind = "fail" if step.error else "complete"
            return Decision(kind=kind, node=step.node, why=clean(step.error), candidates=shown)


def _went(step: Advance, *, restart: bool) -> Decision:
    return Decision(
        kind="go",
        node=step.source,
        target=step.target,
        edge=step.edge,
        rule=step.rule,
        gate=step.gate,
        restart=restart,
        why=step.reason,
        candidates=tuple(candidate.as_map() for candidate in step.candidates),
    )


def parting(
    graph: Graph,
    state: RunState,
    context: Mapping[str, object],
    event: Event,
    depth: int,
    *,
    strict: bool,
    redactor: Redactor,
) -> Parting | None:
    """Where the graph does something else than an event records; None where it does the same.

    ``context`` is the run's before the event, as ``next_step`` wants it. ``strict`` holds the reasons against one
    another too: the edge, the rule, the attempts allowed, the words of a failure.
    """
    recorded = decided(state, event)
    if recorded is None:
        return _tried(graph, event, depth)
    at = state.stage.node if state.stage is not None else state.next_node
    if at and at not in graph.nodes:
        return Parting(depth=depth, node=at, recorded=recorded, now=None, why=f"the pipeline has no node {at!r}")
    now = meant(next_step(graph, state, context))
    same = recorded.whole() == now.whole() if strict else recorded.leads() == now.leads()
    if same and strict and recorded.kind in ("fail", "refuse"):
        same = recorded.why == redactor.text(now.why)
    return None if same else Parting(depth=depth, node=recorded.node, recorded=recorded, now=now)


def _tried(graph: Graph, event: Event, depth: int) -> Parting | None:
    """Where a node was tried again and would not be, or the other way round."""
    if not isinstance(event, StageRetrying | StageFailed) or event.node not in graph.nodes:
        return None
    allowed = attempts_of(graph, graph.nodes[event.node])
    which = f"attempt {event.attempt} of {event.node}, which failed"
    if isinstance(event, StageRetrying):
        if event.attempt < allowed:
            return None
        why = f"{which}, was followed by another one; {allowed} {_ARE[allowed != 1]} allowed now"
    else:
        last = event.failure_class in ("terminal", "canceled") or event.handler == "conditional"
        if last or event.attempt >= allowed:
            return None
        why = f"{which}, was the last one; {allowed} {_ARE[allowed != 1]} allowed now"
    return Parting(depth=depth, node=event.node, recorded=None, now=None, why=why)


_ARE = ("is", "are")
