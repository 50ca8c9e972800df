"""The tool node: a shell command in the pipeline's folder (engine.md#tool-nodes)."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from orchestra.errors import ConfigError
from orchestra.graph.model import Graph, Node
from orchestra.graph.shell import Expression
from orchestra.graph.substitution import substitute, variables
from orchestra.handlers.values import LONGEST, expressions_in, look_up_values, reading, split_by_size
from orchestra.ports import Scope
from orchestra.processes import process, tree
from orchestra.processes.output import LineRelay, Output, WholeOutput
from orchestra.processes.sandbox import Policy, Sandbox, no_sandbox, sandbox_command
from orchestra.run.commands import command_outcome
from orchestra.run.declare import BlobRef
from orchestra.run.events import ToolExecuted, ToolOutput, ToolStarted, WarningRaised
from orchestra.run.outcome import FailureClass, Json, Outcome, failed_outcome
from orchestra.run.state import Context

QUIET = 600.0
"""Seconds without output after which a Warning says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolHandler:
    """Runs a tool node's command.

    ``environment`` holds no provider's key; ``quiet`` is in seconds; ``sandbox`` says what the command may touch
    (A36).
    """

    folder: Path
    environment: Mapping[str, str]
    shell: str = "sh"
    quiet: float = QUIET
    patience: float = tree.PATIENCE
    sandbox: Policy = no_sandbox

    async def __call__(self, node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        """Success where the command exits with 0, else a failure with the end of what it wrote to stderr."""
        command = node.text("tool_command")
        if not command.strip():
            return failed_outcome("the node has no tool_command to run", FailureClass.TERMINAL)
        try:
            found = expressions_in(command)
            values = await look_up_values(found, context, scope)
        except ConfigError as error:
            reason = f"{error.message}; {error.fix}" if error.fix else error.message
            return failed_outcome(reason, FailureClass.TERMINAL)
        async with _prepare(command, found, values) as call:
            return await self._run(node, shell_of(node, graph, self.shell), call, scope)

    async def _run(self, node: Node, shell: tuple[str, ...], call: _ShellCall, scope: Scope) -> Outcome:
        marker = tree.new_marker()
        shown: dict[str, Json] = dict(call.values)
        scope.record(
            ToolStarted(
                node=node.id,
                marker=marker,
                host=socket.gethostname(),
                command=call.command,
                values=dict(shown),
                shell=shlex.join(shell),
            )
        )
        await scope.settle()
        folder = self.folder if scope.workspace is None else scope.workspace.folder()
        running = _RunningCommand(node.id, marker, scope, self.quiet)
        try:
            ended = await process.run(
                process.Command(
                    argv=sandbox_command((*shell, *call.argv), self._policy(folder, call, scope), folder),
                    folder=folder,
                    environment={**self.environment, **_place(scope), **call.environment},
                    marker=marker,
                    quiet=self.quiet,
                    patience=self.patience,
                ),
                running.feed,
                running.silent,
            )
        except OSError as error:
            await running.finish(process.ProcessResult(code=127))
            why = "the folder does not exist" if str(error.filename) == str(folder) else error.strerror or error
            return failed_outcome(f"cannot run {shell[0]} in {folder}: {why}", FailureClass.TERMINAL)
        except BaseException:
            await running.finish(None)
            raise
        output, stderr = await running.finish(ended)
        return command_outcome(node.id, ended.code, _value(output), _value(stderr))

    def _policy(self, folder: Path, call: _ShellCall, scope: Scope) -> Sandbox:
        """Every repository of the run may be written to; the call's own files are read."""
        workspace = scope.workspace
        folders = [folder] if workspace is None else [workspace.folder(repo) for repo in workspace.repos]
        return self.sandbox(folders).also(read=call.files)


def shell_of(node: Node, graph: Graph, otherwise: str = "sh") -> tuple[str, ...]:
    """Return the shell of a node's command, with its options.

    The attribute ``shell`` of the node or the graph; else for a goal gate bash that stops at the first failure, if
    bash exists; else ``otherwise``.
    """
    named = node.text("shell") or graph.text("shell")
    if named:
        return tuple(shlex.split(named))
    if node.flag("goal_gate") and shutil.which("bash"):
        return STRICT
    return (otherwise,)


STRICT = ("bash", "-eo", "pipefail")
"""A goal gate's shell: neither a pipe nor a later line hides a failure."""


def _place(scope: Scope) -> dict[str, str]:
    """In which branch the command runs, for ports, databases and caches of its own (E31)."""
    branch = scope.branch
    if branch is None:
        return {}
    return {"ORCHESTRA_BRANCH": branch.path, "ORCHESTRA_BRANCH_INDEX": str(branch.index)}


@dataclass(slots=True)
class _RunningCommand:
    """What is known of a command while it runs."""

    node: str
    marker: str
    scope: Scope
    quiet: float
    since: int = 0
    streams: dict[str, Output] = field(default_factory=dict)
    shown: dict[str, LineRelay] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.since = self.scope.now_ms()
        for name in ("stdout", "stderr"):
            self.streams[name] = Output(self.scope.keep, self.scope.seam)
            self.shown[name] = LineRelay(partial(self._show, name), self.scope.seam)

    def _show(self, stream: str, text: str) -> None:
        self.scope.show(ToolOutput(node=self.node, stream=stream, text=text))

    async def feed(self, name: str, data: bytes) -> None:
        """Take output as it comes."""
        self.shown[name].feed(data)
        await self.streams[name].feed(data)

    async def silent(self) -> None:
        """Report that it has been silent for long."""
        minutes = self.quiet / 60
        message = f"the command of {self.node} has written no output for {minutes:g} minutes; it is still running"
        self.scope.record(WarningRaised(message=message, rule="silent_tool", node=self.node))
        await self.scope.settle()

    async def finish(self, ended: process.ProcessResult | None) -> tuple[WholeOutput, WholeOutput]:
        """Record its end; None where it was interrupted."""
        for shown in self.shown.values():
            shown.feed(b"", final=True)
        output, stderr = await self.streams["stdout"].whole(), await self.streams["stderr"].whole()
        done = ended or process.ProcessResult(code=128 + 15)
        self.scope.record(
            ToolExecuted(
                node=self.node,
                marker=self.marker,
                exit_code=done.code,
                output=output.text,
                stderr=stderr.text,
                output_bytes=output.size,
                stderr_bytes=stderr.size,
                output_parts=_maps(output.parts),
                stderr_parts=_maps(stderr.parts),
                duration_ms=max(0, self.scope.now_ms() - self.since),
                interrupted=ended is None,
                left_behind=len(done.behind),
            )
        )
        for message in _remarks(self.node, done):
            self.scope.record(WarningRaised(message=message, rule="left_behind", node=self.node))
        for name, written in (("output", output), ("stderr", stderr)):
            if written.whole is None:
                message = (
                    f"tools.{self.node}.{name} is {written.size} bytes: conditions and templates see its ends only"
                )
                self.scope.record(WarningRaised(message=message, rule="large_output", node=self.node))
        return output, stderr


def _value(written: WholeOutput) -> str:
    return written.text if written.whole is None else written.whole


def _maps(parts: tuple[BlobRef, ...]) -> tuple[dict[str, Json], ...]:
    return tuple({"hash": part.hash, "size": part.size, "preview": part.preview} for part in parts)


def _remarks(node: str, ended: process.ProcessResult) -> list[str]:
    if ended.stubborn:
        pids = ", ".join(map(str, ended.stubborn))
        return [f"could not stop processes that the command of {node} started: {pids}"]
    if ended.behind:
        count = len(ended.behind)
        what = "a background process; it was" if count == 1 else f"{count} background processes; they were"
        return [f"the command of {node} left {what} stopped"]
    return []


@dataclass(frozen=True, slots=True, kw_only=True)
class _ShellCall:
    """What the shell gets: arguments and environment; and for the record the command and its values."""

    command: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    values: Mapping[str, str]
    files: tuple[Path, ...] = ()


@asynccontextmanager
async def _prepare(
    command: str, found: tuple[Expression, ...], values: Mapping[str, str]
) -> AsyncIterator[_ShellCall]:
    """Yield the call of a command; values too large for an argument or a variable are in temporary files."""
    named = {variable: values[name] for name, variable in variables(found).items()}
    text = substitute(command, found, values)
    small, large = split_by_size(named)
    with contextlib.ExitStack() as stack:
        folder = ""
        if large or len(text.encode("utf-8", "surrogatepass")) > LONGEST // 2:
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="orchestra-", ignore_cleanup_errors=True)
            )
        filed = {name: _write_file(folder, name, value) for name, value in large.items()}
        whole = reading(filed) + text
        argv: tuple[str, ...] = ("-c", whole)
        if len(whole.encode("utf-8", "surrogatepass")) > LONGEST:
            argv = (_write_file(folder, "command", whole),)
        files = (Path(folder),) if folder else ()
        yield _ShellCall(command=text, argv=argv, environment=small, values=named, files=files)


def _write_file(folder: str, name: str, text: str) -> str:
    path = os.path.join(folder, name)  # noqa: PTH118
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    return path
