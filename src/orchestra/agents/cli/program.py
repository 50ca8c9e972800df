"""One run of a command-line agent: its command line, environment and sandbox, and what it writes (A6)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestra.agents.bounds import warn
from orchestra.agents.cli import presets
from orchestra.agents.cli.asking import codex_problem, hook_options
from orchestra.agents.cli.events import LONGEST, READERS, LineSplitter, ProgramFinished, parse_line
from orchestra.agents.cli.presets import Cli
from orchestra.agents.cli.reports import CONTEXT_FILE, STATUS_FILE
from orchestra.agents.cli.turns import Transcript
from orchestra.agents.tools.tool_socket import ToolSocket
from orchestra.errors import Terminal
from orchestra.graph.report import plural
from orchestra.ports import AgentTask
from orchestra.processes import process, tree
from orchestra.processes.output import LineRelay, Output
from orchestra.processes.sandbox import Policy, Sandbox, program_files, sandbox_command

QUIET = 600.0
"""Seconds without output after which a Warning says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Starts one attempt's program.

    ``private`` is a folder for it alone, ``around`` our own environment, ``keys`` the variables of all providers'
    keys.
    """

    task: AgentTask
    cli: Cli
    folders: Mapping[str, Path]
    private: Path
    around: Mapping[str, str]
    keys: frozenset[str]
    policy: Policy
    marker: str = field(default_factory=tree.new_marker)

    @property
    def status_file(self) -> Path:
        """Where the program reports its outcome."""
        return self.private / "status.json"

    async def command(
        self, prompt: str, session: str, tool_socket: ToolSocket | None, *, asking: bool
    ) -> process.Command:
        """The process for a prompt, in the program's own ``session`` where that is not empty."""
        task, cli, sandbox = self.task, self.cli, self._sandbox(tool_socket)
        values = {key: await task.scope.resolve(value) for key, value in task.context.items()}
        context_file = self.private / "context.json"
        context_file.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
        argv = presets.arguments(
            cli,
            prompt,
            session=session,
            model=task.model.model,
            effort=task.model.reasoning_effort,
            system=task.system,
            private=self.private,
            confined=sandbox.mode != "none",
            tool_socket=tool_socket,
            asking=asking,
        )
        return process.Command(
            argv=sandbox_command(argv, sandbox, self._folder),
            folder=self._folder,
            environment={
                **presets.environment(cli, self.around, self.keys),
                CONTEXT_FILE: str(context_file),
                STATUS_FILE: str(self.status_file),
                "ORCHESTRA_NODE": task.node.id,
                **(tool_socket.environment if tool_socket is not None else {}),
            },
            marker=self.marker,
            quiet=QUIET,
            given=prompt.encode() if cli.input == "stdin" else b"",
        )

    async def check_asking(self, tool_socket: ToolSocket | None) -> None:
        """Raise ``Terminal`` where the program would not ask before its calls, although it has to."""
        if self.cli.asks != "codex":
            return
        argv = (self.cli.command, "app-server", *hook_options("codex"))
        command = sandbox_command(argv, self._sandbox(tool_socket), self._folder)
        environment = presets.environment(self.cli, self.around, self.keys)
        if problem := await codex_problem(command, self._folder, environment):
            raise Terminal(f"{self.cli.name} cannot ask for approval of its tool calls: {problem}")

    @property
    def _folder(self) -> Path:
        return next(iter(self.folders.values()))

    def _sandbox(self, tool_socket: ToolSocket | None) -> Sandbox:
        """The sandbox with the program's own files, and its settings, which it may change."""
        sandbox = self.policy(tuple(self.folders.values()))
        if sandbox.mode == "none":
            return sandbox
        home = Path(self.around.get("HOME") or "~").expanduser()
        own = [home / name for name in self.cli.homes if (home / name).is_dir()]
        program = tuple(program_files(self.cli.command, self.around.get("PATH")))
        read = (*program, *(tool_socket.read if tool_socket is not None else ()))
        return sandbox.also(write=(*own, self.private), read=read)


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
        found = parse_line(line)
        if found is None or self._reader is None:
            return
        self.heard = True
        for event in self._reader.read(found):
            await self._transcript.hear(event)
        if self._transcript.final is not None and self._timer is not None and self._timer.when() is None:
            self._timer.reschedule(asyncio.get_running_loop().time() + self._grace)
