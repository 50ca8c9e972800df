"""One command as a process: its output, its end, and the end of everything that it started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO

from orchestra.processes import tree

CHUNK = 64 * 1024
LINGER = 1.0
"""Seconds for which output is still waited for when the shell has ended: for what a pipeline writes last."""

SETTLE = 0.1
"""Seconds in which a process that closed its output may end before it counts as left behind."""

Feed = Callable[[str, bytes], Awaitable[None]]
"""Is given output as it comes: ``stdout`` or ``stderr``, and the bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What is run, where, and by which marker its processes are known.

    ``quiet`` is after how many seconds without output ``silent`` is called; ``given`` is its standard input.
    """

    argv: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    marker: str
    quiet: float
    patience: float = tree.PATIENCE
    given: bytes = b""


@dataclass(slots=True)
class ProcessResult:
    """How a process ended: its exit code, the processes it left, and those that could not be ended.

    The exit code is 128 + n after signal n.
    """

    code: int = 0
    behind: list[int] = field(default_factory=list)
    stubborn: list[int] = field(default_factory=list)


_NOT_DUMPABLE = (4, 0, 0, 0, 0)
"""``prctl(PR_SET_DUMPABLE, 0)``."""


@cache
def hide_this_process() -> None:
    """Keep commands from reading this process's environment and memory, where providers' keys are (A36).

    Debuggers and core dumps need root then. A runner inside a tool stays readable: it got no keys, and its marker
    has to be seen.
    """
    if tree.MARKER not in os.environ:
        import ctypes  # only a process that runs commands pays for it

        with contextlib.suppress(AttributeError, OSError):  # only Linux has it
            ctypes.CDLL(None).prctl(*_NOT_DUMPABLE)


async def run(command: Command, feed: Feed, silent: Callable[[], Awaitable[None]]) -> ProcessResult:
    """Run a command until it ends or this task is cancelled; nothing of it runs afterwards.

    Raises ``OSError`` where it cannot be started, and what ``feed`` raises.
    """
    hide_this_process()
    with _input(command.given) as given:
        process = subprocess.Popen(  # noqa: ASYNC220  it returns as soon as the program has started
            command.argv,
            cwd=command.folder,
            env=tree.mark_environment(dict(command.environment), command.marker),
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )
    try:
        return await _watch(process, command, feed, silent)
    finally:
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0)


@contextlib.contextmanager
def _input(given: bytes) -> Iterator[int | IO[bytes]]:
    """The input of a process: a file, so that a process that does not read it blocks nothing."""
    if not given:
        yield subprocess.DEVNULL
        return
    with tempfile.TemporaryFile() as file:
        file.write(given)
        file.seek(0)
        yield file


async def _watch(
    process: subprocess.Popen[bytes], command: Command, feed: Feed, silent: Callable[[], Awaitable[None]]
) -> ProcessResult:
    heard = _Heard(command.quiet, feed, silent)
    ended = ProcessResult()
    async with asyncio.TaskGroup() as group:
        assert process.stdout is not None
        assert process.stderr is not None
        pumps = [
            group.create_task(heard.pump("stdout", process.stdout.fileno())),
            group.create_task(heard.pump("stderr", process.stderr.fileno())),
        ]
        watch = group.create_task(heard.watch())
        gone = False
        try:
            await _wait_for_exit(process)
            await asyncio.wait(pumps, timeout=LINGER)
            gone = await tree.wait_until_gone(command.marker, process.pid, SETTLE)
        finally:
            watch.cancel()
            try:
                if not gone:
                    ended.behind, ended.stubborn = await tree.end(command.marker, process.pid, command.patience)
                await asyncio.wait(pumps, timeout=LINGER)
            finally:
                for pump in pumps:
                    pump.cancel()
    code = process.poll()
    ended.code = 137 if code is None else code if code >= 0 else 128 - code
    return ended


class _Heard:
    """Passes output on, and notices when none comes for long."""

    def __init__(self, quiet: float, feed: Feed, silent: Callable[[], Awaitable[None]]) -> None:
        self._quiet = quiet
        self._feed = feed
        self._silent = silent
        self._last = asyncio.get_running_loop().time()

    async def pump(self, name: str, descriptor: int) -> None:
        """Pass output on until the last writer closes it."""
        os.set_blocking(descriptor, False)
        while True:
            try:
                data = os.read(descriptor, CHUNK)
            except BlockingIOError:
                await _readable(descriptor)
                continue
            if not data:
                return
            self._last = asyncio.get_running_loop().time()
            await self._feed(name, data)

    async def watch(self) -> None:
        """Report each silence once."""
        loop = asyncio.get_running_loop()
        told = -1.0
        while True:
            left = self._last + self._quiet - loop.time()
            if left > 0:
                await asyncio.sleep(left)
            elif told != self._last:
                told = self._last
                await self._silent()
            else:
                await asyncio.sleep(self._quiet)


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


async def _wait_for_exit(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a process without a thread: by its file descriptor, else by asking."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        while process.poll() is None:  # noqa: ASYNC110  such a system does not tell
            await asyncio.sleep(0.02)
        return
    try:
        await _readable(descriptor)
    finally:
        os.close(descriptor)
    process.wait()
