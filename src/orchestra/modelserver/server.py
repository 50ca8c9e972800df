"""The model server: requests in, scripted answers out, on loopback."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from orchestra.errors import ConfigError
from orchestra.modelserver import anthropic, bedrock, chat, gemini, responses
from orchestra.modelserver.answers import Failure, ReplyRule, Script, ScriptedReply, When
from orchestra.modelserver.api import Api, Exchange, text_of, without_keys

HOST = "127.0.0.1"
LARGEST = 64 * 1024 * 1024
"""Bytes of a request that are read."""

_PATIENCE = 2.0
"""Seconds that open connections are given when the server is closed."""

_LOOKS = 0.05
"""Seconds between checks whether a waiting client is still connected."""

_ENDS = (
    ("/messages", anthropic.API),
    ("/chat/completions", chat.API),
    ("/responses", responses.API),
)


class ModelServer:
    """A model provider on loopback that answers by a script, and remembers what it was asked.

    It serves from threads of its own from ``with`` (or ``start``) on, so that a test's own event loop is free.
    """

    def __init__(self, script: Script, *, port: int = 0, told: Callable[[Exchange], None] | None = None) -> None:
        self._lock = threading.Lock()
        self._script = script
        self._used = [0] * len(script.rules)
        self._asked: list[Exchange] = []
        self._told = told
        self.closing = threading.Event()
        try:
            self._http = _Http((HOST, port), self)
        except OSError as error:
            raise ConfigError(f"cannot serve on {HOST}:{port}: {error.strerror or error}") from error
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The base URL for clients of Anthropic and Gemini; OpenAI's want ``/v1`` appended."""
        return f"http://{HOST}:{self._http.server_address[1]}"

    @property
    def requests(self) -> list[Exchange]:
        """Return the requests so far, in order."""
        with self._lock:
            return list(self._asked)

    def start(self) -> ModelServer:
        """Serve, in a thread."""
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.02,), name="model server", daemon=True
        )
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop, and end what is being answered. A second call does nothing."""
        if self.closing.is_set():
            return
        self.closing.set()
        if self._thread is not None:
            self._http.shutdown()
            self._thread.join()
        self._http.server_close()
        self._http.end_connections()

    def __enter__(self) -> ModelServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def take(
        self, api: Api, path: str, body: dict[str, Any], headers: dict[str, str]
    ) -> tuple[Exchange, ScriptedReply]:
        """Record a request and say how it is answered."""
        found = api.read(path, body)
        with self._lock:
            asked = Exchange(
                number=len(self._asked) + 1,
                api=api.name,
                path=urlsplit(path).path,
                model=found.model,
                stream=found.stream,
                system=found.system,
                last=text_of(found.messages[-1]) if found.messages else "",
                messages=found.messages,
                tools=found.tools,
                tool_names=found.tool_names,
                body=body,
                headers=without_keys(headers),
                keyed=any(name.lower() not in without_keys(headers) for name in headers) or "key=" in path,
            )
            self._asked.append(asked)
            answer = self._answer(api, asked)
        if self._told is not None:
            self._told(asked)
        return asked, answer

    def _answer(self, api: Api, asked: Exchange) -> ScriptedReply:
        complaint = api.complaint(asked.body) if self._script.strict else ""
        if complaint:
            asked.rule = "strict"
            return ScriptedReply(error=Failure(kind="invalid_request", message=complaint))
        for index, rule in enumerate(self._script.rules):
            used = self._used[index]
            if _holds(rule.when, asked) and (rule.repeat or used < len(rule.answers)):
                self._used[index] = used + 1
                asked.rule = f"{_name(rule, index)}, answer {min(used, len(rule.answers) - 1) + 1}"
                return rule.answers[min(used, len(rule.answers) - 1)]
        asked.rule = "none"
        message = f"the model server's script has no answer for request {asked.number} (model {asked.model})"
        return ScriptedReply(error=Failure(kind="invalid_request", message=message))


def _name(rule: ReplyRule, index: int) -> str:
    return f"rule {index + 1}" if rule.when != When() else "answers"


def _holds(when: When, asked: Exchange) -> bool:
    return (
        (not when.model or fnmatchcase(asked.model, when.model))
        and when.contains in asked.last
        and when.system in asked.system
        and (not when.tool or when.tool in asked.tool_names)
        and when.api in ("", asked.api)
    )


class _Http(ThreadingHTTPServer):
    """The HTTP server, with its open connections, which closing it ends."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], model: ModelServer) -> None:
        self.model = model
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        super().__init__(address, _RequestHandler)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._open.add(request)
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._changed:
                self._open.discard(request)
                self._changed.notify_all()

    def end_connections(self) -> None:
        with self._changed:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._open, _PATIENCE)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that leaves."""


class _Left(Exception):
    """The client has gone, or the server is closing."""


class _RequestHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http
    disable_nagle_algorithm = True

    def do_HEAD(self) -> None:
        self._send(200, b"")

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if not self._local():
            return
        if path == "/_requests":
            self._json(200, {"requests": [asked.plain() for asked in self.server.model.requests]})
        elif path.endswith("/models"):
            self._json(200, {"object": "list", "data": []})
        else:
            self._json(200 if path == "/" else 404, {"error": {"message": f"nothing is served at {path}"}})

    def do_POST(self) -> None:
        body = self._body()
        if not self._local() or body is None:
            return
        path = urlsplit(self.path).path
        if path.endswith(("/count_tokens", ":countTokens")):
            size = max(1, len(json.dumps(body)) // 4)
            self._json(200, {"input_tokens": size, "totalTokens": size})
            return
        api = _api_of(path)
        if api is None:
            self._json(404, {"error": {"message": f"nothing is served at {path}", "type": "not_found_error"}})
            return
        try:
            asked, answer = self.server.model.take(api, self.path, body, dict(self.headers.items()))
        except (AttributeError, TypeError, ValueError):  # a part of the body is of another type than it has to be
            status, told = api.failure(Failure(kind="invalid_request"), str(body.get("model", "")))
            self._json(status, told)
            return
        try:
            self._answer(api, asked, answer)
        except (_Left, OSError):
            asked.left = not self.server.model.closing.is_set()
            self.close_connection = True

    def _answer(self, api: Api, asked: Exchange, answer: ScriptedReply) -> None:
        self._wait(answer.delay)
        failure = answer.error
        if failure is not None and not (asked.stream and failure.after is not None):
            status, body = api.failure(failure, asked.model)
            headers = dict(answer.headers)
            if failure.retry_after and api.name != "gemini":
                headers.setdefault("retry-after", f"{failure.retry_after:g}")
            asked.answered = status
            self._json(status, body, headers)
            return
        asked.answered = 200
        if answer.raw is not None:
            self._send(200, answer.raw.encode(), answer.headers)
        elif asked.stream:
            self._stream(api, asked, answer)
        else:
            self._whole(json.dumps(api.whole(answer, asked)).encode(), answer)

    def _whole(self, data: bytes, answer: ScriptedReply) -> None:
        if answer.silent_after is not None:
            self._wait(None)
        if answer.break_after is None:
            self._send(200, data, answer.headers)
            return
        self._head(200, {"content-length": str(len(data)), **answer.headers})
        self.wfile.write(data[: len(data) // 2])
        self._cut()

    def _stream(self, api: Api, asked: Exchange, answer: ScriptedReply) -> None:
        frames = api.frames(answer, asked)
        kind = "text/event-stream"
        if api.name == "gemini" and "alt=sse" not in self.path:
            kind, frames = "application/json", _as_array(frames)
        elif api.name == "bedrock":
            kind = bedrock.STREAM
        self._head(200, {"transfer-encoding": "chunked", **answer.headers}, kind=kind)
        self.wfile.flush()
        failure = answer.error
        for number, frame in enumerate(frames):
            if failure is not None and number == failure.after:
                self._chunk(api.failed(api.failure(failure, asked.model)[1]))
                break
            if number == answer.break_after:
                self._cut()
                return
            if number == answer.silent_after:
                self._wait(None)
            self._chunk(frame)
            self._wait(answer.pace)
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, frame: str | bytes) -> None:
        data = frame.encode() if isinstance(frame, str) else frame
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _cut(self) -> None:
        """Close the connection in the middle of an answer."""
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _wait(self, seconds: float | None) -> None:
        """Wait, forever without a time. Raises when the client has left or the server is closed."""
        left = seconds
        while left is None or left > 0:
            step = _LOOKS if left is None else min(left, _LOOKS)
            if self.server.model.closing.wait(step) or _is_gone(self.connection):
                raise _Left
            left = None if left is None else left - step

    def _local(self) -> bool:
        """Whether a request is for this server by its own address: a page in a browser is not served."""
        name = (self.headers.get("host") or HOST).rpartition(":")[0] or HOST
        if name in (HOST, "localhost"):
            return True
        self._json(403, {"error": {"message": "this server is for this machine only"}})
        return False

    def _body(self) -> dict[str, Any] | None:
        length = self.headers.get("content-length") or "0"
        size = int(length) if length.isascii() and length.isdigit() else LARGEST + 1
        if size > LARGEST:
            self.close_connection = True
            self._json(413, {"error": {"message": "the request is too large"}})
            return None
        try:
            found = json.loads(self.rfile.read(size) or b"{}")
        except ValueError:
            found = None
        if not isinstance(found, dict):
            self._json(
                400, {"error": {"message": "the body is not a JSON object", "type": "invalid_request_error"}}
            )
            return None
        return found

    def _json(self, status: int, value: Any, headers: Any = None) -> None:
        self._send(status, value.encode() if isinstance(value, str) else json.dumps(value).encode(), headers or {})

    def _send(self, status: int, data: bytes, headers: Any = None) -> None:
        self._head(status, {"content-length": str(len(data)), **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(data)

    def _head(self, status: int, headers: dict[str, str], *, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  the base class's name
        """Nothing is logged: what was asked is at ``/_requests``."""


def _is_gone(connection: socket.socket) -> bool:
    readable, _, _ = select.select([connection], [], [], 0)
    if not readable:
        return False
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except OSError:
        return True


def _api_of(path: str) -> Api | None:
    if gemini.PATH.search(path):
        return gemini.API
    if bedrock.PATH.search(path):
        return bedrock.API
    return next((api for end, api in _ENDS if path.endswith(end)), None)


def _as_array(frames: Sequence[str | bytes]) -> list[str]:
    """Gemini's stream without server-sent events: one JSON array, piece by piece."""
    found = [str(frame).removeprefix("data: ").strip() for frame in frames]
    return ["[" + found[0], *["," + each for each in found[1:]], "]"]
