"""Verify every record of a store, and rebuild those that other files tell of (S8).

``orchestra doctor --deep`` shows the damage. A repair overwrites records of turns.idx, blobs.idx, turns.meta and
the check records in place, under the store's lock and with an empty log. No file changes its length, so an
interrupted repair can be repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

from orchestra.cxdb.embedded.adopt import Progress
from orchestra.cxdb.embedded.directory import AT_ONCE, Directory
from orchestra.cxdb.embedded.reader import PageReader, derive_meta
from orchestra.cxdb.format.layout import (
    BLOB_EXTRA,
    BLOB_HEADER,
    CHECK_SIZE,
    CHECKS,
    HEADS,
    INDEX,
    LOG,
    META,
    PACK,
    PATHS,
    RAW,
    ROOT,
    ROOTS,
    TURN_INDEX,
    TURN_INDEX_ENTRY,
    TURN_SIZE,
    ZSTD,
    IndexEntry,
    TurnRecord,
    check_record,
    index_entry,
    intact,
    read_blob_header,
    read_check,
    read_head,
    read_index_entry,
    read_meta,
    read_turn,
)
from orchestra.cxdb.format.packing import digest_of, unpack
from orchestra.errors import StoreError


class Damage(NamedTuple):
    """Something that is not as it was written."""

    file: str
    offset: int
    what: str

    def __str__(self) -> str:
        return f"{self.file} at byte {self.offset}: {self.what}"


def deep_check(directory: Directory, progress: Progress) -> Iterator[Damage]:
    """Go through all files of a store up to where it stands."""
    yield from _lengths(directory)
    yield from _blobs(directory, progress)
    yield from _index(directory)
    yield from _turns(directory, progress)
    yield from _heads(directory)
    yield from _roots(directory)


def _damage(number: int, offset: int, what: str) -> Damage:
    return Damage(PATHS[number], offset, what)


def _lengths(directory: Directory) -> Iterator[Damage]:
    for number, (size, length) in enumerate(zip(directory.sizes(), directory.state.lengths, strict=True)):
        if number not in directory.overlay and size < length:
            yield _damage(number, size, f"{length - size} bytes are missing")


def _blobs(directory: Directory, progress: Progress) -> Iterator[Damage]:
    """Check the pack from its beginning; after a damaged record continue where blobs.idx has the next."""
    offset, end = 0, directory.state.lengths[PACK]
    while offset < end:
        progress("blobs", offset, end)
        size, wrong = _blob(directory, offset)
        if wrong:
            yield _damage(PACK, offset, wrong)
            offset = _next_blob(directory, offset)
        else:
            offset += size
    progress("blobs", end, end)


def _blob(directory: Directory, offset: int) -> tuple[int, str]:
    """A blob record's size, and what is wrong with it."""
    header = read_blob_header(directory.read(PACK, BLOB_HEADER.size, offset))
    if header is None:
        return 0, "no blob starts here"
    size = BLOB_EXTRA + header.stored_size
    data = directory.read_all(PACK, offset, offset + size)
    if len(data) < size or not intact(data):
        return 0, "a blob has a wrong checksum"
    raw = unpack(header.codec, data[BLOB_HEADER.size : -4], header.raw_size)
    if raw is None or digest_of(raw) != header.digest:
        return 0, "a blob does not match its hash"
    return size, ""


def _next_blob(directory: Directory, offset: int) -> int:
    after = (read_index_entry(entry).offset for _, entry in directory.records(INDEX))
    return min((at for at in after if at > offset), default=directory.state.lengths[PACK])


def _index(directory: Directory) -> Iterator[Damage]:
    for at, data in directory.records(INDEX):
        entry = read_index_entry(data)
        header = read_blob_header(directory.read(PACK, BLOB_HEADER.size, entry.offset))
        if header is None or data[50:] != b"\0\0" or not _same(entry, header):
            yield _damage(INDEX, at, "an entry does not match its blob")


def _same(entry: IndexEntry, header: tuple[int, int, int, bytes]) -> bool:
    return (entry.codec, entry.raw_size, entry.stored_size, entry.digest) == header


def _turns(directory: Directory, progress: Progress) -> Iterator[Damage]:
    checks = directory.records(CHECKS)
    places = directory.records(TURN_INDEX)
    end = directory.state.lengths[LOG]
    for at, data in directory.records(LOG):
        if at % (TURN_SIZE * AT_ONCE) == 0:
            progress("turns", at, end)
        record = read_turn(data)
        _, check = next(checks, (0, b""))
        _, place = next(places, (0, b""))
        if record is None:
            yield _damage(LOG, at, "a turn's record has a wrong checksum")
            continue
        count = at // TURN_SIZE
        if place != TURN_INDEX_ENTRY.pack(record.turn_id, at) and not _points_at_a_turn(directory, place):
            yield _damage(TURN_INDEX, count * TURN_INDEX_ENTRY.size, "an entry names no turn")
        yield from _lineage(directory, at, record)
        yield from _check_record(directory, count * CHECK_SIZE, check, record)
    progress("turns", end, end)


def _points_at_a_turn(directory: Directory, entry: bytes) -> bool:
    """CXDB rewrites turns.idx at each start, in any order."""
    if len(entry) < TURN_INDEX_ENTRY.size:
        return False
    turn_id, offset = TURN_INDEX_ENTRY.unpack(entry)
    if offset % TURN_SIZE or offset >= directory.state.lengths[LOG]:
        return False
    record = read_turn(directory.read(LOG, TURN_SIZE, offset))
    return record is not None and record.turn_id == turn_id


def _lineage(directory: Directory, at: int, record: TurnRecord) -> Iterator[Damage]:
    if not record.parent:
        if record.depth:
            yield _damage(LOG, at, f"turn {record.turn_id} has no parent but depth {record.depth}")
        return
    parent = read_turn(directory.read(LOG, TURN_SIZE, (record.parent - 1) * TURN_SIZE))
    if record.parent >= record.turn_id:
        yield _damage(LOG, at, f"turn {record.turn_id} is older than its parent {record.parent}")
    elif parent is not None and parent.turn_id == record.parent and parent.depth + 1 != record.depth:
        yield _damage(LOG, at, f"turn {record.turn_id} has depth {record.depth}, its parent {parent.depth}")


def _check_record(directory: Directory, at: int, data: bytes, record: TurnRecord) -> Iterator[Damage]:
    check = read_check(data)
    if check is None or check.turn_id != record.turn_id:
        yield _damage(CHECKS, at, f"the check record of turn {record.turn_id} is wrong")
        return
    meta = directory.read(META, check.meta_size, check.meta_offset)
    said = read_meta(meta)
    if len(meta) != check.meta_size or crc32(meta) != check.meta_crc or said is None:
        yield _damage(META, check.meta_offset, f"the record of turn {record.turn_id} has a wrong checksum")
    header = read_blob_header(directory.read(PACK, BLOB_HEADER.size, check.pack_offset))
    if header is None or header.digest != record.payload_hash:
        yield _damage(PACK, check.pack_offset, f"the payload of turn {record.turn_id} is missing")


def _heads(directory: Directory) -> Iterator[Damage]:
    """The newest record of a context counts; older ones may name turns that were given up."""
    astray: dict[int, Damage] = {}
    for at, data in directory.records(HEADS):
        head = read_head(data)
        if head is None:
            yield _damage(HEADS, at, "a record has a wrong checksum")
            continue
        astray.pop(head.context_id, None)
        if head.turn_id >= directory.state.next_turn:
            what = f"context {head.context_id} points at turn {head.turn_id}, which does not exist"
            astray[head.context_id] = _damage(HEADS, at, what)
    yield from astray.values()


def _roots(directory: Directory) -> Iterator[Damage]:
    for at, data in directory.records(ROOTS):
        if not intact(data):
            yield _damage(ROOTS, at, "a record has a wrong checksum")
        elif ROOT.unpack_from(data)[0] >= directory.state.next_turn:
            yield _damage(ROOTS, at, "a file tree of a turn that does not exist")


def repair(directory: Directory, reader: PageReader) -> list[Damage]:
    """Repair what can be repaired; return the faults that are gone."""
    wrong = list(deep_check(directory, lambda _what, _done, _all: None))
    if not wrong:
        return []
    for number, offset, data in _rebuilt_records(directory, reader, {finding.file for finding in wrong}):
        directory.files.pwrite(directory.fds[number], data, offset)
        directory.files.fdatasync(directory.fds[number])
    left = set(deep_check(directory, lambda _what, _done, _all: None))
    return [finding for finding in wrong if finding not in left]


def _rebuilt_records(directory: Directory, reader: PageReader, names: set[str]) -> Iterator[tuple[int, int, bytes]]:
    if PATHS[INDEX] in names:
        yield from _blob_entries(directory)
    if PATHS[TURN_INDEX] in names:
        yield from _turn_entries(directory)
    if PATHS[CHECKS] in names:
        yield from _check_records(directory, reader)
    if PATHS[META] in names:
        yield from _meta_records(directory, reader)


def _blob_entries(directory: Directory) -> Iterator[tuple[int, int, bytes]]:
    """Yield entries of blobs.idx that do not match: each belongs to the blob after the previous one."""
    end = 0
    for at, data in directory.records(INDEX):
        wanted, size = _entry_at(directory, read_index_entry(data).offset)
        if wanted != data:
            wanted, size = _entry_at(directory, end)
            if wanted:
                yield INDEX, at, wanted
        if wanted:
            end = read_index_entry(wanted).offset + size


def _entry_at(directory: Directory, offset: int) -> tuple[bytes, int]:
    """Return the entry and size of the blob at an offset of the pack; empty if there is none."""
    header = read_blob_header(directory.read(PACK, BLOB_HEADER.size, offset))
    if header is None:
        return b"", 0
    size = BLOB_EXTRA + header.stored_size
    if not intact(directory.read_all(PACK, offset, offset + size)):
        return b"", 0
    return index_entry(header.digest, offset, header.raw_size, header.stored_size, header.codec), size


def _turn_entries(directory: Directory) -> Iterator[tuple[int, int, bytes]]:
    for at, data in directory.records(LOG):
        record = read_turn(data)
        if record is not None:
            yield TURN_INDEX, at // TURN_SIZE * TURN_INDEX_ENTRY.size, TURN_INDEX_ENTRY.pack(record.turn_id, at)


def _check_records(directory: Directory, reader: PageReader) -> Iterator[tuple[int, int, bytes]]:
    for at, data in directory.records(LOG):
        place, record = at // TURN_SIZE, read_turn(data)
        known = read_check(directory.read(CHECKS, CHECK_SIZE, place * CHECK_SIZE))
        if record is None or (known is not None and known.turn_id == record.turn_id):
            continue
        try:
            yield CHECKS, place * CHECK_SIZE, check_record(*reader.check(place, record))
        except StoreError:
            continue


def _meta_records(directory: Directory, reader: PageReader) -> Iterator[tuple[int, int, bytes]]:
    for at, data in directory.records(LOG):
        record = read_turn(data)
        check = read_check(directory.read(CHECKS, CHECK_SIZE, at // TURN_SIZE * CHECK_SIZE))
        if record is None or check is None or check.turn_id != record.turn_id:
            continue
        if crc32(directory.read(META, check.meta_size, check.meta_offset)) == check.meta_crc:
            continue
        try:
            payload = reader.blob(check.pack_offset, record.payload_hash)
        except StoreError:
            continue
        for compression in (RAW, ZSTD):
            made = derive_meta(check.turn_id, payload, compression)
            if made is not None and crc32(made) == check.meta_crc:
                yield META, check.meta_offset, made
