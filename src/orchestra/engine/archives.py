"""A session taken out of one store and put into another: its turns and blobs as they are (S28).

Payloads stay byte for byte, so their hashes do too. Ids of contexts and turns are a store's own: a turn of type
``PipelineImported`` behind the old ones says what they are here.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import msgspec

from orchestra.engine.holding import heard_of
from orchestra.engine.loading import event_of, history, load_state
from orchestra.engine.sessions import Row, find, mailbox_turn, rows, turn_of
from orchestra.engine.wiring import Origin, Place
from orchestra.errors import ConfigError, SessionNotFound
from orchestra.ports import Clock, NewTurn, Store, Turn
from orchestra.run.blobs import BlobRef, carried, from_map
from orchestra.run.events import Meta, PipelineImported, Recorded
from orchestra.run.state import RunState

_unpack = msgspec.msgpack.Decoder().decode

COMING_ALONG = ("restart", "child")
"""Why a session belongs to the one that it comes from; a fork is another story."""

TURNS_AT_ONCE = 256
"""Turns that are put into a store as one batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One session out of a store: its row there, its chain, its mailbox."""

    row: Row
    turns: tuple[Turn, ...]
    mailbox: tuple[Turn, ...]
    holder: str = ""
    """Who was running it when it was taken out; empty if nobody."""


async def take_out(store: Store, name: str, now_ms: int = 0) -> list[Taken]:
    """Take a session out with those that it restarted from or as (E14), and with their children, in this order.

    ``now_ms`` (UTC) is compared with the claims of runners; 0 asks for no runner. Raises ``SessionNotFound``.
    """
    found = []
    linked = await _linked(store, await find(store, name))
    for row in linked:
        chain = tuple(await history(store, row.context_id))
        named = _as_named(row, linked)
        live = None
        if now_ms and not row.mirror_of:
            live = await heard_of(store, row.context_id, row.mailbox, now_ms)
        holder = live.note if live is not None else ""
        mailbox = tuple(await history(store, row.mailbox))
        found.append(Taken(row=named, turns=chain, mailbox=mailbox, holder=holder))
    return _as_recorded(found) if any(row.mirror_of for row in linked) else found


def _as_recorded(taken: Sequence[Taken]) -> list[Taken]:
    """Sessions out of a mirror, which gets one behind the other: turns numbered by when they were recorded."""
    every = sorted(each for number, one in enumerate(taken) for each in _moments(number, one.turns))
    numbers = {(chain, depth): place for place, (_at, chain, depth) in enumerate(every, 1)}
    return [
        replace(one, turns=tuple(replace(turn, turn_id=numbers[chain, turn.depth]) for turn in one.turns))
        for chain, one in enumerate(taken)
    ]


def _moments(chain: int, turns: Sequence[Turn]) -> Iterator[tuple[int, int, int]]:
    """When each turn of a chain was recorded, UTC ms; never before the one in front of it."""
    at = 0
    for turn in turns:
        recorded = event_of(turn)
        at = max(at, recorded.meta.at) if isinstance(recorded, Recorded) else at
        yield at, chain, turn.depth


def _as_named(row: Row, linked: Sequence[Row]) -> Row:
    """A mirrored session by its master's ids, which are those that the records name (S22)."""
    if not row.mirror_of:
        return row
    parent = next((one.source for one in linked if one.context_id == row.parent), 0)
    return replace(row, context_id=row.source, parent=parent)


async def _linked(store: Store, row: Row) -> list[Row]:
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
    """The blobs that turns refer to, directly or through a blob, each once; what is not there is passed over."""
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
    recorded = event_of(turn)
    response = getattr(recorded.event, "response", "") if isinstance(recorded, Recorded) else ""
    value = carried(response)
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


async def put_in(store: Store, taken: Sequence[Taken], clock: Clock, origin: Origin) -> list[Row]:
    """Put sessions that belong together into a store in which their blobs are already; listed once all is durable.

    Messages in their mailboxes stay behind: those that took effect are recorded in the chains. Raises
    ``ConfigError`` where one of the sessions is there.
    """
    there = {row.session for row in await rows(store)}
    for one in taken:
        if one.row.session in there:
            raise ConfigError(
                f"session {one.row.session} already exists in this store", fix="import it into another: --store DIR"
            )
    places: dict[int, Place] = {}
    for one in taken:
        mailbox, context = (await store.create()).context_id, (await store.create()).context_id
        places[one.row.context_id] = Place(session=one.row.session, context_id=context, mailbox=mailbox)
    await _put_turns(store, taken, places)
    states = [await _placed(store, one, places, clock) for one in taken]
    for one, state in zip(taken, states, strict=True):
        place = places[one.row.context_id]
        await store.append(place.mailbox, [mailbox_turn(state, place.context_id, origin, clock.now_ms())])
    contexts = {place.context_id for place in places.values()}
    return sorted((row for row in await rows(store) if row.context_id in contexts), key=lambda row: row.context_id)


async def _put_turns(store: Store, taken: Sequence[Taken], places: Mapping[int, Place]) -> None:
    """Put the chains in, turn behind turn as they were recorded: what was later there is later here."""
    recorded = ((turn, one.row.context_id) for one in taken for turn in one.turns)
    ordered = sorted(recorded, key=lambda each: each[0].turn_id)
    for context_id, several in groupby(ordered, key=lambda each: each[1]):
        turns = [
            NewTurn(type_id=turn.type_id, type_version=turn.type_version, payload=turn.payload)
            for turn, _context in several
        ]
        for start in range(0, len(turns), TURNS_AT_ONCE):
            await store.append(places[context_id].context_id, turns[start : start + TURNS_AT_ONCE])


async def _placed(store: Store, one: Taken, places: Mapping[int, Place], clock: Clock) -> RunState:
    """Say behind a chain what the ids of contexts are here; its state then."""
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
        children={
            child.session: [here.context_id, here.mailbox]
            for child in state.children.values()
            if (here := places.get(child.context_id)) is not None
        },
    )
    meta = Meta(session=one.row.session, epoch=state.epoch + 1, sequence=1, at=clock.now_ms())
    await store.append(place.context_id, [turn_of(meta, event)])
    return await load_state(store, place.context_id)
