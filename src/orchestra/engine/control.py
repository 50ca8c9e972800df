"""How a run is stopped from outside while it goes on (engine.md 8)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, NamedTuple


class Instruction(NamedTuple):
    """What somebody wants the next agents to know, and the turn of the mailbox that says it."""

    text: str
    request: int


class Control:
    """A wish to pause, seen by the walk after each node and by every wait; and instructions for agents.

    ``pause`` lets the node at work finish; ``interrupt`` and ``cancel`` cancel it. All may be called from a signal
    handler of the running event loop. ``request`` is the turn of the mailbox that asked, or 0 (S15).
    """

    def __init__(self) -> None:
        self.reason = ""
        self.request = 0
        self.canceling = False
        self.at_once = False
        self.instructions: tuple[Instruction, ...] = ()
        self._wish = asyncio.Event()
        self._task: asyncio.Task[object] | None = None
        self._cancelled: asyncio.Task[object] | None = None

    @property
    def pausing(self) -> bool:
        """Whether the run is to stop after the node at work."""
        return bool(self.reason)

    def wish(self, reason: str, request: int = 0) -> None:
        """Note that a pause is coming: safe at any instant, also between two instructions of the event loop.

        A walk that never waits sees it after the node at work, although nothing else on the loop gets a turn.
        """
        if not self.reason:
            self.reason, self.request = reason, request

    def pause(self, reason: str, request: int = 0) -> None:
        """Stop after the node at work."""
        self.wish(reason, request)
        self._wish.set()

    def cancel(self, reason: str, request: int = 0) -> None:
        """Stop now, and for good unless somebody takes the session up again."""
        if not self.canceling:
            self.canceling, self.reason, self.request = True, reason, request
        self.interrupt(reason, request)

    def steer(self, text: str, request: int) -> None:
        """Hand an instruction to the next agents."""
        self.instructions = (*self.instructions, Instruction(text, request))

    def steered(self, taken: tuple[Instruction, ...]) -> None:
        """These instructions are recorded as taken."""
        self.instructions = tuple(one for one in self.instructions if one not in taken)

    def interrupt(self, reason: str, request: int = 0) -> None:
        """Stop now: the node at work is cancelled and will be run again by a resume."""
        self.pause(reason, request)
        if self.at_once:
            return
        self.at_once = True
        if self._task is not None:
            self._task.cancel()
            self._cancelled = self._task

    def attach(self, task: asyncio.Task[object] | None) -> None:
        """From now on an interruption cancels this task, in which a handler runs."""
        self._task = task

    async def detach(self) -> None:
        """The handler has ended: take our cancellation back, whether or not it was delivered.

        A handler that never waits, or that swallows its cancellation, would else leave it to whatever waits next.
        Raises ``CancelledError`` where somebody else cancelled the task too.
        """
        self._task = None
        if self._cancelled is None:
            return
        task, self._cancelled = self._cancelled, None
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        if task.uncancel():
            raise asyncio.CancelledError

    async def wished(self) -> None:
        """Wait until somebody wishes for a pause."""
        await self._wish.wait()

    async def pausing_during(self, wait: Coroutine[Any, Any, None]) -> bool:
        """Wait, at most until a pause is wished for; whether it is."""
        async with asyncio.TaskGroup() as group:
            either = (group.create_task(wait), group.create_task(self.wished()))
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            for task in either:
                task.cancel()
        return self.pausing
