"""A script of calls for a store, and what is there after each: the memory store says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from orchestra.cxdb.format.packing import digest_of
from orchestra.cxdb.memory import MemoryStore
from orchestra.errors import SessionNotFound
from orchestra.ports import NewTurn, Store, Turn

T = TypeVar("T")
Call = Callable[[Store], Awaitable[object]]
Picture = tuple[tuple[tuple[int, int, int, tuple[Turn, ...]], ...], tuple[bool, ...]]

TIME = 1_700_000_000_000
BLOBS = [b"one blob", b"another " * 200, bytes(range(256)) * 40]


def new(text: str) -> NewTurn:
    return NewTurn(type_id="com.x.Y", type_version=1, payload=text.encode())


def append(context: int, *texts: str, blobs: tuple[bytes, ...] = ()) -> Call:
    return lambda store: store.append(context, [new(text) for text in texts], blobs=blobs)


SCRIPT: list[Call] = [
    lambda store: store.create(),
    append(1, "a", "b"),
    append(1, "c" * 300, "d", "e" * 1500, "b"),
    lambda store: store.fork(2),
    append(2, "own", blobs=(BLOBS[0], BLOBS[1])),
    lambda store: store.put_blob(BLOBS[2]),
    append(1, "f"),
    lambda store: store.create(),
    append(3, "g", "h", "i"),
    lambda store: store.attach_fs(3, digest_of(BLOBS[0])),
    append(2, "j" * 700, "k"),
    append(1, "l"),
]


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("the store waited")


async def picture(store: Store) -> Picture:
    """All that a reader can see."""
    contexts = []
    for row in reversed(await store.contexts()):
        head = await store.head(row.context_id)
        assert (head.turn_id, head.depth) == (row.head_turn, row.head_depth)
        turns = tuple(await store.turns(row.context_id, limit=1000))
        contexts.append((row.context_id, row.head_turn, row.head_depth, turns))
    return tuple(contexts), tuple([await _has(store, data) for data in BLOBS])


async def _has(store: Store, data: bytes) -> bool:
    try:
        return await store.get_blob(digest_of(data)) == data
    except SessionNotFound:
        return False


async def pictures(script: list[Call]) -> list[Picture]:
    """What there is to see before the first call and after each."""
    store = MemoryStore(now_ms=lambda: TIME)
    found = [await picture(store)]
    for call in script:
        await call(store)
        found.append(await picture(store))
    return found


PICTURES = asyncio.run(pictures(SCRIPT))
