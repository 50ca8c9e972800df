"""One session in words: its row, its next command, and the questions that it asks (S25)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from orchestra.app.stopped import StoppedSession
from orchestra.cli.screen.ended import higher_limit, raise_first
from orchestra.cli.stores import aim_commands
from orchestra.cli.terminal import GREEN, GREY, RED, YELLOW, say
from orchestra.engine.gaps import legible
from orchestra.engine.holding import newest_claim
from orchestra.engine.loading import fold_around, recorded_in
from orchestra.engine.sessions import Row, summarize
from orchestra.errors import Damaged
from orchestra.ports import Store
from orchestra.run.lifecycle import COPIED
from orchestra.run.views import Phase, Summary

NEXT_WORD = {
    Phase.RUNNING: "watch",
    Phase.DOUBTFUL: "watch",
    Phase.MIRRORED: "watch",
    Phase.WAITING: "answer",
}
"""What the suggested command does, where it does not resume."""

SIGNS = {
    Phase.WAITING: ("?", YELLOW),
    Phase.RUNNING: ("▶", GREEN),
    Phase.DOUBTFUL: ("?", YELLOW),
    Phase.PAUSED: ("‖", YELLOW),
    Phase.CRASHED: ("!", RED),
    Phase.STOPPED: ("!", YELLOW),
    Phase.COMPLETED: ("✓", GREEN),
    Phase.FAILED: ("✗", RED),
    Phase.RESTARTED: ("↺", GREY),
    Phase.CANCELED: ("✗", YELLOW),
    Phase.MIRRORED: ("=", GREEN),
}


async def summary_of(store: Store, row: Row, stops: Mapping[str, StoppedSession]) -> Summary:
    """Return a session's row; a damaged session, or one whose store failed, says so (S8, S20)."""
    try:
        found = await summarize(store, row, time.time_ns() // 1_000_000)
    except Damaged as error:
        return await _salvage(store, row, error)
    stop = stops.get(row.session)
    if stop is None or not (found.phase is Phase.CRASHED or found.alive):
        return found
    claim = await newest_claim(store, row.mailbox)
    if claim is not None and claim.token != stop.claim:
        return found
    return replace(found, phase=Phase.STOPPED, detail=stop.reason)


async def _salvage(store: Store, row: Row, error: Damaged) -> Summary:
    """Return what is known of a session whose newest turns are damaged; it needs attention."""
    turns = await legible(store, row.context_id)
    state = await fold_around(store, [event for turn in turns if (event := recorded_in(turn)) is not None])
    return Summary(
        session=row.session,
        context_id=row.context_id,
        pipeline=row.pipeline,
        title=row.title,
        phase=Phase.CRASHED,
        node=state.stage.node if state.stage is not None else state.next_node,
        detail=f"damaged: {error.message}",
        steps=state.steps,
        turns=turns[-1].depth + 1,
        started_ms=state.started_ms or row.created_ms,
        last_ms=state.at or row.created_ms,
        parent=row.parent,
        why=row.why,
        cost_micros=state.spent.cost_micros,
    )


def next_command(summary: Summary) -> str:
    """Return the command to continue or watch a session; empty for one that succeeded."""
    if summary.mirror_of:
        return f"orchestra attach {summary.session}" if summary.phase is Phase.MIRRORED else ""
    match summary.phase:
        case Phase.WAITING:
            return f"orchestra answer {summary.session}"
        case Phase.RUNNING | Phase.DOUBTFUL:
            return f"orchestra attach {summary.session}"
        case Phase.COMPLETED | Phase.RESTARTED:
            return ""
        case Phase.PAUSED if summary.detail.startswith(COPIED):
            return ""
        case _:
            return f"orchestra resume {summary.session}{higher_limit(summary.raise_to_micros)}"


def as_json_of(summary: Summary) -> dict[str, Any]:
    """A session's row as plain data."""
    return {**asdict(summary), "context": summary.context_id, "next": next_command(summary)}


def say_next(summary: Summary, aim: str) -> None:
    """Print the command that continues the session, if there is one."""
    if following := next_command(summary):
        for line in raise_first(summary.limit, higher_limit(summary.raise_to_micros)):
            say(line)
        say(f"  {NEXT_WORD.get(summary.phase, 'resume')}: {aim_commands(following, aim)}")
