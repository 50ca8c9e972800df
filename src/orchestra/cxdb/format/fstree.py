"""File trees as blobs, byte for byte as the official clients write them, so that hashes agree."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from orchestra.cxdb.format.frames import Malformed

FILE, DIRECTORY, SYMLINK = range(3)

KINDS = ("file", "dir", "symlink")
"""What the numbers are called."""

_FIELDS = struct.Struct(">2scB2scI2scQ2s2s32s")
_decode = msgspec.msgpack.Decoder().decode


class TreeEntry(NamedTuple):
    """One name in a directory; ``mode`` is the permission bits, a directory's ``size`` is 0."""

    name: str
    kind: int
    mode: int
    size: int
    digest: bytes


def tree(entries: Iterable[TreeEntry]) -> bytes:
    """The blob of a directory; the order in which the entries are given does not matter."""
    ordered = sorted(entries, key=lambda entry: entry.name.encode())
    return _array(len(ordered)) + b"".join(_pack(entry) for entry in ordered)


def read_tree(data: bytes) -> list[TreeEntry]:
    """The entries of a directory's blob, in its order; keys may be integers or digit strings."""
    try:
        plain = _decode(data)
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:
        raise Malformed(500, f"msgpack decode error: {error}") from None
    if not isinstance(plain, list):
        raise Malformed(500, "tree is not an array")
    return [_entry(item) for item in plain]


def _array(count: int) -> bytes:
    if count < 16:
        return bytes((0x90 | count,))
    return struct.pack(">BH", 0xDC, count) if count < 1 << 16 else struct.pack(">BI", 0xDD, count)


def _pack(entry: TreeEntry) -> bytes:
    fields = _FIELDS.pack(
        b"\xa12", b"\xcc", entry.kind, b"\xa13", b"\xce", entry.mode, b"\xa14", b"\xcf", entry.size,
        b"\xa15", b"\xc4\x20", entry.digest,
    )  # fmt: skip
    return b"\x85\xa11" + msgspec.msgpack.encode(entry.name) + fields


def _entry(item: object) -> TreeEntry:
    if not isinstance(item, dict):
        raise Malformed(500, "tree entry is not a map")
    name, kind, mode, size, digest = (item.get(tag, item.get(str(tag))) for tag in range(1, 6))
    if isinstance(digest, bytes) and len(digest) not in (0, 32):
        raise Malformed(500, f"invalid hash length: {len(digest)}")
    known = _whole(kind)
    return TreeEntry(
        name if isinstance(name, str) else "",
        known if known in (DIRECTORY, SYMLINK) else FILE,
        _whole(mode),
        _whole(size),
        digest if isinstance(digest, bytes) else b"",
    )


def _whole(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
