"""How much runs at once in the branches of a session (E31)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from orchestra.engine.control import Control
from orchestra.engine.wiring import AT_ONCE

WAITING = frozenset({"parallel", "pipeline", "stack.manager_loop", "wait.human"})
"""Types of nodes that wait for others rather than work: they take no place, so that none waits for one it holds."""


class Places:
    """The places for nodes of branches that work at once."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._free = asyncio.Semaphore(at_once)

    @asynccontextmanager
    async def place(self, kind: str, control: Control) -> AsyncIterator[bool]:
        """A place for a branch's node of a type; false where a pause was requested while it waited for one."""
        if kind in WAITING:
            yield True
            return
        if self._free.locked() and await control.pausing_during(self._acquired()):
            yield False
            return
        async with self._free:
            yield True

    async def _acquired(self) -> None:
        """Wait until a place is free; the caller takes it."""
        async with self._free:
            return
