"""Where the runs of the kill sweep have their store: a folder, this process's memory, or a server.

A run in a folder or on a server is a process that is killed at a point. A run on the memory store is a part of this
process: from its point on, everything it asks of the store fails, whatever it tries.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import signal
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from kill_sweep import LOG, Case, Points, begun, go_on, kills, play, story
from kill_sweep_story import Story, told

from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.cxdb.memory import MemoryStore
from orchestra.cxdb.remote.requests import ServerPlace
from orchestra.cxdb.remote.store import RemoteStore
from orchestra.cxdb.server.http import Guard
from orchestra.cxdb.server.servable import ServableStore
from orchestra.cxdb.server.serve import serving
from orchestra.ports import Head, Hold, NewTurn, Store, Turn
from served_memory import ServedMemory

LATER_MS = 100_000
"""How much later each runner comes than the one before, by the server's clock: claims of the dead are too old."""


class Home(Protocol):
    """Where a run has its store, and how it is killed there."""

    effects: Path

    def play(self, points: Points) -> None:
        """Go on with the run to its end."""

    def killed(self, at: int) -> bool:
        """Go on with the run until it is killed at its point number ``at``; whether it came that far."""

    def story(self) -> Story | None:
        """What it came to so far."""


class WatchedStore:
    """A store whose writes are points, before and after."""

    def __init__(self, inner: Store, points: Points) -> None:
        self._inner = inner
        self._points = points

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    async def create(self, base_turn: int = 0) -> Head:
        self._points.passed("create")
        head = await self._inner.create(base_turn)
        self._points.passed("created")
        return head

    async def fork(self, turn: int) -> Head:
        self._points.passed("fork")
        head = await self._inner.fork(turn)
        self._points.passed("forked")
        return head

    async def append(
        self, context_id: int, turns: Sequence[NewTurn], *, blobs: Sequence[bytes] = ()
    ) -> tuple[Turn, ...]:
        self._points.passed("append")
        added = await self._inner.append(context_id, turns, blobs=blobs)
        self._points.passed("appended")
        return added

    async def put_blob(self, data: bytes) -> bytes:
        self._points.passed("put blob")
        digest = await self._inner.put_blob(data)
        self._points.passed("blob put")
        return digest


# --- a folder ------------------------------------------------------------------------------------


class InFolder:
    """The embedded store; its changes of files are points."""

    def __init__(self, case: Case, folder: Path) -> None:
        self._case = case
        self._folder = folder
        self.effects = folder / "effects"

    def play(self, points: Points) -> None:
        play(self._case, self._folder, points)

    def killed(self, at: int) -> bool:
        return kills(self._case.name, at, self.play)

    def story(self) -> Story | None:
        return story(self._folder)


@contextmanager
def in_folder(case: Case, folder: Path) -> Iterator[Home]:
    yield InFolder(case, folder)


# --- memory --------------------------------------------------------------------------------------


class Killed(BaseException):
    """The run is to be dead."""


class Dying(WatchedStore):
    """A store that a run has only until it is to be dead; its locks go with it."""

    def __init__(self, inner: Store, points: Points) -> None:
        super().__init__(inner, points)
        self._holds: list[Hold] = []

    def hold(self, context_id: int, note: str) -> Hold:
        self._holds.append(self._inner.hold(context_id, note))
        return self._holds[-1]

    def let_go(self) -> None:
        for hold in self._holds:
            hold.release()

    async def close(self) -> None:
        """The store is what is left of the run."""


class InMemory:
    """The memory store; its writes are points."""

    def __init__(self, case: Case, folder: Path) -> None:
        self._case = case
        self._store = MemoryStore()
        self.effects = folder / "effects"

    def play(self, points: Points) -> None:
        store = Dying(self._store, points)
        try:
            asyncio.run(go_on(self._case, store, self.effects, points))  # type: ignore[arg-type]
        finally:
            store.let_go()

    def killed(self, at: int) -> bool:
        def die(number: int, _name: str) -> None:
            if number >= at:
                raise Killed

        try:
            self.play(Points(die))
        except Killed:
            return True
        except BaseExceptionGroup as several:
            if several.split(Killed)[1] is None:
                return True
            raise
        return False

    def story(self) -> Story | None:
        return asyncio.run(told(self._store, frozenset(begun(self.effects))))


@contextmanager
def in_memory(case: Case, folder: Path) -> Iterator[Home]:
    yield InMemory(case, folder)


# --- a server ------------------------------------------------------------------------------------


class AtServer:
    """A server in a process of its own, which lives on; what is asked of it to write are points."""

    def __init__(self, case: Case, folder: Path, place: ServerPlace, clock: mmap.mmap) -> None:
        self._case = case
        self._place = place
        self._clock = clock
        self.effects = folder / "effects"

    def play(self, points: Points) -> None:
        later(self._clock)

        async def work() -> None:
            store = WatchedStore(RemoteStore(self._place, patience=5), points)
            await go_on(self._case, store, self.effects, points)  # type: ignore[arg-type]

        asyncio.run(work())

    def killed(self, at: int) -> bool:
        return kills(self._case.name, at, self.play)

    def story(self) -> Story | None:
        async def look() -> Story | None:
            store = RemoteStore(self._place, patience=5)
            try:
                return await told(store, frozenset(begun(self.effects)))
            finally:
                await store.close()

        return asyncio.run(look())


def later(clock: mmap.mmap) -> None:
    """Let the server's clock be later."""
    (passed,) = struct.unpack_from("q", clock)
    struct.pack_into("q", clock, 0, passed + LATER_MS)


async def _serve(backing: ServableStore, tell: int) -> None:
    async with serving(backing, guard=Guard()) as at:
        os.write(tell, json.dumps([at.host, at.port, at.http_host, at.http_port]).encode())
        os.close(tell)
        await asyncio.Event().wait()


@contextmanager
def _server(case: Case, folder: Path, backing: Callable[[Callable[[], int]], ServableStore]) -> Iterator[Home]:
    clock = mmap.mmap(-1, 8)
    told_at, tell = os.pipe()

    def now_ms() -> int:
        return time.time_ns() // 1_000_000 + int(struct.unpack_from("q", clock)[0])

    child = os.fork()
    if not child:
        try:
            asyncio.run(_serve(backing(now_ms), tell))
        finally:
            os._exit(3)
    os.close(tell)
    try:
        with os.fdopen(told_at) as told_here:
            host, port, http_host, http_port = json.loads(told_here.read())
        place = ServerPlace(host=host, port=port, http_host=http_host, http_port=http_port)
        yield AtServer(case, folder, place, clock)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        clock.close()


@contextmanager
def at_server_over_memory(case: Case, folder: Path) -> Iterator[Home]:
    def backing(now_ms: Callable[[], int]) -> ServableStore:
        served = ServedMemory()
        served._now_ms = now_ms
        return served

    with _server(case, folder, backing) as home:
        yield home


@contextmanager
def at_server_over_folder(case: Case, folder: Path) -> Iterator[Home]:
    def backing(now_ms: Callable[[], int]) -> ServableStore:
        return EmbeddedStore.open(folder / "served", now_ms=now_ms, capacity=LOG)

    with _server(case, folder, backing) as home:
        yield home


HOMES = {
    "memory": in_memory,
    "server-memory": at_server_over_memory,
    "server-folder": at_server_over_folder,
}
