"""Tools of MCP servers, as ``server:name``: servers are started for one attempt and ended with it.

Each server lives in a task of its own, which starts it, keeps the connection and ends it; calls come from wherever
an agent runs. A server that cannot be started is our error, one that dies is an error of the call.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from orchestra.agents.tools import FunctionTool, Tool, ToolContext, ToolError, ToolResult
from orchestra.agents.tools.settings import ServerSpec
from orchestra.errors import ConfigError
from orchestra.graph.report import plural
from orchestra.processes import tree
from orchestra.processes.process import hide_this_process
from orchestra.processes.sandbox import program_files, sandbox_command
from orchestra.run.outcome import Json

EVERYTHING = "*"
_ENDING = 10.0
_SAID = 2000


@dataclass(slots=True)
class _RunningServer:
    """A server that runs: its connection, and the tools that it has."""

    spec: ServerSpec
    context: ToolContext
    log: IO[str]
    client: Any = None
    tools: list[Any] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def live(self, ready: asyncio.Future[None]) -> None:
        """Start, say that it is ready, and stay until it is to stop. A failure at the start is the future's."""
        try:
            async with _connect(self.spec, self.context, self.log) as client:
                self.client = client
                self.tools = await _list_tools(client)
                ready.set_result(None)
                await self.stop.wait()
        except Exception as error:  # noqa: BLE001  a server's failure, at its start or while it is being ended
            if not ready.done():
                ready.set_exception(self._failure(error))
        finally:
            self.ended.set()
            if not ready.done():
                ready.cancel()

    def _failure(self, error: BaseException) -> ConfigError:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        why = str(error) or type(error).__name__
        said = self._stderr_note()
        return ConfigError(
            f"the MCP server {self.spec.name!r} ({command_line(self.spec)}) cannot be started: {why}"
            + (f"; it wrote: {said}" if said else ""),
            fix=f"try it by hand, or correct mcp.{self.spec.name} in {self.spec.origin}",
        )

    def _stderr_note(self) -> str:
        self.log.flush()
        self.log.seek(0)
        return self.log.read()[-_SAID:].strip()

    async def call(self, name: str, arguments: Mapping[str, Json]) -> ToolResult:
        """Call one of its tools."""
        if self.ended.is_set() or self.client is None:
            raise ToolError(f"the MCP server {self.spec.name!r} has ended")
        try:
            found = await self.client.call_tool(name, dict(arguments), read_timeout_seconds=self.spec.timeout)
        except Exception as error:
            raise ToolError(
                f"the MCP server {self.spec.name!r} did not answer: {type(error).__name__}: {error}"
            ) from error
        return ToolResult(text=_text(found), is_error=bool(getattr(found, "is_error", False)))


def command_line(spec: ServerSpec) -> str:
    """How a server is started, for people."""
    return spec.url or " ".join((spec.command, *spec.arguments))


@asynccontextmanager
async def _connect(spec: ServerSpec, context: ToolContext, log: IO[str]) -> AsyncIterator[Any]:
    from mcp import Client, StdioServerParameters, stdio_client

    if spec.url:
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        async with (
            httpx2.AsyncClient(headers=dict(spec.headers), timeout=spec.timeout) as http,
            asyncio.timeout(None),
            Client(streamable_http_client(spec.url, http_client=http), read_timeout_seconds=spec.timeout) as client,
        ):
            yield client
        return
    hide_this_process()
    command, *arguments = _command(spec, context)
    parameters = StdioServerParameters(
        command=command,
        args=arguments,
        env={**tree.mark_environment(dict(context.environment), context.marker), **spec.environment},
        cwd=_folder(spec, context),
    )
    async with Client(stdio_client(parameters, errlog=log), read_timeout_seconds=spec.timeout) as client:  # type: ignore[arg-type]
        yield client


def _folder(spec: ServerSpec, context: ToolContext) -> Path:
    return Path(spec.folder) if spec.folder else next(iter(context.folders.values()))


def _command(spec: ServerSpec, context: ToolContext) -> tuple[str, ...]:
    """Return the command line, in the node's sandbox unless the operator's settings disable it (A36)."""
    argv = (spec.command, *spec.arguments)
    if not spec.confined or context.sandbox.mode == "none":
        return argv
    folder = _folder(spec, context)
    own = (folder,) if spec.folder else ()
    shown = (*own, *program_files(spec.command, context.environment.get("PATH")))
    return sandbox_command(argv, context.sandbox.also(read=shown), folder)


async def _list_tools(client: Any) -> list[Any]:
    found: list[Any] = []
    cursor = None
    while True:
        page = await client.list_tools(cursor=cursor)
        found += page.tools
        cursor = page.next_cursor
        if not cursor or len(found) > 1000:
            return found


def _text(found: Any) -> str:
    parts = [_block(block) for block in getattr(found, "content", None) or []]
    structured = getattr(found, "structured_content", None)
    if not parts and structured is not None:
        return json.dumps(structured, indent=2, ensure_ascii=False)
    return "\n".join(parts) or "[no content]"


def _block(block: Any) -> str:
    kind = getattr(block, "type", "")
    if kind == "text":
        return str(block.text)
    if kind == "resource":
        return str(getattr(block.resource, "text", f"[binary resource {block.resource.uri}]"))
    if kind == "resource_link":
        return f"[resource {block.uri}]"
    size = len(getattr(block, "data", "") or "") * 3 // 4
    return f"[{kind} {getattr(block, 'mime_type', '')}, {plural(size, 'byte')}]"


def _tool(server: _RunningServer, found: Any) -> FunctionTool:
    name = str(found.name)

    async def call(arguments: Mapping[str, Json], _context: ToolContext) -> ToolResult:
        return await server.call(name, arguments)

    hints = getattr(found, "annotations", None)
    schema = dict(found.input_schema or {})
    schema.setdefault("type", "object")
    return FunctionTool(
        name=f"{server.spec.name}:{name}",
        description=found.description or name,
        parameters=schema,
        function=call,
        read_only=bool(hints is not None and getattr(hints, "read_only_hint", False)),
        idempotent=bool(hints is not None and getattr(hints, "idempotent_hint", False)),
        origin=f"MCP server {server.spec.name}",
    )


@asynccontextmanager
async def serve_tools(
    wanted: Mapping[str, Sequence[str]], specs: Mapping[str, ServerSpec], context: ToolContext
) -> AsyncIterator[list[Tool]]:
    """The tools wanted of each server (``*``: all it has), while the servers run.

    Raises ``ConfigError`` where one cannot be started, or has no tool of that name.
    """
    if not wanted:
        yield []
        return
    if find_spec("mcp") is None:
        raise ConfigError("MCP servers need the package mcp", fix="pip install 'orchestra-dot[mcp]'")
    servers: list[tuple[_RunningServer, asyncio.Task[None]]] = []
    try:
        for name in wanted:
            servers += [await _start(specs[name], context)]
        yield [tool for server, _task in servers for tool in _pick(server, wanted[server.spec.name])]
    finally:
        for server, _task in servers:
            server.stop.set()
        for server, task in servers:
            await _end(server, task)


async def _start(spec: ServerSpec, context: ToolContext) -> tuple[_RunningServer, asyncio.Task[None]]:
    log: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  closed by _ended
    server = _RunningServer(spec, context, log)
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(server.live(ready), name=f"mcp {spec.name}")
    try:
        async with asyncio.timeout(spec.timeout):
            await asyncio.shield(ready)
    except TimeoutError:
        await _end(server, task)
        raise ConfigError(
            f"the MCP server {spec.name!r} ({command_line(spec)}) did not answer within {spec.timeout:g} seconds"
        ) from None
    except BaseException:
        await _end(server, task)
        raise
    return server, task


async def _end(server: _RunningServer, task: asyncio.Task[None]) -> None:
    """End a server, by force where it does not end by itself."""
    server.stop.set()
    if server.client is None:
        task.cancel()
    done, _pending = await asyncio.wait({task}, timeout=_ENDING)
    if not done:
        task.cancel()
        await asyncio.wait({task}, timeout=_ENDING)
    server.log.close()


def _pick(server: _RunningServer, names: Sequence[str]) -> list[Tool]:
    offered = server.spec.offered
    by_name = {
        str(found.name): _tool(server, found)
        for found in server.tools
        if offered is None or str(found.name) in offered
    }
    missing = [name for name in names if name not in by_name and name != EVERYTHING]
    if missing:
        raise ConfigError(
            f"the MCP server {server.spec.name!r} has no tool {missing[0]!r}",
            fix=f"it has: {', '.join(sorted(by_name))}",
        )
    return list(by_name.values()) if EVERYTHING in names else [by_name[name] for name in names]


def specs_of(
    servers: Mapping[str, Any], origin: str, *, repository: str = "", environment: Mapping[str, str] = os.environ
) -> dict[str, ServerSpec]:
    """Return the servers of a ``mcpServers`` map; ``${NAME}`` counts only in the operator's settings.

    Raises ``ConfigError`` for what is neither a command nor a URL.
    """
    found: dict[str, ServerSpec] = {}
    for name, given in servers.items():
        if not isinstance(given, Mapping) or not (isinstance(given.get("command") or given.get("url"), str)):
            raise ConfigError(f"{origin}: the MCP server {name!r} needs a command or a url")
        known = {} if repository else environment
        found[name] = ServerSpec(
            name=name,
            command=_expand(str(given.get("command") or ""), known),
            arguments=tuple(_expand(str(one), known) for one in given.get("args") or ()),
            environment={k: _expand(str(v), known) for k, v in (given.get("env") or {}).items()},
            url=_expand(str(given.get("url") or ""), known),
            headers={k: _expand(str(v), known) for k, v in (given.get("headers") or {}).items()},
            timeout=float(given.get("timeout") or 60.0),
            folder=str(given.get("cwd") or "") or repository,
            offered=None if given.get("tools") is None else tuple(given["tools"]),
            confined=bool(repository) or given.get("sandbox", True) is not False,
            repository=repository,
            origin=origin,
        )
    return found


def _expand(text: str, environment: Mapping[str, str]) -> str:
    for name, value in environment.items():
        if "${" not in text:
            break
        text = text.replace(f"${{{name}}}", value)
    return text


def repository_servers(folder: Path) -> dict[str, ServerSpec]:
    """Return the servers of a repository's own ``.mcp.json``.

    Raises ``ConfigError`` if it cannot be read.
    """
    file = folder / ".mcp.json"
    if not file.is_file():
        return {}
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    servers = said.get("mcpServers") if isinstance(said, dict) else None
    if servers is None:
        return {}
    if not isinstance(servers, dict):
        raise ConfigError(f"{file}: mcpServers has to be an object")
    with suppress(OSError):
        folder = folder.resolve()
    return specs_of(servers, str(file), repository=str(folder))
