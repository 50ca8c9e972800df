"""What ``orchestra attach`` does."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from orchestra.cli._ended import Shown, say_ended
from orchestra.cli._errors import INTERRUPTED
from orchestra.cli._people import terminal
from orchestra.cli._prompts import Prompts
from orchestra.cli._stores import hint, reading, settings_for
from orchestra.cli._terminal import coloured, complain
from orchestra.cli._views import view_for
from orchestra.clock import SystemClock
from orchestra.config.settings import Settings
from orchestra.engine.following import follow
from orchestra.engine.sessions import Row, find
from orchestra.ports import Store
from orchestra.run.state import RunState


def attach_to(session: str, shown: Shown) -> int:
    """Show a session from its start until it stops running or the user leaves. Return the exit code."""
    settings = settings_for(shown.store, shown.config)
    colour = coloured(shown.color, sys.stdout)

    async def watch(store: Store) -> int:
        row = await find(store, session)
        watched = await _watched(store, row, shown, colour, settings)
        if watched is None:
            return _left(settings, shown, row)
        last, state = watched
        return say_ended(shown, settings, last.session, last.context_id, state, colour, last.mirror_of)

    return asyncio.run(reading(settings, watch, session, flag=shown.store))


async def _watched(
    store: Store, row: Row, shown: Shown, colour: bool, settings: Settings
) -> tuple[Row, RunState] | None:
    """Return the last session shown and its final state, or None if the user left first.

    At a terminal the questions that the session asks meanwhile can be answered.
    """
    view = view_for(json=shown.json, plain=shown.plain, quiet=shown.quiet, verbose=shown.verbose, colour=colour)
    view.opened(row.session, row.title)
    task = asyncio.current_task()
    assert task is not None
    try:
        with _leaving(task):
            if shown.people.no_input or row.mirror_of or not terminal():
                return await follow(store, row, view.tell, SystemClock())
            async with Prompts(settings, view) as prompts:
                return await follow(store, row, prompts.tell, SystemClock())
    except asyncio.CancelledError:
        task.uncancel()
        return None
    finally:
        view.closed()


@contextmanager
def _leaving(task: asyncio.Task[object]) -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and a closed terminal stop watching, and nothing else."""
    loop = asyncio.get_running_loop()
    ours = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    before = {number: old for number, old in ours.items() if old is not signal.SIG_IGN}
    for number in before:
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        for number, old in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, old)


def _left(settings: Settings, shown: Shown, row: Row) -> int:
    complain(
        f"stopped watching; session {row.session} keeps running\n"
        f"  watch: orchestra attach{hint(settings, shown.store)} {row.session}"
    )
    return INTERRUPTED
