"""What a model gets of an output, and what is kept of it (A32)."""

from __future__ import annotations

from orchestra.agents.tools import KEPT, ToolContext
from orchestra.processes.output import Output
from orchestra.run.blobs import BlobRef, utf8

_END = 256 * 1024


def cut(text: str, limit: int, where: str) -> str:
    """The text, of a longer one its head and tail, with what was left out and where all of it is."""
    if len(text) <= limit:
        return text
    head = limit * 2 // 3
    tail = limit - head
    left_out = len(text) - head - tail
    return f"{text[:head]}\n[… {left_out} characters left out{where} …]\n{text[len(text) - tail :]}"


class Gathered:
    """Output as it comes, in bounded memory: the first ``KEPT`` bytes are stored, of what follows only the end
    is."""

    __slots__ = ("_all", "_end", "dropped", "size")

    def __init__(self, context: ToolContext) -> None:
        self._all = Output(context.scope.keep, context.scope.seam)
        self._end = bytearray()
        self.size = 0
        self.dropped = 0

    async def feed(self, data: bytes) -> None:
        """Take what came."""
        room = max(0, KEPT - self.size)
        self.size += len(data)
        if room:
            await self._all.feed(data[:room])
        rest = data[room:]
        if rest:
            self._end += rest
            if len(self._end) > 2 * _END:
                self.dropped += len(self._end) - _END
                del self._end[: len(self._end) - _END]

    async def written(self) -> tuple[str, tuple[BlobRef, ...]]:
        """The text, by its ends where it is long, and the parts that hold what was kept."""
        whole = await self._all.written()
        text = whole.text
        if self._end:
            end = self._end.decode("utf-8", "replace")
            gap = f"[… {self.dropped} bytes were not kept: at most {KEPT} are …]\n" if self.dropped else ""
            text = f"{text}\n{gap}{end}"
        return text, whole.parts


def stored_note(parts: tuple[BlobRef, ...], size: int) -> str:
    """Words for where the whole of a cut output is."""
    if not parts:
        return ""
    kept = sum(part.size for part in parts)
    what = f"all {size} bytes are" if kept >= size else f"the first {kept} of {size} bytes are"
    return f"; {what} recorded"


async def stored(text: str, context: ToolContext) -> tuple[BlobRef, ...]:
    """Store a text that is to be cut, as far as is kept."""
    data = utf8(text)
    gathered = Output(context.scope.keep, context.scope.seam)
    await gathered.feed(data[:KEPT])
    whole = await gathered.written()
    return whole.parts or (await context.scope.keep(data[:KEPT]),)
