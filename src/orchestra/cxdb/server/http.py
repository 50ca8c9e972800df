"""HTTP connections and requests of the server: Starlette on uvicorn, with guards and limits.

Paths are not percent-decoded, as CXDB does not decode them; queries are. Every length and every wait is bounded.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import cast
from urllib.parse import parse_qsl

import h11
import msgspec
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.requests import Request as Received
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from orchestra.cxdb.format.frames import Malformed
from orchestra.cxdb.server.msgpack import unsigned

CONNECTIONS = 2048
"""Open connections; further ones are closed at once."""

HEAD_LIMIT = 64 * 1024
BODY_LIMIT = 64 * 1024 * 1024
FIELDS = 100

IDLE_SECONDS = 300.0
"""How long a connection may stay open between requests, and the head of a request may take to arrive."""

STALLED_SECONDS = 60.0
"""How long the body of a request may take to arrive, and an answer to be read."""

_LOCAL = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?", re.ASCII)
_ENCODED = str.maketrans({char: f"%{ord(char):02X}" for char in ' "<>`{}'} | {"\\": "/"})


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One request, read whole; ``path`` is raw, ``query`` decoded, header names in any letters."""

    path: tuple[str, ...]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""

    def id(self, name: str) -> int:
        """The id that follows the first two parts of the path. Raises ``Malformed``."""
        found = unsigned(self.path[2])
        if found is None:
            raise Malformed(422, f"invalid {name}")
        return found

    def number(self, name: str, most: int) -> int | None:
        """A number in the query; None where there is none that fits."""
        return unsigned(self.query.get(name, ""), most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Who may connect: named hosts and origins beside loopback; a token's owner if there is a token."""

    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    token: str | None = None

    def check(self, method: str, headers: Mapping[str, str]) -> None:
        """Raises ``Malformed`` for a request that is not to be served."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if host and not _LOCAL.fullmatch(host) and host not in self.hosts:
            raise Malformed(403, "host")
        if origin is not None and method != "GET" and not self._trusts(origin, host):
            raise Malformed(403, "origin")
        if self.token is not None:
            given = headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {self.token}".encode()):
                raise Malformed(401, "token")

    def _trusts(self, origin: str, host: str) -> bool:
        return origin in self.origins or origin == f"http://{host}"

    def headers(self, origin: str | None) -> list[tuple[bytes, bytes]]:
        """What lets a page of an allowed origin read the answer."""
        if not origin or origin not in self.origins:
            return []
        return [(b"Access-Control-Allow-Origin", origin.encode("latin-1")), (b"Vary", b"Origin")]


def answer(
    body: bytes = b"", *, status: int = 200, kind: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """An answer of any kind."""
    return Response(body, status, {**({"content-type": kind} if kind else {}), **(headers or {})})


def json_answer(value: object, status: int = 200) -> Response:
    """An answer in JSON, keys in alphabetical order."""
    return answer(msgspec.json.encode(value, order="sorted"), status=status, kind="application/json")


def error_answer(error: Malformed) -> Response:
    """An error in CXDB's shape."""
    return json_answer({"error": {"code": error.code, "message": error.text}}, error.code)


class Stream(StreamingResponse):
    """A streamed answer, until there are no more pieces or the client leaves."""

    def __init__(self, pieces: AsyncGenerator[bytes, None], kind: str) -> None:
        super().__init__(pieces, headers={"content-type": kind, "cache-control": "no-cache"})
        self._pieces = pieces

    async def stream_response(self, send: Send) -> None:
        """Send the pieces; what they hold is given back also where the reader leaves."""
        async with aclosing(self._pieces):
            await super().stream_response(send)


async def whole(received: Received) -> HttpRequest:
    """A request with its body. Raises ``Malformed`` for one that is too large or too slow."""
    query = received.scope["query_string"].partition(b"#")[0].decode("latin-1")
    try:
        fields = dict(parse_qsl(query, keep_blank_values=True, errors="replace", max_num_fields=FIELDS))
    except ValueError:
        raise Malformed(400, "bad query") from None
    length = unsigned(received.headers.get("content-length", "0"))
    if length is not None and length > BODY_LIMIT:
        raise Malformed(413, "body too large")
    pieces, room = list[bytes](), BODY_LIMIT
    try:
        async with asyncio.timeout(STALLED_SECONDS):
            async for piece in received.stream():
                pieces.append(piece)
                room -= len(piece)
                if room < 0:
                    raise Malformed(413, "body too large")
    except TimeoutError:
        raise Malformed(408, "the request did not arrive") from None
    return HttpRequest(
        path=received.scope["segments"], query=fields, headers=received.headers, body=b"".join(pieces)
    )


def segments(path: str) -> tuple[str, ...]:
    """A path's parts; ``.`` and ``..`` are resolved, nothing else is. Empty for what is no path."""
    if not path.startswith("/"):
        return ()
    found: list[str] = []
    parts = path.translate(_ENCODED).split("/")[1:]
    for number, part in enumerate(parts):
        plain = part.lower().replace("%2e", ".")
        if plain == ".." and found:
            found.pop()
        if plain not in (".", ".."):
            found.append(part)
        elif number == len(parts) - 1:
            found.append("")
    return tuple(found)


def application(routes: Sequence[BaseRoute], guard: Guard, errors: Mapping[type[Exception], object]) -> ASGIApp:
    """The routes and their guard. What a route raises is answered by ``errors``."""
    app = Starlette(routes=routes, exception_handlers={**errors, ClientDisconnect: _no_reader})  # type: ignore[dict-item]
    app.router.redirect_slashes = False
    return _Guarded(app, guard)


async def _no_reader(_received: Received, _error: Exception) -> Response:
    """Answer a client that has left; nothing is sent."""
    return Response(status_code=400)


@dataclass(frozen=True, slots=True)
class _Guarded:
    """Refuses requests that the guard does not allow, and gives routes the raw path."""

    app: ASGIApp
    guard: Guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        more = self.guard.headers(headers.get("origin"))

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        found = segments(scope["raw_path"].partition(b"#")[0].decode("latin-1"))
        scope = {**scope, "segments": found, "path": "/" + "/".join(found) if found else ""}
        try:
            self.guard.check(scope["method"], headers)
        except Malformed as error:
            await error_answer(error)(scope, receive, sending)
            return
        await self.app(scope, receive, sending)


class HttpConnection(H11Protocol):
    """A uvicorn connection with bounded waits that refuses malformed requests in CXDB's shape."""

    _stalled: asyncio.TimerHandle | None = None

    @property
    def _open(self) -> RequestResponseCycle | None:
        """The request that is not answered yet."""
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None before the first request
        return None if cycle is None or cycle.response_complete else cycle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Close a connection beyond the limit at once."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
        self._wait()

    def _wait(self) -> None:
        """Restart the timer for the next request."""
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(IDLE_SECONDS, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        """Read on, with a timer until the request is complete."""
        super().data_received(data)
        if self._open is None:
            self._wait()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer a request whose client will send no other; anything else ends with the client's half."""
        cycle = self._open
        if cycle is None or cycle.more_body or cycle.response_started:
            return False
        cycle.keep_alive = False
        return True

    def pause_writing(self) -> None:
        """Start a timer that closes the connection if the answer is not read."""
        super().pause_writing()
        self._stalled = self.loop.call_later(STALLED_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop the timer of an answer that is not read."""
        super().resume_writing()
        self._read()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._read()

    def _read(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def send_400_response(self, msg: str) -> None:
        """Answer a malformed request with the status that says why."""
        error = sys.exc_info()[1]
        status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
        cycle = self._open
        if cycle is not None:
            cycle.disconnected = True
            cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            refused = error_answer(Malformed(status, "header too large" if status == 431 else "bad request"))
            headers = [*refused.raw_headers, (b"connection", b"close")]
            for event in (h11.Response(status_code=status, headers=headers), h11.Data(data=bytes(refused.body))):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


@asynccontextmanager
async def listening(app: ASGIApp, host: str, port: int) -> AsyncIterator[tuple[str, int]]:
    """Serve an application during the block and yield its address.

    Raises ``OSError`` if the address cannot be used.
    """
    config = Config(
        app,
        http=HttpConnection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",
        access_log=False,
        h11_max_incomplete_event_size=HEAD_LIMIT,
        timeout_keep_alive=round(IDLE_SECONDS),
    )
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: HttpConnection(config, state, {}), host, port)
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()
        for connection in tuple(state.connections):
            connection.transport.abort()
        for task in tuple(state.tasks):
            task.cancel()
        await asyncio.gather(*state.tasks, return_exceptions=True)
