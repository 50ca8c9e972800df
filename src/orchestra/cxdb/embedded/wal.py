"""The write-ahead log: what a batch adds to each file, durable before any file is touched (S6).

The log lies in a file whose blocks were written before, so that one ``fdatasync`` of a record needs no
work on the file's length. It begins with two copies of a header, which names a *generation* and the
lengths that the files had when it began; then come records, each chained to the one before by its check
sum. A cut starts the next generation at the same place: what an earlier one left behind has another
generation and another chain, and is never taken for a record.

All files of the store only grow, so a record holds no more per file than its length before the batch
and the bytes to add; redoing it twice changes nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

from orchestra.cxdb.format.layout import CRC, with_checksum

PATH = "orchestra/wal"
CAPACITY = 4 << 20
"""Bytes of the log, for about 1500 steps from cut to cut. A batch that is larger makes it longer until the next."""

SLOT = 4096
START = 2 * SLOT
"""Where the first record goes, after the header's two copies."""

FILES = 8
Lengths = tuple[int, ...]
"""A length for each of the store's files, by their numbers."""

NOTHING: Lengths = (0,) * FILES

SETTLED = 1
"""A flag of a state: the files are synced and the log is empty."""

CUTTING = 2
"""A flag of a state: a new generation of the log is being started; the next process reads the log."""

_HEADER = struct.Struct("<8sQQQQ8Q")
HEADER_SIZE = _HEADER.size + CRC.size
_HEADER_MAGIC = b"ORCHLOG1"
_RECORD = struct.Struct("<IIQQQII8Q8Q4Q")
_RECORD_MAGIC = 0x4C_57_43_4F
_COVERED = 8
"""Where in a record the bytes begin that its check sum covers."""

_STATE = struct.Struct("<8sQQQIIQQ8Q8Q")
_STATE_MAGIC = b"ORCHNOW1"
STATE_SIZE = _STATE.size + CRC.size
RECORD_HEAD = _RECORD.size


class State(NamedTuple):
    """The state of a store: the last batch that is whole in the files.

    It is written to the lock file when a batch is done, for other processes to read; it is never synced,
    because the log says the same. ``base`` are the lengths when the log was last cut.
    """

    generation: int
    sequence: int
    position: int
    chain: int
    flags: int
    next_turn: int
    next_context: int
    lengths: Lengths
    base: Lengths

    @property
    def settled(self) -> bool:
        """Whether the files need no log."""
        return bool(self.flags & SETTLED)

    def pack(self) -> bytes:
        """The state's bytes in the lock file."""
        return with_checksum(_STATE.pack(_STATE_MAGIC, *self[:7], *self.lengths, *self.base))


def read_state(data: bytes) -> State | None:
    """The state that the lock file holds, or None where it holds none that is whole."""
    if len(data) < STATE_SIZE or CRC.pack(crc32(data[: _STATE.size])) != data[_STATE.size : STATE_SIZE]:
        return None
    magic, *fields = _STATE.unpack_from(data)
    if magic != _STATE_MAGIC:
        return None
    return State._make((*fields[:7], tuple(fields[7:15]), tuple(fields[15:23])))


class LogHeader(NamedTuple):
    """How a generation of the log begins."""

    generation: int
    sequence: int
    next_turn: int
    next_context: int
    base: Lengths
    chain: int

    def state(self) -> State:
        """The store's state when the generation has no record yet."""
        return State(
            self.generation,
            self.sequence,
            START,
            self.chain,
            0,
            self.next_turn,
            self.next_context,
            self.base,
            self.base,
        )


def header_of(state: State, generation: int) -> bytes:
    """The header of the generation that begins at ``state``."""
    lengths = state.lengths
    return with_checksum(
        _HEADER.pack(_HEADER_MAGIC, generation, state.sequence, state.next_turn, state.next_context, *lengths)
    )


def read_header(data: bytes) -> LogHeader | None:
    """The newest whole header among a log's two copies, or None."""
    found = [header for slot in (0, SLOT) if (header := _header(data[slot : slot + HEADER_SIZE]))]
    return max(found, key=lambda header: header.generation, default=None)


def generation_at(data: bytes, slot: int) -> int:
    """The generation that one of the copies names; 0 where it is not whole."""
    header = _header(data[slot : slot + HEADER_SIZE])
    return 0 if header is None else header.generation


def _header(data: bytes) -> LogHeader | None:
    if len(data) < HEADER_SIZE or CRC.pack(crc32(data[:-4])) != data[-4:]:
        return None
    magic, generation, sequence, next_turn, next_context, *base = _HEADER.unpack_from(data)
    if magic != _HEADER_MAGIC:
        return None
    return LogHeader(generation, sequence, next_turn, next_context, tuple(base), crc32(data))


class LogRecord(NamedTuple):
    """A batch as the log holds it. ``parts`` are the bytes to add, one per file."""

    sequence: int
    before: Lengths
    parts: tuple[bytes, ...]
    next_turn: int
    next_context: int
    chain: int
    size: int

    @property
    def after(self) -> Lengths:
        """The files' lengths when the batch is whole in them."""
        return tuple(length + len(part) for length, part in zip(self.before, self.parts, strict=True))


def record_of(state: State, parts: Sequence[bytes], next_turn: int, next_context: int) -> tuple[bytes, int]:
    """The record of the batch that follows ``state``, and its check sum."""
    counts = [len(part) for part in parts]
    head = _RECORD.pack(
        _RECORD_MAGIC,
        0,
        _RECORD.size + sum(counts),
        state.generation,
        state.sequence + 1,
        state.chain,
        0,
        *state.lengths,
        *counts,
        state.next_turn,
        state.next_context,
        next_turn,
        next_context,
    )
    body = head[_COVERED:] + b"".join(parts)
    chain = crc32(body)
    return head[:4] + CRC.pack(chain) + body, chain


def follows(head: bytes, state: State) -> bool:
    """Whether a record that could follow ``state`` begins with these bytes."""
    if len(head) < _RECORD.size:
        return False
    magic, _, _, generation, sequence, chain = _RECORD.unpack_from(head)[:6]
    return (magic, generation, sequence, chain) == (
        _RECORD_MAGIC,
        state.generation,
        state.sequence + 1,
        state.chain,
    )


def read_record(data: bytes, offset: int, state: State) -> LogRecord | None:
    """The record at ``offset`` if it is whole and follows ``state``, otherwise None."""
    head = data[offset : offset + _RECORD.size]
    if not follows(head, state):
        return None
    _, check, size, _, sequence, _, _, *numbers = _RECORD.unpack(head)
    if size < _RECORD.size or offset + size > len(data):
        return None
    if crc32(memoryview(data)[offset + _COVERED : offset + size]) != check:
        return None
    before, counts = tuple(numbers[:8]), numbers[8:16]
    parts, at = [], offset + _RECORD.size
    for count in counts:
        parts.append(data[at : at + count])
        at += count
    if before != state.lengths or at != offset + size:
        return None
    return LogRecord(sequence, before, tuple(parts), numbers[18], numbers[19], check, size)


def after(state: State, record: LogRecord) -> State:
    """The store's state when the record's batch is whole in the files."""
    return State(
        state.generation,
        record.sequence,
        state.position + record.size,
        record.chain,
        0,
        record.next_turn,
        record.next_context,
        record.after,
        state.base,
    )


def read_log(data: bytes, header: LogHeader) -> tuple[State, list[LogRecord]]:
    """All whole records of a log, and the store's state after the last."""
    state = header.state()
    records: list[LogRecord] = []
    while record := read_record(data, state.position, state):
        records.append(record)
        state = after(state, record)
    return state, records
