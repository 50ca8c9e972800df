"""Job control: signals that pause a run (C4), and runs in a process of their own (``--detach``, C1)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from orchestra.cli.errors import INTERRUPTED, exit_code
from orchestra.cli.screen.lines import View
from orchestra.cli.screen.views import SessionOptions
from orchestra.cli.stores import StoreAccess
from orchestra.cli.terminal import say, say_json
from orchestra.engine.control import Control
from orchestra.errors import ConfigError
from orchestra.processes import tree

LAST_SECONDS = 2.0
"""How long a run has, after the third interrupt, to record that it is paused."""

_LEAVING = threading.Lock()
"""Held while the process is ended."""

_AT_ONCE = {signal.SIGTERM: "received SIGTERM", signal.SIGHUP: "received SIGHUP"}


@contextmanager
def handle_signals(
    control: Control, note: Callable[[str], None], leave: Callable[[], None], first: Callable[[], None]
) -> Iterator[None]:
    """Handle signals: SIGINT pauses, then interrupts, then exits; SIGTERM and SIGHUP interrupt.

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
        control.request_pause("interrupt")
        loop.call_soon_threadsafe(first)
        loop.call_soon_threadsafe(_pause if count == 1 else _interrupt, control, note)

    def ended(number: int, _frame: FrameType | None) -> None:
        reason = _AT_ONCE[signal.Signals(number)]
        control.request_pause(reason)
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
    if _LEAVING.acquire(blocking=False):  # else another signal, or the timer, is at it
        leave()
        tree.kill_own()
        os._exit(INTERRUPTED)


def _woken() -> None:
    """A signal wakes the loop by a byte; else one that comes just before a wait is seen after the wait."""


def _pause(control: Control, note: Callable[[str], None]) -> None:
    control.pause("interrupt")
    note("finishing the current node, then pausing; press Ctrl-C again to interrupt it")


def _interrupt(control: Control, note: Callable[[str], None]) -> None:
    control.interrupt("interrupt")
    note("interrupting the current node; press Ctrl-C again to exit immediately")


def run_detached(shown: SessionOptions, at: StoreAccess, run: Callable[[DetachView], int]) -> int:
    """Run in a background process that detaches from this terminal once its session exists.

    An error before that is printed by the child to this terminal; its exit code is returned.
    """
    if at.settings.place == "memory":
        raise ConfigError(
            "--detach needs a store that other processes can read", fix="name a store with --store DIR"
        )
    if shown.json == "stream":
        raise ConfigError("--json-stream cannot be used with --detach", fix="orchestra attach last --json-stream")
    reader, writer = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if not child:
        os.close(reader)
        os._exit(_child(run, DetachView(writer), as_json=shown.json == "object"))
    os.close(writer)
    with open(reader, encoding="utf-8") as told:
        session = told.read()
    if not session:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if shown.json:
        say_json({"session": session, "status": "running", "process": child, "exit_code": 0}, indent=2)
    else:
        say(f"session {session} is running in the background (process {child})")
        say(f"  watch: orchestra attach{at.aim} {session}")
    return 0


def _child(run: Callable[[DetachView], int], view: DetachView, *, as_json: bool) -> int:
    """A session of its own, so that neither Ctrl-C nor the terminal's end reaches it."""
    os.setsid()
    try:
        return run(view)
    except BaseException as error:  # noqa: BLE001  nothing of the parent's may run in the child
        return exit_code(error, as_json=as_json)
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()


class DetachView(View):
    """A view that names the session to the parent, and then lets the terminal go."""

    def __init__(self, writer: int) -> None:
        self._writer = writer

    def open(self, session: str, title: str) -> None:
        """Name the session; from now on nothing is shown."""
        sys.stdout.flush()
        sys.stderr.flush()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nowhere, number)
        os.close(nowhere)
        try:
            os.write(self._writer, session.encode())
        except BrokenPipeError:  # Ctrl-C at the start: the run is not wanted
            os.kill(os.getpid(), signal.SIGTERM)
        os.close(self._writer)
