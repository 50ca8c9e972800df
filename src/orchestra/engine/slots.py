"""The places for nodes of parallel branches, so that not too many work at once (E31)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from orchestra.engine.control import Control
from orchestra.engine.wiring import AT_ONCE

WAITING = frozenset({"parallel", "pipeline", "stack.manager_loop", "wait.human"})
"""Types of nodes that wait for others rather than work: they take no place, so that none waits for one it holds."""


class BranchSlots:
    """The places for nodes of branches that work at once."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._holders: set[Control] = set()

    @asynccontextmanager
    async def place(self, kind: str, control: Control) -> AsyncIterator[bool]:
        """A place for a branch's node of a type; false where a pause was requested while it waited for one."""
        if kind in WAITING:
            yield True
            return
        if self._free.locked() and await control.pausing_during(self._wait_for_slot()):
            yield False
            return
        await self._take(control)
        try:
            yield True
        finally:
            self._leave(control)

    @asynccontextmanager
    async def release(self, control: Control) -> AsyncIterator[None]:
        """The place of a branch's node is free while its agent waits for a person (E31)."""
        held = self._leave(control)
        yield
        if held:
            await self._take(control)

    async def _take(self, control: Control) -> None:
        await self._free.acquire()
        self._holders.add(control)

    def _leave(self, control: Control) -> bool:
        """Give a place back, if the branch has one."""
        held = control in self._holders
        if held:
            self._holders.remove(control)
            self._free.release()
        return held

    async def _wait_for_slot(self) -> None:
        """Wait until a place is free; the caller takes it."""
        async with self._free:
            return
