"""A session taken out of one store and put into another: its turns and blobs as they are (S28).

Payloads stay byte for byte, so their hashes do too. Ids of contexts and turns are a store's own: a turn of type
``PipelineImported`` after the old ones gives the new ids.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import msgspec

from orchestra.engine.gaps import Gap, chains
from orchestra.engine.holding import find_runner
from orchestra.engine.loading import history, load_state, recorded_in, turn_of
from orchestra.engine.sessions import Row, find, mailbox_turn, rows
from orchestra.engine.wiring import RunnerProcess, SessionPlace
from orchestra.errors import ConfigError, Damaged, SessionNotFound
from orchestra.ports import Clock, NewTurn, Store, Turn
from orchestra.run.codec import from_map, to_text
from orchestra.run.declare import BlobRef
from orchestra.run.events import Meta, PipelineImported
from orchestra.run.outcome import Json
from orchestra.run.state import RunState

_unpack = msgspec.msgpack.Decoder().decode

COMING_ALONG = ("restart", "child")
"""Why a session belongs to the one that it comes from; a fork is another story."""

TURNS_AT_ONCE = 256
"""Turns that are put into a store as one batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenBranch:
    """A parallel branch: its old context, its own turns, and the turn that they follow.

    That is the one at ``depth`` in the branch number ``parent`` of the session, in the session's chain for -1.
    """

    context_id: int
    parent: int
    depth: int
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedSession:
    """One session out of a store: its row there, its chain, its branches, its mailbox."""

    row: Row
    turns: tuple[Turn, ...]
    mailbox: tuple[Turn, ...]
    branches: tuple[TakenBranch, ...] = ()
    holder: str = ""
    """Who was running it at the export; empty if nobody."""

    @property
    def chains(self) -> list[tuple[Turn, ...]]:
        """The turns of its chain, then those of each branch."""
        return [self.turns, *(branch.turns for branch in self.branches)]


async def take_out(store: Store, name: str, now_ms: int = 0) -> list[ArchivedSession]:
    """Return a session, its predecessors and successors by restart (E14), and their children.

    ``now_ms`` (UTC) is compared with the claims of runners; 0 asks for no runner. Raises ``SessionNotFound``.
    """
    found = []
    linked = await _linked_sessions(store, await find(store, name))
    for row in linked:
        chain = tuple(await history(store, row.context_id))
        named = _as_named(row, linked)
        live = None
        if now_ms and not row.mirror_of:
            live = await find_runner(store, row, now_ms)
        holder = live.note if live is not None else ""
        mailbox = tuple(await history(store, row.mailbox))
        branches = await _branches(store, row)
        found.append(ArchivedSession(row=named, turns=chain, mailbox=mailbox, holder=holder, branches=branches))
    return _as_recorded(found) if any(row.mirror_of for row in linked) else found


async def _branches(store: Store, row: Row) -> tuple[TakenBranch, ...]:
    """Return the branches of a session, each after the one that it continues. Raises ``Damaged``."""
    found = []
    for chain in (await chains(store, row))[1:]:
        for gap in chain.turns:
            if isinstance(gap, Gap):
                raise Damaged(f"branch {chain.path}: {gap.reason}")
        turns = tuple(turn for turn in chain.turns if isinstance(turn, Turn))
        found.append(
            TakenBranch(context_id=chain.known_as, parent=chain.parent - 1, depth=chain.depth, turns=turns)
        )
    return tuple(found)


def all_turns(taken: Sequence[ArchivedSession]) -> list[Turn]:
    """The turns of sessions and of their branches."""
    return [turn for one in taken for chain in one.chains for turn in chain]


def _as_recorded(taken: Sequence[ArchivedSession]) -> list[ArchivedSession]:
    """Return sessions of a mirror with turns numbered by when they were recorded.

    A mirror gets one session after the other.
    """
    every = sorted(
        (at, number, chain, depth)
        for number, one in enumerate(taken)
        for chain, each in enumerate(one.chains)
        for at, depth in _moments(each)
    )
    numbers = {(number, chain, depth): place for place, (_at, number, chain, depth) in enumerate(every, 1)}

    def numbered(number: int, chain: int, turns: Sequence[Turn]) -> tuple[Turn, ...]:
        return tuple(msgspec.structs.replace(turn, turn_id=numbers[number, chain, turn.depth]) for turn in turns)

    return [
        replace(
            one,
            turns=numbered(number, 0, one.turns),
            branches=tuple(
                replace(branch, turns=numbered(number, chain, branch.turns))
                for chain, branch in enumerate(one.branches, 1)
            ),
        )
        for number, one in enumerate(taken)
    ]


def _moments(turns: Sequence[Turn]) -> Iterator[tuple[int, int]]:
    """Yield when each turn of a chain was recorded (UTC ms), never before the previous one, and its depth."""
    at = 0
    for turn in turns:
        recorded = recorded_in(turn)
        at = max(at, recorded.meta.at) if recorded is not None else at
        yield at, turn.depth


def _as_named(row: Row, linked: Sequence[Row]) -> Row:
    """A mirrored session by its master's ids, which are those that the records name (S22)."""
    if not row.mirror_of:
        return row
    parent = next((one.source for one in linked if one.context_id == row.parent), 0)
    return replace(row, context_id=row.source, parent=parent)


async def _linked_sessions(store: Store, row: Row) -> list[Row]:
    known = {one.context_id: one for one in await rows(store)}
    while row.why == "restart" and row.parent in known:
        row = known[row.parent]
    found = [row]
    for one in found:  # grows while it is read
        found += sorted(
            (other for other in known.values() if other.parent == one.context_id and other.why in COMING_ALONG),
            key=lambda other: other.context_id,
        )
    return found


async def blobs_of(store: Store, turns: Sequence[Turn]) -> AsyncIterator[bytes]:
    """Yield the blobs that turns refer to, also through a blob, each once; missing ones are skipped."""
    seen: set[str] = set()
    waiting = [ref for turn in turns for ref in _refs_of(turn)]
    while waiting:
        ref = waiting.pop()
        if ref.hash in seen:
            continue
        seen.add(ref.hash)
        try:
            data = await store.get_blob(bytes.fromhex(ref.hash))
        except (SessionNotFound, ValueError):  # a value of the user's that only looks like a reference
            continue
        yield data
        if ref.json:
            waiting.extend(_refs_in(msgspec.json.decode(data)))


def _refs_of(turn: Turn) -> Iterator[BlobRef]:
    yield from _refs_in(_unpack(turn.payload))
    recorded = recorded_in(turn)
    response = getattr(recorded.event, "response", "") if recorded is not None else ""
    value = to_text(response)
    if isinstance(value, BlobRef):
        yield value


def _refs_in(value: object) -> Iterator[BlobRef]:
    if isinstance(value, dict):
        if {"hash", "size", "preview"} <= value.keys():
            with contextlib.suppress(ValueError):
                yield from_map(value)
        for item in value.values():
            yield from _refs_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from _refs_in(item)


async def put_in(store: Store, taken: Sequence[ArchivedSession], clock: Clock, origin: RunnerProcess) -> list[Row]:
    """Put sessions that belong together into a store that has their blobs; listed once all is durable.

    Messages in their mailboxes stay behind: those that took effect are recorded in the chains. Raises
    ``ConfigError`` if one of the sessions exists already.
    """
    there = {row.session for row in await rows(store)}
    for one in taken:
        if one.row.session in there:
            raise ConfigError(
                f"session {one.row.session} already exists in this store", fix="import it into another: --store DIR"
            )
    places: dict[int, SessionPlace] = {}
    for one in taken:
        mailbox, context = (await store.create()).context_id, (await store.create()).context_id
        places[one.row.context_id] = SessionPlace(session=one.row.session, context_id=context, mailbox=mailbox)
    every = [_PutIn.of(one, places[one.row.context_id]) for one in taken]
    await _put_turns(store, [chain for one in every for chain in one])
    states = []
    for one, walks in zip(taken, every, strict=True):
        await _branches_placed(store, one, walks, places, clock)
        states.append(await _place(store, one, walks, places, clock))
    for one, state in zip(taken, states, strict=True):
        place = places[one.row.context_id]
        await store.append(place.mailbox, [mailbox_turn(state, place.context_id, origin, clock.now_ms())])
    contexts = {place.context_id for place in places.values()}
    return sorted((row for row in await rows(store) if row.context_id in contexts), key=lambda row: row.context_id)


@dataclass(slots=True, kw_only=True)
class _PutIn:
    """A chain to import: its context here, once it exists, and its turns here by depth."""

    known_as: int
    turns: tuple[Turn, ...]
    context: int = 0
    parent: _PutIn | None = None
    depth: int = -1
    here: dict[int, int] = field(default_factory=dict)

    @staticmethod
    def of(one: ArchivedSession, place: SessionPlace) -> list[_PutIn]:
        """A session's chain, and those of its branches."""
        found = [_PutIn(known_as=one.row.context_id, turns=one.turns, context=place.context_id)]
        for branch in one.branches:
            above = found[branch.parent + 1]
            found.append(_PutIn(known_as=branch.context_id, turns=branch.turns, parent=above, depth=branch.depth))
        return found

    async def open(self, store: Store) -> int:
        """Return the context here; a branch's is made once the turn that it follows exists."""
        if not self.context and self.parent is not None:
            await self.parent.open(store)
            self.context = (await store.fork(self.parent.turn_at(self.depth))).context_id
        return self.context

    def turn_at(self, depth: int) -> int:
        """The turn here at a depth of the chain. Raises ``ConfigError``."""
        if depth in self.here:
            return self.here[depth]
        if self.parent is None or depth > self.depth:
            raise ConfigError("the file is damaged: a branch begins at a turn that is not in it")
        return self.parent.turn_at(depth)


async def _put_turns(store: Store, every: Sequence[_PutIn]) -> None:
    """Append the chains' turns in the order in which they were recorded."""
    recorded = ((turn, number) for number, chain in enumerate(every) for turn in chain.turns)
    ordered = sorted(recorded, key=lambda each: each[0].turn_id)
    for number, several in groupby(ordered, key=lambda each: each[1]):
        turns = [turn for turn, _number in several]
        context = await every[number].open(store)
        for start in range(0, len(turns), TURNS_AT_ONCE):
            some = turns[start : start + TURNS_AT_ONCE]
            new = [NewTurn(type_id=t.type_id, type_version=t.type_version, payload=t.payload) for t in some]
            put = await store.append(context, new)
            every[number].here.update({old.depth: turn.turn_id for old, turn in zip(some, put, strict=True)})
    for chain in every:
        await chain.open(store)


async def _branches_placed(
    store: Store, one: ArchivedSession, every: Sequence[_PutIn], places: Mapping[int, SessionPlace], clock: Clock
) -> None:
    """Record after a branch's chain the new ids of its own branches and children, unless it ended without."""
    place = places[one.row.context_id]
    for chain in every[1:]:
        state = await load_state(store, chain.context)
        if state.result is not None and not state.fans and not state.children:
            continue
        path = state.branch.path if state.branch is not None else ""
        event = PipelineImported(
            mailbox=place.mailbox, branches=_below(every, chain), children=_children(state, places)
        )
        meta = Meta(session=one.row.session, epoch=state.epoch + 1, sequence=1, at=clock.now_ms(), branch=path)
        await store.append(chain.context, [turn_of(meta, event)])


def _below(every: Sequence[_PutIn], chain: _PutIn) -> dict[str, int]:
    """The contexts here of the branches that a chain names, all of its session's, by those there."""
    return {str(other.known_as): other.context for other in every[1:] if other is not chain}


def _children(state: RunState, places: Mapping[int, SessionPlace]) -> dict[str, Json]:
    """The contexts and mailboxes here of the children that a chain names, by session."""
    named = ((child.session, places.get(child.context_id)) for child in state.children.values())
    return {session: [here.context_id, here.mailbox] for session, here in named if here is not None}


async def _place(
    store: Store, one: ArchivedSession, every: Sequence[_PutIn], places: Mapping[int, SessionPlace], clock: Clock
) -> RunState:
    """Record the new ids of contexts after a chain; return its state."""
    place = places[one.row.context_id]
    state = await load_state(store, place.context_id)
    parent = places.get(one.row.parent)
    following = places.get(state.following.context_id) if state.following is not None else None
    event = PipelineImported(
        mailbox=place.mailbox,
        holder=one.holder,
        parent_context=parent.context_id if parent is not None else 0,
        next_context=following.context_id if following is not None else 0,
        next_mailbox=following.mailbox if following is not None else 0,
        children=_children(state, places),
        branches=_below(every, every[0]),
    )
    meta = Meta(session=one.row.session, epoch=state.epoch + 1, sequence=1, at=clock.now_ms())
    await store.append(place.context_id, [turn_of(meta, event)])
    return await load_state(store, place.context_id)
