"""Connections that are lost at every place lose no turn and double none (S20)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from wire_proxy import DOWN, UP, Proxy, through

from orchestra.cxdb.format.packing import digest_of
from orchestra.cxdb.remote.requests import ServerPlace
from orchestra.cxdb.remote.store import RemoteStore
from orchestra.cxdb.server.http import Guard
from orchestra.cxdb.server.serve import Addresses, serving
from orchestra.ports import NewTurn, Store
from served_memory import ServedMemory

BLOB = b"a blob " * 20
BATCHES: list[list[bytes]] = [
    [b"a", b"b" * 40, b"c"],
    [b"d"],
    [b"same", b"same", b"same"],
    [b"e" * 300, b"f"],
    [b"same"],
]
EXPECTED = [payload for batch in BATCHES for payload in batch]


def new(payload: bytes) -> NewTurn:
    return NewTurn(type_id="com.x.Y", type_version=1, payload=payload)


def place_of(at: Addresses) -> ServerPlace:
    return ServerPlace(host=at.host, port=at.port, http_host=at.http_host, http_port=at.http_port)


async def session(store: Store) -> int:
    """What a run does: two contexts, batches, blobs, a page."""
    context = (await store.create()).context_id
    other = (await store.create()).context_id
    for number, batch in enumerate(BATCHES):
        added = await store.append(context, [new(payload) for payload in batch], blobs=[BLOB, b"%d" % number])
        assert [turn.payload for turn in added] == batch
        await store.append(other, [new(b"%d" % number)])
    assert [turn.payload for turn in await store.turns(context)] == EXPECTED
    return context


@asynccontextmanager
async def cut_at(direction: int, cut: int | None) -> AsyncIterator[tuple[RemoteStore, ServedMemory, Proxy]]:
    memory = ServedMemory()
    async with serving(memory, guard=Guard()) as at:
        proxy = Proxy(at.host, at.port, direction=direction, cut=cut)
        async with through(proxy) as (host, port):
            store = RemoteStore(replace(place_of(at), host=host, port=port), patience=10)
            yield store, memory, proxy
            await store.close()


async def traffic() -> list[int]:
    async with cut_at(UP, None) as (store, _, proxy):
        await session(store)
        return proxy.passed


async def finished_whole(direction: int, cut: int) -> None:
    async with cut_at(direction, cut) as (store, memory, proxy):
        context = await session(store)
        assert proxy.was_cut
        chain = await memory.turns(context, limit=1000)
        assert [turn.payload for turn in chain] == EXPECTED, (direction, cut)
        assert [turn.parent for turn in chain[1:]] == [turn.turn_id for turn in chain[:-1]]
        assert await memory.get_blob(digest_of(BLOB)) == BLOB
        assert await store.turns(context) == chain


def places(size: int, count: int) -> range:
    return range(1, size, max(1, size // count))


@pytest.mark.parametrize("direction", [UP, DOWN], ids=["request", "answer"])
async def test_a_connection_cut_anywhere_neither_loses_nor_doubles_a_turn(direction: int) -> None:
    for cut in places((await traffic())[direction], 100):
        await finished_whole(direction, cut)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("direction", [UP, DOWN], ids=["request", "answer"])
async def test_a_connection_cut_at_every_byte_neither_loses_nor_doubles_a_turn(direction: int) -> None:
    for cut in range(1, (await traffic())[direction]):
        await finished_whole(direction, cut)
