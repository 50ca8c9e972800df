"""What ``orchestra status`` does."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from orchestra.cli._detail import SIGNS, show_one, summary_of
from orchestra.cli._json import say_json
from orchestra.cli._stores import exists, hint, reading, settings_for
from orchestra.cli._terminal import coloured, fit, lasted, one_line, padded, room, say
from orchestra.config.settings import Settings
from orchestra.engine.sessions import rows
from orchestra.graph.report import columns, paint
from orchestra.ports import Store
from orchestra.run.views import ATTENTION, Summary

_PIPELINE, _NODE, _WHY = 2, 3, 7
"""The columns that give way where a terminal is narrow."""


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
            lambda opened: show_one(
                opened, session, detail=detail, aim=hint(settings, store), as_json=as_json, colour=colour
            ),
            session,
            flag=store,
        )
    )


def _list(settings: Settings, store: str | None, as_json: bool, colour: bool) -> int:
    found = asyncio.run(reading(settings, _summaries, flag=store)) if exists(settings) else []
    found.sort(key=lambda s: (ATTENTION.index(s.phase), -s.last_ms))
    if as_json:
        say_json({"sessions": [asdict(summary) for summary in found]}, indent=2)
    elif not found:
        say(
            "a store in memory keeps no sessions"
            if settings.place == "memory"
            else f"no sessions yet in {settings.place}"
        )
        say("  start one: orchestra run FILE.dot")
    else:
        shown = found[: _most()]
        _table(shown, colour)
        aim = hint(settings, store)
        if len(shown) < len(found):
            say(f"  and {len(found) - len(shown)} more: orchestra status{aim} | less")
        say(f"  look closer: orchestra status{aim} {found[0].session} --detail")
    return 0


async def _summaries(store: Store) -> list[Summary]:
    return [await summary_of(store, row) for row in await rows(store)]


def _most() -> int | None:
    """How many sessions fit the screen, so that those that need attention stay on it; all of them in a pipe."""
    return max(shutil.get_terminal_size().lines - 5, 5) if sys.stdout.isatty() else None


def _table(found: Sequence[Summary], colour: bool) -> None:
    now = time.time() * 1000
    fits = room()
    heads = ("SESSION", "STATE", "PIPELINE", "NODE", "NODES RUN", "TURNS", "AGE", "WHY")
    lines = [_cells(summary, now) for summary in found]
    keep = _columns(fits)
    widths = {c: max(columns(line[c]) for line in (heads, *lines)) for c in keep}
    _shrink(widths, fits)
    say(_joined(heads, widths, fits).rstrip())
    for summary, line in zip(found, lines, strict=True):
        text = _joined(line, widths, fits)
        sign, tone = SIGNS[summary.phase]
        say(text.replace(f"{sign} ", f"{paint(sign, tone, colour)} ", 1).rstrip())


def _shrink(widths: dict[int, int], fits: int) -> None:
    """Narrow the columns of names, the widest first, until the line fits; the reason at the end is cut instead."""
    fixed = {column: width for column, width in widths.items() if column != _WHY}
    left = min(widths.get(_WHY, 0), 12)
    over = sum(fixed.values()) + 2 * (len(widths) - 1) + left - fits
    while over > 0:
        widest = max((c for c in (_PIPELINE, _NODE) if c in widths), key=lambda c: widths[c])
        if widths[widest] <= 8:
            return
        widths[widest] -= 1
        over -= 1


def _columns(room: int) -> tuple[int, ...]:
    if room >= 90:
        return (0, 1, 2, 3, 4, 5, 6, 7)
    if room >= 64:
        return (0, 1, 2, 3, 6, 7)
    return (0, 1, 2, 6)


def _cells(summary: Summary, now: float) -> tuple[str, ...]:
    sign, _tone = SIGNS[summary.phase]
    return (
        summary.session,
        f"{sign} {summary.phase.value}",
        one_line(summary.pipeline, 200),
        one_line(summary.node, 200),
        str(summary.steps),
        str(summary.turns),
        _age(now - summary.last_ms) if summary.last_ms else "",
        one_line(summary.detail, 400),
    )


def _age(milliseconds: float) -> str:
    """The largest unit is enough to tell the old from the new."""
    return " ".join(lasted(milliseconds).split()[:2])


def _joined(cells: Sequence[str], widths: dict[int, int], fits: int) -> str:
    parts = [cells[c] if c == _WHY else padded(cells[c], width) for c, width in widths.items()]
    return fit("  ".join(parts), fits)
