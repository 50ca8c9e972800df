"""The state of a run as a fold over its events (E3): run, resume, status and attach share it.

``evolve`` throws no dice and asks no clock: delays, ids and times are in the events. What each event changes is in
the table of its family; together they have every event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from orchestra.run import branching, interviews, lifecycle, nodes, turns, workspace
from orchestra.run.changes import Change
from orchestra.run.events import CheckpointSaved, Meta, Recorded
from orchestra.run.state import NEW, RunState
from orchestra.run.whole import load, whole_reference

CHANGES: Mapping[type, Change | None] = dict(
    (
        *nodes.CHANGES,
        *lifecycle.CHANGES,
        *branching.CHANGES,
        *turns.CHANGES,
        *interviews.CHANGES,
        *workspace.CHANGES,
    )
)
"""What each event changes; None for those that change nothing."""


def evolve(state: RunState, recorded: Recorded) -> RunState:
    """The state after one more event.

    Events of a runner that has been replaced, and repeats of one already seen, change nothing (S16).
    """
    meta, event = recorded.meta, recorded.event
    if not current(meta, state):
        return state
    change = CHANGES[type(event)]
    changes = change(state, meta, event) if change is not None else {}
    changes["epoch"] = meta.epoch
    changes["sequence"] = meta.sequence
    changes["at"] = meta.at
    changes.setdefault("paused", "")
    changes.setdefault("waiting", False)
    if not changes["paused"] and state.limit:
        changes["limit"] = ""
    return replace(state, **changes)


def fold(events: Iterable[Recorded], state: RunState = NEW) -> RunState:
    """The state after all of ``events``; one that holds the whole state replaces what was folded so far.

    ``ValueError`` where the first of them is a checkpoint whose state is in a blob, or no state.
    """
    for recorded in events:
        event = recorded.event
        if isinstance(event, CheckpointSaved) and event.state is not None and current(recorded.meta, state):
            if whole_reference(event) is None:
                state = load(event.state)
            elif not state.sequence:
                raise ValueError("its state is in a blob, which was not read")
        state = evolve(state, recorded)
    return state


def current(meta: Meta, state: RunState) -> bool:
    """Whether an event is neither a replaced runner's nor a repeat (S16)."""
    return meta.epoch > state.epoch or (meta.epoch == state.epoch and meta.sequence > state.sequence)
