"""How much runs at once in a session, and what its walks have spent together (E31, E35)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from orchestra.engine.control import Control
from orchestra.engine.journal import Journal
from orchestra.engine.wiring import AT_ONCE
from orchestra.run.state import RunState, Spent

WAITING = frozenset({"parallel", "pipeline", "stack.manager_loop", "wait.human"})
"""Types of nodes that wait for others rather than work: they take no place, so that none waits for one it holds."""


class Places:
    """The places for nodes of branches that work at once, and the branches that are being walked."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._walked: list[Journal] = []

    @asynccontextmanager
    async def place(self, kind: str, journal: Journal, control: Control) -> AsyncIterator[bool]:
        """A place for a node of a type; false where a pause was requested while it waited for one."""
        if journal.state.branch is None or kind in WAITING:
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

    @asynccontextmanager
    async def given_back(self, journal: Journal) -> AsyncIterator[None]:
        """While a node of a branch waits for a person, its place is another's."""
        if journal.state.branch is None:
            yield
            return
        self._free.release()
        try:
            yield
        finally:
            await self._free.acquire()

    @contextmanager
    def walked(self, journal: Journal) -> Iterator[None]:
        """A branch is being walked."""
        self._walked.append(journal)
        try:
            yield
        finally:
            self._walked.remove(journal)

    def spent(self, main: RunState) -> Spent:
        """What a session has spent so far, in the branches that are being walked too."""
        total = main.spent
        for journal in self._walked:
            own, branch = journal.state.spent, journal.state.branch
            if branch is not None:
                total = total.plus(
                    own.tokens_in - branch.tokens_in,
                    own.tokens_out - branch.tokens_out,
                    own.cost_micros - branch.cost_micros,
                )
        return total
