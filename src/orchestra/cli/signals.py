"""Signals pause a run (C4), from before its session exists until it has been closed."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from orchestra.cli.errors import INTERRUPTED
from orchestra.engine.control import Control
from orchestra.processes import tree

LAST_SECONDS = 2.0
"""How long a run has, after the third interrupt, to record that it is paused."""

_AT_ONCE = {signal.SIGTERM: "received SIGTERM", signal.SIGHUP: "received SIGHUP"}


@contextmanager
def handle_signals(
    control: Control, note: Callable[[str], None], leave: Callable[[], None], first: Callable[[], None]
) -> Iterator[None]:
    """Handle signals during a run: SIGINT pauses, then interrupts, then exits; SIGTERM and SIGHUP interrupt.

    A signal that was ignored when the program started (``nohup``) stays ignored. ``note`` shows a message to the
    user; ``leave`` restores the terminal and prints the last line, without waiting for anything. The third SIGINT
    kills the running commands and gives the pause a moment to be recorded, also while a handler blocks the loop.
    ``first`` is called by the event loop at each of them, before it takes effect.
    """
    loop = asyncio.get_running_loop()
    count = 0

    def interrupted(_number: int, _frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        if count == 3:
            _exit_soon(leave)
        elif count > 3:
            _exit(leave)
        control.wish("interrupt")
        loop.call_soon_threadsafe(first)
        loop.call_soon_threadsafe(_pause if count == 1 else _interrupt, control, note)

    def ended(number: int, _frame: FrameType | None) -> None:
        reason = _AT_ONCE[signal.Signals(number)]
        control.wish(reason)
        loop.call_soon_threadsafe(first)
        loop.call_soon_threadsafe(control.interrupt, reason)

    wanted = {signal.SIGINT: interrupted, **dict.fromkeys(_AT_ONCE, ended)}
    before = {number: old for number in wanted if (old := signal.getsignal(number)) is not signal.SIG_IGN}
    for number in before:
        loop.add_signal_handler(number, _woken)
        signal.signal(number, wanted[number])
    try:
        yield
    finally:
        for number, old in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, old)


def _exit_soon(leave: Callable[[], None]) -> None:
    """Kill the running commands, and exit unless the run ends by itself within ``LAST_SECONDS``."""
    tree.kill_own()
    timer = threading.Timer(LAST_SECONDS, _exit, (leave,))
    timer.daemon = True
    timer.start()


def _exit(leave: Callable[[], None]) -> None:
    leave()
    tree.kill_own()
    os._exit(INTERRUPTED)


def _woken() -> None:
    """A signal wakes the loop by a byte; else one that comes just before a wait is seen when the wait is over."""


def _pause(control: Control, note: Callable[[str], None]) -> None:
    control.pause("interrupt")
    note("finishing the current node, then pausing; press Ctrl-C again to interrupt it")


def _interrupt(control: Control, note: Callable[[str], None]) -> None:
    control.interrupt("interrupt")
    note("interrupting the current node; press Ctrl-C again to exit immediately")
