"""Requests from outside that reach the walks of a session: pause, cancel, steer (S15)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NamedTuple, Protocol

from orchestra.engine.journal import Journal
from orchestra.engine.shared import Inbox, Interviews, Meter
from orchestra.run.questions import Answer, Question


class Instruction(NamedTuple):
    """Return the instruction for the next agent, and its turn in the mailbox."""

    text: str
    request: int


class Asks(Protocol):
    """How a walk of the session asks people: ``engine.asking.Asking``."""

    async def ask(self, journal: Journal, question: Question, control: Control) -> Answer:
        """The answer to a question of the running node, recorded; ``control`` is the walk's."""


def _unsaid(_text: str) -> None:
    """Show nothing."""


class Control:
    """What stops a walk: seen after each node and by every wait.

    Each walk of a session has its own; those of branches hang below their parallel node's (``branch``), so that a
    request reaches every walk of the session, and a branch can be canceled alone. ``pause`` lets the current node
    finish; ``interrupt`` and ``cancel`` cancel it. All may be called from a signal handler of the running event
    loop. ``request`` is the turn of the mailbox that asked, or 0 (S15). ``interviews`` is who is asked (H1),
    ``note`` shows what was requested where the run is watched.
    ``outer`` is the control of the node that runs this session as its child: a limit stops both (A5).
    """

    def __init__(
        self,
        parent: Control | None = None,
        interviews: Interviews | None = None,
        outer: Control | None = None,
    ) -> None:
        self._outer = outer
        self.meter: Meter = (
            parent.meter if parent is not None else Meter(outer.meter if outer is not None else None)
        )
        self.interviews: Interviews = parent.interviews if parent is not None else interviews or Interviews()
        self.answers: Inbox = parent.answers if parent is not None else Inbox()
        self.asking: Asks | None = parent.asking if parent is not None else None
        self.note: Callable[[str], None] = _unsaid
        self.reason = ""
        self.request = 0
        self.canceling = False
        self.at_once = False
        self.limit = ""
        self._parent = parent
        self._branches: list[Control] = []
        self._due: list[Instruction] = []
        self._had: set[int] = set()
        self._pause_requested = asyncio.Event()
        self._task: asyncio.Task[object] | None = None
        self._cancelled: asyncio.Task[object] | None = None

    @contextlib.contextmanager
    def branch(self) -> Iterator[Control]:
        """The control of a branch's walk: what is requested of this one is requested of it too."""
        below = Control(self)
        if self.reason:
            below.reason, below.request = self.reason, self.request
            below.canceling, below.at_once, below.limit = self.canceling, self.at_once, self.limit
            below._pause_requested.set()
        self._branches.append(below)
        try:
            yield below
        finally:
            self._branches.remove(below)

    @property
    def pausing(self) -> bool:
        """Whether the walk is to stop after the current node."""
        return bool(self.reason)

    def request_pause(self, reason: str, request: int = 0) -> None:
        """Note that a pause is coming: safe at any instant, also between two instructions of the event loop.

        A walk that never waits sees it after the current node, although nothing else on the loop gets a turn.
        """
        if not self.reason:
            self.reason, self.request = reason, request
        for below in self._branches:
            below.request_pause(reason, request)

    def pause(self, reason: str, request: int = 0) -> None:
        """Stop after the current node."""
        self.request_pause(reason, request)
        self._pause_requested.set()
        for below in self._branches:
            below.pause(reason, request)

    def cancel(self, reason: str, request: int = 0) -> None:
        """Stop now, and for good unless the session is resumed."""
        if not self.canceling:
            self.canceling, self.reason, self.request = True, reason, request
        for below in self._branches:
            below.cancel(reason, request)
        self.interrupt(reason, request)

    def interrupt(self, reason: str, request: int = 0) -> None:
        """Stop now: the current node is canceled and a resume runs it again."""
        self.pause(reason, request)
        for below in self._branches:
            below.interrupt(reason, request)
        if self.at_once:
            return
        self.at_once = True
        if self._task is not None:
            self._task.cancel()
            self._cancelled = self._task

    def halt(self, reason: str, limit: str) -> None:
        """Pause every walk of the session and its children for a limit (A5); an earlier reason is kept."""
        root = self._root
        if root._outer is not None:
            root._outer.halt(reason, limit)
        if not root.reason:
            root._limit(limit)
        root.pause(reason)

    def _limit(self, limit: str) -> None:
        self.limit = limit
        for below in self._branches:
            below._limit(limit)

    def steer(self, text: str, request: int) -> None:
        """Hand an instruction to the next agent, unless one has had it."""
        if request not in self._root._had:
            self._root._due.append(Instruction(text, request))

    def had(self, requests: tuple[int, ...]) -> None:
        """Agents of branches have had the instructions of these turns of the mailbox (S15)."""
        root = self._root
        root._had |= set(requests)
        root._due[:] = [one for one in root._due if one.request not in root._had]

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """The instructions that no agent has had yet."""
        return tuple(self._root._due)

    def take(self) -> tuple[Instruction, ...]:
        """The instructions that no agent has had yet; they are this walk's until it gives them back."""
        root = self._root
        due, root._due = tuple(root._due), []
        return due

    def give_back(self, taken: tuple[Instruction, ...]) -> None:
        """These instructions were not recorded as taken: the next agent gets them."""
        self._root._due[:0] = taken

    @property
    def _root(self) -> Control:
        return self if self._parent is None else self._parent._root

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

    async def pausing_during(self, wait: Coroutine[Any, Any, None]) -> bool:
        """Wait, at most until a pause is requested; whether it is."""
        async with asyncio.TaskGroup() as group:
            either = (group.create_task(wait), group.create_task(self.wait_for_pause()))
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            for task in either:
                task.cancel()
        return self.pausing
