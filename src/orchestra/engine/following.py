"""A session watched from outside: what was recorded so far, then what is recorded, each event once (S28)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from orchestra.engine.holding import heard_of
from orchestra.engine.lineage import row_of
from orchestra.engine.sessions import PAGE, Row, begun, event_of
from orchestra.ports import Clock, Store, Turn
from orchestra.run.events import Recorded
from orchestra.run.fold import current, evolve
from orchestra.run.state import RunState
from orchestra.run.views import HANDED_ON, End

LOOK_SECONDS = 0.25
"""How often it is asked whether somebody still runs the session, while nothing is recorded."""

PATIENCE = 6
"""Looks without a runner and without news after which the session counts as left."""

Tell: TypeAlias = Callable[[Recorded], None]


class Following:
    """Reads a session's chain forward from its beginning and folds it, each event once."""

    def __init__(self, store: Store, context_id: int) -> None:
        self.state = RunState()
        self._store = store
        self._context_id = context_id
        self._newest = 0
        self._depth = -1
        self._last: Recorded | None = None

    async def news(self) -> list[Recorded]:
        """The events recorded since the last call, oldest first; what a replaced runner left behind is passed
        over (S16)."""
        found: list[Recorded] = []
        for turn in await self._unread():
            event = event_of(turn)
            if isinstance(event, Recorded) and current(event.meta, self.state):
                self.state = evolve(self.state, event)
                found.append(event)
        self._last = next((e for e in reversed(found) if not isinstance(e.event, HANDED_ON)), self._last)
        return found

    async def _unread(self) -> list[Turn]:
        head = await self._store.head(self._context_id)
        unread: list[Turn] = []
        before: int | None = None
        while head.turn_id != self._newest:
            limit = min(PAGE, head.depth - self._depth - len(unread))
            page = await self._store.turns(self._context_id, before=before, limit=limit) if limit > 0 else []
            if not page:
                break
            unread[:0] = [turn for turn in page if turn.depth > self._depth]
            before = page[0].turn_id
        if unread:
            self._newest, self._depth = unread[-1].turn_id, unread[-1].depth
        return unread

    @property
    def over(self) -> bool:
        """Whether nothing follows unless somebody goes on with the session."""
        return self._last is not None and isinstance(self._last.event, End)


async def follow(store: Store, row: Row, tell: Tell, clock: Clock) -> tuple[Row, RunState]:
    """Tell every event of a session, those to come as they are recorded, until nobody runs it any more; of one that
    is restarted, also those of the session in which it goes on (E14).

    The last session, and the state it is in then: ended, paused, or left by a runner that died.
    """
    while True:
        state = await _followed(store, row, tell, clock)
        following = state.following
        if following is None or not await begun(store, following.mailbox):
            return row, state
        row = row_of(following, row.pipeline)


async def _followed(store: Store, row: Row, tell: Tell, clock: Clock) -> RunState:
    following = Following(store, row.context_id)
    stirred = asyncio.Event()

    async def held() -> bool:
        return await heard_of(store, row.context_id, row.mailbox, clock.now_ms()) is not None

    async def watch() -> None:
        async for _head in store.watch(row.context_id):
            stirred.set()

    try:
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watch())
            await _to_the_end(following, stirred, tell, held)
            watching.cancel()
    except ExceptionGroup as troubles:
        raise troubles.exceptions[0] from troubles
    return following.state


async def _to_the_end(
    following: Following, stirred: asyncio.Event, tell: Tell, held: Callable[[], Awaitable[bool]]
) -> None:
    left = 0
    while left < PATIENCE:
        stirred.clear()
        news = await following.news()
        for recorded in news:
            tell(recorded)
        if news or await held():
            left = 0
        elif following.over:
            return
        else:
            left += 1
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stirred.wait(), 0 if news else LOOK_SECONDS)
