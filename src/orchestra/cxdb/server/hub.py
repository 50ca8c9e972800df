"""Connected clients, the contexts that each created, and the subscribers to events."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

QUEUE = 10_000
"""Events that wait for one reader; a slower reader is disconnected."""

APART = 0.05
"""Seconds between the news of one context and that of another."""

MANY = 20
"""Waiting events that are told without a pause."""


class ServerEvent(NamedTuple):
    """A named event and its data."""

    name: str
    data: dict[str, object]


@dataclass(slots=True)
class Session:
    """One connection of the binary protocol; times are UTC ms."""

    session_id: int
    peer: str
    tag: str = ""
    connected_ms: int = 0
    active_ms: int = 0
    registered: bool = False
    contexts: list[int] = field(default_factory=list)


class Sessions:
    """The connections that said hello or made a context."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._next = 0
        self._active: dict[int, Session] = {}
        self._by_context: dict[int, Session] = {}
        self.total = 0

    def connect(self, peer: str) -> Session:
        """A new connection; it is not listed until it is registered."""
        self._next += 1
        return Session(self._next, peer)

    def register(self, session: Session, tag: str) -> bool:
        """List a connection under a tag; false where it is listed already."""
        if session.registered:
            return False
        session.registered = True
        session.tag = tag
        session.connected_ms = session.active_ms = self._now_ms()
        self._active[session.session_id] = session
        self.total += 1
        return True

    def context_made(self, session: Session, context_id: int) -> None:
        """Record which connection made a context; the context is live while that is open."""
        session.contexts.append(context_id)
        self._by_context[context_id] = session

    def touch(self, session: Session) -> None:
        """Record that a connection is active."""
        session.active_ms = self._now_ms()

    def leave(self, session: Session) -> None:
        """Remove a closed connection."""
        self._active.pop(session.session_id, None)
        for context_id in session.contexts:
            if self._by_context.get(context_id) is session:
                del self._by_context[context_id]

    def of(self, context_id: int) -> Session | None:
        """The open connection that made a context."""
        return self._by_context.get(context_id)

    def live(self) -> set[int]:
        """The contexts whose connection is open."""
        return set(self._by_context)

    def active(self) -> list[Session]:
        """The open connections that are listed."""
        return list(self._active.values())


class EventReader:
    """One listener's queue.

    CXDB's page looks only at the last event of those that reach it together: a session that it shows stays as it
    was where the news of another context comes on the heels of its own, as the mailbox's does at the end of a run.
    So the news of another context comes ``APART`` later, unless many wait.
    """

    def __init__(self) -> None:
        self._waiting: deque[ServerEvent] = deque()
        self._told = asyncio.Event()
        self._last: tuple[object, float] = (None, 0.0)
        self._ended = False

    def put(self, event: ServerEvent) -> None:
        """Queue an event; a reader whose queue is full is ended."""
        if len(self._waiting) >= QUEUE:
            self.end()
        if not self._ended:
            self._waiting.append(event)
        self._told.set()

    def end(self) -> None:
        """End the reader's stream after the events in its queue."""
        self._ended = True
        self._told.set()

    async def events(self, idle: float) -> AsyncIterator[ServerEvent | None]:
        """Yield events as they come, and None after each ``idle`` seconds without one."""
        while True:
            while self._waiting:
                await self._apart(self._waiting[0].data.get("context_id"))
                yield self._waiting.popleft()
            if self._ended:
                return
            self._told.clear()
            try:
                async with asyncio.timeout(idle):
                    await self._told.wait()
            except TimeoutError:
                yield None

    async def _apart(self, context_id: object) -> None:
        """Wait if the next event would hide the previous one."""
        clock = asyncio.get_running_loop().time
        before, told = self._last
        left = told + APART - clock()
        if before not in (None, context_id) and left > 0 and len(self._waiting) <= MANY:
            await asyncio.sleep(left)
        self._last = (context_id, clock())


class Events:
    """Publishes events to all readers."""

    def __init__(self) -> None:
        self.readers: set[EventReader] = set()

    def end(self) -> None:
        """End all streams; readers that connect again read what they missed."""
        for reader in self.readers:
            reader.end()

    def publish(self, name: str, **data: object) -> None:
        """Queue an event for every reader."""
        event = ServerEvent(name, data)
        for reader in self.readers:
            reader.put(event)
