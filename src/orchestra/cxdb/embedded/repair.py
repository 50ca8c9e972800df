"""Rebuild turns.idx, blobs.idx, turns.meta and check records from the other files (S8).

Records are overwritten in place, under the store's lock and with an empty log. No file changes its length, so an
interrupted repair can be repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from zlib import crc32

from orchestra.cxdb.embedded.check import Damage, deep_check
from orchestra.cxdb.embedded.derive import derive_meta
from orchestra.cxdb.embedded.directory import Directory
from orchestra.cxdb.embedded.reader import PageReader
from orchestra.cxdb.format.layout import (
    BLOB_EXTRA,
    BLOB_HEADER,
    CHECK_SIZE,
    CHECKS,
    INDEX,
    INDEX_ENTRY,
    LOG,
    META,
    PACK,
    PATHS,
    RAW,
    TURN_INDEX,
    TURN_INDEX_ENTRY,
    TURN_SIZE,
    ZSTD,
    check_record,
    index_entry,
    intact,
    read_blob_header,
    read_check,
    read_index_entry,
    read_turn,
)
from orchestra.errors import StoreError


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
    for at in range(0, directory.state.lengths[INDEX], INDEX_ENTRY.size):
        data = directory.read(INDEX, INDEX_ENTRY.size, at)
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
    for at in range(0, directory.state.lengths[LOG], TURN_SIZE):
        record = read_turn(directory.read(LOG, TURN_SIZE, at))
        if record is not None:
            yield TURN_INDEX, at // TURN_SIZE * TURN_INDEX_ENTRY.size, TURN_INDEX_ENTRY.pack(record.turn_id, at)


def _check_records(directory: Directory, reader: PageReader) -> Iterator[tuple[int, int, bytes]]:
    for at in range(0, directory.state.lengths[LOG], TURN_SIZE):
        place = at // TURN_SIZE
        record = read_turn(directory.read(LOG, TURN_SIZE, at))
        known = read_check(directory.read(CHECKS, CHECK_SIZE, place * CHECK_SIZE))
        if record is None or (known is not None and known.turn_id == record.turn_id):
            continue
        try:
            yield CHECKS, place * CHECK_SIZE, check_record(*reader.check(place, record))
        except StoreError:
            continue


def _meta_records(directory: Directory, reader: PageReader) -> Iterator[tuple[int, int, bytes]]:
    for at in range(0, directory.state.lengths[LOG], TURN_SIZE):
        record = read_turn(directory.read(LOG, TURN_SIZE, at))
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
