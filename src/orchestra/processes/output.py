"""What a command writes, kept whole in bounded memory: parts go to the store as they fill (S11)."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from orchestra.graph.report import plural
from orchestra.run.declare import BlobRef

PART = 1024 * 1024
"""Bytes of a part. Output up to this size is carried as a text; of more, its ends are."""

WHOLE = 64 * PART
"""Bytes up to which an output is a context value as a whole; of more the context has the ends."""

SHOWN = PART // 4
"""Bytes of each end of a longer output that its event shows."""

_SEARCHED = PART // 16
"""Bytes before the end of a part in which a good place to cut is looked for."""

LINE = 8 * 1024
"""Characters of an unfinished line after which its first half is shown."""

MOST = 16 * LINE
"""Characters that are shown at last, whatever they may be the beginning of."""

AHEAD = PART // 16
"""Bytes after a cut that are kept, so that a secret across it is seen."""

Seam = Callable[[bytes, int], int]
"""Where bytes may be cut, at a place or before it, so that no secret is in two parts."""

Keep = Callable[[bytes], Awaitable[BlobRef]]
"""Stores bytes and returns their reference."""


class WholeOutput(NamedTuple):
    """An output as text, its size, and the parts that hold it all if the text does not.

    Long texts are shortened to their ends; up to ``WHOLE`` bytes the whole text is kept too.
    """

    text: str
    size: int
    parts: tuple[BlobRef, ...]
    whole: str | None


class Output:
    """Gathers one stream of a command."""

    def __init__(self, keep: Keep, seam: Seam) -> None:
        self._keep = keep
        self._seam = seam
        self._pending = bytearray()
        self._parts: list[BlobRef] = []
        self._head = b""
        self._tail = b""
        self._size = 0
        self._whole = bytearray()

    async def feed(self, data: bytes) -> None:
        """Take a piece of output."""
        self._pending += data
        self._size += len(data)
        if self._size <= WHOLE:
            self._whole += data
        else:
            self._whole.clear()
        while len(self._pending) > PART + AHEAD:
            await self._store(self._cut())

    async def whole(self) -> WholeOutput:
        """All of it, when nothing more comes."""
        if not self._parts and self._size <= PART:
            data = bytes(self._pending)
            text = _text(data)
            if text is not None:
                return WholeOutput(text, self._size, (), text)
            await self._store(len(data))
            text = data.decode("utf-8", "replace")
            return WholeOutput(text, self._size, tuple(self._parts), text)
        while self._pending:
            await self._store(self._cut())
        left_out = self._size - len(self._head) - len(self._tail)
        head, tail = (end.decode("utf-8", "replace") for end in (self._head, self._tail))
        whole = self._whole.decode("utf-8", "replace") if self._size <= WHOLE else None
        return WholeOutput(
            f"{head}\n[… {plural(left_out, 'byte')} left out …]\n{tail}", self._size, tuple(self._parts), whole
        )

    async def _store(self, count: int) -> None:
        piece = bytes(self._pending[:count])
        del self._pending[:count]
        self._head = self._head or piece[: self._seam(piece, SHOWN)]
        tail = self._tail + piece
        self._tail = tail[self._seam(tail, max(len(tail) - SHOWN, 0)) :]
        self._parts.append(await self._keep(piece))

    def _cut(self) -> int:
        """Where a part ends: at the end of a line where one is near, and never inside a secret."""
        data = self._pending
        if len(data) <= PART:
            return len(data)
        newline = data.rfind(b"\n", PART - _SEARCHED, PART)
        at = newline + 1 if newline > 0 else PART
        return self._seam(bytes(data[: PART + AHEAD]), at) or at


class LineRelay:
    """Passes a stream on as text in whole lines, unless too long, so that secrets are found in them."""

    def __init__(self, show: Callable[[str], None], seam: Seam) -> None:
        self._show = show
        self._seam = seam
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._pending = ""

    def feed(self, data: bytes, *, final: bool = False) -> None:
        """Take a piece of output; ``final`` says that it is the last."""
        text = self._pending + self._decoder.decode(data, final)
        end = len(text) if final else self._end(text)
        self._pending = text[end:]
        if end:
            self._show(text[:end])

    def _end(self, text: str) -> int:
        """How much can be shown: whole lines, of a long one all but its end, of a possible secret nothing."""
        end = max(text.rfind("\n"), text.rfind("\r")) + 1
        if not end and len(text) > LINE:
            end = len(text) - LINE // 2
        if not end:
            return 0
        cut = self._seam(text.encode(), len(text[:end].encode()))
        end = len(text.encode()[:cut].decode())
        return end if end or len(text) < MOST else len(text)


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
