"""``orchestra status``."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, TypeAlias

import typer
from msgspec import to_builtins

from orchestra.app.stopped import StoppedSession, read_stopped
from orchestra.cli.errors import StoppedRun
from orchestra.cli.options import Colour
from orchestra.cli.screen.detail import read_session, say_session
from orchestra.cli.screen.summary import SIGNS, as_json_of, next_command, say_next, summary_of
from orchestra.cli.stores import OutputOptions, StoreAccess, aim_commands, complete_session, exists
from orchestra.cli.terminal import fit, one_line, pad, room, say, say_json, time_since, use_colour
from orchestra.engine.sessions import Row, find, rows
from orchestra.errors import StoreUnreachable
from orchestra.graph.report import columns, dollars, duration_words, paint
from orchestra.ports import Store
from orchestra.run.views import ATTENTION, Phase, Summary


def status(
    session: Annotated[
        str | None,
        typer.Argument(
            metavar="SESSION",
            help="Session id or unique prefix, 'last', or '#42' for a CXDB context (default: list all sessions).",
            show_default=False,
            autocompletion=complete_session,
        ),
    ] = None,
    detail: Annotated[bool, typer.Option("--detail", help="Show every node and why each edge was taken.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Keep updating until it ends, or Ctrl-C.")] = False,
    color: Colour = "auto",
    *,
    options: OutputOptions,
) -> int:
    """List sessions, those that need attention first, or show one session."""
    screen = StatusScreen(options.access(), as_json=options.as_json, colour=use_colour(color, sys.stdout))
    if not watch:
        return screen.list_all() if session is None else screen.show(session, detail=detail)
    at = screen.at
    if session is None:
        return at.read(screen.watch_all, "last")
    return at.read(lambda store: screen.watch_one(store, session, detail), session)


WATCH_SECONDS = 1.0
"""Seconds between updates."""

Known: TypeAlias = dict[int, tuple[int, Summary]]
"""Sessions as last read, by context: the newest turn then, and the row."""

_PIPELINE, _NODE, _REASON = 2, 3, 8
"""Columns that are shortened on a narrow terminal."""


class StatusScreen:
    """What ``orchestra status`` prints, once or again after every change."""

    def __init__(self, at: StoreAccess, *, as_json: bool, colour: bool) -> None:
        self.at = at
        self._as_json = as_json
        self._colour = colour
        self._stops = read_stopped(at.settings)

    def show(self, session: str, *, detail: bool) -> int:
        """Print one session."""
        return self.at.read(lambda store: self._show(store, session, detail), session)

    async def _show(self, store: Store, session: str, detail: bool) -> int:
        found = await read_session(store, session, self._stops, self.at, detail=detail)
        if self._as_json:
            say_json(found.as_json(detail=detail), indent=2)
        else:
            say_session(found, self.at.aim, self._colour, detail=detail)
        return 0

    def list_all(self) -> int:
        """Print the list of sessions; without the store, what this machine knows of them (S20)."""
        try:
            found = self.at.read(self._summaries) if exists(self.at.settings) else []
        except StoreUnreachable as error:
            if self._as_json:
                raise StoppedRun(error, {"sessions": [_as_json(stop) for stop in self._stops.values()]}) from error
            _say_stopped(self._stops.values())
            raise
        known = {summary.session for summary in found}
        self._say_list(found, [stop for stop in self._stops.values() if stop.session not in known])
        return 0

    async def _summaries(self, store: Store) -> list[Summary]:
        return [await summary_of(store, row, self._stops) for row in await rows(store)]

    async def watch_one(self, store: Store, session: str, detail: bool) -> int:
        """Print one session until it ends, in place on a terminal."""
        row, last = await find(store, session), None
        while True:
            summary = await summary_of(store, row, self._stops)
            if summary != last:
                _home()
                await self._show(store, row.session, detail)
            if not summary.alive and summary.phase is not Phase.MIRRORED:
                return 0
            last = summary
            await asyncio.sleep(WATCH_SECONDS)

    async def watch_all(self, store: Store) -> int:
        """Print the list until Ctrl-C."""
        known: Known = {}
        last: list[Summary] = []
        while True:
            found = [await _cached_summary(store, row, known, self._stops) for row in await rows(store)]
            if found != last or sys.stdout.isatty():
                _home()
                self._say_list(list(found))
            last = found
            await asyncio.sleep(WATCH_SECONDS)

    def _say_list(self, found: list[Summary], gone: Sequence[StoppedSession] = ()) -> None:
        """Print the sessions, and the runs that this store had and has no longer (S21)."""
        listed = nest(found)
        if self._as_json:
            data = [*(as_json_of(summary) for _depth, summary in listed), *map(_as_json, gone)]
            say_json({"sessions": data}, indent=2)
            return
        _say_stopped(gone, why="; its session is missing from this store")
        if not listed:
            memory = self.at.settings.place == "memory"
            say("a store in memory saves no sessions" if memory else f"no sessions in {self.at.settings.place}")
            say("  start one: orchestra run FILE.dot")
            return
        shown, first, aim = listed[: _most()], listed[0][1], self.at.aim
        _table(shown, aim, self._colour)
        if len(shown) < len(listed):
            say(f"  and {len(listed) - len(shown)} more: orchestra status{aim} | less")
        say(f"  details: orchestra status{aim} {first.session} --detail")
        say_next(first, aim)


async def _cached_summary(store: Store, row: Row, known: Known, stops: Mapping[str, StoppedSession]) -> Summary:
    """Return a session's row, read again only if it may have changed."""
    head = (await store.head(row.context_id)).turn_id
    before = known.get(row.context_id)
    if before is not None and before[0] == head and before[1].phase in (Phase.COMPLETED, Phase.FAILED):
        return before[1]
    summary = await summary_of(store, row, stops)
    known[row.context_id] = head, summary
    return summary


def _home() -> None:
    """Clear a terminal; do nothing elsewhere."""
    if sys.stdout.isatty():
        sys.stdout.write("\x1b[H\x1b[J")


def _as_json(stop: StoppedSession) -> dict[str, object]:
    return {**to_builtins(stop), "phase": str(Phase.STOPPED)}


def _say_stopped(stops: Iterable[StoppedSession], why: str = "") -> None:
    """Print what this machine knows without the store: the runs that stopped when it failed (S20)."""
    for stop in stops:
        ago = time_since(stop.at_ms)
        where = f"{stop.pipeline} at {stop.node}" if stop.node else stop.pipeline
        say(one_line(f"{stop.session}  ! {Phase.STOPPED}  {where}, {ago} ago{why}", 500))


def _most() -> int | None:
    """Return how many sessions fit the screen, so that the first ones stay on it; None for all, in a pipe."""
    return max(shutil.get_terminal_size().lines - 5, 5) if sys.stdout.isatty() else None


def _table(found: Sequence[tuple[int, Summary]], aim: str, colour: bool) -> None:
    now = time.time() * 1000
    fits = room()
    heads = ("SESSION", "STATUS", "PIPELINE", "NODE", "STEPS", "AGE", "COST", "NEXT", "REASON")
    lines = [_cells(depth, summary, aim, now) for depth, summary in found]
    keep = _columns(fits)
    widths = {c: max(columns(line[c]) for line in (heads, *lines)) for c in keep}
    _shrink(widths, fits)
    say(_join_cells(heads, widths, fits).rstrip())
    for (_depth, summary), line in zip(found, lines, strict=True):
        text = _join_cells(line, widths, fits)
        sign, tone = SIGNS[summary.phase]
        say(text.replace(f"{sign} ", f"{paint(sign, tone, colour)} ", 1).rstrip())


def _shrink(widths: dict[int, int], fits: int) -> None:
    """Narrow the columns of names, the widest first, until the line fits; the reason at its end is cut."""
    fixed = {column: width for column, width in widths.items() if column != _REASON}
    left = min(widths.get(_REASON, 0), 12)
    over = sum(fixed.values()) + 2 * (len(widths) - 1) + left - fits
    while over > 0:
        widest = max((c for c in (_PIPELINE, _NODE) if c in widths), key=lambda c: widths[c])
        if widths[widest] <= 8:
            return
        widths[widest] -= 1
        over -= 1


def _columns(room: int) -> tuple[int, ...]:
    if room >= 130:
        return (0, 1, 2, 3, 4, 5, 6, 7, 8)
    if room >= 90:
        return (0, 1, 2, 3, 4, 5, 6, 8)
    if room >= 64:
        return (0, 1, 2, 3, 5, 8)
    return (0, 1, 2, 5)


def _cells(depth: int, summary: Summary, aim: str, now: float) -> tuple[str, ...]:
    """Return a session's line; a child is continued through its parent, so it has no next command."""
    sign, _tone = SIGNS[summary.phase]
    return (
        f"{'  ' * (depth - 1)}{MARK}{summary.session}" if depth else summary.session,
        f"{sign} {summary.phase.value}",
        one_line(_title(summary), 200),
        one_line(summary.node, 200),
        str(summary.steps),
        _age(now - summary.last_ms) if summary.last_ms else "",
        dollars(summary.cost_micros) if summary.cost_micros else "-",
        "" if depth else aim_commands(next_command(summary), aim),
        one_line(summary.detail, 400),
    )


def _title(summary: Summary) -> str:
    """Return the pipeline, and the label of the run where it has another name than that."""
    label = summary.title.partition(": ")[0]
    return summary.pipeline if label in ("", summary.pipeline) else f"{summary.pipeline} ({label})"


def _age(milliseconds: float) -> str:
    """Return a duration in its largest unit or two."""
    return " ".join(duration_words(milliseconds).split()[:2])


def _join_cells(cells: Sequence[str], widths: dict[int, int], fits: int) -> str:
    parts = [cells[c] if c == _REASON else pad(cells[c], width) for c, width in widths.items()]
    return fit("  ".join(parts), fits)


MARK = "└ "


def nest(found: Sequence[Summary]) -> list[tuple[int, Summary]]:
    """Return the sessions in the order of a listing, each with its nesting depth.

    Those that need attention come first, the children of each after it, oldest first; a restarted child is next to
    its restart.
    """
    known = {summary.context_id: summary for summary in found}
    below: dict[int, list[Summary]] = {}
    tops: list[Summary] = []
    for summary in found:
        owner = _owner(summary, known)
        if owner is None:
            tops.append(summary)
        else:
            below.setdefault(owner.context_id, []).append(summary)
    listed: list[tuple[int, Summary]] = []
    open_ = [(0, top) for top in sorted(tops, key=lambda s: (ATTENTION.index(s.phase), -s.last_ms))][::-1]
    while open_:
        depth, summary = open_.pop()
        listed.append((depth, summary))
        children = sorted(below.get(summary.context_id, ()), key=lambda s: (s.started_ms, s.context_id))
        open_.extend((depth + 1, child) for child in reversed(children))
    return listed


def _owner(summary: Summary, known: dict[int, Summary]) -> Summary | None:
    """Return the session that runs a child, also after the child restarted; None without a parent."""
    while summary.why == "restart" and summary.parent in known:
        summary = known[summary.parent]
    return known.get(summary.parent) if summary.why == "child" else None
