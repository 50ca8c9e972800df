"""The MCP server of ``orchestra mcp``: it passes the calls of a CLI agent on to the runner, through its socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import msgspec

from orchestra.agents.tools.tool_socket import LINE, NAME, read_message


class ToolClient:
    """The connection of ``orchestra mcp`` to its runner; answers come in any order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._next = 0

    async def listen(self) -> None:
        """Pass answers to their callers until the runner closes the socket."""
        with contextlib.suppress(ConnectionError):
            while (answer := await read_message(self._reader)) is not None:
                waiting = self._waiting.pop(answer.get("id"), None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(answer)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result({"text": "error: the run that offered this tool has ended", "is_error": True})

    async def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        self._next += 1
        number = self._next
        self._waiting[number] = asyncio.get_running_loop().create_future()
        self._writer.write(msgspec.json.encode({**request, "id": number}) + b"\n")
        await self._writer.drain()
        return await self._waiting[number]


async def serve_stdio(socket: str, token: str) -> None:
    """Serve the tools of a socket as MCP on the standard streams, until the client leaves."""
    import mcp_types as types
    from mcp import stdio_server
    from mcp.server import Server

    reader, writer = await asyncio.open_unix_connection(socket, limit=LINE)
    writer.write(msgspec.json.encode({"token": token}) + b"\n")
    caller = ToolClient(reader, writer)

    async def listed(_context: Any, _params: Any) -> types.ListToolsResult:
        found = await caller.ask({"do": "list"})
        return types.ListToolsResult(
            tools=[
                types.Tool(
                    name=one["name"],
                    description=one["description"],
                    input_schema=one["parameters"],
                    annotations=types.ToolAnnotations(read_only_hint=one["read_only"]),
                )
                for one in found.get("tools", [])
            ]
        )

    async def called(_context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        found = await caller.ask({"do": "call", "name": params.name, "arguments": params.arguments or {}})
        return types.CallToolResult(
            content=[types.TextContent(type="text", text=found["text"])], is_error=found["is_error"]
        )

    server: Server[Any] = Server(NAME, on_list_tools=listed, on_call_tool=called)
    listening = asyncio.create_task(caller.listen())
    try:
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())
    finally:
        listening.cancel()
        writer.close()
