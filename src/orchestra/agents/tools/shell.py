"""Commands that tools run: ``shell``, shell tools from settings, hooks (A30, A33, A36)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from orchestra.agents.tools import FunctionTool, ToolContext, ToolError, ToolResult
from orchestra.agents.tools.output import BoundedOutput, store_text
from orchestra.agents.tools.schemas import number, schema, string, text
from orchestra.processes import process, tree
from orchestra.processes.output import LineRelay
from orchestra.processes.sandbox import Sandbox, sandbox_command
from orchestra.run.declare import BlobRef
from orchestra.run.events import AGENT_TOOLS, ToolStarted
from orchestra.run.outcome import Json

TIMEOUT = 120
"""Seconds that a command may take without a ``timeout``."""

LONGEST = 3600
"""Seconds that a ``timeout`` may be."""

PATIENCE = 1.0
"""Seconds between the request to end and the end, for a command whose time is up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """The result of a command; ``code`` is None after a timeout."""

    code: int | None
    stdout: str
    stderr: str
    parts: tuple[BlobRef, ...] = ()
    size: int = 0
    behind: int = 0


async def announce(context: ToolContext) -> None:
    """Record the marker of all that this attempt's tools start, before the first of it is started (E4)."""
    if context.marker in context.recorded:
        return
    context.recorded.add(context.marker)
    context.scope.record(
        ToolStarted(node=context.node, marker=context.marker, host=socket.gethostname(), command=AGENT_TOOLS)
    )
    await context.scope.settle()


async def run(
    argv: Sequence[str],
    folder: Path,
    context: ToolContext,
    *,
    tool: str,
    seconds: float,
    sandbox: Sandbox,
    environment: Mapping[str, str] | None = None,
    given: bytes = b"",
) -> Ran:
    """Run a command to its end, at most ``seconds``; nothing of it runs afterwards. Raises ``ToolError``."""
    await announce(context)
    streams = {"stdout": BoundedOutput(context), "stderr": BoundedOutput(context)}
    shown = {name: LineRelay(partial(context.show, tool), context.scope.seam) for name in streams}

    async def feed(name: str, data: bytes) -> None:
        shown[name].feed(data)
        await streams[name].feed(data)

    async def silent() -> None:
        return

    command = process.Command(
        argv=sandbox_command(argv, sandbox, folder),
        folder=folder,
        environment={**tree.mark_environment(dict(context.environment), context.marker), **(environment or {})},
        marker=tree.new_marker(),
        quiet=86400.0,
        patience=PATIENCE,
        given=given,
    )
    ended: process.ProcessResult | None = None
    try:
        async with asyncio.timeout(seconds):
            ended = await process.run(command, feed, silent)
    except TimeoutError:
        pass
    except OSError as error:
        raise ToolError(f"cannot run {argv[0]} in {folder}: {error}") from error
    finally:
        for one in shown.values():
            with contextlib.suppress(Exception):
                one.feed(b"", final=True)
    return await _ran(ended, streams["stdout"], streams["stderr"], context)


async def _ran(
    ended: process.ProcessResult | None, out: BoundedOutput, err: BoundedOutput, context: ToolContext
) -> Ran:
    stdout, parts = await out.whole()
    stderr, error_parts = await err.whole()
    if parts and stderr and not error_parts:
        error_parts = await store_text(stderr, context)
    elif error_parts and stdout and not parts:
        parts = await store_text(stdout, context)
    return Ran(
        code=None if ended is None else ended.code,
        stdout=stdout,
        stderr=stderr,
        parts=(*parts, *error_parts),
        size=out.size + err.size,
        behind=0 if ended is None else len(ended.behind),
    )


def result_of(ran: Ran, timeout: float) -> ToolResult:
    """What the model gets of a command: its output, then how it ended where that was not with 0."""
    parts = [ran.stdout.rstrip("\n")] if ran.stdout.strip() else []
    if ran.stderr.strip():
        parts.append(f"[stderr]\n{ran.stderr.rstrip(chr(10))}" if parts else ran.stderr.rstrip("\n"))
    if ran.code is None:
        parts.append(f"[timed out after {timeout:g} seconds; the command and all that it started were ended]")
    elif ran.code:
        parts.append(f"[exit code {ran.code}]")
    if ran.behind:
        processes = "1 background process" if ran.behind == 1 else f"{ran.behind} background processes"
        parts.append(f"[{processes} were still running and were stopped]")
    return ToolResult(
        text="\n".join(parts) or "[no output, exit code 0]",
        is_error=ran.code != 0,
        parts=ran.parts,
        size=ran.size,
    )


async def shell(repo: str, arguments: Mapping[str, Json], context: ToolContext) -> ToolResult:
    """Run a shell command in the working folder."""
    command = string(arguments, "command")
    if not command.strip():
        raise ToolError("command is empty")
    if "\0" in command:
        raise ToolError("command has a NUL character, which no shell can take")
    if len(command.encode("utf-8", "surrogatepass")) > 120_000:
        raise ToolError("command is longer than a program's argument may be; write it to a file and run that")
    timeout = min(number(arguments, "timeout", round(context.seconds.get("shell", TIMEOUT))), LONGEST)
    folder = context.folder(repo)
    async with context.tracker.around() as changes:
        ran = await run(
            ("/bin/sh", "-c", command), folder, context, tool="shell", seconds=timeout, sandbox=context.sandbox
        )
    result = result_of(ran, timeout)
    return ToolResult(
        text=result.text,
        is_error=result.is_error,
        files_written=changes.files,
        parts=result.parts,
        size=result.size,
    )


def shell_tool(repo: str, prefix: str) -> FunctionTool:
    """The ``shell`` tool for one repository."""

    async def call(arguments: Mapping[str, Json], context: ToolContext) -> ToolResult:
        return await shell(repo, arguments, context)

    return FunctionTool(
        name=f"{prefix}shell",
        description="Run a command with /bin/sh in the working folder. Nothing is kept between calls but files: "
        "each begins in the working folder, and background processes are stopped when the command ends. There is "
        "no input.",
        parameters=schema(
            "command",
            command=text("The command."),
            timeout={
                "type": "integer",
                "description": f"Seconds after which it is stopped; {TIMEOUT} without it, at most {LONGEST}.",
                "minimum": 1,
                "maximum": LONGEST,
            },
        ),
        function=call,
    )
