"""A recorded walk compared with the graph's walk now: where the same outcomes lead elsewhere.

Every event that records a decision of the engine is held against what ``next_step`` says of the state before it.
The outcomes come from the record alone, so nothing is run and nothing is asked (S27).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from orchestra.graph.attributes import BUILT_IN_TYPES, SHAPES
from orchestra.graph.choices import choices
from orchestra.graph.model import Graph
from orchestra.run.events import (
    EdgeSelected,
    Event,
    ParallelBranchEnded,
    PipelineCompleted,
    PipelineFailed,
    PipelineRestarted,
    StageCompleted,
    StageFailed,
    StageRetrying,
    StageStarted,
)
from orchestra.run.judging import ACCEPTED, attempts_of
from orchestra.run.outcome import Json, legal_words
from orchestra.run.routing import edge_keys
from orchestra.run.secrets import Redactor, clean
from orchestra.run.state import RunState
from orchestra.run.steps import MAX_STEPS, Advance, Execute, Finish, Refuse, Restart, Retry, Step, next_step


class Decision(Struct, frozen=True, kw_only=True):
    """What comes next, as a record or a graph says it.

    ``kind`` is enter, go, refuse, restart, complete, fail or, for a branch, end; ``why`` the reason in words,
    ``candidates`` the edges considered, as ``EdgeSelected`` has them.
    """

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


class Divergence(Struct, frozen=True, kw_only=True):
    """Where the walks diverge: at which turn, after or at which node, and what each does."""

    depth: int
    node: str
    recorded: Decision | None
    now: Decision | None
    why: str = ""
    branch: str = ""


def decision_in(state: RunState, event: Event) -> Decision | None:
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
            return Decision(kind="fail", node=event.node, why=event.error, candidates=_routing(event.routing))
        case ParallelBranchEnded() if not event.failure_reason.startswith(MAX_STEPS):
            return Decision(kind="end", node=event.node, why=event.failure_reason)
        case StageFailed() if state.stage is None or state.stage.refused:
            return Decision(kind="refuse", node=event.node, visit=event.visit, why=event.failure_reason)
        case _:
            return None


def _routing(routing: Mapping[str, Json]) -> tuple[Mapping[str, Json], ...]:
    found: Any = routing.get("candidates") or ()
    return tuple(found)


def decision_of_step(step: Step, *, branch: bool = False) -> Decision:
    """The decision that a step of the main walk or of a branch is."""
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
            kind = "end" if branch else "fail" if step.error else "complete"
            why = clean(step.error or step.reason) if branch else clean(step.error)
            return Decision(kind=kind, node=step.node, why=why, candidates=shown)


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


def find_divergence(
    graph: Graph,
    state: RunState,
    context: Mapping[str, object],
    event: Event,
    depth: int,
    *,
    strict: bool,
    redactor: Redactor,
) -> Divergence | None:
    """Where the graph does something else than an event records; None where it does the same.

    ``context`` is the run's before the event, as ``next_step`` wants it. ``strict`` holds the reasons against one
    another too: the edge, the rule, the attempts allowed, the words of a failure.
    """
    recorded = decision_in(state, event)
    if recorded is None:
        why = _compare_end(graph, state, event, strict=strict)
        return Divergence(depth=depth, node=state.current_node, recorded=None, now=None, why=why) if why else None
    at = _current_node(state)
    if at and at not in graph.nodes:
        return Divergence(depth=depth, node=at, recorded=recorded, now=None, why=f"the pipeline has no node {at!r}")
    now = decision_of_step(next_step(graph, state, context), branch=state.branch is not None)
    same = recorded.whole() == now.whole() if strict else recorded.leads() == now.leads()
    if same and strict and recorded.kind in ("fail", "refuse", "end"):
        same = recorded.why == redactor.text(now.why)
    if not same:
        return Divergence(depth=depth, node=recorded.node, recorded=recorded, now=now)
    why = _another_kind(graph, event)
    return Divergence(depth=depth, node=recorded.node, recorded=None, now=None, why=why) if why else None


def _current_node(state: RunState) -> str:
    """The node on which the next decision rests; empty at the beginning."""
    if state.stage is not None:
        return state.stage.node
    return state.ended.node if state.ended is not None else state.next_node


def _another_kind(graph: Graph, event: Event) -> str:
    """Say where a node would run by another handler than recorded.

    A type without a handler runs as its shape says (E2).
    """
    if not isinstance(event, StageStarted):
        return ""
    kind = graph.type_of(event.node)
    shape = SHAPES.get(graph.nodes[event.node].shape, "codergen")
    if event.handler == kind or (kind not in BUILT_IN_TYPES and event.handler == shape):
        return ""
    return f"{event.node} ran as {event.handler}, but is {kind} now"


def _compare_end(graph: Graph, state: RunState, event: Event, *, strict: bool) -> str:
    """Say where an attempt would end differently: its word, or whether another attempt follows."""
    if not isinstance(event, StageRetrying | StageFailed | StageCompleted):
        return ""
    if event.node not in graph.nodes or event.handler == "conditional":
        return ""
    return (
        _compare_word(graph, event)
        or _compare_choice(graph, event)
        or _compare_retry(graph, state, event, strict=strict)
    )


def _compare_choice(graph: Graph, event: StageRetrying | StageFailed | StageCompleted) -> str:
    """Say where the answer that a person gave names another edge now: it counts as it was seen (H7)."""
    if not isinstance(event, StageCompleted) or event.handler != "wait.human":
        return ""
    edges, label = graph.outgoing(event.node), event.context_updates.get("human.gate.label")
    keys = dict(zip(map(id, edges), edge_keys(graph, event.node), strict=True))
    named = [keys[id(choice.edge)] for choice in choices(edges) if choice.label == label]
    if not label or event.edge in named:
        return ""
    leads = f"takes the edge {named[0]}" if named else "is not offered"
    return f"{event.node} was answered {label!r}, which {leads} now"


def _compare_word(graph: Graph, event: StageRetrying | StageFailed | StageCompleted) -> str:
    """Says where a node's own word was known and is not, or the other way round (L31)."""
    words = legal_words(graph, event.node)
    if isinstance(event, StageCompleted) and event.word and event.word not in words:
        return f"{event.node} reported the outcome {event.word!r}, which no edge uses now: it would fail"
    if isinstance(event, StageFailed):
        said = event.failure_reason.partition("; ")[0]
        known = next((word for word in sorted(words) if said == f"unknown outcome '{word}'"), "")
        if known:
            return f"{event.node} failed because no edge used its outcome {known!r}, but one does now"
    return ""


def _compare_retry(
    graph: Graph, state: RunState, event: StageRetrying | StageFailed | StageCompleted, *, strict: bool
) -> str:
    """Says where a node was tried again and would not be, or the other way round.

    A visit that was begun keeps its number of attempts, also if it continues with another pipeline.
    """
    node = graph.nodes[event.node]
    allowed = state.stage.of if strict and state.stage is not None else attempts_of(graph, node)
    which = f"attempt {event.attempt} of {event.node}"
    if isinstance(event, StageRetrying):
        if event.attempt < allowed:
            return ""
        return f"{which} failed and was retried, but {_are(allowed)} allowed now"
    if isinstance(event, StageCompleted) and not event.notes.endswith(ACCEPTED):
        return ""
    if isinstance(event, StageFailed) and event.failure_class in ("terminal", "canceled"):
        return ""
    if event.attempt < allowed:
        return f"{which} failed and was the last one, but {_are(allowed)} allowed now"
    if isinstance(event, StageCompleted) and not node.flag("allow_partial"):
        return f"the partial result of {which} was accepted, and would not be now"
    return ""


def _are(number: int) -> str:
    return f"{number} {'is' if number == 1 else 'are'}"
