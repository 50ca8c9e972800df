"""HTTP to a CXDB server: raw paths, bounded answers, connections that are kept, and event streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

from orchestra.cxdb.remote.link import ANSWER_SECONDS, Lost, Silence, connected, reason

BODY_LIMIT = 512 * 1024 * 1024
HEAD_LIMIT = 64 * 1024
IDLE = 4

IDLE_SECONDS = 20.0
"""How long an event stream may be silent before it counts as lost: a stopped server looks like a quiet one."""


class Reply(NamedTuple):
    """A whole answer; header names in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NoHttp(Lost):
    """What answers speaks another protocol."""

    def __init__(self) -> None:
        super().__init__("the answer is no HTTP", connected=True)


class Silent(Lost):
    """The server did not answer in time."""


class _Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def head(self) -> tuple[int, Mapping[str, str]]:
        """Status and headers."""
        while True:
            try:
                raw = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            except asyncio.IncompleteReadError as error:
                if not b"HTTP/".startswith(error.partial[:5]):
                    raise NoHttp from error
                raise
            line, *rest = raw[:-4].split("\r\n")
            words = line.split(" ", 2)
            if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
                raise NoHttp
            if words[1] != "100":
                break
        pairs = (text.partition(":") for text in rest)
        return int(words[1]), {name.lower(): value.strip() for name, _, value in pairs}

    async def chunks(self) -> AsyncIterator[bytes]:
        """The pieces of a chunked body."""
        while True:
            async with asyncio.timeout(IDLE_SECONDS):
                line = (await self.reader.readuntil(b"\r\n"))[:-2].partition(b";")[0]
            try:
                size = int(line, 16)
            except ValueError:
                raise ConnectionAbortedError("a bad chunk") from None
            if not 0 <= size <= BODY_LIMIT:
                raise ConnectionAbortedError(f"a chunk of {size} bytes")
            piece = await self.reader.readexactly(size)
            await self.reader.readexactly(2)
            if not size:
                return
            yield piece

    async def body(self, status: int, headers: Mapping[str, str], silence: Silence) -> bytes:
        """A whole body."""
        if status in (204, 304):
            return b""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            found = bytearray()
            async for piece in self.chunks():
                found += piece
                silence.broken()
                if len(found) > BODY_LIMIT:
                    raise ConnectionAbortedError("the answer is too large")
            return bytes(found)
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > BODY_LIMIT:
            raise ConnectionAbortedError(f"an answer of {length} bytes")
        left, pieces = int(length), []
        while left:
            pieces.append(await self.reader.readexactly(min(left, HEAD_LIMIT)))
            left -= len(pieces[-1])
            silence.broken()
        return b"".join(pieces)


class Web:
    """The HTTP side of one server. Everything raises ``Lost`` where the connection fails."""

    def __init__(self, host: str, port: int, *, token: str | None, connect_seconds: float) -> None:
        self._host = host
        self._port = port
        self._connect_seconds = connect_seconds
        self._more = f"Authorization: Bearer {token}\r\n" if token else ""
        self._idle: list[_Wire] = []

    async def request(
        self, method: str, target: str, body: bytes = b"", *, seconds: float = ANSWER_SECONDS
    ) -> Reply:
        """One request and its whole answer; a kept connection that turns out dead is replaced once.

        The server may be silent for so many seconds.
        """
        while self._idle and method == "GET":
            wire = self._idle.pop()
            try:
                return await self._exchange(wire, method, target, body, seconds)
            except Silent:
                raise
            except Lost:
                continue
        return await self._exchange(await self._connect(seconds), method, target, body, seconds)

    @asynccontextmanager
    async def stream(self, target: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The pieces of an answer that goes on."""
        wire = await self._connect(self._connect_seconds)
        try:
            wire.writer.write(self._head("GET", target, b""))
            async with asyncio.timeout(ANSWER_SECONDS):
                status, headers = await wire.head()
            if status != 200 or headers.get("transfer-encoding", "").lower() != "chunked":
                raise Lost(f"{target} was answered with {status}", connected=True)
            yield wire.chunks()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise Lost(reason(error), connected=True) from error
        finally:
            wire.writer.close()

    async def _connect(self, seconds: float) -> _Wire:
        try:
            async with asyncio.timeout(min(seconds, self._connect_seconds)):
                sock = await connected(self._host, self._port)
                opened = await asyncio.open_connection(sock=sock, limit=HEAD_LIMIT)
        except (OSError, TimeoutError) as error:
            raise Lost(reason(error), connected=False) from error
        return _Wire(*opened)

    def _head(self, method: str, target: str, body: bytes) -> bytes:
        length = f"Content-Length: {len(body)}\r\n" if body or method != "GET" else ""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{method} {target} HTTP/1.1\r\nHost: {host}:{self._port}\r\n{self._more}{length}\r\n".encode()

    async def _exchange(self, wire: _Wire, method: str, target: str, body: bytes, seconds: float) -> Reply:
        silence = Silence(seconds)
        try:
            async with silence:
                wire.writer.write(self._head(method, target, body) + body)
                status, headers = await wire.head()
                silence.broken()
                reply = Reply(status, headers, await wire.body(status, headers, silence))
        except TimeoutError as error:
            wire.writer.close()
            raise Silent(reason(error), connected=True, heard=silence.heard) from error
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            wire.writer.close()
            raise Lost(reason(error), connected=True, heard=silence.heard) from error
        except BaseException:
            wire.writer.close()
            raise
        if headers.get("connection", "").lower() == "close" or len(self._idle) >= IDLE:
            wire.writer.close()
        else:
            self._idle.append(wire)
        return reply

    def drop(self) -> None:
        """End the connections that nobody uses."""
        for wire in self._idle:
            wire.writer.close()
        self._idle.clear()
