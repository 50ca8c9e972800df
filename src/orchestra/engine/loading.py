"""A session as its chain tells it: its events, and the state that they fold to (S17)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestra.errors import OrchestraError, UnknownEvent
from orchestra.ports import NewTurn, Store, Turn
from orchestra.run.codec import blob_value, decode, encode
from orchestra.run.declare import BY_CLASS, BlobRef, change
from orchestra.run.events import CheckpointSaved, Event, Meta, Recorded, UnreadableEvent
from orchestra.run.fold import fold
from orchestra.run.state import NEW, RunState
from orchestra.run.whole import whole_reference

PAGE = 256
"""Turns read at a time where a whole chain is read."""

CATCH_UP = 16
"""Turns read at a time where only what is new is wanted."""


def event_of(turn: Turn) -> Recorded | UnreadableEvent:
    """The event that a turn holds."""
    return decode(
        turn.type_id,
        turn.type_version,
        turn.payload,
        turn_id=turn.turn_id,
        depth=turn.depth,
        parent=turn.parent,
    )


def recorded_in(turn: object) -> Recorded | None:
    """The event that a turn holds; None where that cannot be read, and for a gap in a chain."""
    found = event_of(turn) if isinstance(turn, Turn) else None
    return found if isinstance(found, Recorded) else None


def turn_of(meta: Meta, event: Event, metadata: Mapping[int, object] | None = None) -> NewTurn:
    """Return the turn that holds an event."""
    declared = BY_CLASS[type(event)]
    return NewTurn(type_id=declared.type_id, type_version=declared.version, payload=encode(meta, event, metadata))


async def resolve(store: Store, value: Any) -> Any:
    """Return a recorded value; a reference is read from its blob."""
    if not isinstance(value, BlobRef):
        return value
    return blob_value(value, await store.get_blob(bytes.fromhex(value.hash)))


async def history(store: Store, context_id: int) -> list[Turn]:
    """A session's whole chain, oldest first."""
    pages = [page async for page in backwards(store, context_id, PAGE)]
    return [turn for page in reversed(pages) for turn in page]


async def backwards(store: Store, context_id: int, limit: int) -> AsyncIterator[list[Turn]]:
    """A chain in pages from its head to its first turn; each page is oldest first."""
    before: int | None = None
    while page := await store.turns(context_id, before=before, limit=limit):
        yield page
        if page[0].parent == 0:
            return
        before = page[0].turn_id
        limit = max(limit, PAGE)


async def newest_first(store: Store, context_id: int) -> AsyncIterator[Turn]:
    """Yield the turns of a chain from its head to its first."""
    async for page in backwards(store, context_id, PAGE):
        for turn in reversed(page):
            yield turn


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSession:
    """A session up to the turn ``head`` at ``depth``: its state, and sizes for the next checkpoint.

    The bytes since its last whole checkpoint, and that one's size.
    """

    head: int
    state: RunState
    bytes_since_whole: int
    whole_size: int
    depth: int = -1


EMPTY_CHAIN = LoadedSession(head=0, state=NEW, bytes_since_whole=0, whole_size=0)
"""An empty chain."""


async def load_state(store: Store, context_id: int) -> RunState:
    """The folded state. Raises ``UnknownEvent``."""
    return (await load(store, context_id)).state


async def load(
    store: Store, context_id: int, *, until: int | None = None, base: LoadedSession = EMPTY_CHAIN
) -> LoadedSession:
    """Load a chain now, or as it was at the turn ``until`` (S17).

    Only what came after ``base`` is read: what is known of the chain, or of the one that it is forked from. Without
    it, or where that is long ago, the chain is read from its last whole checkpoint on. Raises ``UnknownEvent``.

    The fold begins at the first whole checkpoint of the page that holds the last one: it passes over one that
    a replaced runner wrote (S16), if the page's beginning would not show that it is stale.
    """
    found: list[Recorded] = []
    sizes: list[int] = []
    head, depth = base.head, base.depth
    async for page in backwards(store, context_id, CATCH_UP if base.head else PAGE):
        turns = [turn for turn in page if turn.turn_id > base.head and (until is None or turn.turn_id <= until)]
        if turns and not found:
            head, depth = turns[-1].turn_id, turns[-1].depth
        found[:0] = [_record(turn) for turn in turns]
        sizes[:0] = [len(turn.payload) + _blob_size(one) for turn, one in zip(turns, found, strict=False)]
        if base.head and (page[0].turn_id <= base.head or page[0].parent == base.head):
            break
        if len(found) > PAGE:
            base = EMPTY_CHAIN
        whole = next((place for place, recorded in enumerate(found) if _holds_state(recorded)), None)
        if whole is not None and not base.head:
            del found[:whole], sizes[:whole]
            found[0] = await _with_state(store, found[0])
            break
    try:
        state = fold(found, base.state)
    except ValueError as error:
        raise UnknownEvent(
            f"a checkpoint of context {context_id} cannot be read: {error}",
            fix="a newer version of Orchestra may have written it",
        ) from error
    last = max((place for place, recorded in enumerate(found) if _holds_state(recorded)), default=-1)
    return LoadedSession(
        head=head,
        state=state,
        bytes_since_whole=sum(sizes[last + 1 :]) + (base.bytes_since_whole if last < 0 else 0),
        whole_size=base.whole_size if last < 0 else sizes[last],
        depth=depth,
    )


def _blob_size(recorded: Recorded) -> int:
    reference = _blob_of(recorded.event)
    return reference.size if reference is not None else 0


def _blob_of(event: Event) -> BlobRef | None:
    """The blob that holds the whole state of a checkpoint, where that is large."""
    return whole_reference(event) if isinstance(event, CheckpointSaved) and event.state is not None else None


def _holds_state(recorded: Recorded) -> bool:
    return isinstance(recorded.event, CheckpointSaved) and recorded.event.state is not None


async def _with_state(store: Store, recorded: Recorded) -> Recorded:
    """A checkpoint that holds its whole state itself, read from a blob where it is large."""
    event = recorded.event
    reference = _blob_of(event)
    if reference is None:
        return recorded
    state = await resolve(store, reference)
    return Recorded(recorded.meta, change(event, state=state), recorded.turn_id, recorded.depth, recorded.parent)


async def fold_around(store: Store, events: Sequence[Recorded]) -> RunState:
    """Return the state from the readable events of a damaged chain.

    Without events before a checkpoint of which not even the state can be read.
    """
    try:
        if events and _blob_of(events[0].event) is not None:
            return fold([await _with_state(store, events[0]), *events[1:]])
        return fold(events)
    except (ValueError, OrchestraError):
        return fold(_without_state(event) for event in events)


def _without_state(recorded: Recorded) -> Recorded:
    event = recorded.event
    if not isinstance(event, CheckpointSaved) or event.state is None:
        return recorded
    return Recorded(recorded.meta, change(event, state=None), recorded.turn_id, recorded.depth, recorded.parent)


def _record(turn: Turn) -> Recorded:
    event = event_of(turn)
    if isinstance(event, UnreadableEvent):
        raise UnknownEvent(
            f"turn {turn.turn_id} ({turn.type_id} v{turn.type_version}) cannot be read: {event.reason}",
            fix="a newer version of Orchestra may have written it",
        )
    return event
