"""What people see of a session, folded from its events: the row of a listing, its true state (S25)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from orchestra.run.events import (
    CheckpointSaved,
    EdgeSelected,
    PipelineCanceled,
    PipelineCompleted,
    PipelineFailed,
    PipelineForked,
    PipelineImported,
    PipelinePaused,
    PipelineRestarted,
    PipelineResumed,
    PipelineStarted,
    PipelineTaken,
    Recorded,
    StageCompleted,
    StageFailed,
    StageRetrying,
    StageStarted,
)
from orchestra.run.state import RunState


class Phase(StrEnum):
    """Where a session stands (S25)."""

    RUNNING = "running"
    DOUBTFUL = "running?"
    PAUSED = "paused"
    CRASHED = "crashed"
    STOPPED = "stopped (store)"
    COMPLETED = "completed"
    FAILED = "failed"
    RESTARTED = "restarted"
    CANCELED = "canceled"
    MIRRORED = "mirrored"


ATTENTION: tuple[Phase, ...] = (
    Phase.CRASHED,
    Phase.STOPPED,
    Phase.PAUSED,
    Phase.DOUBTFUL,
    Phase.RUNNING,
    Phase.MIRRORED,
    Phase.FAILED,
    Phase.CANCELED,
    Phase.COMPLETED,
    Phase.RESTARTED,
)
"""The order of a listing: what needs a person first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One session in a listing. ``detail`` says why it paused, failed or crashed; times are UTC ms. ``parent``
    is the context of the session that it comes from, 0 where there is none, and ``why``: child, restart, fork;
    ``mirror_of`` is the store of which it is a mirror, empty where it is none (S22)."""

    session: str
    context_id: int
    pipeline: str
    title: str
    phase: Phase
    node: str
    detail: str
    steps: int
    turns: int
    started_ms: int
    last_ms: int
    parent: int = 0
    why: str = ""
    mirror_of: str = ""


HANDED_ON = (PipelineTaken, PipelineImported)
"""Events that leave a session where it stands: another runner has it, another store."""

End: TypeAlias = PipelineCompleted | PipelineFailed | PipelineRestarted | PipelinePaused | PipelineCanceled
"""How a runner leaves a session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Newest:
    """What the newest events of a session tell; ``complete`` once nothing older is needed."""

    end: End | None = None
    node: str = ""
    steps: int = 0
    started_ms: int = 0
    last_ms: int = 0
    complete: bool = False


def newest(events: Sequence[Recorded]) -> Newest:
    """Read a session's newest events (oldest first) for its row, as far back as its last checkpoint."""
    end: End | None = None
    node = ""
    last_ms = events[-1].meta.at if events else 0
    last, began = True, 0
    for recorded in reversed(counting(events)):
        event = recorded.event
        was_last, last = last, last and isinstance(event, HANDED_ON)
        match event:
            case (
                PipelineCompleted() | PipelineFailed() | PipelineRestarted() | PipelinePaused() | PipelineCanceled()
            ):
                end = event if was_last else end
                node = node or event.node
            case PipelineResumed():
                node = node or event.node
            case PipelineForked():
                began = began or recorded.meta.at
            case StageStarted() | StageRetrying() | StageCompleted() | StageFailed():
                node = node or event.node
            case EdgeSelected():
                node = node or event.target
            case CheckpointSaved():
                node = node or event.next_node or event.current_node
                return Newest(
                    end=end,
                    node=node,
                    steps=event.completed,
                    started_ms=began or event.started_ms,
                    last_ms=last_ms,
                    complete=True,
                )
            case PipelineStarted():
                began = began or recorded.meta.at
                return Newest(end=end, node=node, started_ms=began, last_ms=last_ms, complete=True)
            case _:
                pass
    return Newest(end=end, node=node, last_ms=last_ms)


def counting(events: Sequence[Recorded]) -> list[Recorded]:
    """The events without those that a replaced runner appended later (S16)."""
    found: list[Recorded] = []
    epoch = 0
    for recorded in events:
        if recorded.meta.epoch >= epoch:
            epoch = recorded.meta.epoch
            found.append(recorded)
    return found


def phase_of(end: object, *, alive: bool) -> tuple[Phase, str]:
    """The true state of a session from its last event and whether a runner holds it, with the reason."""
    match end:
        case PipelineCompleted():
            return Phase.COMPLETED, "" if end.status == "success" else end.status
        case PipelineFailed():
            return Phase.FAILED, end.error
        case PipelineRestarted():
            return Phase.RESTARTED, f"goes on at {end.target} as {end.next_session}"
        case PipelineCanceled():
            return Phase.CANCELED, end.reason
        case _ if alive:
            return Phase.RUNNING, ""
        case PipelinePaused():
            return Phase.PAUSED, end.reason
        case _:
            return Phase.CRASHED, "its runner is gone"


def state_phase(state: RunState, *, alive: bool) -> tuple[Phase, str]:
    """The same from a folded state."""
    if state.result is not None and state.result.good:
        return Phase.COMPLETED, "" if state.result.text == "success" else state.result.text
    if state.following is not None and state.result is not None:
        return Phase.RESTARTED, state.result.text
    if state.result is not None:
        return Phase.FAILED if state.failed else Phase.CANCELED, state.result.text
    if alive:
        return Phase.RUNNING, ""
    if state.paused:
        return Phase.PAUSED, state.paused
    return Phase.CRASHED, "its runner is gone"
