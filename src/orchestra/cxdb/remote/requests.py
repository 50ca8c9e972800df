"""Repeatable requests, and how long to wait for an unreachable server (S20)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeAlias

import msgspec

from orchestra.cxdb.format import frames
from orchestra.cxdb.format.frames import Frame, Malformed
from orchestra.cxdb.remote.link import ANSWER_SECONDS, Lost, Pool, Pulse, WireRequest
from orchestra.cxdb.remote.web import NoHttp, Reply, Web
from orchestra.errors import (
    Damaged,
    OrchestraError,
    SessionNotFound,
    StoreAbandoned,
    StoreError,
    StoreFull,
    StoreUnreachable,
)

FIRST_CONTACT = 1.5
"""Seconds that a server is waited for that has not answered yet."""

PROBE_SECONDS = 0.4
"""How long the HTTP port may take to show that only the binary one is closed."""

LEAST_SECONDS = 0.05
"""What an attempt has at the end of patience."""

TELL_SECONDS = 3.0
"""How long a server is silent before it is said that it is waited for."""

FIRST_WAIT = 0.05
LONGEST_WAIT = 2.0

REFUSALS = 2
"""So often a new connection that is closed instead of answered is CXDB's way to say no."""

TAG = "orchestra-link"
"""How our connections are listed; a context that says nothing of itself is listed under it while we are there."""


TellSilence: TypeAlias = Callable[[float, float], None]
"""Takes for how many seconds a server has been silent, and for how many more it is waited for: 0 where it has
answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPlace:
    """Where a server is: its binary and its HTTP address."""

    host: str
    port: int
    http_host: str
    http_port: int
    token: str | None = None

    def __str__(self) -> str:
        return f"http://{self.http_host}:{self.http_port} and {self.host}:{self.port}"


class Waits:
    """The calls that wait for one server; reported once it has been silent for ``after`` seconds, and again when
    it answers."""

    def __init__(self) -> None:
        self.active: set[Patience] = set()
        self.pulse = Pulse()
        self.tell: TellSilence | None = None
        self.after = TELL_SECONDS
        self._since = 0.0

    def look(self, patience: Patience) -> None:
        """Report that the server is silent, unless that was reported or it has answered meanwhile."""
        since = max(patience.began, self.pulse.at)
        due = since + self.after
        if _now() < due:
            patience.look_at(due)
        elif self.tell is not None and not self._since:
            self._since = since
            self.tell(_now() - since, patience.until - _now())

    def over(self) -> None:
        """Report that the server answers again, if its silence was reported."""
        if self._since and self.tell is not None:
            self.tell(_now() - self._since, 0.0)
        self._since = 0.0


class Patience:
    """How long one call is retried: each wait is longer than the previous one.

    What is spent on waiting for an answer that never comes counts, so that a call ends ``seconds`` after the server
    was heard of last. The block in which it is used ends early, with ``StoreUnreachable``, when it is ``cut``.
    """

    def __init__(
        self, seconds: float, trouble: Callable[[Lost], Awaitable[StoreUnreachable]], waits: Waits
    ) -> None:
        self._trouble = trouble
        self._seconds = seconds
        self.began = _now()
        self.until = self.began + seconds
        self._wait = FIRST_WAIT
        self._waits = waits
        self._look: asyncio.TimerHandle | None = None
        self._limit = asyncio.timeout(None)

    async def __aenter__(self) -> Self:
        self._waits.active.add(self)
        self.look_at(self.began + self._waits.after)
        await self._limit.__aenter__()
        return self

    def look_at(self, when: float) -> None:
        """Look then, by the loop's clock, whether it is to be said that the server is waited for."""
        self._look = asyncio.get_running_loop().call_at(when, self._waits.look, self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waits.active.discard(self)
        if self._look is not None:
            self._look.cancel()
        if error is None:
            self._waits.over()
        try:
            await self._limit.__aexit__(kind, error, trace)
        except TimeoutError:
            raise await self._trouble(Lost("no answer in time", connected=True)) from None

    @property
    def left(self) -> float:
        """Seconds for which the next attempt may wait for a silent server."""
        return min(max(self.until - _now(), LEAST_SECONDS), ANSWER_SECONDS)

    def cut(self, seconds: float) -> None:
        """Allow at most so many seconds from now on."""
        self._seconds = 0.0
        self.until = min(self.until, _now() + seconds)
        self._limit.reschedule(self.until)

    async def wait(self, lost: Lost) -> None:
        """Wait for the next attempt. Raises ``StoreUnreachable`` if there is none left."""
        if lost.heard is not None:
            self.until = max(self.until, lost.heard + self._seconds)
        if _now() + self._wait > self.until:
            raise await self._trouble(lost) from lost
        await asyncio.sleep(self._wait)
        self._wait = min(2 * self._wait, LONGEST_WAIT)


def _now() -> float:
    return asyncio.get_running_loop().time()


def unreachable(place: ServerPlace, reason: str) -> StoreUnreachable:
    """The error for a server that is configured but does not answer (S3)."""
    return StoreUnreachable(
        f"the CXDB server at {place} does not answer: {reason}",
        fix="start one: docker compose up -d, or orchestra cxdb serve; or use a folder: --store DIR",
    )


def half_open(place: ServerPlace, reason: str) -> StoreUnreachable:
    """The error for a server of which only the HTTP port answers (S3)."""
    return StoreUnreachable(
        f"the CXDB server at http://{place.http_host}:{place.http_port} answers, but its binary protocol does not"
        f" answer at {place.host}:{place.port}: {reason}",
        fix="set the address of its binary protocol in orchestra.yaml, as cxdb.address: HOST:PORT",
    )


def refusal_error(reason: str) -> StoreUnreachable:
    """The error for a server that requires a token, or another host name."""
    return StoreUnreachable(
        f"the CXDB server refuses the connection: {reason}",
        fix="set its token in ORCHESTRA_CXDB_TOKEN or cxdb.token_file; if it rejects its host name, start it"
        " with orchestra cxdb serve --host NAME",
    )


def stranger(place: ServerPlace, why: str) -> StoreUnreachable:
    """The error for another program, or CXDB's binary port, at the HTTP address."""
    return StoreUnreachable(
        f"http://{place.http_host}:{place.http_port} does not answer like a CXDB server: {why}",
        fix="set its HTTP address (port 9010 by default) as cxdb.url or with --store",
    )


def refusal(code: int, text: str, what: str) -> OrchestraError:
    """The exception for a server's error."""
    match code:
        case 404:
            return SessionNotFound(f"no {what}")
        case 401 | 403:
            return refusal_error(text)
        case 500:
            return Damaged(f"the CXDB server cannot read {what}: {text}")
        case 503:
            return StoreUnreachable(f"the CXDB server cannot reach its store: {text}")
        case 507:
            return StoreFull(f"the CXDB server is full: {text}")
        case _:
            return StoreError(f"the CXDB server refused {what}: {text}")


def in_our_form(reply: Reply) -> bool:
    """Whether an error has CXDB's form."""
    try:
        body = msgspec.json.decode(reply.body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return False
    return isinstance(body, dict) and "error" in body


def greeting(token: str | None) -> bytes:
    """Return the payload of our HELLO."""
    asked = {name.strip('"'): True for name in (frames.TIMES, frames.BATCHES)}
    meta = asked | ({frames.TOKEN: token} if token else {})
    return frames.hello(TAG, msgspec.json.encode(meta).decode())


class Requests:
    """One server, asked until it answers or patience ends."""

    def __init__(self, place: ServerPlace, *, patience: float, connect_seconds: float) -> None:
        self.place = place
        self.patience = patience
        self.waits = Waits()
        pulse = self.waits.pulse
        self.pool = Pool(
            place.host, place.port, greeting(place.token), connect_seconds=connect_seconds, pulse=pulse
        )
        self.web = Web(
            place.http_host, place.http_port, token=place.token, connect_seconds=connect_seconds, pulse=pulse
        )
        self._reached: set[str] = set()
        """The ports that have answered, ``binary`` or ``http``; others are not waited for long (S3)."""
        self._hurried = False
        self.losses = 0
        """How often a connection was lost; after each, the server may be another one."""

    def hurry(self, seconds: float) -> None:
        """Wait for a silent server at most so many seconds, in calls that are being made and in later ones."""
        self.patience, self._hurried = min(self.patience, seconds), True
        for patience in self.waits.active:
            patience.cut(seconds)

    async def greet(self) -> None:
        """Make sure that the binary protocol answers at all. Raises ``StoreUnreachable``."""
        await self._first("binary", self.pool.probe, self.trouble)

    async def _first(
        self,
        port: str,
        probe: Callable[[float], Awaitable[object]],
        trouble: Callable[[Lost], Awaitable[StoreUnreachable]],
    ) -> None:
        """Wait until a port answers that has not answered in this process yet."""
        if port in self._reached:
            return
        seconds = min(self.patience, FIRST_CONTACT)
        async with Patience(seconds, trouble, self.waits) as patience:
            while port not in self._reached:
                try:
                    await probe(patience.left)
                    self._reached.add(port)
                except Lost as lost:
                    await patience.wait(lost)

    async def _probe_http(self, seconds: float) -> None:
        with contextlib.suppress(NoHttp):  # reported by the request that follows
            await self.web.request("GET", "/healthz", seconds=seconds)

    async def ask(self, kind: int, payload: bytes, what: str) -> bytes:
        """The answer to a request that may be repeated; ``what`` names what is not there if it is refused."""
        await self.greet()
        async with self.patient() as patience:
            return await self.ask_within(patience, kind, payload, what)

    async def ask_within(self, patience: Patience, kind: int, payload: bytes, what: str) -> bytes:
        """The same as a part of a larger call, whose patience it shares."""
        refused = 0
        while True:
            used = True
            try:
                async with self.pool.link(patience.left, fresh=refused > 0) as link:
                    used = not link.fresh
                    (answer,) = await link.exchange([WireRequest(kind, payload)], patience.left)
                    return self.payload(answer, what)
            except Lost as lost:
                self.drop_connections()
                refused = refused + (not used) if lost.connected else 0
                if refused >= REFUSALS:
                    raise SessionNotFound(f"no {what}") from lost
                if not (lost.connected and used):
                    await patience.wait(lost)

    def patient(self) -> Patience:
        """How long the next call is retried."""
        return Patience(self.patience, self.trouble, self.waits)

    async def trouble(self, lost: Lost) -> StoreUnreachable:
        """Return why the binary protocol did not answer: no server, one that refuses us, or one with another
        binary address."""
        if not lost.connected and not self._hurried:
            with contextlib.suppress(Lost, TimeoutError):
                async with asyncio.timeout(PROBE_SECONDS):
                    reply = await self.web.request("GET", "/v1/contexts?limit=0")
                if reply.status in (401, 403):
                    return refusal_error(f"HTTP {reply.status}")
                return half_open(self.place, str(lost))
        return await self._shut(lost)

    async def _shut(self, lost: Lost) -> StoreUnreachable:
        error = unreachable(self.place, str(lost))
        return StoreAbandoned(error.message, fix=error.fix) if self._hurried else error

    def drop_connections(self) -> None:
        """Drop all connections: if one was lost, the others cannot be trusted either."""
        self.losses += 1
        self.pool.drop()

    def payload(self, answer: Frame, what: str) -> bytes:
        """What an answer carries. Raises for an ERROR frame."""
        if answer.kind == frames.ERROR:
            try:
                code, text = frames.read_error(answer.payload)
            except Malformed:
                code, text = 0, "an unreadable error"
            raise refusal(code, text, what)
        return answer.payload

    async def get(self, target: str) -> Reply:
        """The answer to a GET."""
        return await self.http("GET", target)

    async def http(self, method: str, target: str, body: bytes = b"") -> Reply:
        """The answer to an HTTP request that may be repeated."""
        await self._first("http", self._probe_http, self._shut)
        async with Patience(self.patience, self._shut, self.waits) as patience:
            while True:
                try:
                    reply = await self.web.request(method, target, body, seconds=patience.left)
                except NoHttp as other:
                    raise stranger(self.place, str(other)) from other
                except Lost as lost:
                    await patience.wait(lost)
                else:
                    if reply.status >= 400 and not in_our_form(reply):
                        raise stranger(self.place, f"status {reply.status} without a CXDB error")
                    return reply

    async def wait_until_closed(self, session_id: int, seconds: float) -> None:
        """Wait until the server has noticed the end of a connection, so that nothing of it arrives any more.

        A server that never says so is waited for ``seconds`` only.
        """
        until = _now() + seconds
        while _now() < until:
            try:
                reply = await self.web.request("GET", "/v1/contexts?limit=0", seconds=until - _now())
            except Lost:
                return
            if session_id not in _sessions(reply):
                return
            await asyncio.sleep(0.02)

    def close(self) -> None:
        """Close all connections."""
        self.pool.drop()
        self.web.drop()


def _sessions(reply: Reply) -> set[int]:
    """The connections that the server lists."""
    try:
        listed = msgspec.json.decode(reply.body)["active_sessions"]
        return {int(session["session_id"]) for session in listed}
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        return set()
