"""The socket on which a running attempt offers its tools to another program, by way of ``orchestra mcp``.

The runner listens on a Unix socket in a folder that only this user can enter, and answers only who knows the
attempt's token. ``orchestra mcp`` is started by the CLI agent, speaks MCP with it, and passes every call on through
the socket (``mcp_server``).
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import secrets
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from orchestra.agents.tools import ToolResult
from orchestra.agents.tools.output import NAME as READ_OUTPUT
from orchestra.agents.tools.people import NAME as ASK
from orchestra.agents.tools.people import part_of
from orchestra.agents.tools.reporting import NAME as REPORT
from orchestra.agents.tools.selection import wire_names
from orchestra.agents.tools.toolset import Toolset
from orchestra.errors import OrchestraError
from orchestra.ports import Suspended
from orchestra.run.outcome import Json

SOCKET = "ORCHESTRA_MCP_SOCKET"
TOKEN = "ORCHESTRA_MCP_TOKEN"
NAME = "orchestra"
"""What CLI agents know our server by."""

LINE = 64 * 1024 * 1024
"""Bytes of one request or answer."""
Result = TypeVar("Result")


class CallPolicy(Protocol):
    """Says which calls of an attempt may be made (A35, H11)."""

    async def refusal_of(self, tool: str, arguments: Mapping[str, Json], call: str) -> str:
        """Why a call of the program's own tools is denied, empty where it may be made. Raises ``Suspended``."""

    async def denial_of(self, tool: str, arguments: Mapping[str, Json]) -> str:
        """The same for a call of one of the node's tools."""


Ended = Callable[[str, Mapping[str, Json], ToolResult], Awaitable[None]]
"""Receives each ended call before its answer is sent: our name of the tool, its arguments, its result."""


@dataclass(frozen=True, slots=True)
class ToolSocket:
    """How a CLI agent reaches the tools.

    ``read`` are files and folders that its sandbox has to show. ``failed`` raises what ends the attempt.
    """

    socket: Path
    token: str
    failed: asyncio.Future[None]

    async def guarding(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Return the result of some work while the tools are offered.

        It is canceled if a tool ends the attempt, and that is raised: ``Suspended`` while a person has to answer,
        or a lost store.
        """
        task = asyncio.ensure_future(work)
        try:
            both: set[asyncio.Future[Any]] = {task, self.failed}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
        if self.failed.done():
            self.failed.result()
        return task.result()

    @property
    def environment(self) -> dict[str, str]:
        """What ``orchestra mcp`` is told by; it belongs in the server's entry, not in the agent's environment."""
        return {SOCKET: str(self.socket), TOKEN: self.token}

    @property
    def command(self) -> tuple[str, ...]:
        """The command line of our server."""
        return (sys.executable, "-m", "orchestra", "mcp")

    @property
    def read(self) -> tuple[Path, ...]:
        """What a sandbox has to show for it: the socket, our Python and our code."""
        package = Path(__file__).resolve().parents[3]
        return tuple(dict.fromkeys((self.socket.parent, Path(sys.prefix), Path(sys.base_prefix), package)))

    def mcp_json(self) -> dict[str, Any]:
        """The server in the ``.mcp.json`` form, as ``claude --mcp-config`` takes it."""
        command, *arguments = self.command
        return {"mcpServers": {NAME: {"command": command, "args": arguments, "env": self.environment}}}


def for_cli(toolset: Toolset) -> Toolset:
    """What a CLI agent is offered of a node's tools: what it does not bring itself."""
    named = {
        name: tool
        for name, tool in toolset.tools.items()
        if tool.origin != "built in" or name in (REPORT, ASK) or (":" in name and not tool.read_only)
    }
    if any(name not in (REPORT, ASK) for name in named) and READ_OUTPUT in toolset.tools:
        named[READ_OUTPUT] = toolset.tools[READ_OUTPUT]
    return Toolset(named, wire_names(named), toolset.context)


@asynccontextmanager
async def open_tool_socket(
    toolset: Toolset, ended: Ended | None = None, policy: CallPolicy | None = None
) -> AsyncIterator[ToolSocket]:
    """Offer an attempt's tools on a socket, while this is open. A caller without the token gets nothing.

    ``policy`` says which calls may be made, of these tools and of the program's own; without it all may.
    """
    folder = Path(tempfile.mkdtemp(prefix="orchestra-mcp-"))
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    offered = ToolSocket(folder / "tools.sock", secrets.token_urlsafe(32), failed)
    calls = _ToolServer(toolset, offered, ended, policy)
    try:
        server = await asyncio.start_unix_server(calls.serve, path=str(offered.socket), limit=LINE)
        offered.socket.chmod(0o600)
        async with server:
            yield offered
            server.close()
            await calls.close()
    finally:
        failed.cancel()
        shutil.rmtree(folder, ignore_errors=True)


class _ToolServer:
    """Answers callers: read-only calls in parallel, others one after the other."""

    def __init__(
        self, toolset: Toolset, offered: ToolSocket, ended: Ended | None, policy: CallPolicy | None
    ) -> None:
        self._toolset = toolset
        self._offered = offered
        self._ended = ended
        self._policy = policy
        self._one = asyncio.Lock()
        self._visits: set[asyncio.Task[Any]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its token to its end."""
        task = asyncio.current_task()
        assert task is not None
        self._visits.add(task)
        try:
            async with asyncio.timeout(10):
                first = await read_message(reader)
            given = str(first.get("token", "")) if isinstance(first, dict) else ""
            if not hmac.compare_digest(given.encode(), self._offered.token.encode()):
                return
            async with asyncio.TaskGroup() as group:
                while (request := await read_message(reader)) is not None:
                    group.create_task(self._answer(request, writer))
        except* (TimeoutError, ConnectionError, ValueError, asyncio.LimitOverrunError):
            pass  # the caller left, or sent something that is not a request
        finally:
            self._visits.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def close(self) -> None:
        """End what is still being answered."""
        for task in self._visits:
            task.cancel()
        if self._visits:
            await asyncio.wait(set(self._visits), timeout=10)

    async def _answer(self, request: Any, writer: asyncio.StreamWriter) -> None:
        try:
            answer = {"id": request.get("id"), **await self._perform(request)}
        except (OrchestraError, Suspended) as error:  # the attempt's own end, told by who runs the program
            if not self._offered.failed.done():
                self._offered.failed.set_exception(error)
            return
        writer.write(msgspec.json.encode(answer) + b"\n")
        await writer.drain()

    async def _perform(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if request.get("do") == "list":
            return {"tools": self._list_tools()}
        if request.get("do") == "allow":
            return {"denied": await self._decide(request)}
        name, arguments = str(request.get("name")), request.get("arguments") or {}
        ours = self._toolset.wire.get(name, name)
        if self._toolset.read_only(ours):
            result = await self._call(ours, arguments)
        else:
            async with self._one:
                result = await self._call(ours, arguments)
        return {"text": result.text, "is_error": result.is_error}

    async def _decide(self, request: Mapping[str, Any]) -> str:
        if self._policy is None:
            return "the run takes no such question"
        tool, arguments = str(request.get("tool_name")), request.get("tool_input")
        if not isinstance(arguments, dict):
            return "the call cannot be read"
        return await self._policy.refusal_of(tool, arguments, str(request.get("call")))

    async def _call(self, name: str, arguments: Mapping[str, Json]) -> ToolResult:
        denied = await self._policy.denial_of(name, arguments) if self._policy is not None else ""
        if denied:
            result = ToolResult(text=denied, is_error=True)
        else:
            part = part_of(self._toolset.context.scope, name, arguments) if name == ASK else ""
            result = await self._toolset.call(name, arguments, part)
        if self._ended is not None:
            await self._ended(name, arguments, result)
        return result

    def _list_tools(self) -> list[dict[str, Any]]:
        return [
            {
                "name": wire,
                "description": self._toolset.tools[name].description,
                "parameters": self._toolset.tools[name].parameters,
                "read_only": self._toolset.tools[name].read_only,
            }
            for wire, name in self._toolset.wire.items()
        ]


async def read_message(reader: asyncio.StreamReader) -> Any:
    """Return the next request or answer; None at the end."""
    line = await reader.readline()
    return msgspec.json.decode(line) if line.strip() else None
