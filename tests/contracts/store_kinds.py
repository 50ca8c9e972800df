"""The stores that the contract is held against. Another kind of store is added to ``KINDS``."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import cycle
from pathlib import Path

from store_shifted import Shifted

from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.cxdb.memory import MemoryStore
from orchestra.cxdb.remote.requests import ServerPlace
from orchestra.cxdb.remote.store import RemoteStore
from orchestra.cxdb.server.http import Guard
from orchestra.cxdb.server.serve import Addresses, serving
from orchestra.ports import Store
from served_memory import ServedMemory


class InTurns:
    """Several handles on one store: each call goes to the next of them."""

    def __init__(self, handles: list[EmbeddedStore]) -> None:
        self._handles = handles
        self._next: Iterator[EmbeddedStore] = cycle(handles)

    def __getattr__(self, name: str) -> object:
        return getattr(next(self._next), name)

    async def close(self) -> None:
        for handle in self._handles:
            await handle.close()


class OpenedAnew:
    """A handle that is closed and opened again before each call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._store = EmbeddedStore.open(path)
        self._kept: list[EmbeddedStore] = []

    def __getattr__(self, name: str) -> object:
        if name == "watch":
            self._kept.append(EmbeddedStore.open(self._path))
            return self._kept[-1].watch

        async def call(*args: object, **named: object) -> object:
            await self._store.close()
            self._store = EmbeddedStore.open(self._path)
            return await getattr(self._store, name)(*args, **named)

        return getattr(self._store, name) if name in {"hold", "holder"} else call

    async def close(self) -> None:
        for store in (self._store, *self._kept):
            await store.close()


@asynccontextmanager
async def memory(_folder: Path) -> AsyncIterator[Store]:
    yield MemoryStore()


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[Store]:
    store = EmbeddedStore.open(folder / "store")
    yield store
    await store.close()


@asynccontextmanager
async def embedded_tiny_log(folder: Path) -> AsyncIterator[Store]:
    """The log is cut before every few batches."""
    store = EmbeddedStore.open(folder / "store", capacity=12_000)
    yield store
    await store.close()


@asynccontextmanager
async def embedded_two_handles(folder: Path) -> AsyncIterator[Store]:
    handles = [EmbeddedStore.open(folder / "store"), EmbeddedStore.open(folder / "store", capacity=16_000)]
    store = InTurns(handles)
    yield store  # type: ignore[misc]
    await store.close()


@asynccontextmanager
async def embedded_opened_anew(folder: Path) -> AsyncIterator[Store]:
    store = OpenedAnew(folder / "store")
    yield store  # type: ignore[misc]
    await store.close()


@asynccontextmanager
async def remote_over_memory(_folder: Path) -> AsyncIterator[Store]:
    async with serving(ServedMemory(), guard=Guard()) as at:
        store = RemoteStore(place_of(at), patience=5)
        yield store
        await store.close()


@asynccontextmanager
async def remote_over_embedded(folder: Path) -> AsyncIterator[Store]:
    served = EmbeddedStore.open(folder / "store")
    async with serving(served, guard=Guard()) as at:
        store = RemoteStore(place_of(at), patience=5)
        yield store
        await store.close()
    await served.close()


NAMED_SERVER = "remote, the server of ORCHESTRA_TEST_CXDB"


@asynccontextmanager
async def remote_named(_folder: Path) -> AsyncIterator[Store]:
    """A server that is there already, as ``host:9009,host:9010``; others must not write to it meanwhile."""
    binary, http = (address.rsplit(":", 1) for address in os.environ["ORCHESTRA_TEST_CXDB"].split(","))
    place = ServerPlace(host=binary[0], port=int(binary[1]), http_host=http[0], http_port=int(http[1]))
    store = await Shifted.after_what_is_there(RemoteStore(place, patience=5))
    yield store
    await store.close()


def place_of(at: Addresses) -> ServerPlace:
    return ServerPlace(host=at.host, port=at.port, http_host=at.http_host, http_port=at.http_port)


Kind = Callable[[Path], AbstractAsyncContextManager[Store]]

KINDS: dict[str, Kind] = {
    "memory": memory,
    "embedded": embedded,
    "embedded, tiny log": embedded_tiny_log,
    "embedded, two handles in turns": embedded_two_handles,
    "embedded, opened anew for each call": embedded_opened_anew,
    "remote, our server over memory": remote_over_memory,
    "remote, our server over a folder": remote_over_embedded,
}

if "ORCHESTRA_TEST_CXDB" in os.environ:
    KINDS[NAMED_SERVER] = remote_named
