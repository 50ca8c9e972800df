"""A session watched from outside: recorded events, then new ones, each once (S28)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from orchestra.engine.gaps import NamedBranch, branches_in, map_mirrored
from orchestra.engine.holding import find_runner
from orchestra.engine.loading import PAGE, event_of
from orchestra.engine.sessions import Row, has_begun, row_of, rows
from orchestra.ports import Clock, Store, Turn
from orchestra.run.events import (
    ChildEnded,
    ChildStarted,
    Event,
    ParallelBranchCompleted,
    ParallelStarted,
    PipelineForked,
    PipelineImported,
    PipelineRestarted,
    Recorded,
)
from orchestra.run.fold import current, evolve
from orchestra.run.state import RunState
from orchestra.run.views import HANDED_ON, End

RUNNER_POLL_SECONDS = 0.25
"""How often the session's runner is checked while nothing is recorded, in seconds."""

MISSED_LOOKS = 6
"""Looks without a runner and without news after which the session counts as left."""

Tell: TypeAlias = Callable[[Recorded], None]


class Above(NamedTuple):
    """A turn above which a chain is followed."""

    turn_id: int
    depth: int


FIRST = Above(0, -1)
"""Above every turn."""


class Follower:
    """Reads a chain forward from its beginning, or from above a turn, and folds it, each event once."""

    def __init__(self, store: Store, context_id: int, above: Above = FIRST) -> None:
        self.state = RunState()
        self._store = store
        self._context_id = context_id
        self._newest, self._depth = above
        self._last: Recorded | None = None

    async def news(self) -> list[Recorded]:
        """Return the events recorded since the last call, oldest first; what a replaced runner wrote is passed
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
        """Whether nothing follows until the session is resumed."""
        return self._last is not None and isinstance(self._last.event, End)


class FollowedSession:
    """The chain of a session and of its children, and theirs: each event once, by turn id.

    ``node`` is the parent's node that runs it. ``bound`` is the newest turn that counts, 0 without: of a child that
    a fork's history names, what happened after the session was forked belongs to the old story. ``own`` is the
    session whose events are told, empty for all: a fork of a child shares the history of the child that it is of,
    which is told as that one's. ``mirror`` is a mirrored session: the contexts that it names are not of this store;
    its children are left out, its branches are followed once they are there (S22).
    """

    def __init__(
        self,
        store: Store,
        context_id: int,
        *,
        node: str = "",
        own: str = "",
        bound: int = 0,
        mirror: Row | None = None,
        above: Above = FIRST,
    ) -> None:
        self.chain = Follower(store, context_id, above)
        self.context_id = context_id
        self._store = store
        self._node = node
        self._own = own
        self._bound = bound
        self._children: dict[str, FollowedSession] = {}
        self._told: set[int] = set()
        self._open = True
        self._ended = False
        self._mirror = mirror
        self._announced: list[tuple[int, object]] = []
        self._places: dict[int, int] = {}
        self._coming: list[NamedBranch] = []
        self._known_as = 0
        self._completed: set[int] = set()

    @property
    def live(self) -> list[int]:
        """The contexts in which something may still be recorded."""
        return [self.context_id, *(one for child in self._children.values() if child._open for one in child.live)]

    async def news(self) -> list[Recorded]:
        """The events recorded since the last call, in the order of their turns."""
        found = {one.turn_id: one for one in await self._gather(root=True) if one.turn_id not in self._told}
        self._told |= found.keys()
        return sorted(found.values(), key=lambda recorded: recorded.turn_id)

    async def _gather(self, *, root: bool = False) -> list[Recorded]:
        told = [recorded for recorded in await self.chain.news() if self._tells(recorded)]
        for recorded in told if self._mirror is None else ():
            self._note(recorded.event, root=root)
        await self._branches(told)
        for child in self._children.values():
            if child._open:
                child._open = not (child._ended or child._bound)
                told += await child._gather()
        return told

    def _tells(self, recorded: Recorded) -> bool:
        own = not self._own or recorded.meta.session == self._own
        return own and (not self._bound or recorded.turn_id <= self._bound)

    def _note(self, event: Event, *, root: bool) -> None:
        """Note the session's children and their restarts from an event."""
        match event:
            case ChildStarted():
                own = event.child_session if event.until else ""
                child = self._child(event.child_session, event.child_context, event.node, own)
                child._open, child._ended = True, False
            case PipelineRestarted() if not root:
                self._child(event.next_session, event.next_context, "", "")
            case ChildEnded():
                for child in self._children.values():
                    child._ended = child._ended or child._node == event.node
            case PipelineForked():
                for child in self._children.values():
                    child._bound = child._bound or event.until or event.from_turn
            case PipelineImported():
                self._here(event)
            case _:
                pass

    async def _branches(self, told: Sequence[Recorded]) -> None:
        """Follow branches that begin from the turns at which they leave this chain, until they have results."""
        before = tuple(self._announced)
        for one in told:
            if isinstance(one.event, ParallelStarted):
                self._announced.append((one.depth, one.event))
                self._places[one.depth] = one.turn_id
            elif isinstance(one.event, ParallelBranchCompleted):
                self._completed.add(one.event.branch_context)
        self._coming += branches_in((*before, *((one.depth, one.event) for one in told)))
        if self._coming:
            mirrored = await map_mirrored(self._store, self._mirror) if self._mirror is not None else None
            self._coming = [named for named in self._coming if not self._begins(named, mirrored)]
        for child in self._children.values():
            child._ended = child._ended or child._known_as in self._completed

    def _begins(self, named: NamedBranch, mirrored: Mapping[int, int] | None) -> bool:
        """Follow a branch, if its context is here; false where a mirror does not have it yet."""
        context = named.context if mirrored is None else mirrored.get(named.context, 0)
        name = f"{named.event.node}/{named.event.branch_id}"
        if not context:
            return mirrored is None
        if f"{name}#{context}" not in self._children:
            above = Above(self._places.get(named.fork, 0), named.fork)
            bound = named.bound or self._bound
            branch = FollowedSession(self._store, context, node=name, bound=bound, above=above, mirror=self._mirror)
            branch._known_as = named.known_as
            branch._ended = named.event.branch_context in self._completed
            self._children[f"{name}#{context}"] = branch
        return True

    def _child(self, session: str, context_id: int, node: str, own: str) -> FollowedSession:
        if session not in self._children:
            child = FollowedSession(self._store, context_id, node=node, own=own, bound=self._bound)
            self._children[session] = child
        return self._children[session]

    def _here(self, event: PipelineImported) -> None:
        """The children so far are elsewhere in this store, or did not come along."""
        places = {session: place[0] for session, place in event.children.items() if isinstance(place, list)}
        if self.chain.state.following is not None:
            places[self.chain.state.following.session] = event.next_context
        here = {}
        for session, child in self._children.items():
            if isinstance(context_id := places.get(session), int) and context_id:
                here[session] = FollowedSession(self._store, context_id, node=child._node, own=child._own)
                here[session]._ended = child._ended
        self._children = here


async def follow(store: Store, row: Row, tell: Tell, clock: Clock) -> tuple[Row, RunState]:
    """Report every event of a session and its children until it has no runner any more.

    After a restart, also those of the session that continues it (E14).

    The last session, and the state it is in then: ended, paused, or left by a runner that died.
    """
    while True:
        state = await _follow(store, row, tell, clock)
        following = await _next(store, row, state)
        if following is None:
            return row, state
        row = following


async def _next(store: Store, row: Row, state: RunState) -> Row | None:
    """Return the session that continues one, if it has begun.

    A mirror's record names ids of its original (S22).
    """
    if state.following is None:
        return None
    if row.mirror_of:
        for _ in range(MISSED_LOOKS):
            for one in await rows(store):
                if (one.parent, one.why) == (row.context_id, "restart"):
                    return one
            await asyncio.sleep(RUNNER_POLL_SECONDS)
        return None
    return row_of(state.following, row.pipeline) if await has_begun(store, state.following.mailbox) else None


async def _follow(store: Store, row: Row, tell: Tell, clock: Clock) -> RunState:
    followed = FollowedSession(store, row.context_id, mirror=row if row.mirror_of else None)
    stirred = asyncio.Event()

    async def held() -> bool:
        if row.mirror_of:  # its runner cannot be reached: the watcher decides when to leave
            return not followed.chain.over
        return await find_runner(store, row, clock.now_ms()) is not None

    try:
        async with asyncio.TaskGroup() as group:
            watching = ContextWatch(store, group, stirred)
            await _to_the_end(followed, watching, tell, held)
            watching.over()
    except ExceptionGroup as troubles:
        raise troubles.exceptions[0] from troubles
    return followed.chain.state


class ContextWatch:
    """Sets ``stirred`` when something is recorded in one of the contexts that are watched."""

    def __init__(self, store: Store, group: asyncio.TaskGroup, stirred: asyncio.Event) -> None:
        self.stirred = stirred
        self._store = store
        self._group = group
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def these(self, contexts: Iterable[int]) -> None:
        """Watch these contexts, and no others any more."""
        wanted = set(contexts)
        for context_id in self._tasks.keys() - wanted:
            self._tasks.pop(context_id).cancel()
        for context_id in wanted - self._tasks.keys():
            self._tasks[context_id] = self._group.create_task(self._watch(context_id))

    def over(self) -> None:
        """Watch none."""
        self.these(())

    async def _watch(self, context_id: int) -> None:
        async for _head in self._store.watch(context_id):
            self.stirred.set()


async def _to_the_end(
    followed: FollowedSession, watching: ContextWatch, tell: Tell, held: Callable[[], Awaitable[bool]]
) -> None:
    left = 0
    while left < MISSED_LOOKS:
        watching.stirred.clear()
        news = await followed.news()
        watching.these(followed.live)
        for recorded in news:
            tell(recorded)
        if news or await held():
            left = 0
        elif followed.chain.over:
            return
        else:
            left += 1
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(watching.stirred.wait(), 0 if news else RUNNER_POLL_SECONDS)
