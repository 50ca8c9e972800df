"""One run of a command-line agent, read line by line (A6)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from orchestra.agents.bounds import warn
from orchestra.agents.cli.events import LONGEST, READERS, LineSplitter, ProgramFinished, parse_line
from orchestra.agents.cli.presets import Cli
from orchestra.agents.cli.turns import Transcript
from orchestra.graph.report import plural
from orchestra.ports import AgentTask
from orchestra.processes import process
from orchestra.processes.output import LineRelay, Output

KEPT = 16 * 1024
"""Bytes of the end of stderr that a failure is explained by."""


class Listener:
    """Hands what a program writes to the transcript; where it writes no events, all of it is its answer."""

    def __init__(self, task: AgentTask, cli: Cli, transcript: Transcript, shown: Callable[[str], None]) -> None:
        self._task = task
        self._cli = cli
        self._transcript = transcript
        self._reader = READERS[cli.events]() if cli.events in READERS else None
        self._output = Output(task.scope.keep, task.scope.seam)
        self._shown = LineRelay(shown, task.scope.seam)
        self._lines = LineSplitter()
        self._timer: asyncio.Timeout | None = None
        self._grace = 0.0
        self._stderr = bytearray()
        self.heard = False
        """Whether an event came."""

    @property
    def last_words(self) -> str:
        """The end of what it wrote to its standard error."""
        return bytes(self._stderr).decode("utf-8", "replace")

    async def follow(self, command: process.Command, grace: float, silent: Callable[[], Awaitable[None]]) -> int:
        """Run the program to its end. Its exit code; 0 where it was ended because its final event had come.

        ``silent`` is awaited where it writes nothing for long.
        """
        self._grace = grace
        try:
            async with asyncio.timeout(None) as timer:
                self._timer = timer
                ended = await process.run(command, self._feed, silent)
        except TimeoutError:
            if self._transcript.final is None:
                raise
            return 0
        except OSError as error:
            self._stderr += f"{error.strerror or error}".encode()
            return 127
        self._timer = None
        if self._reader is not None:
            await self._line(self._lines.last())
        else:
            self._shown.feed(b"", final=True)
            await self._transcript.hear(ProgramFinished(text=(await self._output.whole()).text.strip()))
        if self._lines.skipped:
            lines = plural(self._lines.skipped, "line")
            warn(self._task, f"not read: {lines} of {self._cli.name} longer than {LONGEST >> 20} MiB", "cli_agent")
        return ended.code

    async def _feed(self, name: str, data: bytes) -> None:
        if name == "stderr":
            self._stderr += data
            del self._stderr[:-KEPT]
        elif self._reader is None:
            self._shown.feed(data)
            await self._output.feed(data)
        else:
            for line in self._lines.feed(data):
                await self._line(line)

    async def _line(self, line: bytes) -> None:
        event = parse_line(line)
        if event is None or self._reader is None:
            return
        self.heard = True
        for happening in self._reader.read(event):
            await self._transcript.hear(happening)
        if self._transcript.final is not None and self._timer is not None and self._timer.when() is None:
            self._timer.reschedule(asyncio.get_running_loop().time() + self._grace)
