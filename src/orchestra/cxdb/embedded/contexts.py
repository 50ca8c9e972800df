"""The head of each context: a table on disk as of the last log cut, and the changes since (S9).

The table is addressed by context id and only written at a cut, when the log is synced into CXDB's files;
what came after the cut is read from the end of heads.tbl. It can be made again from heads.tbl at any time.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from orchestra.cxdb.embedded.directory import MISSING, Directory
from orchestra.cxdb.format.layout import CRC, HEAD_SIZE, HEADS, intact, read_head, strides, with_checksum

PATH = "orchestra/contexts"

_ENTRY = struct.Struct("<QQIIQQ")
_SIZE = _ENTRY.size + CRC.size
_CHUNK = 1024
_LOOKS = 3
"""How often an entry that fails its check sum is read: another process may have been writing it."""

MOST = 1 << 26
"""The largest context id that the table has room for; larger ones are read from heads.tbl at each opening."""


class ContextHead(NamedTuple):
    """A context's head, when it was made and when it was last appended to (UTC ms)."""

    context_id: int
    turn_id: int
    depth: int
    created_ms: int
    appended_ms: int


class _BadTable(Exception):
    """An entry of the table fails its check sum."""


class Contexts:
    """The contexts of one store."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._moved: dict[int, ContextHead] = {}
        self._fd = MISSING
        self._spoiled = False
        self.behind = 0
        """Bytes of heads.tbl that had to be read when the table was opened."""
        self.bad_heads: list[int] = []
        """Offsets in heads.tbl of records that fail their check sum, among those that were read."""

    def find(self, context_id: int) -> ContextHead | None:
        """A context's head, or None for an unknown context."""
        moved = self._moved.get(context_id)
        if moved is not None:
            return moved
        try:
            return self._stored_head(context_id)
        except _BadTable:
            self.rebuild()
            return self._moved.get(context_id)

    def move(self, context_id: int, turn_id: int, depth: int, at_ms: int) -> None:
        """Set the head of a new or known context."""
        before = self.find(context_id)
        created = at_ms if before is None else before.created_ms
        self._moved[context_id] = ContextHead(context_id, turn_id, depth, created, at_ms)

    def descending(self, below: int) -> Iterator[ContextHead]:
        """All contexts with ids smaller than ``below``, largest first."""
        try:
            for head in self._both(below):
                yield head
                below = head.context_id
        except _BadTable:
            self.rebuild()
            yield from self._both(below)

    def _both(self, below: int) -> Iterator[ContextHead]:
        known = sorted(key for key in self._moved if key < below)
        for stored in self._stored_heads(below):
            while known and known[-1] >= stored.context_id:
                yield self._moved[known.pop()]
            if stored.context_id not in self._moved:
                yield stored
        for key in reversed(known):
            yield self._moved[key]

    def load(self) -> None:
        """Open the table, and read the heads that came after it."""
        self.close()
        directory = self._directory
        self._moved.clear()
        writes = not directory.read_only
        try:
            self._fd = directory.files.open(directory.at(PATH), write=writes, create=writes)
        except FileNotFoundError:
            self._fd = MISSING
        covered = self._covered_length()
        end = directory.state.lengths[HEADS]
        if covered is None:
            self.rebuild()
        else:
            covered = 0 if directory.state.next_context > MOST + 1 else covered
            self.behind = end - covered
            self.read_heads(covered, end)

    def _covered_length(self) -> int | None:
        """How much of heads.tbl is in the table; None where the table is not whole."""
        if self._fd == MISSING:
            return 0
        files = self._directory.files
        data = files.pread(self._fd, _SIZE, 0)
        if not data:
            return 0
        if len(data) < _SIZE or not intact(data):
            return None
        _, covered, _, _, size, _ = _ENTRY.unpack_from(data)
        return int(covered) if files.size(self._fd) >= size else None

    def read_heads(self, start: int, end: int) -> None:
        """Read in a stretch of heads.tbl."""
        data = self._directory.read_all(HEADS, start, end)
        for offset, record in strides(data, HEAD_SIZE):
            head = read_head(record)
            if head is None:
                self.bad_heads.append(start + offset)
            elif head.turn_id < self._directory.state.next_turn:
                self.move(head.context_id, head.turn_id, head.depth, head.created_ms)

    def _stored_head(self, context_id: int) -> ContextHead | None:
        if self._fd == MISSING or self._spoiled or not 0 < context_id <= MOST:
            return None
        for _ in range(_LOOKS):
            data = self._directory.files.pread(self._fd, _SIZE, context_id * _SIZE)
            try:
                return self._entry(data, context_id)
            except _BadTable:
                continue
        raise _BadTable

    def _entry_or_again(self, data: bytes, context_id: int) -> ContextHead | None:
        try:
            return self._entry(data, context_id)
        except _BadTable:
            return self._stored_head(context_id)

    def _entry(self, data: bytes, context_id: int) -> ContextHead | None:
        if len(data) < _SIZE or not any(data):
            return None
        key, turn_id, depth, _, created, appended = _ENTRY.unpack_from(data)
        if key != context_id or not intact(data):
            raise _BadTable
        return ContextHead(key, turn_id, depth, created, appended)

    def _stored_heads(self, below: int) -> Iterator[ContextHead]:
        if self._fd == MISSING or self._spoiled:
            return
        files = self._directory.files
        last = min(files.size(self._fd) // _SIZE - 1, below - 1)
        while last > 0:
            first = max(1, last - _CHUNK + 1)
            data = files.pread(self._fd, (last - first + 1) * _SIZE, first * _SIZE)
            for context_id in range(last, first - 1, -1):
                at = (context_id - first) * _SIZE
                found = self._entry_or_again(data[at : at + _SIZE], context_id)
                if found is not None:
                    yield found
            last = first - 1

    def rebuild(self) -> None:
        """The table is damaged: read all of heads.tbl, and rewrite the table at the next cut."""
        self._spoiled = True
        self._moved.clear()
        self.bad_heads.clear()
        self.read_heads(0, self._directory.state.lengths[HEADS])

    def save(self) -> None:
        """Write changed entries to the table, durably, then its length and how much of heads.tbl it covers."""
        if not self._moved:
            return
        files = self._directory.files
        spoiled, path = self._spoiled, self._directory.at(PATH)
        if spoiled:
            self.close()
            self._fd = files.open(path + ".new", write=True, create=True)
            files.truncate(self._fd, 0)
        far = {key: head for key, head in self._moved.items() if key > MOST}
        for key, turn_id, depth, created, appended in self._moved.values():
            if key <= MOST:
                body = _ENTRY.pack(key, turn_id, depth, 0, created, appended)
                files.pwrite(self._fd, with_checksum(body), key * _SIZE)
        files.fdatasync(self._fd)
        covered = _ENTRY.pack(0, self._directory.state.lengths[HEADS], 0, 0, files.size(self._fd), 0)
        files.pwrite(self._fd, with_checksum(covered), 0)
        if spoiled:
            files.fdatasync(self._fd)
            files.rename(path + ".new", path)
        self._moved = far

    def close(self) -> None:
        """Close the table."""
        self._spoiled = False
        if self._fd != MISSING:
            self._directory.files.close(self._fd)
            self._fd = MISSING


def parent_by_heads(directory: Directory, turn_id: int) -> int | None:
    """Return the parent of a turn whose record is damaged, 0 if it has none; None if uncertain (S8).

    Each batch leaves a head, and its turns have ids one after the other. So two heads of a context that follow one
    another tell which turns were written between them, and which turns those follow.
    """
    before: dict[int, tuple[int, int]] = {}
    found: int | None = None
    for _, data in directory.records(HEADS):
        head = read_head(data)
        if head is None:
            return None  # what it told is missing between two others
        if head.context_id in before:
            parent, depth = before[head.context_id]
            first = head.turn_id + 1 - (head.depth - depth if parent else head.depth + 1)
            if max(first, parent + 1) <= turn_id <= head.turn_id:
                found = turn_id - 1 if turn_id > first else parent  # a later batch may use an id again
        before[head.context_id] = head.turn_id, head.depth
    return found
