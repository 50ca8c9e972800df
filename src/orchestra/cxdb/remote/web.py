"""HTTP client for a CXDB server: raw paths, bounded answers, kept connections, event streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

import h11

from orchestra.cxdb.remote.link import ANSWER_SECONDS, Lost, Pulse, Silence, connect, reason

BODY_LIMIT = 512 * 1024 * 1024
HEAD_LIMIT = 64 * 1024
IDLE = 4
_PIECE = 64 * 1024

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
        super().__init__("the answer is not HTTP", connected=True)


class Silent(Lost):
    """The server did not answer in time."""


class _Wire:
    """One connection; h11 writes the requests and reads the answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)
        self._begin = b""

    def ask(self, method: str, target: str, headers: list[tuple[str, str]], body: bytes) -> None:
        """Write a request."""
        request = h11.Request(method=method, target=target, headers=headers)
        for event in (request, h11.Data(data=body), h11.EndOfMessage()) if body else (request, h11.EndOfMessage()):
            self.writer.write(self._http.send(event) or b"")

    async def head(self) -> tuple[int, Mapping[str, str]]:
        """Status and headers."""
        while not isinstance(event := await self._event(), h11.Response):
            if not isinstance(event, h11.InformationalResponse):
                raise NoHttp
        return event.status_code, {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}

    async def pieces(self) -> AsyncIterator[bytes]:
        """The pieces of a body."""
        while isinstance(event := await self._event(), h11.Data):
            yield bytes(event.data)

    async def stream(self) -> AsyncIterator[bytes]:
        """Yield the pieces of a streamed answer. Raises ``TimeoutError`` if none comes for a while."""
        while True:
            async with asyncio.timeout(IDLE_SECONDS):
                event = await self._event()
            if not isinstance(event, h11.Data):
                return
            yield bytes(event.data)

    async def body(self, headers: Mapping[str, str], silence: Silence) -> bytes:
        """A whole body."""
        length = headers.get("content-length", "0")
        if int(length) > BODY_LIMIT:
            raise ConnectionAbortedError(f"an answer of {length} bytes")
        found = bytearray()
        async for piece in self.pieces():
            found += piece
            silence.restart()
            if len(found) > BODY_LIMIT:
                raise ConnectionAbortedError("the answer is too large")
        return bytes(found)

    def again(self) -> bool:
        """Make the connection ready for another request; false where the server ends it."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        self._begin = b""
        return True

    async def _event(self) -> object:
        try:
            while True:
                event = self._http.next_event()
                if event is not h11.NEED_DATA:
                    return event
                data = await self.reader.read(_PIECE)
                self._begin += data[: 5 - len(self._begin)]
                if not data and self._begin[:5] != b"HTTP/"[: len(self._begin)]:
                    raise NoHttp
                if not data and self._http.their_state is not h11.SEND_BODY:
                    raise asyncio.IncompleteReadError(self._begin, None)
                self._http.receive_data(data)
        except h11.RemoteProtocolError as error:
            if self._http.their_state is h11.SEND_BODY or self._begin == b"HTTP/":
                raise ConnectionAbortedError(str(error)) from error
            raise NoHttp from error


class Web:
    """The HTTP side of one server. Everything raises ``Lost`` where the connection fails."""

    def __init__(
        self, host: str, port: int, *, token: str | None, connect_seconds: float, pulse: Pulse | None = None
    ) -> None:
        self._host = host
        self._port = port
        self._pulse = pulse or Pulse()
        self._connect_seconds = connect_seconds
        self._more = [("Authorization", f"Bearer {token}")] if token else []
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
        """Yield the pieces of a streamed answer."""
        wire = await self._connect(self._connect_seconds)
        try:
            wire.ask("GET", target, self._headers("GET", b""), b"")
            async with asyncio.timeout(ANSWER_SECONDS):
                status, headers = await wire.head()
            if status != 200 or headers.get("transfer-encoding", "").lower() != "chunked":
                raise Lost(f"{target} was answered with {status}", connected=True)
            yield wire.stream()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise Lost(reason(error), connected=True) from error
        finally:
            wire.writer.close()

    async def _connect(self, seconds: float) -> _Wire:
        try:
            async with asyncio.timeout(min(seconds, self._connect_seconds)):
                sock = await connect(self._host, self._port)
                opened = await asyncio.open_connection(sock=sock, limit=HEAD_LIMIT)
        except (OSError, TimeoutError) as error:
            raise Lost(reason(error), connected=False) from error
        return _Wire(*opened)

    def _headers(self, method: str, body: bytes) -> list[tuple[str, str]]:
        host = f"[{self._host}]" if ":" in self._host else self._host
        length = [("Content-Length", str(len(body)))] if body or method != "GET" else []
        return [("Host", f"{host}:{self._port}"), *self._more, *length]

    async def _exchange(self, wire: _Wire, method: str, target: str, body: bytes, seconds: float) -> Reply:
        silence = Silence(seconds, self._pulse)
        try:
            async with silence:
                wire.ask(method, target, self._headers(method, body), body)
                status, headers = await wire.head()
                silence.restart()
                reply = Reply(status, headers, await wire.body(headers, silence))
        except TimeoutError as error:
            wire.writer.close()
            raise Silent(reason(error), connected=True, heard=silence.heard) from error
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            wire.writer.close()
            raise Lost(reason(error), connected=True, heard=silence.heard) from error
        except BaseException:
            wire.writer.close()
            raise
        if len(self._idle) >= IDLE or not wire.again():
            wire.writer.close()
        else:
            self._idle.append(wire)
        return reply

    def drop(self) -> None:
        """Close unused connections."""
        for wire in self._idle:
            wire.writer.close()
        self._idle.clear()
