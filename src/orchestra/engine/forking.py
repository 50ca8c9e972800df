"""Find the turn of a session at which it is forked (S27)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from orchestra.engine.gaps import context_of_branch, with_branches
from orchestra.engine.loading import PAGE, backwards, event_of
from orchestra.engine.sessions import Row, rows
from orchestra.errors import SessionNotFound
from orchestra.ports import Store, Turn
from orchestra.run.events import CheckpointSaved, Recorded, StageStarted


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A turn of a session; ``until`` is the newest that counts of its children, where it is not the same one."""

    turn: Turn
    until: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnChoice:
    """Which turn of a session is wanted.

    Its ``depth`` or its ``turn_id``, which may have to be a checkpoint; the ``newest`` checkpoint; the last one
    before a ``node`` was entered, at its newest visit or at ``visit``; otherwise the first. A ``turn_id`` may also
    be that of a child's turn: then it is the session's last turn up to that one.
    """

    depth: int | None = None
    turn_id: int | None = None
    newest: bool = False
    checkpoint: bool = False
    node: str = ""
    visit: int | None = None


async def locate(store: Store, row: Row, branch: str, wanted: TurnChoice) -> Spot:
    """Return the chosen turn of a session; with a branch, its last turn up to the chosen one of that branch.

    Raises ``SessionNotFound``.
    """
    if not branch:
        return await _in_chain(store, row.context_id, row.session, wanted)
    context_id = await context_of_branch(store, row, branch)
    if context_id is None:
        raise SessionNotFound(
            f"session {row.session} has no branch {branch!r}", fix=f"see: orchestra log {row.session}"
        )
    turn_id = (await _in_chain(store, context_id, f"{row.session}/{branch}", wanted)).turn.turn_id
    main = await _as_of(store, row.context_id, turn_id)
    if main is None:
        raise SessionNotFound(f"session {row.session} has no turn before #{turn_id}")
    return main if main.turn.turn_id == turn_id else replace(main, until=turn_id)


async def _in_chain(store: Store, context_id: int, session: str, wanted: TurnChoice) -> Spot:
    if wanted.node:
        return await _before_node(store, context_id, session, wanted)
    spot = await _turn(store, context_id, wanted)
    if spot is None and wanted.turn_id is not None and not wanted.checkpoint:
        spot = await _at_a_childs(store, context_id, wanted.turn_id)
    if spot is None:
        shown = f"at depth {wanted.depth}" if wanted.depth is not None else f"#{wanted.turn_id}"
        raise SessionNotFound(
            f"session {session} has no {'checkpoint' if wanted.newest else f'turn {shown}'}",
            fix=f"see its turns: orchestra log {session}",
        )
    if wanted.checkpoint and not _is_checkpoint(spot.turn):
        near = await _near_checkpoint(store, context_id, spot.turn.depth)
        raise SessionNotFound(
            f"turn {spot.turn.depth} of session {session} is not a checkpoint",
            fix=f"the previous one is at {near}" if near is not None else f"see: orchestra log {session}",
        )
    return spot


async def _turn(store: Store, context_id: int, wanted: TurnChoice) -> Spot | None:
    found: Spot | None = None
    async for spot in _spots(store, context_id):
        found = spot
        if wanted.newest and _is_checkpoint(spot.turn):
            return spot
        if spot.turn.depth == wanted.depth or spot.turn.turn_id == wanted.turn_id:
            return spot
    first = wanted.depth is None and wanted.turn_id is None and not wanted.newest
    return found if first else None


async def _at_a_childs(store: Store, context_id: int, turn_id: int) -> Spot | None:
    """Return the session's last turn before a turn of one of its children, or of theirs, was recorded."""
    try:
        turn = await store.turn(turn_id)
    except SessionNotFound:
        return None
    recorded = event_of(turn)
    if not isinstance(recorded, Recorded):
        return None
    known = {row.context_id: row for row in await rows(store)}
    row = next((row for row in known.values() if row.session == recorded.meta.session), None)
    while row is not None and row.context_id != context_id:
        row = known.get(row.parent) if row.why in ("child", "restart") else None
    spot = await _as_of(store, context_id, turn_id) if row is not None else None
    return replace(spot, until=turn_id) if spot is not None else None


async def _before_node(store: Store, context_id: int, session: str, wanted: TurnChoice) -> Spot:
    entered = False
    async for spot in _spots(store, context_id):
        if entered:
            return spot
        event = _event(spot.turn)
        entered = (
            isinstance(event, StageStarted)
            and (event.node, event.attempt) == (wanted.node, 1)
            and wanted.visit in (None, event.visit)
        )
    which = "" if wanted.visit is None else f" in a visit {wanted.visit}"
    place = await _branch_with(store, context_id, wanted.node)
    if place:
        raise SessionNotFound(
            f"session {session} was at {wanted.node!r} in a branch",
            fix=f"orchestra replay {place} --node {wanted.node}",
        )
    raise SessionNotFound(
        f"session {session} was never at {wanted.node!r}{which}", fix=f"see: orchestra log {session}"
    )


async def _branch_with(store: Store, context_id: int, node: str) -> str:
    """The newest branch of a session that entered a node, as ``SESSION/PATH``; empty for none."""
    row = next((row for row in await rows(store) if row.context_id == context_id), None)
    if row is None:
        return ""
    for path, turn in reversed(await with_branches(store, row)):
        event = _event(turn) if isinstance(turn, Turn) else None
        if path and isinstance(event, StageStarted) and event.node == node:
            return f"{row.session}/{path}"
    return ""


async def _spots(store: Store, context_id: int) -> AsyncIterator[Spot]:
    """Yield the turns of a chain, newest first."""
    async for page in backwards(store, context_id, PAGE):
        for turn in reversed(page):
            yield Spot(turn=turn)


async def _as_of(store: Store, context_id: int, until: int) -> Spot | None:
    """Return a chain's last turn that is not newer than turn ``until``; None where it begins after that."""
    async for spot in _spots(store, context_id):
        if spot.turn.turn_id <= until:
            return spot
    return None


async def _near_checkpoint(store: Store, context_id: int, depth: int) -> int | None:
    async for spot in _spots(store, context_id):
        if spot.turn.depth < depth and _is_checkpoint(spot.turn):
            return spot.turn.depth
    return None


def _event(turn: Turn) -> object:
    found = event_of(turn)
    return found.event if isinstance(found, Recorded) else None


def _is_checkpoint(turn: Turn) -> bool:
    return isinstance(_event(turn), CheckpointSaved)
