"""Requests from outside that reach the walks of a session: pause, cancel, steer (S15)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NamedTuple

from orchestra.engine.shared import Inbox, Interviews, Meter


class Instruction(NamedTuple):
    """An instruction for the next agent, and the turn of the mailbox that holds it."""

    text: str
    request: int


def _unsaid(_text: str) -> None:
    """Show nothing."""


class SessionControl:
    """What reaches all walks of a session: who is asked, the answers, what is spent, instructions (H1, A5, S15).

    ``outer`` is the control of the node that runs this session as its child: a limit stops both (A5). ``note``
    shows what was requested where the run is watched.
    """

    def __init__(
        self,
        interviews: Interviews | None = None,
        outer: Control | None = None,
        note: Callable[[str], None] = _unsaid,
    ) -> None:
        self.interviews = interviews or Interviews()
        self.outer = outer
        self.note = note
        self.answers = Inbox()
        self.meter: Meter = Meter(outer.session.meter if outer is not None else None)
        self.instructions: tuple[Instruction, ...] = ()
        """Those that no agent has had yet."""
        self._had: set[int] = set()

    def steer(self, text: str, request: int) -> None:
        """Hand an instruction to the next agent, unless one has had it."""
        if request not in self._had:
            self.instructions += (Instruction(text, request),)

    def mark_had(self, requests: tuple[int, ...]) -> None:
        """Agents of branches have had the instructions of these turns of the mailbox (S15)."""
        self._had |= set(requests)
        self.instructions = tuple(one for one in self.instructions if one.request not in self._had)

    def take(self) -> tuple[Instruction, ...]:
        """The instructions that no agent has had yet; they are the caller's until it gives them back."""
        due, self.instructions = self.instructions, ()
        return due

    def give_back(self, taken: tuple[Instruction, ...]) -> None:
        """Hand instructions that were not recorded as taken to the next agent."""
        self.instructions = taken + self.instructions


class Control:
    """What stops a walk: seen after each node and by every wait.

    Each walk of a session has its own; those of branches belong to their parallel node's (``branch``), so that a
    request reaches every walk of the session, and a branch can be canceled alone. ``pause`` lets the current node
    finish; ``interrupt`` and ``cancel`` cancel it. All may be called from a signal handler of the running event
    loop. ``request`` is the turn of the mailbox that asked, or 0 (S15).
    """

    def __init__(self, session: SessionControl | None = None, parent: Control | None = None) -> None:
        self.session = session or SessionControl()
        self.reason = ""
        self.request = 0
        self.canceling = False
        self.at_once = False
        self.limit = ""
        self._parent = parent
        self._branches: list[Control] = []
        self._pause_requested = asyncio.Event()
        self._task: asyncio.Task[object] | None = None
        self._cancelled: asyncio.Task[object] | None = None

    @contextlib.contextmanager
    def branch(self) -> Iterator[Control]:
        """The control of a branch's walk: what is requested of this one is requested of it too."""
        below = Control(self.session, self)
        if self.reason:
            below.reason, below.request = self.reason, self.request
            below.canceling, below.at_once, below.limit = self.canceling, self.at_once, self.limit
            below._pause_requested.set()
        self._branches.append(below)
        try:
            yield below
        finally:
            self._branches.remove(below)

    def _walks(self) -> Iterator[Control]:
        """The controls of the branches below, then this one."""
        for below in self._branches:
            yield from below._walks()
        yield self

    @property
    def pausing(self) -> bool:
        """Whether the walk is to stop after the current node."""
        return bool(self.reason)

    def request_pause(self, reason: str, request: int = 0) -> None:
        """Note that a pause is coming: safe at any instant, also between two instructions of the event loop.

        A walk that never waits sees it after the current node, although nothing else on the loop gets a turn.
        """
        for walk in self._walks():
            if not walk.reason:
                walk.reason, walk.request = reason, request

    def pause(self, reason: str, request: int = 0) -> None:
        """Stop after the current node."""
        self.request_pause(reason, request)
        for walk in self._walks():
            walk._pause_requested.set()

    def cancel(self, reason: str, request: int = 0) -> None:
        """Stop now, and for good unless the session is resumed."""
        for walk in self._walks():
            if not walk.canceling:
                walk.canceling, walk.reason, walk.request = True, reason, request
        self.interrupt(reason, request)

    def interrupt(self, reason: str, request: int = 0) -> None:
        """Stop now: the current node is canceled and a resume runs it again."""
        self.pause(reason, request)
        for walk in self._walks():
            if not walk.at_once:
                walk.at_once = True
                walk._cancel_task()

    def _cancel_task(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._cancelled = self._task

    def halt(self, reason: str, limit: str) -> None:
        """Pause every walk of the session and its children for a limit (A5); an earlier reason is kept."""
        if self._parent is not None:
            self._parent.halt(reason, limit)
            return
        if self.session.outer is not None:
            self.session.outer.halt(reason, limit)
        if not self.reason:
            for walk in self._walks():
                walk.limit = limit
        self.pause(reason)

    def attach(self, task: asyncio.Task[object] | None) -> None:
        """From now on an interruption cancels this task, in which a handler runs."""
        self._task = task

    @contextlib.contextmanager
    def left_to_branches(self) -> Iterator[None]:
        """An interruption meanwhile is for the branches: the task that waits for them is not canceled."""
        task, self._task = self._task, None
        try:
            yield
        finally:
            self._task = task

    async def detach(self) -> None:
        """The handler has ended: take our cancellation back, whether or not it was delivered.

        A handler that never waits, or that swallows its cancellation, would else leave it to whatever waits next.
        Raises ``CancelledError`` where something else canceled the task too.
        """
        self._task = None
        if self._cancelled is None:
            return
        task, self._cancelled = self._cancelled, None
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        if task.uncancel():
            raise asyncio.CancelledError

    async def wait_for_pause(self) -> None:
        """Wait until a pause is requested."""
        await self._pause_requested.wait()

    async def pausing_during(self, *waits: Coroutine[Any, Any, object]) -> bool:
        """Wait for the first of several, at most until a pause is requested; whether it is."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(wait) for wait in (*waits, self.wait_for_pause())]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
        return self.pausing
