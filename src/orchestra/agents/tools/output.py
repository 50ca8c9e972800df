"""What a model gets of an output, what is kept of it, and how it reads the rest (A32)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestra.agents.tools import CUT, KEPT, FunctionTool, ToolContext, ToolError, ToolResult
from orchestra.agents.tools.schemas import count, number, schema, string, text
from orchestra.graph.report import plural
from orchestra.processes.output import Output
from orchestra.run.codec import output_name, utf8
from orchestra.run.declare import BlobRef
from orchestra.run.outcome import Json

NAME = "read-output"

_END = 256 * 1024
_LINE = 1000
"""Characters of one found line that are shown."""

_HEADING = 200
"""Characters of a result that are left for its heading."""


def cut(text: str, limit: int, where: str) -> str:
    """The text, of a longer one its head and tail, with what was left out and where all of it is."""
    if len(text) <= limit:
        return text
    head = limit * 2 // 3
    tail = limit - head
    left_out = len(text) - head - tail
    return f"{text[:head]}\n[… {plural(left_out, 'character')} left out{where} …]\n{text[len(text) - tail :]}"


def limit_of(tool: str, context: ToolContext) -> int:
    """The characters of a tool's result that the model gets."""
    return context.cut.get(tool, context.cut.get(tool.rpartition(":")[2], CUT))


class BoundedOutput:
    """Output in bounded memory: the first ``KEPT`` bytes are stored, of the rest only the end."""

    __slots__ = ("_all", "_end", "dropped", "size")

    def __init__(self, context: ToolContext) -> None:
        self._all = Output(context.scope.keep, context.scope.seam)
        self._end = bytearray()
        self.size = 0
        self.dropped = 0

    async def feed(self, data: bytes) -> None:
        """Take a piece of output."""
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

    async def whole(self) -> tuple[str, tuple[BlobRef, ...]]:
        """The text, by its ends where it is long, and the parts that hold what was kept."""
        whole = await self._all.whole()
        text = whole.text
        if self._end:
            end = self._end.decode("utf-8", "replace")
            gap = f"[… {plural(self.dropped, 'byte')} not kept: at most {KEPT} are …]\n" if self.dropped else ""
            text = f"{text}\n{gap}{end}"
        return text, whole.parts


def storage_note(parts: Sequence[BlobRef], size: int) -> str:
    """Words for where the whole of a cut output is."""
    if not parts:
        return ""
    kept = sum(part.size for part in parts)
    what = f"all {size} bytes are" if kept >= size else f"the first {kept} of {size} bytes are"
    return f"; {what} recorded: {NAME}(output={output_name(parts)!r})"


async def store_text(text: str, context: ToolContext) -> tuple[BlobRef, ...]:
    """Store a text that will be cut, up to the size that is kept."""
    data = utf8(text)
    gathered = Output(context.scope.keep, context.scope.seam)
    await gathered.feed(data[:KEPT])
    whole = await gathered.whole()
    return whole.parts or (await context.scope.keep(data[:KEPT]),)


async def _read(arguments: Mapping[str, Json], context: ToolContext) -> ToolResult:
    name = string(arguments, "output")
    parts = context.outputs.get(name)
    if parts is None:
        known = ", ".join(context.outputs) or "none was cut so far"
        raise ToolError(f"unknown output {name!r}; recorded: {known}")
    whole = b"".join([await context.scope.read_bytes(part) for part in parts]).decode("utf-8", "replace")
    most = max(1, min(number(arguments, "limit", CUT), limit_of(NAME, context) - _HEADING))
    begin = min(number(arguments, "offset", 0), len(whole))
    wanted = string(arguments, "contains")
    return ToolResult(text=_matching_lines(whole, wanted, begin, most) if wanted else _range(whole, begin, most))


def _range(whole: str, begin: int, most: int) -> str:
    end = min(begin + most, len(whole))
    more = f"; the next begin at offset {end}" if end < len(whole) else ", to the end"
    return f"[characters {begin} to {end} of {len(whole)}{more}]\n{whole[begin:end]}"


def _matching_lines(whole: str, wanted: str, begin: int, most: int) -> str:
    """The lines that contain a text, each with its offset, as many as there is room for."""
    lines: list[str] = []
    room, place = most, begin
    while (at := whole.find(wanted, place)) >= 0:
        first = max(whole.rfind("\n", 0, at) + 1, begin)
        last = whole.find("\n", at)
        last = len(whole) if last < 0 else last
        line = f"{first}: {whole[first:last][:_LINE]}"
        room -= len(line) + 1
        if room < 0:
            return "\n".join((f"[there are more of them from offset {first} on]", *lines))
        lines.append(line)
        place = last + 1
    return "\n".join(lines) or f"[no line from offset {begin} on contains it]"


def output_tool() -> FunctionTool:
    """The tool by which an agent reads what was left out of a result."""
    return FunctionTool(
        name=NAME,
        description="Read what was left out of a tool result that was cut: a range of the whole output, or the "
        "lines of it that contain a text.",
        parameters=schema(
            "output",
            output=text("The output's name, as the cut result gives it."),
            offset=count("Character at which to begin; 0 without it.", least=0),
            limit=count("Characters to read."),
            contains=text("Only lines that contain this text, each with its offset."),
        ),
        function=_read,
        read_only=True,
    )
