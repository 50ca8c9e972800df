"""Signals pause a run (engine.md 8), from before its session exists until it has been closed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from orchestra.cli._errors import INTERRUPTED
from orchestra.engine.control import Control
from orchestra.processes import tree

_AT_ONCE = {signal.SIGTERM: "terminated", signal.SIGHUP: "the terminal was closed"}


@contextmanager
def heeded(control: Control, note: Callable[[str], None], leave: Callable[[], None]) -> Iterator[None]:
    """Heed signals while a run goes on: SIGINT pauses, then interrupts, then leaves at once; SIGTERM and SIGHUP
    interrupt. A signal that was ignored when the program was started (``nohup``) stays ignored.

    ``note`` says a word to the user; ``leave`` puts the terminal right without waiting for anything. The third
    SIGINT takes the commands at work along, and works also while a handler blocks the loop.
    """
    loop = asyncio.get_running_loop()
    count = 0

    def interrupted(_number: int, _frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        if count > 2:
            leave()
            tree.kill_own()
            os._exit(INTERRUPTED)
        control.wish("interrupt")
        loop.call_soon_threadsafe(_pause if count == 1 else _interrupt, control, note)

    def ended(number: int, _frame: FrameType | None) -> None:
        reason = _AT_ONCE[signal.Signals(number)]
        control.wish(reason)
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


def _woken() -> None:
    """A signal wakes the loop by a byte; else one that comes just before a wait is seen when the wait is over."""


def _pause(control: Control, note: Callable[[str], None]) -> None:
    control.pause("interrupt")
    note("the node at work is finished first, then the run pauses; Ctrl-C again interrupts it")


def _interrupt(control: Control, note: Callable[[str], None]) -> None:
    control.interrupt("interrupt")
    note("the node at work is interrupted; Ctrl-C again leaves at once")
