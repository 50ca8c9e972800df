"""A chain read around its damage: what can be read stays readable (S8)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TypeAlias

from orchestra.engine.loading import PAGE
from orchestra.errors import Damaged
from orchestra.ports import Store, Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A turn that cannot be read. ``older`` says whether those before it can be reached."""

    turn_id: int
    depth: int
    reason: str
    older: bool


Legible: TypeAlias = Turn | Gap


async def legible(store: Store, context_id: int) -> list[Legible]:
    """A session's whole chain, oldest first, with a gap for each turn that is damaged.

    Behind a damaged turn the chain goes on where the store still knows the one before; where it does not, the gap
    is the last that can be said.
    """
    return [place async for place in _backwards(store, context_id)][::-1]


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
