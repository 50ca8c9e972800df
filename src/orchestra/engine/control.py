"""How a run is stopped from outside while it goes on (engine.md 8)."""

from __future__ import annotations

import asyncio


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

    @property
    def pausing(self) -> bool:
        """Whether the run is to stop after the node at work."""
        return bool(self.reason)

    def pause(self, reason: str) -> None:
        """Stop after the node at work."""
        self.reason = self.reason or reason
        self._wish.set()

    def interrupt(self, reason: str) -> None:
        """Stop now: the node at work is cancelled and will be run again by a resume."""
        self.pause(reason)
        self.at_once = True
        if self._task is not None:
            self._task.cancel()

    def attach(self, task: asyncio.Task[object] | None) -> None:
        """The task in which handlers run; None when none does."""
        self._task = task
        if task is not None and self.at_once:
            task.cancel()

    async def pausing_within(self, seconds: float) -> bool:
        """Wait ``seconds``, or until a pause is wished for; whether it is."""
        try:
            async with asyncio.timeout(seconds):
                await self._wish.wait()
        except TimeoutError:
            return self.pausing
        return True
