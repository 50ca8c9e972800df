"""MessagePack as CXDB decodes it for typed views: any value, keys of any type, bounded nesting.

A map is a list of pairs, since its keys need be neither of one kind nor different from one another. What is
after the first value is ignored; text that is not UTF-8 is empty.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple, TypeAlias

from orchestra.cxdb.format.frames import Malformed

DEEPEST = 100
"""How deeply values may be nested."""


class Pairs(NamedTuple):
    """A map."""

    items: list[tuple[Value, Value]]


class Extension(NamedTuple):
    """A value of a kind that only its writer knows."""

    code: int
    data: bytes


Value: TypeAlias = "bool | int | float | str | bytes | list[Value] | Pairs | Extension | None"

_NUMBERS = {
    0xCA: struct.Struct(">f"),
    0xCB: struct.Struct(">d"),
    0xCC: struct.Struct(">B"),
    0xCD: struct.Struct(">H"),
    0xCE: struct.Struct(">I"),
    0xCF: struct.Struct(">Q"),
    0xD0: struct.Struct(">b"),
    0xD1: struct.Struct(">h"),
    0xD2: struct.Struct(">i"),
    0xD3: struct.Struct(">q"),
}
_BIN, _EXT, _STR, _ARRAY, _MAP = range(5)
_SIZED = {
    0xC4: (_BIN, 1), 0xC5: (_BIN, 2), 0xC6: (_BIN, 4),
    0xC7: (_EXT, 1), 0xC8: (_EXT, 2), 0xC9: (_EXT, 4),
    0xD9: (_STR, 1), 0xDA: (_STR, 2), 0xDB: (_STR, 4),
    0xDC: (_ARRAY, 2), 0xDD: (_ARRAY, 4),
    0xDE: (_MAP, 2), 0xDF: (_MAP, 4),
}  # fmt: skip
_UNSIGNED = re.compile(r"\+?[0-9]{1,200}", re.ASCII)


def unsigned(text: str, most: int = (1 << 64) - 1) -> int | None:
    """A number as Rust reads it: digits, perhaps a plus sign before them; None for anything else."""
    if not _UNSIGNED.fullmatch(text):
        return None
    found = int(text)
    return found if found <= most else None


def read_value(data: bytes) -> Value:
    """The first value in ``data``. Raises ``Malformed``."""
    return _MsgpackReader(data).value(0)


class _MsgpackReader:
    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def _take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise Malformed(422, "msgpack decode error: failed to fill whole buffer")
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def value(self, depth: int) -> Value:
        if depth > DEEPEST:
            raise Malformed(422, "msgpack decode error: depth limit exceeded")
        first = self._take(1)[0]
        if first < 0x80:
            return first
        if first >= 0xE0:
            return first - 0x100
        if first < 0xC0:
            return self._short(first, depth)
        return self._read_marked(first, depth)

    def _short(self, first: int, depth: int) -> Value:
        if first >= 0xA0:
            return self._read_sized(_STR, first & 0x1F, depth)
        return self._read_sized(_ARRAY if first >= 0x90 else _MAP, first & 0x0F, depth)

    def _read_marked(self, first: int, depth: int) -> Value:
        if first in _SIZED:
            kind, width = _SIZED[first]
            return self._read_sized(kind, int.from_bytes(self._take(width), "big"), depth)
        if first in _NUMBERS:
            number = _NUMBERS[first]
            found: int | float = number.unpack(self._take(number.size))[0]
            return found
        if first >= 0xD4:
            return self._read_sized(_EXT, 1 << (first - 0xD4), depth)
        return None if first < 0xC2 else first == 0xC3

    def _read_sized(self, kind: int, size: int, depth: int) -> Value:
        if kind == _STR:
            return _text(self._take(size))
        if kind == _BIN:
            return self._take(size)
        if kind == _EXT:
            return Extension(self._take(1)[0], self._take(size))
        if kind == _ARRAY:
            return [self.value(depth + 1) for _ in range(size)]
        return Pairs([(self.value(depth + 1), self.value(depth + 1)) for _ in range(size)])


def _text(data: bytes) -> str:
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        return ""
