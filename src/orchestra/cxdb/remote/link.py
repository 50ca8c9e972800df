"""Connections of the binary protocol: requests in one send, answers in their order.

The server writes an answer in small pieces, which costs 44 ms each time unless the system is told before every
read to acknowledge at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, NamedTuple, Self

from orchestra.cxdb.format import frames
from orchestra.cxdb.format.frames import Frame, Malformed

ANSWER_LIMIT = 256 * 1024 * 1024
"""Bytes of the largest answer that is taken; CXDB itself knows no limit."""

ANSWER_SECONDS = 30.0
"""How long a server may be silent while it owes us an answer, or takes nothing of what we send."""

WINDOW = 256
"""Requests that may wait for their answers, so that neither side stops reading because the other does."""

IDLE = 8
"""Unused connections that are kept."""

_PIECE = 256 * 1024
_ACKNOWLEDGE = getattr(socket, "TCP_QUICKACK", None)


class WireRequest(NamedTuple):
    """One request."""

    kind: int
    payload: bytes
    flags: int = 0


class Lost(Exception):
    """The connection ended, or could not be made; ``answers`` are those that came before."""

    def __init__(
        self, reason: str, *, connected: bool, answers: Sequence[Frame] = (), heard: float | None = None
    ) -> None:
        """``heard`` is when the server sent something last, by the loop's clock."""
        super().__init__(reason)
        self.connected = connected
        self.answers = tuple(answers)
        self.heard = heard


class Pulse:
    """When a server sent something last, on any connection, by the loop's clock; 0 where it never did."""

    def __init__(self) -> None:
        self.at = 0.0


class Silence:
    """The deadline of a wait for a server; each piece that it sends or takes renews it."""

    def __init__(self, seconds: float, pulse: Pulse) -> None:
        self._seconds = seconds
        self._pulse = pulse
        self.heard: float | None = None
        self._limit = asyncio.timeout(seconds)

    async def __aenter__(self) -> Self:
        await self._limit.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._limit.__aexit__(kind, error, trace)

    def restart(self, *, heard: bool = True) -> None:
        """The server took or sent (``heard``) something: restart the wait."""
        now = asyncio.get_running_loop().time()
        if heard:
            self.heard = self._pulse.at = now
        self._limit.reschedule(now + self._seconds)


class Link:
    """One connection that has said hello."""

    def __init__(self, sock: socket.socket, pulse: Pulse) -> None:
        self._sock = sock
        self._pulse = pulse
        self._buffer = bytearray()
        self._number = 0
        self.session_id = 0
        self.fresh = True

    @classmethod
    async def connect(cls, host: str, port: int, greeting: bytes, seconds: float, pulse: Pulse) -> Link:
        """Connect and say hello. Raises ``Lost``."""
        until = asyncio.get_running_loop().time() + seconds
        try:
            async with asyncio.timeout_at(until):
                sock = await connect(host, port)
        except (OSError, TimeoutError) as error:
            raise Lost(reason(error), connected=False) from error
        link = cls(sock, pulse)
        try:
            async with asyncio.timeout_at(until):
                (answer,) = await link.exchange([WireRequest(frames.HELLO, greeting)])
            link.session_id = _session_id(answer)
        except (Lost, Malformed, TimeoutError) as error:
            link.close()
            raise Lost(reason(error), connected=False) from error
        except BaseException:
            link.close()
            raise
        return link

    async def exchange(self, asks: Sequence[WireRequest], seconds: float = ANSWER_SECONDS) -> list[Frame]:
        """Send requests together and read their answers.

        Raises ``Lost``, after which the connection is unusable.

        The server may be silent for so many seconds.
        """
        answers: list[Frame] = []
        silence = Silence(seconds, self._pulse)
        try:
            async with silence:
                for some in _windows(asks):
                    await self._send(some, silence)
                    for number in range(self._number - len(some) + 1, self._number + 1):
                        answers.append(await self._answer(number, silence))  # noqa: PERF401  kept if one fails
        except (OSError, TimeoutError) as error:
            raise Lost(reason(error), connected=True, answers=answers, heard=silence.heard) from error
        return answers

    async def _send(self, asks: Sequence[WireRequest], silence: Silence) -> None:
        parts = []
        for ask in asks:
            self._number += 1
            parts.append(frames.frame(ask.kind, ask.payload, self._number, ask.flags))
        data = memoryview(b"".join(parts))
        for at in range(0, len(data), _PIECE):
            await asyncio.get_running_loop().sock_sendall(self._sock, data[at : at + _PIECE])
            silence.restart(heard=False)

    async def _answer(self, number: int, silence: Silence) -> Frame:
        header = frames.read_header(await self._read(frames.HEADER.size, silence))
        if header.request != number:
            raise ConnectionAbortedError(f"an answer to request {header.request}, not to {number}")
        if header.length > ANSWER_LIMIT:
            raise ConnectionAbortedError(f"an answer of {header.length} bytes")
        return Frame(header.kind, header.flags, header.request, await self._read(header.length, silence))

    async def _read(self, size: int, silence: Silence) -> bytes:
        receive, buffer = asyncio.get_running_loop().sock_recv, self._buffer
        while len(buffer) < size:
            if _ACKNOWLEDGE is not None:
                self._sock.setsockopt(socket.IPPROTO_TCP, _ACKNOWLEDGE, 1)
            piece = await receive(self._sock, _PIECE)
            if not piece:
                raise ConnectionResetError("the server closed the connection")
            buffer += piece
            silence.restart()
        found = bytes(buffer[:size])
        del buffer[:size]
        return found

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()


def _session_id(answer: Frame) -> int:
    if answer.kind == frames.ERROR:
        code, text = frames.read_error(answer.payload)
        raise Malformed(code, f"the server refused the greeting: {text}")
    return frames.read_hello_answer(answer.payload)[0]


def _windows(asks: Sequence[WireRequest]) -> Iterator[Sequence[WireRequest]]:
    """Requests in parts whose answers come without a request of the next part: a batch is never parted."""
    start = 0
    for end, ask in enumerate(asks, 1):
        if end == len(asks) or (end - start >= WINDOW and not ask.flags & frames.MORE):
            yield asks[start:end]
            start = end


async def connect(host: str, port: int) -> socket.socket:
    """A socket that is connected. Raises ``OSError``."""
    trouble: OSError = OSError("no address")
    for family, kind, protocol, _, address in await _addresses(host, port):
        try:
            return await _connect_to(socket.socket(family, kind, protocol), address)
        except OSError as error:
            trouble = error
    raise trouble


async def _addresses(host: str, port: int) -> Sequence[tuple[Any, ...]]:
    """Resolve a name; a slow resolver is abandoned, also at the end of the process."""
    with contextlib.suppress(socket.gaierror):
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Sequence[tuple[Any, ...]]] = loop.create_future()

    def settle(answer: Sequence[tuple[Any, ...]], error: OSError | None) -> None:
        if not found.done():
            found.set_result(answer) if error is None else found.set_exception(error)

    def resolve() -> None:
        answer: Sequence[tuple[Any, ...]] = ()
        trouble: OSError | None = None
        try:
            answer = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            trouble = error
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, answer, trouble)

    threading.Thread(target=resolve, name="resolver", daemon=True).start()
    return await found


async def _connect_to(sock: socket.socket, address: Any) -> socket.socket:
    loop = asyncio.get_running_loop()
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def reason(error: Exception) -> str:
    """What is wrong with a connection, in the system's words without its numbers."""
    if isinstance(error, socket.gaierror):
        return "unknown host name"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, asyncio.IncompleteReadError):
        return "it closed the connection in the middle of an answer"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__


class Pool:
    """Connections to one server; each is used by one caller at a time."""

    def __init__(self, host: str, port: int, greeting: bytes, *, connect_seconds: float, pulse: Pulse) -> None:
        self._host = host
        self._port = port
        self._greeting = greeting
        self._connect_seconds = connect_seconds
        self._pulse = pulse
        self._idle: list[Link] = []
        self.newest_session = 0

    @asynccontextmanager
    async def link(self, seconds: float, *, fresh: bool = False) -> AsyncIterator[Link]:
        """Yield a connection made within so many seconds; ``fresh`` asks for an unused one.

        It is kept unless the block raises.
        """
        link = self._idle.pop() if self._idle and not fresh else await self._connect(seconds)
        try:
            yield link
        except BaseException:
            link.close()
            raise
        link.fresh = False
        if len(self._idle) < IDLE:
            self._idle.append(link)
        else:
            link.close()

    async def _connect(self, seconds: float) -> Link:
        seconds = min(seconds, self._connect_seconds)
        link = await Link.connect(self._host, self._port, self._greeting, seconds, self._pulse)
        self.newest_session = link.session_id
        return link

    async def probe(self, seconds: float) -> None:
        """Connect and say hello. Raises ``Lost``."""
        async with self.link(seconds, fresh=True):
            return

    def drop(self) -> None:
        """Close unused connections."""
        for link in self._idle:
            link.close()
        self._idle.clear()
