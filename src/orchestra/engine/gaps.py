"""A chain read around its damage: what can be read stays readable (S8)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TypeAlias

from orchestra.engine.loading import PAGE, event_of
from orchestra.errors import Damaged
from orchestra.ports import Store, Turn
from orchestra.run.events import ParallelBranchStarted, PipelineImported, Recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A turn that cannot be read. ``older`` says whether those before it can be reached."""

    turn_id: int
    depth: int
    reason: str
    older: bool


Legible: TypeAlias = Turn | Gap


async def legible(store: Store, context_id: int, above: int = -1) -> list[Legible]:
    """A chain, oldest first, as far down as the turns above a depth, with a gap for each turn that is damaged.

    Behind a damaged turn the chain goes on where the store still knows the one before; where it does not, the gap
    is the last that can be said.
    """
    found: list[Legible] = []
    async for place in _backwards(store, context_id):
        if place.depth <= above:
            break
        found.append(place)
    return found[::-1]


async def with_branches(store: Store, context_id: int) -> list[tuple[str, Legible]]:
    """A session's chain and those of its branches, each turn with its branch's path, in the order of their ids.

    A branch that was continued in a fork stands for what it had before, too. Branches that another store has the
    records of, as the chain was imported from there, are left out.
    """
    found: list[tuple[str, Legible]] = []
    todo = [("", context_id, -1)]
    seen: set[int] = set()
    for path, chain, above in todo:  # grows while it is read
        turns = await legible(store, chain, above)
        own = _own_from(turns)
        for turn in turns:
            if turn.turn_id in seen:
                continue
            seen.add(turn.turn_id)
            found.append((path, turn))
            event = _branch(turn)
            if event is not None and turn.depth > own:
                below = f"{path}/" if path else ""
                depth = (await store.turn(event.from_turn)).depth
                todo.append((f"{below}{event.node}/{event.branch_id}", event.branch_context, depth))
    return sorted(found, key=lambda pair: pair[1].turn_id)


async def context_of_branch(store: Store, context_id: int, path: str) -> int | None:
    """The context of a branch by its path, such as ``fan/security``: the newest of that name; None for none."""
    parts = path.split("/")
    found = context_id
    for node, branch in zip(parts[::2], parts[1::2], strict=False):
        turns = await legible(store, found)
        own = _own_from(turns)
        events = [event for turn in turns if turn.depth > own and (event := _branch(turn)) is not None]
        named = [event for event in events if (event.node, event.branch_id) == (node, branch)]
        if not named:
            return None
        found = named[-1].branch_context
    return found if len(parts) % 2 == 0 else None


def _own_from(turns: list[Legible]) -> int:
    """The depth up to which a chain was recorded in another store, whose contexts its turns name; -1 for none."""
    events = [(turn.depth, event_of(turn)) for turn in turns if isinstance(turn, Turn)]
    depths = [d for d, found in events if isinstance(found, Recorded) and isinstance(found.event, PipelineImported)]
    return max(depths, default=-1)


def _branch(turn: Legible) -> ParallelBranchStarted | None:
    recorded = event_of(turn) if isinstance(turn, Turn) else None
    event = recorded.event if isinstance(recorded, Recorded) else None
    return event if isinstance(event, ParallelBranchStarted) else None


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
