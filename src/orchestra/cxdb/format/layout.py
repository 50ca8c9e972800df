"""CXDB's files, byte for byte (S5): records in, bytes out, and back.

Everything here computes; nothing touches a file. Integers are little-endian, and a check sum is the
CRC-32 of the bytes before it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

PACK, INDEX, LOG, TURN_INDEX, META, HEADS, ROOTS, CHECKS = range(8)
"""The numbers under which the store's files go. ``CHECKS`` is our own; CXDB has the others."""

PATHS = (
    "blobs/blobs.pack",
    "blobs/blobs.idx",
    "turns/turns.log",
    "turns/turns.idx",
    "turns/turns.meta",
    "turns/heads.tbl",
    "fs/roots.idx",
    "orchestra/meta.crc",
)
"""Where each file is, below the store's folder."""

FOLDERS = ("blobs", "turns", "fs", "registry", "orchestra", "orchestra/locks")

MSGPACK = 1
"""A turn's ``encoding``, by convention."""

RAW, ZSTD = 0, 1
"""How a blob's bytes are stored."""

BLOB_HEADER = struct.Struct("<IHHII32s")
BLOB_MAGIC = 0x42534C42
BLOB_VERSION = 1
BLOB_EXTRA = BLOB_HEADER.size + 4
"""Bytes of a blob's record besides the stored ones."""

INDEX_ENTRY = struct.Struct("<32sQIIHH")
TURN = struct.Struct("<QQIIQ32sIQ")
TURN_SIZE = TURN.size + 4
TURN_INDEX_ENTRY = struct.Struct("<QQ")
META_HEAD = struct.Struct("<QI")
META_TAIL = struct.Struct("<IIII")
META_FIXED = META_HEAD.size + META_TAIL.size
HEAD = struct.Struct("<QQIIQ")
HEAD_SIZE = HEAD.size + 4
ROOT = struct.Struct("<Q32s")
ROOT_SIZE = ROOT.size + 4
CHECK = struct.Struct("<QQQQII")
CHECK_SIZE = CHECK.size + 4
CRC = struct.Struct("<I")

STRIDES = {
    INDEX: INDEX_ENTRY.size,
    LOG: TURN_SIZE,
    TURN_INDEX: TURN_INDEX_ENTRY.size,
    HEADS: HEAD_SIZE,
    ROOTS: ROOT_SIZE,
    CHECKS: CHECK_SIZE,
}
"""The files whose records all have one size, and that size."""

NOWHERE = 0xFFFF_FFFF_FFFF_FFFF
"""The offset of what was not found."""

_crc = CRC.pack


class TurnRecord(NamedTuple):
    """A record of turns.log."""

    turn_id: int
    parent: int
    depth: int
    encoding: int
    type_tag: int
    payload_hash: bytes
    flags: int
    created_ms: int


class MetaRecord(NamedTuple):
    """A record of turns.meta; ``size`` is its length in the file."""

    turn_id: int
    type_id: str
    type_version: int
    encoding: int
    compression: int
    raw_size: int
    size: int


class HeadRecord(NamedTuple):
    """A record of heads.tbl."""

    context_id: int
    turn_id: int
    depth: int
    flags: int
    created_ms: int


class BlobHeader(NamedTuple):
    """The beginning of a record of blobs.pack."""

    codec: int
    raw_size: int
    stored_size: int
    digest: bytes


class IndexEntry(NamedTuple):
    """An entry of blobs.idx."""

    digest: bytes
    offset: int
    raw_size: int
    stored_size: int
    codec: int


class CheckRecord(NamedTuple):
    """Our record beside each turn: where its parts are, and what CXDB's format does not check (S8).

    ``root`` is the first turn of its chain; size and check sum are those of its record in turns.meta.
    A ``meta_size`` of 0 says that there is no such record; ``NOWHERE`` that the blob was not found.
    """

    turn_id: int
    root: int
    meta_offset: int
    pack_offset: int
    meta_size: int
    meta_crc: int


def with_checksum(record: bytes) -> bytes:
    """Return a record followed by its check sum."""
    return record + _crc(crc32(record))


def intact(record: bytes) -> bool:
    """Whether the last four bytes are the check sum of those before."""
    return len(record) > 4 and record[-4:] == _crc(crc32(record[:-4]))


def blob_record(digest: bytes, raw_size: int, codec: int, stored: bytes) -> bytes:
    """A record of blobs.pack."""
    body = BLOB_HEADER.pack(BLOB_MAGIC, BLOB_VERSION, codec, raw_size, len(stored), digest) + stored
    return body + _crc(crc32(body))


def read_blob_header(data: bytes) -> BlobHeader | None:
    """The beginning of a blob's record, or None where there is none."""
    if len(data) < BLOB_HEADER.size:
        return None
    magic, version, codec, raw_size, stored_size, digest = BLOB_HEADER.unpack_from(data)
    if magic != BLOB_MAGIC or version != BLOB_VERSION or codec > ZSTD:
        return None
    return BlobHeader(codec, raw_size, stored_size, digest)


def index_entry(digest: bytes, offset: int, raw_size: int, stored_size: int, codec: int) -> bytes:
    """An entry of blobs.idx."""
    return INDEX_ENTRY.pack(digest, offset, raw_size, stored_size, codec, 0)


def read_index_entry(data: bytes) -> IndexEntry:
    """An entry of blobs.idx; it has no check sum."""
    return IndexEntry(*INDEX_ENTRY.unpack(data)[:5])


def turn_record(turn_id: int, parent: int, depth: int, digest: bytes, created_ms: int) -> bytes:
    """A record of turns.log."""
    body = TURN.pack(turn_id, parent, depth, MSGPACK, 0, digest, 0, created_ms)
    return body + _crc(crc32(body))


def read_turn(data: bytes) -> TurnRecord | None:
    """A record of turns.log, or None where its check sum is wrong."""
    if len(data) != TURN_SIZE or not intact(data):
        return None
    return TurnRecord(*TURN.unpack_from(data))


def meta_record(turn_id: int, type_id: bytes, type_version: int, raw_size: int, compression: int = 0) -> bytes:
    """A record of turns.meta; ``compression`` is what the writer declared."""
    head = META_HEAD.pack(turn_id, len(type_id))
    return head + type_id + META_TAIL.pack(type_version, MSGPACK, compression, raw_size)


def read_meta(data: bytes, offset: int = 0) -> MetaRecord | None:
    """A record of turns.meta, or None where the bytes cannot be one; it has no check sum."""
    if len(data) - offset < META_FIXED:
        return None
    turn_id, length = META_HEAD.unpack_from(data, offset)
    start = offset + META_HEAD.size
    if len(data) - start - META_TAIL.size < length:
        return None
    try:
        type_id = str(data[start : start + length], "utf-8")
    except UnicodeDecodeError:
        return None
    version, encoding, compression, raw_size = META_TAIL.unpack_from(data, start + length)
    return MetaRecord(turn_id, type_id, version, encoding, compression, raw_size, META_FIXED + length)


def head_record(context_id: int, turn_id: int, depth: int, created_ms: int) -> bytes:
    """A record of heads.tbl."""
    body = HEAD.pack(context_id, turn_id, depth, 0, created_ms)
    return body + _crc(crc32(body))


def read_head(data: bytes) -> HeadRecord | None:
    """A record of heads.tbl, or None where its check sum is wrong."""
    if len(data) != HEAD_SIZE or not intact(data):
        return None
    return HeadRecord(*HEAD.unpack_from(data))


def root_record(turn_id: int, root: bytes) -> bytes:
    """A record of fs/roots.idx."""
    return with_checksum(ROOT.pack(turn_id, root))


def check_record(
    turn_id: int, root: int, meta_offset: int, pack_offset: int, meta_size: int, meta_crc: int
) -> bytes:
    """A record of orchestra/meta.crc."""
    body = CHECK.pack(turn_id, root, meta_offset, pack_offset, meta_size, meta_crc)
    return body + _crc(crc32(body))


def read_check(data: bytes) -> CheckRecord | None:
    """A record of orchestra/meta.crc, or None where its check sum is wrong."""
    if len(data) != CHECK_SIZE or not intact(data):
        return None
    return CheckRecord(*CHECK.unpack_from(data))


def strides(data: bytes, size: int) -> Iterator[tuple[int, bytes]]:
    """The whole records of one size in ``data``, each with its offset."""
    for offset in range(0, len(data) - size + 1, size):
        yield offset, data[offset : offset + size]
