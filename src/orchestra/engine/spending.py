"""What a session's unfinished branches and children had spent before this process took it (A5, E35)."""

from __future__ import annotations

from orchestra.engine.loading import load, newest_first, recorded_in
from orchestra.engine.sessions import newest_of_chain
from orchestra.engine.wiring import SessionPlace
from orchestra.ports import Store
from orchestra.run.events import ParallelStarted
from orchestra.run.parallel import Fan
from orchestra.run.state import NO_EXPENSE, ChildRecord, RunState, Spent


async def announcement(store: Store, context_id: int, node: str, fan: Fan) -> int:
    """The turn of a chain at which a fan-out was announced."""
    execution = (node, fan.visit, fan.attempt)
    async for turn in newest_first(store, context_id):
        found = recorded_in(turn)
        event = found.event if found is not None else None
        if isinstance(event, ParallelStarted) and (event.node, event.visit, event.attempt) == execution:
            return turn.turn_id
    raise LookupError(f"the chain has no beginning of {node}'s branches")


async def spent_below(store: Store, context_id: int, state: RunState) -> Spent:
    """What a chain counts only when they end: all that its branches and children have spent so far.

    It is known before any of them continues, so that none goes past a limit that the others have reached.
    """
    total = NO_EXPENSE
    for node, fan in state.fans.items():
        if not fan.status and state.stage is not None and state.stage.node == node:
            total += await _in_branches(store, context_id, node, fan)
    for child in state.children.values():
        if not child.status:
            total += await _in_child(store, child)
    return total


async def _in_branches(store: Store, context_id: int, node: str, fan: Fan) -> Spent:
    total = NO_EXPENSE
    if not fan.begun:
        return total
    turn = fan.from_turn or await announcement(store, context_id, node, fan)
    base = await load(store, context_id, until=turn)
    for branch in fan.begun:
        loaded = await load(store, branch, base=base)
        total += loaded.state.spent - base.state.spent
        total += await spent_below(store, branch, loaded.state)
    return total


async def _in_child(store: Store, child: ChildRecord) -> Spent:
    if not (await store.head(child.mailbox)).turn_id:
        return NO_EXPENSE
    place = SessionPlace(session=child.session, context_id=child.context_id, mailbox=child.mailbox)
    if child.seen:
        loaded = await load(store, child.context_id, until=child.seen)
    else:
        place, loaded = await newest_of_chain(store, place)
    return loaded.state.spent - child.counted + await spent_below(store, place.context_id, loaded.state)
