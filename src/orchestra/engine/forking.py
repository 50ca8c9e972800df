"""Find the turn of a session at which it is forked (S27)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from orchestra.engine.gaps import context_of_branch, with_branches
from orchestra.engine.loading import newest_first, recorded_in
from orchestra.engine.sessions import Row, rows
from orchestra.errors import SessionNotFound
from orchestra.ports import Store, Turn
from orchestra.run.events import CheckpointSaved, StageStarted


class Spot(NamedTuple):
    """A turn of a session; ``until`` is the newest that counts of its children, 0 where that is the same one."""

    turn_id: int
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
    """Return a session's last turn up to the chosen one, which may be a branch's or a child's.

    Raises ``SessionNotFound``.
    """
    context_id, name = row.context_id, row.session
    if branch:
        found = await context_of_branch(store, row, branch)
        if found is None:
            raise SessionNotFound(f"session {name} has no branch {branch!r}", fix=f"see: orchestra log {name}")
        context_id, name = found, f"{name}/{branch}"
    turns = [turn async for turn in newest_first(store, context_id)]
    if wanted.node:
        chosen = _before_node(turns, wanted) or await _no_such_node(store, context_id, name, wanted)
    else:
        chosen = _chosen(turns, name, wanted) or await _a_childs(store, context_id, name, wanted)
    own = turns if context_id == row.context_id else [turn async for turn in newest_first(store, row.context_id)]
    main = next((turn.turn_id for turn in own if turn.turn_id <= chosen), 0)
    if not main:
        raise SessionNotFound(f"session {row.session} has no turn before #{chosen}")
    return Spot(main, 0 if main == chosen else chosen)


def _chosen(turns: Sequence[Turn], session: str, wanted: TurnChoice) -> int:
    """Return the chosen turn of a chain, which is newest first; 0 if there is none."""
    if wanted.newest:
        return next((turn.turn_id for turn in turns if _is_checkpoint(turn)), 0)
    if wanted.depth is None and wanted.turn_id is None:
        return turns[-1].turn_id if turns else 0
    for place, turn in enumerate(turns):
        if turn.depth == wanted.depth or turn.turn_id == wanted.turn_id:
            if wanted.checkpoint and not _is_checkpoint(turn):
                near = next((older.depth for older in turns[place:] if _is_checkpoint(older)), None)
                raise SessionNotFound(
                    f"turn {turn.depth} of session {session} is not a checkpoint",
                    fix=f"the previous one is at {near}" if near is not None else f"see: orchestra log {session}",
                )
            return turn.turn_id
    return 0


async def _a_childs(store: Store, context_id: int, session: str, wanted: TurnChoice) -> int:
    """Return the chosen turn, if one of the session's children recorded it, or one of theirs."""
    if wanted.turn_id is not None and not wanted.checkpoint:
        try:
            recorded = recorded_in(await store.turn(wanted.turn_id))
        except SessionNotFound:
            recorded = None
        known = {row.context_id: row for row in await rows(store)} if recorded is not None else {}
        row = next((row for row in known.values() if recorded and row.session == recorded.meta.session), None)
        while row is not None and row.context_id != context_id:
            row = known.get(row.parent) if row.why in ("child", "restart") else None
        if row is not None:
            return wanted.turn_id
    shown = f"at depth {wanted.depth}" if wanted.depth is not None else f"#{wanted.turn_id}"
    raise SessionNotFound(
        f"session {session} has no {'checkpoint' if wanted.newest else f'turn {shown}'}",
        fix=f"see its turns: orchestra log {session}",
    )


def _before_node(turns: Sequence[Turn], wanted: TurnChoice) -> int:
    """Return the turn before the wanted visit of a node began; 0 if there is none."""
    for turn, before in pairwise(turns):
        match _event(turn):
            case StageStarted(node=wanted.node, attempt=1, visit=visit) if wanted.visit in (None, visit):
                return before.turn_id
            case _:
                pass
    return 0


async def _no_such_node(store: Store, context_id: int, session: str, wanted: TurnChoice) -> int:
    """Raise ``SessionNotFound`` for a node that was not entered; it names the newest branch that entered it."""
    row = next((row for row in await rows(store) if row.context_id == context_id), None)
    for path, turn in reversed(await with_branches(store, row)) if row is not None else ():
        event = _event(turn)
        if path and isinstance(event, StageStarted) and event.node == wanted.node:
            raise SessionNotFound(
                f"session {session} was at {wanted.node!r} in a branch",
                fix=f"orchestra replay {session}/{path} --node {wanted.node}",
            )
    which = "" if wanted.visit is None else f" in a visit {wanted.visit}"
    raise SessionNotFound(
        f"session {session} was never at {wanted.node!r}{which}", fix=f"see: orchestra log {session}"
    )


def _event(turn: object) -> object:
    recorded = recorded_in(turn)
    return recorded.event if recorded is not None else None


def _is_checkpoint(turn: Turn) -> bool:
    return isinstance(_event(turn), CheckpointSaved)
