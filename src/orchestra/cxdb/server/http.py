"""The server's HTTP/1.1 door: requests with raw paths in, whole answers or streams out.

Paths are not percent-decoded, as CXDB does not decode them; queries are. Every length and every wait is bounded.
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl

import msgspec

from orchestra.cxdb.format.frames import Malformed
from orchestra.cxdb.server.msgpack import unsigned

HEAD_LIMIT = 64 * 1024
BODY_LIMIT = 64 * 1024 * 1024
CHUNK_LINE = 256

IDLE_SECONDS = 300.0
"""How long a connection may stay open between requests."""

STALLED_SECONDS = 60.0
"""How long a request may take to arrive, and an answer to be read."""

_TARGET = re.compile(r"[!-~]+")
_LOCAL = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?", re.ASCII)
_ENCODED = str.maketrans({char: f"%{ord(char):02X}" for char in ' "<>`{}'} | {"\\": "/"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request; ``path`` is raw, ``query`` decoded, header names in small letters."""

    method: str
    path: tuple[str, ...]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""

    def number(self, name: str, most: int) -> int | None:
        """A number in the query; None where there is none that fits."""
        return unsigned(self.query.get(name, ""), most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer."""

    status: int = 200
    body: bytes = b""
    kind: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """An answer that goes on; each piece is sent as it comes."""

    pieces: AsyncGenerator[bytes, None]
    kind: str


Handler = Callable[[Request], Awaitable[Answer | Stream]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Who is let in: hosts and origins by name beside the loopback ones; who knows the token where there is one."""

    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    token: str | None = None

    def check(self, request: Request) -> None:
        """Raises ``Malformed`` for a request that is not to be served."""
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if host and not _LOCAL.fullmatch(host) and host not in self.hosts:
            raise Malformed(403, "host")
        if origin is not None and request.method != "GET" and not self._trusts(origin, host):
            raise Malformed(403, "origin")
        if self.token is not None:
            given = request.headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {self.token}".encode()):
                raise Malformed(401, "token")

    def _trusts(self, origin: str, host: str) -> bool:
        return origin in self.origins or origin == f"http://{host}"

    def headers(self, request: Request) -> Mapping[str, str]:
        """What lets a page of an allowed origin read the answer."""
        origin = request.headers.get("origin")
        return (
            {"Access-Control-Allow-Origin": origin, "Vary": "Origin"} if origin in self.origins and origin else {}
        )


def json_answer(value: object, status: int = 200) -> Answer:
    """An answer in JSON, keys in alphabetical order."""
    return Answer(status=status, body=msgspec.json.encode(value, order="sorted"))


def error_answer(error: Malformed) -> Answer:
    """An error in CXDB's shape."""
    return json_answer({"error": {"code": error.code, "message": error.text}}, error.code)


async def converse(
    handler: Handler, guard: Guard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Serve one connection until it ends."""
    try:
        while await _exchange(handler, guard, reader, writer):
            pass
    except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
        return


async def _exchange(
    handler: Handler, guard: Guard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    """One request and its answer; false where the connection has to end."""
    try:
        async with asyncio.timeout(IDLE_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(STALLED_SECONDS):
            request, stay = await _request(head, reader, writer)
    except asyncio.LimitOverrunError:
        await _send(writer, error_answer(Malformed(431, "header too large")), {}, stay=False)
        return False
    except Malformed as error:
        await _send(writer, error_answer(error), {}, stay=False)
        return False
    try:
        guard.check(request)
        answer = await handler(request)
    except Malformed as error:
        answer = error_answer(error)
    if isinstance(answer, Stream):
        await _stream(answer, guard.headers(request), reader, writer)
        return False
    await _send(writer, answer, guard.headers(request), stay=stay, bare=request.method == "HEAD")
    return stay


# --- reading ---------------------------------------------------------------------------------------


async def _request(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[Request, bool]:
    line, *rest = head[:-4].decode("latin-1").split("\r\n")
    words = line.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not _TARGET.fullmatch(words[1]):
        raise Malformed(400, "bad request")
    headers = dict(map(_header, rest))
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await _body(headers, reader)
    wish = headers.get("connection", "").lower()
    stay = "close" not in wish if words[2] != "HTTP/1.0" else "keep-alive" in wish
    path, _, query = words[1].partition("#")[0].partition("?")
    return Request(method=words[0], path=segments(path), query=_query(query), headers=headers, body=body), stay


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name or name != name.strip():
        raise Malformed(400, "bad header")
    return name.lower(), value.strip()


def _query(text: str) -> Mapping[str, str]:
    try:
        return dict(parse_qsl(text, keep_blank_values=True, errors="replace", max_num_fields=100))
    except ValueError:
        raise Malformed(400, "bad query") from None


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


async def _body(headers: Mapping[str, str], reader: asyncio.StreamReader) -> bytes:
    if "transfer-encoding" in headers:
        if headers["transfer-encoding"].lower() != "chunked":
            raise Malformed(501, "transfer encoding")
        return await _chunks(reader)
    length = unsigned(headers.get("content-length", "0"))
    if length is None:
        raise Malformed(400, "bad content length")
    if length > BODY_LIMIT:
        raise Malformed(413, "body too large")
    return await reader.readexactly(length)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    pieces: list[bytes] = []
    room = BODY_LIMIT
    while True:
        line = await reader.readuntil(b"\r\n")
        text = line[:-2].partition(b";")[0].strip()
        if len(line) > CHUNK_LINE or not re.fullmatch(rb"[0-9a-fA-F]{1,8}", text):
            raise Malformed(400, "bad chunk")
        size = int(text, 16)
        room -= size
        if room < 0:
            raise Malformed(413, "body too large")
        if size == 0:
            while (await reader.readuntil(b"\r\n")) != b"\r\n":
                pass
            return b"".join(pieces)
        pieces.append(await reader.readexactly(size))
        if await reader.readexactly(2) != b"\r\n":
            raise Malformed(400, "bad chunk")


# --- writing ---------------------------------------------------------------------------------------


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def _send(
    writer: asyncio.StreamWriter, answer: Answer, more: Mapping[str, str], *, stay: bool, bare: bool = False
) -> None:
    headers: dict[str, str] = {}
    if answer.body or answer.status not in (204, 304):
        headers = {"Content-Type": answer.kind, "Content-Length": str(len(answer.body))}
    headers |= {**answer.headers, **more}
    if not stay:
        headers["Connection"] = "close"
    async with asyncio.timeout(STALLED_SECONDS):
        writer.write(_head(answer.status, headers) + (b"" if bare else answer.body))
        await writer.drain()


async def _stream(
    stream: Stream, more: Mapping[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Send pieces until there are no more or nobody listens; an empty one only looks whether somebody does."""
    headers = {
        "Content-Type": stream.kind,
        "Cache-Control": "no-cache",
        "Connection": "keep-alive",
        **more,
        "Transfer-Encoding": "chunked",
    }
    writer.write(_head(200, headers))
    async with aclosing(stream.pieces) as pieces:
        async for piece in pieces:
            if reader.at_eof() or writer.is_closing():
                return
            if piece:
                async with asyncio.timeout(STALLED_SECONDS):
                    writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    await writer.drain()
