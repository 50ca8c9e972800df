"""What ``orchestra status`` does."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestra.cli._json import say_json
from orchestra.cli._lines import GREEN, GREY, RED, YELLOW
from orchestra.cli._stores import exists, hint, reading, settings_for
from orchestra.cli._terminal import coloured, lasted, one_line, paint, say, width
from orchestra.config.settings import Settings
from orchestra.engine.gaps import legible
from orchestra.engine.sessions import Row, event_of, find, rows, summarize
from orchestra.errors import Damaged
from orchestra.ports import Store, Turn
from orchestra.run.events import EdgeSelected, Recorded
from orchestra.run.state import RunState, fold
from orchestra.run.views import ATTENTION, Phase, Summary

_SIGNS = {
    Phase.RUNNING: ("▶", GREEN),
    Phase.PAUSED: ("‖", YELLOW),
    Phase.CRASHED: ("!", RED),
    Phase.COMPLETED: ("✓", GREEN),
    Phase.FAILED: ("✗", RED),
}


def show_status(
    session: str | None, *, detail: bool, store: str | None, config: Path | None, as_json: bool, color: str
) -> int:
    """Print the list of sessions, or one session."""
    settings = settings_for(store, config)
    colour = coloured(color, sys.stdout)
    if session is None:
        return _list(settings, store, as_json, colour)
    return asyncio.run(
        reading(
            settings,
            lambda opened: _one(opened, session, detail, hint(settings, store), as_json, colour),
            session,
            flag=store,
        )
    )


# --- the list ------------------------------------------------------------------------------------


def _list(settings: Settings, store: str | None, as_json: bool, colour: bool) -> int:
    found = asyncio.run(reading(settings, _summaries, flag=store)) if exists(settings) else []
    found.sort(key=lambda s: (ATTENTION.index(s.phase), -s.last_ms))
    if as_json:
        say_json({"sessions": [_data(summary) for summary in found]}, indent=2)
    elif not found:
        say(f"no sessions yet in {settings.store}" if settings.store else "a store in memory keeps no sessions")
        say("  start one: orchestra run FILE.dot")
    else:
        _table(found, colour)
        say(f"  look closer: orchestra status{hint(settings, store)} {found[0].session} --detail")
    return 0


async def _summaries(store: Store) -> list[Summary]:
    return [await _summary(store, row) for row in await rows(store)]


async def _summary(store: Store, row: Row) -> Summary:
    """A session's row; one that is damaged says so, and hides none of the others (S8)."""
    try:
        return await summarize(store, row)
    except Damaged as error:
        return await _salvaged(store, row, error)


async def _salvaged(store: Store, row: Row, error: Damaged) -> Summary:
    """What can still be told of a session whose newest turns are damaged: it needs somebody to look."""
    events = await _events(store, row)
    state = fold(events)
    return Summary(
        session=row.session,
        context_id=row.context_id,
        pipeline=row.pipeline,
        title=row.title,
        phase=Phase.CRASHED,
        node=state.stage.node if state.stage is not None else state.next_node,
        detail=f"damaged: {error.message}",
        steps=state.steps,
        turns=(await store.head(row.context_id)).depth + 1,
        started_ms=state.started_ms or row.created_ms,
        last_ms=state.at or row.created_ms,
    )


def _data(summary: Summary) -> dict[str, Any]:
    return asdict(summary)


def _table(found: Sequence[Summary], colour: bool) -> None:
    now = time.time() * 1000
    room = width(sys.stdout)
    heads = ("SESSION", "STATE", "PIPELINE", "NODE", "NODES RUN", "TURNS", "AGE", "WHY")
    lines = [_cells(summary, now) for summary in found]
    keep = _columns(room)
    widths = {c: max(len(heads[c]), *(min(len(line[c]), 28) for line in lines)) for c in keep}
    _shrink(widths, room, last_is_free=keep[-1] == len(heads) - 1)
    say(_joined(heads, keep, widths, room).rstrip())
    for summary, line in zip(found, lines, strict=True):
        text = _joined(line, keep, widths, room)
        sign, tone = _SIGNS[summary.phase]
        say(text.replace(f"{sign} ", f"{paint(sign, tone, colour)} ", 1).rstrip())


def _shrink(widths: dict[int, int], room: int, *, last_is_free: bool) -> None:
    """Narrow the columns of names until the line fits; the reason at the end may be cut instead."""
    fixed = [width for column, width in widths.items() if not (last_is_free and column == max(widths))]
    over = sum(fixed) + 2 * (len(fixed) - 1) - (room - (12 if last_is_free else 0))
    for column in (2, 3):
        if column in widths and over > 0:
            cut = min(over, max(widths[column] - 8, 0))
            widths[column] -= cut
            over -= cut


def _columns(room: int) -> tuple[int, ...]:
    if room >= 90:
        return (0, 1, 2, 3, 4, 5, 6, 7)
    if room >= 64:
        return (0, 1, 2, 3, 6, 7)
    return (0, 1, 2, 6)


def _cells(summary: Summary, now: float) -> tuple[str, ...]:
    sign, _tone = _SIGNS[summary.phase]
    return (
        summary.session,
        f"{sign} {summary.phase.value}",
        one_line(summary.pipeline, 28),
        one_line(summary.node, 28),
        str(summary.steps),
        str(summary.turns),
        lasted(max(0, now - summary.last_ms)) if summary.last_ms else "",
        one_line(summary.detail, 200),
    )


def _joined(cells: Sequence[str], keep: Sequence[int], widths: dict[int, int], room: int) -> str:
    parts = [cells[c] if c == keep[-1] == 7 else f"{_cut(cells[c], widths[c]):{widths[c]}}" for c in keep]
    text = "  ".join(parts)
    return text if len(text) <= room else text[: room - 1] + "…"


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"


# --- one session ---------------------------------------------------------------------------------


async def _one(store: Store, name: str, detail: bool, aim: str, as_json: bool, colour: bool) -> int:
    row = await find(store, name)
    summary = await _summary(store, row)
    events = await _events(store, row) if detail else []
    state = fold(events)
    edges = {e.event.source: e.event for e in events if isinstance(e.event, EdgeSelected)}
    if as_json:
        data = _data(summary)
        if detail:
            data["nodes"] = _node_data(state, edges)
        say_json(data, indent=2)
        return 0
    sign, tone = _SIGNS[summary.phase]
    why = f": {one_line(summary.detail, 400)}" if summary.detail else ""
    say(f"{summary.session}  {paint(sign, tone, colour)} {summary.phase.value}{why}")
    say(f"  {one_line(summary.title, 300)}")
    say(
        f"  {summary.steps} nodes run, {summary.turns} turns, began {_date(summary.started_ms)} UTC,"
        f" took {lasted(summary.last_ms - summary.started_ms)}"
    )
    if summary.phase in (Phase.PAUSED, Phase.CRASHED, Phase.RUNNING):
        say(f"  at {one_line(summary.node, 60)}")
    if detail:
        _nodes(state, edges, colour)
    say(f"  every event: orchestra log{aim} {summary.session}")
    return 0


async def _events(store: Store, row: Row) -> list[Recorded]:
    found = [event_of(turn) for turn in await legible(store, row.context_id) if isinstance(turn, Turn)]
    return [event for event in found if isinstance(event, Recorded)]


def _node_data(state: RunState, edges: dict[str, EdgeSelected]) -> list[dict[str, Any]]:
    return [
        {
            "node": node,
            "status": record.status,
            "reason": record.reason,
            "visits": record.visits,
            "executions": record.executions,
            "duration_ms": record.duration_ms,
            "next": edges[node].target if node in edges else None,
            "edge": edges[node].edge if node in edges else None,
            "why": edges[node].reason if node in edges else None,
        }
        for node, record in state.nodes.items()
    ]


def _nodes(state: RunState, edges: dict[str, EdgeSelected], colour: bool) -> None:
    data = _node_data(state, edges)
    if not data:
        return
    room = width(sys.stdout)
    longest = min(max(len(item["node"]) for item in data), 30)
    say()
    for item in data:
        good = item["status"] in ("success", "partial_success")
        sign, tone = ("✓", GREEN) if good else ("✗", RED) if item["status"] == "fail" else ("·", GREY)
        counts = f"{item['visits']} visit{'s' if item['visits'] != 1 else ''}"
        if item["executions"] != item["visits"]:
            counts += f", {item['executions']} executions"
        words = [item["status"] or "not finished", counts, lasted(item["duration_ms"])]
        if item["reason"]:
            words.append(item["reason"])
        if item["next"]:
            words.append(f"→ {item['next']} ({item['why']})")
        text = f"  {sign} {one_line(item['node'], 30):{longest}}  {one_line(', '.join(words), 400)}"
        text = text if len(text) <= room else text[: room - 1] + "…"
        say(text.replace(sign, paint(sign, tone, colour), 1))
    total = sum(item["duration_ms"] for item in data)
    executions = sum(item["executions"] for item in data)
    say(f"  total: {state.steps} nodes run, {executions} executions, {lasted(total)} at work")
    say()


def _date(at_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at_ms / 1000))
