"""A server over memory, and a client that sends what it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec

from orchestra.cxdb.format import frames
from orchestra.cxdb.format.frames import Frame
from orchestra.cxdb.remote.web import Reply, Web
from orchestra.cxdb.server.http import Guard
from orchestra.cxdb.server.servable import ServableStore
from orchestra.cxdb.server.serve import Addresses, serving
from served_memory import ServedMemory


@dataclass
class Client:
    """One connection of the binary protocol, and HTTP."""

    at: Addresses
    store: ServableStore
    web: Web
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, kind: int, payload: bytes, flags: int = 0, request: int = 7) -> None:
        self.writer.write(frames.frame(kind, payload, request, flags))
        await self.writer.drain()

    async def answer(self) -> Frame:
        header = frames.read_header(await self.reader.readexactly(frames.HEADER.size))
        return Frame(header.kind, header.flags, header.request, await self.reader.readexactly(header.length))

    async def ask(self, kind: int, payload: bytes, flags: int = 0) -> bytes:
        await self.send(kind, payload, flags)
        answer = await self.answer()
        assert (answer.kind, answer.request) == (kind, 7), answer
        return answer.payload

    async def refused(self, kind: int, payload: bytes, flags: int = 0) -> tuple[int, str]:
        await self.send(kind, payload, flags)
        answer = await self.answer()
        assert (answer.kind, answer.request) == (frames.ERROR, 7), answer
        return frames.read_error(answer.payload)

    async def append(
        self, context: int, payload: bytes, *, parent: int = 0, type_id: str = "t"
    ) -> frames.AppendAnswer:
        request = frames.plain_append(context, parent, type_id, 1, payload)
        return frames.read_appended(await self.ask(frames.APPEND, frames.append(request)))

    async def get(self, target: str) -> Reply:
        return await self.web.request("GET", target)

    async def json(self, target: str) -> object:
        reply = await self.get(target)
        assert reply.status == 200, reply
        return msgspec.json.decode(reply.body)

    async def error(self, target: str) -> tuple[int, str]:
        reply = await self.get(target)
        return reply.status, msgspec.json.decode(reply.body)["error"]["message"]

    async def send_http(self, method: str, target: str, body: object) -> tuple[int, object]:
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        reply = await self.web.request(method, target, raw)
        return reply.status, msgspec.json.decode(reply.body) if reply.body else None


@asynccontextmanager
async def served(store: ServableStore | None = None, guard: Guard | None = None) -> AsyncIterator[Client]:
    backing = store if store is not None else ServedMemory()
    async with serving(backing, guard=guard or Guard()) as at:
        reader, writer = await asyncio.open_connection(at.host, at.port)
        web = Web(at.http_host, at.http_port, token=None, connect_seconds=5)
        yield Client(at, backing, web, reader, writer)
        web.drop()
        writer.close()
