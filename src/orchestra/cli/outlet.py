"""Standard output and standard error that never make a run wait: a thread of each writes them (C1).

A pipe without a reader and a stopped terminal block their writer, with the event loop and the
signals of the whole run. So a run hands its output to a thread. What a slow reader has not taken yet waits in
memory, then in a file without a name; a terminal loses lines instead, and says how many.
"""

from __future__ import annotations

import asyncio
import os
import select
import stat
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, TextIO, cast

from orchestra.cli.terminal import mute
from orchestra.graph.report import plural

ROOM = 256 * 1024
"""Bytes that wait in memory for a reader; then a terminal loses lines, and a pipe's go to a file."""

SETTLE_SECONDS = 0.05
"""How long a flush waits for the thread, once: a reader that takes longer counts as slow until it has caught up."""

LAST_SECONDS = 1.0
"""How long a process that a signal ends waits for a reader that takes nothing."""

STOPPED_SECONDS = 10.0
"""The same after a run that was paused or canceled, or that its store has stopped."""

ENDED_SECONDS = 600.0
"""The same after a run that has ended: its reader may take long over each event."""

_PIECE = 64 * 1024

_BLOCK = 4096
"""Bytes of one write, so that a slow reader is seen to take something."""


class _Pump:
    """Writes bytes to one descriptor in a thread, in order; ``keep`` what a slow reader has not taken."""

    def __init__(self, descriptor: int, *, keep: bool) -> None:
        self._descriptor = descriptor
        self._keep = keep
        self._changed = threading.Condition(threading.RLock())
        self._queue: deque[bytes] = deque()
        self._size = 0
        self._file: BinaryIO | None = None
        self._read_to = self._written_to = 0
        self._writing = False
        self._slow = False
        self._thread: threading.Thread | None = None
        self._error: OSError | None = None
        self._shut = False
        self.lost = 0
        self.moved = 0

    @property
    def pending(self) -> bool:
        """Whether something has not been written yet."""
        return self._writing or bool(self._size) or self._written_to > self._read_to

    @property
    def unread(self) -> int:
        """How many lines wait to be written."""
        with self._changed:
            found = sum(data.count(b"\n") for data in self._queue)
            for at in range(self._read_to, self._written_to, _PIECE):
                assert self._file is not None
                piece = os.pread(self._file.fileno(), min(_PIECE, self._written_to - at), at)
                found += piece.count(b"\n")
            return found

    @property
    def full(self) -> bool:
        """Whether what is written now would be lost."""
        return not self._keep and self._size >= ROOM

    def put(self, data: bytes) -> None:
        """Take bytes to write. Raises the ``OSError`` that an earlier write met, once."""
        with self._changed:
            self._raise()
            if self._shut:
                return
            if self._written_to > self._read_to or (self._size >= ROOM and self._keep):
                self._spool(data)
            elif self._size >= ROOM:
                self.lost += data.count(b"\n")
            else:
                self._queue.append(data)
                self._size += len(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="output", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def settle(self) -> None:
        """Wait a moment until all is written, unless the reader is known to be slow. Raises as ``put`` does."""
        with self._changed:
            if not self._slow:
                self._slow = not self._changed.wait_for(lambda: not self.pending, SETTLE_SECONDS)
            self._raise()

    def shut(self) -> None:
        """Write what waits, unless that takes more than a moment, and from now on nothing."""
        with suppress(OSError), self._changed:
            self.settle()
        with self._changed:
            self._shut = True
            self._queue.clear()
            self._size = 0

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _spool(self, data: bytes) -> None:
        """Add bytes to the file; those that find no room on the disk are lost."""
        try:
            if self._file is None:
                self._file = cast("BinaryIO", tempfile.TemporaryFile(buffering=0))  # noqa: SIM115  ends with us
            view = memoryview(data)
            at = self._written_to
            while view:
                done = os.pwrite(self._file.fileno(), view, at)
                at, view = at + done, view[done:]
            self._written_to = at
        except OSError:
            self.lost += data.count(b"\n")

    def _run(self) -> None:
        while True:
            with self._changed:
                self._writing = False
                if not self.pending:
                    self._slow = False
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self.pending)
                data = self._next()
                self._writing = True
            self._write(data)

    def _next(self) -> bytes:
        if self._queue:
            data = self._queue.popleft()
            self._size -= len(data)
            return data
        assert self._file is not None
        data = os.pread(self._file.fileno(), min(_PIECE, self._written_to - self._read_to), self._read_to)
        self._read_to += len(data)
        if self._read_to == self._written_to:
            self._end_file()
        return data

    def _end_file(self) -> None:
        self._read_to = self._written_to = 0
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                done = os.write(self._descriptor, view[:_BLOCK])
            except BlockingIOError:  # another process that shares it made it nonblocking
                with suppress(OSError):
                    select.select([], [self._descriptor], [])
                continue
            except OSError as error:
                self._fail(error)
                return
            self.moved += done
            view = view[done:]

    def _fail(self, error: OSError) -> None:
        """Nothing that waits can be written; the next write raises why."""
        with self._changed:
            self._error = error
            self._queue.clear()
            self._size = 0
            self._end_file()


class Outlet:
    """A text stream whose writes never wait for its reader."""

    def __init__(self, stream: TextIO, pump: _Pump) -> None:
        self.stream = stream
        self.pump = pump
        self.encoding = stream.encoding
        self.errors = stream.errors

    def write(self, text: str) -> int:
        """Hand a text to the thread. Raises the ``OSError`` that an earlier one met."""
        if text:
            self.pump.put(text.encode(self.encoding, self.errors or "strict"))
        return len(text)

    def flush(self) -> None:
        """Wait until all is written, or a moment where the reader is slow. Raises as ``write`` does."""
        self.pump.settle()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self.stream.isatty()

    def fileno(self) -> int:
        """The descriptor."""
        return self.stream.fileno()


@contextmanager
def outlets() -> Iterator[tuple[Outlet, ...]]:
    """Standard output and standard error as outlets, where a reader may keep their writers waiting.

    What is still unread at the end is given up; see ``drain``.
    """
    before = sys.stdout, sys.stderr
    found = _outlets(*before)
    try:
        sys.stdout, sys.stderr = (cast("TextIO", found.get(stream, stream)) for stream in before)
        yield tuple(found.values())
    finally:
        sys.stdout, sys.stderr = before
        for stream, outlet in found.items():
            if outlet.pump.pending:
                mute(stream)


def _outlets(out: TextIO, err: TextIO) -> dict[TextIO, Outlet]:
    """The outlets by their streams; two that lead to one place share a thread, which keeps their order."""
    found: dict[TextIO, Outlet] = {}
    pumps: dict[tuple[int, int, int], _Pump] = {}
    for stream in (out, err):
        with suppress(OSError, ValueError):
            stream.flush()
            status = os.fstat(stream.fileno())
            terminal = stream.isatty()
            if terminal or stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode):
                place = status.st_dev, status.st_ino, status.st_rdev
                pump = pumps.setdefault(place, _Pump(stream.fileno(), keep=not terminal))
                found[stream] = Outlet(stream, pump)
    return found


async def drain(outlets: tuple[Outlet, ...], leaving: asyncio.Event, seconds: float = ENDED_SECONDS) -> int:
    """Wait until all is written, at most ``seconds`` for a stalled reader; return the lines not taken.

    Once ``leaving`` it has ``LAST_SECONDS``.
    """
    pumps = {outlet.pump for outlet in outlets}
    for pump in pumps:
        moved, since, waited = pump.moved, time.monotonic(), leaving.is_set()
        while pump.pending:
            await asyncio.sleep(0.01)
            if pump.moved != moved or leaving.is_set() != waited:
                moved, since, waited = pump.moved, time.monotonic(), leaving.is_set()
            elif time.monotonic() - since > (LAST_SECONDS if waited else seconds):
                break
    return sum(pump.unread for pump in pumps)


def behind(stream: object) -> bool:
    """Whether what is written to a stream now would be lost, since its terminal is stopped."""
    return isinstance(stream, Outlet) and stream.pump.full


def waiting(stream: object) -> bool:
    """Whether something for a stream has not been written yet."""
    return isinstance(stream, Outlet) and stream.pump.pending


def lost_lines(stream: object) -> int:
    """How many lines a stream has lost since this was asked, once it takes lines again."""
    if not isinstance(stream, Outlet) or stream.pump.full:
        return 0
    found, stream.pump.lost = stream.pump.lost, 0
    return found


def missing(stream: object) -> str:
    """What to say of lines that a stream has lost since this was asked; nothing where it lost none."""
    count = lost_lines(stream)
    return f"… {plural(count, 'line')} not shown: the terminal was stopped" if count else ""


def count_lost(stream: object, lines: int) -> None:
    """Note that lines were not written to a stream that is behind."""
    if isinstance(stream, Outlet):
        stream.pump.lost += lines


def shut(stream: object) -> None:
    """Write nothing more to a stream but by ``at_once``."""
    if isinstance(stream, Outlet):
        stream.pump.shut()


def at_once(stream: TextIO, text: bytes) -> None:
    """Write a few bytes now unless the stream would block, for an exit in a signal handler."""
    with suppress(OSError, ValueError):
        if select.select([], [stream.fileno()], [], 0)[1]:
            os.write(stream.fileno(), text)
