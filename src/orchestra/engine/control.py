"""How a run is stopped from outside while it goes on (engine.md 8)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any


class Control:
    """A wish to pause, seen by the walk after each node and by every wait.

    ``pause`` lets the node at work finish; ``interrupt`` cancels it. Both may be called from a signal
    handler of the running event loop.
    """

    def __init__(self) -> None:
        self.reason = ""
        self.at_once = False
        self._wish = asyncio.Event()
        self._task: asyncio.Task[object] | None = None
        self._cancelled: asyncio.Task[object] | None = None

    @property
    def pausing(self) -> bool:
        """Whether the run is to stop after the node at work."""
        return bool(self.reason)

    def wish(self, reason: str) -> None:
        """Note that a pause is coming: safe at any instant, also between two instructions of the event loop.

        A walk that never waits sees it after the node at work, although nothing else on the loop gets a turn.
        """
        self.reason = self.reason or reason

    def pause(self, reason: str) -> None:
        """Stop after the node at work."""
        self.wish(reason)
        self._wish.set()

    def interrupt(self, reason: str) -> None:
        """Stop now: the node at work is cancelled and will be run again by a resume."""
        self.pause(reason)
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

    async def pausing_during(self, wait: Coroutine[Any, Any, None]) -> bool:
        """Wait, at most until a pause is wished for; whether it is."""
        async with asyncio.TaskGroup() as group:
            either = (group.create_task(wait), group.create_task(self._wish.wait()))
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            for task in either:
                task.cancel()
        return self.pausing
