"""A chain read around its damage: what can be read stays readable (S8)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from orchestra.engine.loading import PAGE, history, recorded_in
from orchestra.engine.sessions import Row, rows
from orchestra.errors import Damaged
from orchestra.ports import Store, Turn
from orchestra.run.events import (
    BranchMirrored,
    ParallelBranchCompleted,
    ParallelBranchStarted,
    ParallelStarted,
    PipelineForked,
    PipelineImported,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A turn that cannot be read. ``older`` says whether those before it can be reached."""

    turn_id: int
    depth: int
    reason: str
    older: bool


Legible: TypeAlias = Turn | Gap


async def legible(store: Store, context_id: int, above: int = -1) -> list[Legible]:
    """Return a chain, oldest first, back to a depth, with a gap for each damaged turn.

    After a damaged turn the chain continues if the store still knows the previous one; if not, the gap
    is the last that can be said.
    """
    found: list[Legible] = []
    async for place in _backwards(store, context_id):
        if place.depth <= above:
            break
        found.append(place)
    return found[::-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedBranch:
    """A branch as a chain names it: by which event, and at which depth it left the chain.

    ``known_as`` is its context by the newest ids of the chain, and ``context`` that in this store; 0 for none. Of
    one that belongs to the session that this one is forked from no turn after ``bound`` counts.
    """

    event: ParallelBranchStarted
    fork: int
    known_as: int
    context: int
    bound: int = 0


def branches_in(
    events: Iterable[tuple[int, object]], mirrored: Mapping[int, int] | None = None
) -> list[NamedBranch]:
    """The branches that a chain names, oldest first; ``events`` are the depths and events of its turns.

    After an import the ids in older turns are another store's; the turn that says so tells which are which here.
    ``mirrored`` says the same for a whole mirror. There no turn ids can be compared: of a branch that had not ended
    when the session was forked only that counts which the fork continues.
    """
    announced: dict[str, int] = {}
    completed: set[int] = set()
    found: list[NamedBranch] = []
    for depth, event in events:
        match event:
            case ParallelStarted(node=node):
                announced[node] = depth
            case ParallelBranchStarted(node=node, branch_context=context):
                fork = announced.get(node, depth - 1)
                found.append(NamedBranch(event=event, fork=fork, known_as=context, context=context))
            case PipelineImported(branches=here):
                found = [_here(one, here.get(str(one.context))) for one in found]
            case ParallelBranchCompleted(branch_context=context):
                completed.add(context)
            case PipelineForked() if mirrored is not None:
                found = [one for one in found if one.context in completed]
            case PipelineForked():
                bound = event.until or event.from_turn
                found = [replace(one, bound=one.bound or bound) for one in found]
            case _:
                pass
    if mirrored is not None:
        found = [replace(one, context=mirrored.get(one.context, 0)) for one in found]
    return found


def _readable(turns: Iterable[Legible]) -> Iterator[tuple[int, object]]:
    """The depths and events of the turns that can be read."""
    for turn in turns:
        if (recorded := recorded_in(turn)) is not None:
            yield turn.depth, recorded.event


def _here(named: NamedBranch, context: object) -> NamedBranch:
    here = context if isinstance(context, int) else 0
    return replace(named, known_as=here, context=here, bound=0)


async def map_mirrored(store: Store, row: Row) -> Mapping[int, int] | None:
    """The contexts here of the branches that a mirrored session names, by those in its original.

    None for no mirror. They are its own, and those of the session that it is forked from (S22).
    """
    if not row.mirror_of:
        return None
    found = await map_listed(store, row.mailbox)
    known = {one.context_id: one for one in await rows(store)} if row.why == "fork" else {}
    while row.why == "fork" and row.parent in known:
        row = known[row.parent]
        found = {**await map_listed(store, row.mailbox), **found}
    return found


async def map_listed(store: Store, mailbox: int) -> dict[int, int]:
    """The contexts of a mirrored session's own branches, by those in its original.

    One that is listed twice is at the newest context, as a session is.
    """
    recorded = [one.event for turn in await history(store, mailbox) if (one := recorded_in(turn)) is not None]
    listed = [(event.context, event.branch_context) for event in recorded if isinstance(event, BranchMirrored)]
    return {branch: context for context, branch in sorted(listed)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A walk's own turns, oldest first.

    ``known_as`` is its context as chain number ``parent`` names it, -1 for the main walk; ``depth`` is that of the
    turn there which this chain continues.
    """

    path: str
    known_as: int
    parent: int
    depth: int
    turns: tuple[Legible, ...]


async def chains(store: Store, row: Row) -> list[Chain]:
    """Return a session's chain and its branches', each after the one that it continues.

    A turn that several share is in the first. Branches that this store does not have are left out.
    """
    mirrored = await map_mirrored(store, row)
    found: list[Chain] = []
    owners: dict[int, tuple[int, int]] = {}
    """The number of the chain that has a turn, and the turn's depth."""
    todo = [_Todo(path="", known_as=row.context_id, context=row.context_id)]
    for one in todo:  # grows while it is read
        turns = [turn for turn in await legible(store, one.context, one.above) if one.counts(turn)]
        fresh = [turn for turn in turns if turn.turn_id not in owners]
        parent, depth = owners.get(_turn_before(turns, fresh), (one.named_by, one.above))
        owners.update({turn.turn_id: (len(found), turn.depth) for turn in fresh})
        known = {other.context for other in todo}
        todo += [
            one.below(named, len(found))
            for named in branches_in(_readable(turns), mirrored)
            if named.context and named.context not in known
        ]
        found.append(Chain(path=one.path, known_as=one.known_as, parent=parent, depth=depth, turns=tuple(fresh)))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Todo:
    """A chain to read above a depth, and the number of the one that names it."""

    path: str
    known_as: int
    context: int
    above: int = -1
    bound: int = 0
    named_by: int = -1

    def counts(self, turn: Legible) -> bool:
        """Whether a turn belongs to the session's story."""
        return not self.bound or turn.turn_id <= self.bound

    def below(self, named: NamedBranch, number: int) -> _Todo:
        """A branch that this chain, which has a number now, names."""
        return _Todo(
            path=f"{self.path}/{named.event.node}/{named.event.branch_id}".removeprefix("/"),
            known_as=named.known_as,
            context=named.context,
            above=named.fork,
            bound=named.bound or self.bound,
            named_by=number,
        )


def _turn_before(turns: Sequence[Legible], fresh: Sequence[Legible]) -> int:
    """Return the turn where a chain's own turns begin; 0 if unknown."""
    if fresh and isinstance(fresh[0], Turn):
        return fresh[0].parent
    return turns[-1].turn_id if turns and not fresh else 0


async def with_branches(store: Store, row: Row) -> list[tuple[str, Legible]]:
    """Return the turns of a session and its branches, each with its branch's path, as they were recorded."""
    found = await chains(store, row)
    if row.mirror_of:  # turn ids say when a turn came to the mirror
        return list(_by_time(found))
    return sorted(((chain.path, turn) for chain in found for turn in chain.turns), key=lambda pair: pair[1].turn_id)


def _by_time(found: Sequence[Chain]) -> Iterator[tuple[str, Legible]]:
    """Merge chains by the times in their events; of one time, a branch lies between its start and its end."""
    left = [list(zip(_times(chain), chain.turns, strict=True))[::-1] for chain in found]
    numbers = {chain.known_as: number for number, chain in enumerate(found)}
    unborn = {
        event.branch_context
        for turns in left
        for (_at, event), _turn in turns
        if isinstance(event, ParallelBranchStarted)
    }
    """Branches whose start was not read."""
    emitted: dict[int, int] = {}
    """The depth up to which each chain was read."""

    def may_go(number: int) -> bool:
        chain = found[number]
        if chain.known_as in unborn:
            return False
        if chain.parent >= 0 and emitted.get(chain.parent, -1) < chain.depth and left[chain.parent]:
            return False
        (_at, event), _turn = left[number][-1]
        below = numbers.get(event.branch_context) if isinstance(event, ParallelBranchCompleted) else None
        return below is None or not left[below]

    while waiting := [number for number, turns in enumerate(left) if turns]:
        ready = [number for number in waiting if may_go(number)] or waiting
        number = min(ready, key=lambda one: (left[one][-1][0][0], -one))
        (_at, event), turn = left[number].pop()
        if isinstance(event, ParallelBranchStarted):
            unborn.discard(event.branch_context)
        emitted[number] = turn.depth
        yield found[number].path, turn


def _times(chain: Chain) -> Iterator[tuple[int, object]]:
    """Yield when each turn of a chain was recorded, never before the previous one, and its event."""
    at = 0
    for turn in chain.turns:
        known = recorded_in(turn)
        at = max(at, known.meta.at if known is not None else 0)
        yield at, known.event if known is not None else None


async def context_of_branch(store: Store, row: Row, path: str) -> int | None:
    """Return the newest context of a branch by its path, such as ``fan/security``; None if unknown."""
    parts = path.split("/")
    mirrored = await map_mirrored(store, row)
    found = row.context_id
    for node, branch in zip(parts[::2], parts[1::2], strict=False):
        known = branches_in(_readable(await legible(store, found)), mirrored)
        contexts = [one.context for one in known if (one.event.node, one.event.branch_id) == (node, branch)]
        if not contexts or not contexts[-1]:
            return None
        found = contexts[-1]
    return found if len(parts) % 2 == 0 else None


async def _backwards(store: Store, context_id: int) -> AsyncIterator[Legible]:
    head = await store.head(context_id)
    turn_id, depth = head.turn_id, head.depth
    page = await _page(store, context_id, None) if turn_id else []
    while page:
        if isinstance(page, Damaged):
            behind = await _page(store, context_id, turn_id) if depth else []
            after = behind.turn_id if isinstance(behind, Damaged) else behind[-1].turn_id if behind else 0
            yield Gap(turn_id=turn_id, depth=depth, reason=page.message, older=bool(after) or not depth)
            if not after:
                return
            page, turn_id, depth = behind, after, depth - 1
        else:
            for turn in reversed(page):
                yield turn
            turn_id, depth = page[0].parent, page[0].depth - 1
            page = await _page(store, context_id, page[0].turn_id) if turn_id else []


async def _page(store: Store, context_id: int, before: int | None) -> list[Turn] | Damaged:
    """The largest page that can be read before a turn; the damage where not even one turn can."""
    limit = PAGE
    while True:
        try:
            return await store.turns(context_id, before=before, limit=limit)
        except Damaged as error:
            if limit == 1:
                return error
            limit = limit // 4 or 1


async def own_branches(store: Store, context_id: int) -> set[int]:
    """The contexts of all branches that a session made in this store, nested ones too."""
    found: set[int] = set()
    todo = [context_id]
    for chain in todo:  # grows while it is read
        for one in branches_in(_readable(await legible(store, chain))):
            if one.context and not one.bound and one.context not in found:
                found.add(one.context)
                todo.append(one.context)
    return found
