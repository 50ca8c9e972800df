"""What people see of a session, folded from its events: the row of a listing, its true state (S25)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from typing import TypeAlias

from orchestra.run.events import (
    CheckpointSaved,
    Meta,
    PipelineCanceled,
    PipelineCompleted,
    PipelineFailed,
    PipelineImported,
    PipelinePaused,
    PipelineRestarted,
    PipelineStarted,
    PipelineTaken,
    Recorded,
)
from orchestra.run.fold import evolve
from orchestra.run.state import NEW, RunState, Spent


class Phase(StrEnum):
    """Where a session stands (S25)."""

    WAITING = "waiting"
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


ENDED = frozenset({Phase.COMPLETED, Phase.FAILED, Phase.CANCELED})
"""The session has a result, and nothing runs any more."""

ATTENTION: tuple[Phase, ...] = (
    Phase.WAITING,
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
class Pending:
    """A question in a listing: its id, session, node, and choices by key; times are UTC ms.

    ``answered`` says how it was answered where nobody has continued the session since; ``about`` begins what is to
    be decided.
    """

    question: str
    session: str
    node: str
    text: str
    choices: Mapping[str, str]
    freeform: bool
    default: str
    timeout_ms: int
    asked_ms: int
    answered: str = ""
    about: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One session in a listing.

    ``detail`` says why it paused, failed or crashed; times are UTC ms. ``parent`` is the context of the session
    that it was started from (0: none), ``why`` how: child, restart, fork. ``mirror_of`` is the original store of a
    mirror (S22). ``cost_micros`` is the cost so far in millionths of a dollar. ``alive`` says that a process runs
    it, or may; ``questions`` are those that people have still to answer, in its branches and children too.
    ``limit`` is the setting whose bound paused it, as ``limits.run.turns``; ``raise_to_micros`` is a limit of cost
    with which it continues where that was one of cost, 0 for any other.
    """

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
    cost_micros: int = 0
    limit: str = ""
    raise_to_micros: int = 0
    alive: bool = False
    questions: tuple[Pending, ...] = ()


HANDED_ON = (PipelineTaken, PipelineImported)
"""Events that leave a session where it stands: another runner has it, another store."""

End: TypeAlias = PipelineCompleted | PipelineFailed | PipelineRestarted | PipelinePaused | PipelineCanceled
"""How a runner leaves a session."""


def newest(events: Sequence[Recorded]) -> RunState | None:
    """Fold a session's newest events (oldest first) for its row in a listing.

    The fold begins with what the last checkpoint among them says, or with the session's first event; None where
    there is neither, so that older events are needed. Without a whole checkpoint the state has no context, no
    counters by node, and none of the texts.
    """
    counted = counting(events)
    for place in reversed(range(len(counted))):
        recorded = counted[place]
        if isinstance(recorded.event, CheckpointSaved):
            return reduce(evolve, counted[place + 1 :], _at_checkpoint(recorded.meta, recorded.event))
        if isinstance(recorded.event, PipelineStarted):
            return reduce(evolve, counted[place:], NEW)
    return None


def _at_checkpoint(meta: Meta, event: CheckpointSaved) -> RunState:
    return RunState(
        session=meta.session,
        epoch=meta.epoch,
        sequence=meta.sequence,
        at=meta.at,
        mailbox=event.mailbox,
        steps=event.completed,
        current_node=event.current_node,
        next_node=event.next_node,
        started_ms=event.started_ms,
        spent=Spent(cost_micros=event.cost_micros),
    )


_SETTINGS = {"cost_micros": "cost", "seconds": "time"}


def limit_setting(state: RunState) -> str:
    """The setting whose bound paused a session: ``limits.run.turns``; empty after any other stop."""
    if not state.paused or state.limit in ("", "quota"):
        return ""
    whose, _dot, name = state.limit.rpartition(".")
    return f"limits.{whose or 'run'}.{_SETTINGS.get(name, name)}"


def raised_limit(state: RunState) -> int:
    """Return the cost limit with which a session paused by it continues; 0 after any other stop.

    In millionths of a dollar.
    """
    if not (state.paused and state.limit == "cost_micros"):
        return 0
    cent = 10_000
    return -(-2 * max(state.spent.cost_micros, state.max_cost_micros) // cent) * cent


def counting(events: Sequence[Recorded]) -> list[Recorded]:
    """The events without those that a replaced runner appended later (S16)."""
    found: list[Recorded] = []
    epoch = 0
    for recorded in events:
        if recorded.meta.epoch >= epoch:
            epoch = recorded.meta.epoch
            found.append(recorded)
    return found


def state_phase(state: RunState, *, alive: bool) -> tuple[Phase, str]:
    """Return where a session stands, and why; ``alive`` says whether a runner has it."""
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
