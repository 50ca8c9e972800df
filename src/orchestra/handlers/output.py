"""What a command writes, kept whole in bounded memory: parts go to the store as they fill (S11)."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from orchestra.run.blobs import BlobRef

PART = 1024 * 1024
"""Bytes of a part. Output up to this size is carried as a text; of more, its ends are."""

SHOWN = PART // 4
"""Bytes of each end of a longer output that the context shows."""

_SEARCHED = PART // 16
"""Bytes before the end of a part in which a good place to cut is looked for."""

LINE = 8 * 1024
"""Characters of an unfinished line after which it is shown all the same."""

Keep = Callable[[bytes], Awaitable[BlobRef]]
"""Stores bytes, and tells where."""


class Written(NamedTuple):
    """An output: as a text (long ones by their ends), its size in bytes, and the parts that hold all of it, in
    order, where the text does not."""

    text: str
    size: int
    parts: tuple[BlobRef, ...]


class Output:
    """Gathers one stream of a command."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._pending = bytearray()
        self._parts: list[BlobRef] = []
        self._head = b""
        self._tail = b""
        self._size = 0

    async def feed(self, data: bytes) -> None:
        """Take what came."""
        self._pending += data
        self._size += len(data)
        while len(self._pending) > PART:
            await self._store(_cut(self._pending))

    async def written(self) -> Written:
        """All of it, when nothing more comes."""
        if not self._parts:
            data = bytes(self._pending)
            text = _text(data)
            if text is not None:
                return Written(text, self._size, ())
            await self._store(len(data))
            return Written(data.decode("utf-8", "replace"), self._size, tuple(self._parts))
        if self._pending:
            await self._store(len(self._pending))
        left_out = self._size - len(self._head) - len(self._tail)
        head, tail = (end.decode("utf-8", "replace") for end in (self._head, self._tail))
        return Written(f"{head}\n[… {left_out} bytes left out …]\n{tail}", self._size, tuple(self._parts))

    async def _store(self, count: int) -> None:
        piece = bytes(self._pending[:count])
        del self._pending[:count]
        self._head = self._head or piece[:SHOWN]
        self._tail = (self._tail + piece[-SHOWN:])[-SHOWN:]
        self._parts.append(await self._keep(piece))


class Shown:
    """Hands on a stream as text, by whole lines where they are not too long: a watcher reads words, and a secret is
    found in what is whole."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._pending = ""

    def feed(self, data: bytes, *, final: bool = False) -> None:
        """Take what came; ``final`` says that nothing more does."""
        text = self._pending + self._decoder.decode(data, final)
        end = len(text) if final or len(text) > LINE else max(text.rfind("\n"), text.rfind("\r")) + 1
        self._pending = text[end:]
        if end:
            self._show(text[:end])


def _cut(data: bytearray) -> int:
    """Where a part ends: at the end of a line where one is near, so that a secret in it is whole."""
    begun = data.rfind(b"-----BEGIN ", PART - _SEARCHED, PART)
    if begun > 0 and data.find(b"-----END ", begun, PART) < 0:
        return begun
    newline = data.rfind(b"\n", PART - _SEARCHED, PART)
    return newline + 1 if newline > 0 else PART


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
