"""Why a run went where it went: what was recorded of each decision at a node, folded from the events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from orchestra.run.events import (
    EdgeSelected,
    Event,
    PipelineCompleted,
    PipelineFailed,
    Recorded,
    StageCompleted,
    StageFailed,
    StageStarted,
)
from orchestra.run.outcome import Json


class Reason(Struct, frozen=True, kw_only=True):
    """One visit of a node, and what was decided after it.

    ``visit`` is 0 where the node was not entered: a goal gate sent the run back from the exit, or it ended there.
    ``status`` is empty while the node runs. ``rule`` is None where nothing was routed, ``target`` is empty
    where the run ended; ``why`` says how. ``candidates`` are as ``EdgeSelected`` has them: none where there was no
    choice.
    """

    visit: int = 0
    attempt: int = 0
    depth: int = 0
    status: str = ""
    word: str = ""
    failure_reason: str = ""
    preferred_label: str = ""
    suggested_next_ids: tuple[str, ...] = ()
    chosen: str = ""
    rule: int | None = None
    why: str = ""
    edge: str = ""
    target: str = ""
    gate: str = ""
    candidates: tuple[Mapping[str, Json], ...] = ()


def reasons(events: Sequence[Recorded], node: str) -> tuple[Reason, ...]:
    """Every decision at a node; ``events`` are those of a session that count, oldest first."""
    found: list[Reason] = []
    visiting: Reason | None = None
    for recorded in events:
        entered = _visit_of(recorded.event, node)
        if entered is not None:
            visiting = replace(entered, depth=recorded.depth)
            continue
        decided = _decision_of(recorded.event, node, visiting or Reason())
        if decided is not None:
            found.append(replace(decided, depth=recorded.depth))
            visiting = None
    return (*found, visiting) if visiting is not None else tuple(found)


def _visit_of(event: Event, node: str) -> Reason | None:
    """The visit that an event tells of; None for one that tells of none of this node."""
    match event:
        case StageStarted() if event.node == node:
            return Reason(visit=event.visit, attempt=event.attempt)
        case StageCompleted() | StageFailed() if event.node == node:
            return Reason(
                visit=event.visit,
                attempt=event.attempt,
                status=event.status,
                word="" if isinstance(event, StageFailed) else event.word,
                failure_reason=event.failure_reason if isinstance(event, StageFailed) else "",
                preferred_label=event.preferred_label,
                suggested_next_ids=event.suggested_next_ids,
                chosen=event.edge,
            )
        case _:
            return None


def _decision_of(event: Event, node: str, visit: Reason) -> Reason | None:
    """The visit with what an event decides after it; None for one that decides nothing at this node."""
    match event:
        case EdgeSelected() if event.source == node:
            return replace(
                visit,
                rule=event.rule,
                why=event.reason,
                edge=event.edge,
                target=event.target,
                gate=event.gate,
                candidates=event.candidates,
            )
        case PipelineFailed() if event.node == node:
            routing = event.routing
            return replace(
                visit,
                rule=routing.get("rule"),
                why=event.error,
                candidates=tuple(routing.get("candidates", ())),  # type: ignore[arg-type]
            )
        case PipelineCompleted() if event.node == node:
            return replace(visit, why=event.status)
        case _:
            return None


def leading_to(events: Sequence[Recorded], node: str) -> tuple[str, ...]:
    """The nodes at which an edge to a node was considered, in the order in which that first happened."""
    found: dict[str, None] = {}
    for recorded in events:
        event = recorded.event
        if isinstance(event, EdgeSelected) and _concerns(event.candidates, node):
            found[event.source] = None
        elif isinstance(event, PipelineFailed) and _concerns(event.routing.get("candidates", ()), node):
            found[event.node] = None
    return tuple(found)


def _concerns(candidates: object, node: str) -> bool:
    listed = candidates if isinstance(candidates, list | tuple) else ()
    edges = [str(c.get("edge", "")) for c in listed if isinstance(c, Mapping)]
    return any(edge.partition("->")[2].partition("#")[0] == node for edge in edges)
