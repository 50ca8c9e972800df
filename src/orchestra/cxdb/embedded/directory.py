"""A store's folder: its open files, and how much of each is valid (S5, S6).

A ``Directory`` knows the store's state and reads up to its lengths only. ``recovery`` and ``handle`` decide when it
writes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from orchestra.cxdb.embedded.files import Files
from orchestra.cxdb.embedded.wal import (
    CAPACITY,
    FILES,
    NOTHING,
    PATH,
    SETTLED,
    STATE_SIZE,
    Lengths,
    State,
    read_state,
)
from orchestra.cxdb.format.layout import FOLDERS, HEADS, PACK, PATHS, ROOTS, STRIDES, strides
from orchestra.errors import StoreUnreachable

LOCK = "orchestra/lock"
LOST = "orchestra/lost"
UNSETTLED = "orchestra/UNSETTLED"

_NOTICE = b"""The write-ahead log beside this file holds batches that may not be in CXDB's files yet.
Before another program opens this folder, run: orchestra doctor --settle
"""

EMPTY = State(0, 0, 0, 0, SETTLED, 1, 1, NOTHING, NOTHING)
"""The state of an empty folder."""

_TELLING = (PACK, HEADS, ROOTS)
"""CXDB makes one of these longer whenever it writes."""

_FAR = 1 << 62
_MUCH = 1 << 20
"""Bytes above which a read is held against the file's length: a damaged size must not take the memory."""

AT_ONCE = 4096
"""Records that are read at a time."""

MISSING = -1
"""The descriptor of a missing file (only in a folder that is open for reading)."""


class Directory:
    """The open files of one store.

    ``overlay`` holds, for a folder that may not be written, what the log would add to a file: its
    offset and the bytes.
    """

    def __init__(self, path: str, files: Files, *, read_only: bool, capacity: int = CAPACITY) -> None:
        self.path = path
        self._lock = f"{path}/{LOCK}"
        self._identity: tuple[int, int] | None = None
        self.capacity = capacity
        self.files = files
        self.read_only = read_only
        self.state = EMPTY
        self._published = b""
        self.overlay: dict[int, tuple[int, bytes]] = {}
        self.fds: list[int] = []
        self.lock_fd = self.wal_fd = MISSING
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        if self.read_only:
            self._open_what_is_there()
            return
        for folder in FOLDERS:
            self.files.mkdir(self.at(folder))
        self.lock_fd = self.files.open(self._lock, write=True, create=True)
        self._identity = self.files.identity(self.lock_fd)
        self.wal_fd = self.files.open(self.at(PATH), write=True, create=True)
        for path in PATHS:
            self.fds.append(self.files.open(self.at(path), write=True, create=True))

    def _open_what_is_there(self) -> None:
        if not self.files.exists(self.path):
            raise StoreUnreachable(
                f"{self.path}: no store in this folder", fix="start a run, or name another folder: --store DIR"
            )
        self.lock_fd = self._open_to_read(LOCK)
        self.wal_fd = self._open_to_read(PATH)
        self.fds = [self._open_to_read(path) for path in PATHS]

    def _open_to_read(self, path: str) -> int:
        try:
            return self.files.open(self.at(path), write=False)
        except FileNotFoundError:
            return MISSING

    def in_place(self) -> bool:
        """Whether the folder still has the lock file that was opened: it was not removed, replaced or rewritten."""
        return self.files.identity(self._lock) == self._identity

    def at(self, name: str) -> str:
        """The path of something in the folder."""
        return f"{self.path}/{name}"

    def close(self) -> None:
        """Close the files, which releases the lock."""
        for fd in (self.lock_fd, self.wal_fd, *self.fds):
            if fd != MISSING:
                self.files.close(fd)
        self.lock_fd = self.wal_fd = MISSING
        self.fds = [MISSING] * FILES

    def read(self, file: int, size: int, offset: int) -> bytes:
        """Bytes of a file; fewer than ``size`` where it ends, none where no file can reach."""
        if offset >= _FAR:
            return b""
        added = self.overlay.get(file)
        if added is not None and offset + size > added[0]:
            return self._read_over(file, size, offset, *added)
        fd = self.fds[file]
        if fd == MISSING:
            return b""
        if size > _MUCH:
            size = max(0, min(size, self.files.size(fd) - offset))
        return self.files.pread(fd, size, offset)

    def _read_over(self, file: int, size: int, offset: int, start: int, added: bytes) -> bytes:
        below = b""
        if offset < start and self.fds[file] != MISSING:
            below = self.files.pread(self.fds[file], start - offset, offset).ljust(start - offset, b"\0")
        at = max(0, offset - start)
        return below + added[at : at + size - len(below)]

    def read_all(self, file: int, start: int, end: int) -> bytes:
        """The bytes from ``start`` to ``end``, however many; fewer where the file ends."""
        pieces = []
        while start < end:
            piece = self.read(file, min(end - start, 1 << 24), start)
            if not piece:
                break
            pieces.append(piece)
            start += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def records(self, file: int, start: int = 0, end: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Yield the whole records of a file of fixed records, each with its offset; up to the store's length."""
        size = STRIDES[file]
        end = self.state.lengths[file] if end is None else end
        for offset in range(start, end, size * AT_ONCE):
            for at, record in strides(self.read_all(file, offset, min(end, offset + size * AT_ONCE)), size):
                yield offset + at, record

    def sizes(self) -> Lengths:
        """How long the files are now."""
        size = self.files.size
        return tuple([size(fd) if fd != MISSING else 0 for fd in self.fds])

    def read_state(self) -> State | None:
        """The state in the lock file, or None where there is none that is whole."""
        if self.lock_fd == MISSING:
            return None
        data = self.files.pread(self.lock_fd, STATE_SIZE, 0)
        return self.state if data == self._published else read_state(data)

    def has_grown(self) -> bool:
        """Whether another program appended: one of the files that it makes longer has another length."""
        size, fds, lengths = self.files.size, self.fds, self.state.lengths
        return any(size(fds[number]) != lengths[number] for number in _TELLING)

    def publish(self, state: State) -> None:
        """Write the state to the lock file, for other processes."""
        data = state.pack()
        self.files.pwrite(self.lock_fd, data, 0)
        self.state = state
        self._published = data

    def write_parts(self, before: Lengths, parts: Sequence[bytes]) -> None:
        """Add to the files, unsynced."""
        pwrite, fds = self.files.pwrite, self.fds
        for number, part in enumerate(parts):
            if part:
                pwrite(fds[number], part, before[number])

    def sync(self, numbers: Sequence[int]) -> None:
        """Make the contents of some files durable."""
        for number in numbers:
            self.files.fdatasync(self.fds[number])

    def sync_folders(self) -> None:
        """Make the files themselves durable, after they were made."""
        for folder in (*FOLDERS, "."):
            self.files.sync_folder(self.at(folder))

    def mark_unsettled(self) -> None:
        """Write the notice that the log is live, durably."""
        fd = self.files.open(self.at(UNSETTLED), write=True, create=True)
        try:
            self.files.pwrite(fd, _NOTICE, 0)
        finally:
            self.files.close(fd)
        self.files.sync_folder(self.at("orchestra"))

    def mark_settled(self) -> None:
        """Remove the notice."""
        if self.files.exists(self.at(UNSETTLED)):
            self.files.unlink(self.at(UNSETTLED))

    def keep_aside(self, number: int, offset: int, end: int) -> None:
        """Copy the end of a file to ``lost/``, durably, then truncate the file."""
        name = PATHS[number].rsplit("/", 1)[1]
        self.write_lost(f"{name}-{offset}", self.read_all(number, offset, end))
        self.files.truncate(self.fds[number], offset)

    def write_lost(self, name: str, data: bytes) -> None:
        """Put bytes into a new file in ``lost/``, durably."""
        self.files.mkdir(self.at(LOST))
        self.files.write_file(self.at(f"{LOST}/{name}-{time.time_ns()}"), data)
        self.files.sync_folder(self.at(LOST))
