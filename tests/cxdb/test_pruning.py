"""Contexts taken out of a folder: what others need stays, ids stay, and a crash anywhere leaves a whole store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestra.cxdb.embedded.files import Files
from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.errors import SessionNotFound, SessionTaken, StoreError, StoreUnreachable
from orchestra.ports import NewTurn

SMALL = 1 << 16
"""Bytes of the log, which is written whole whenever a store is made."""


def turn(text: str) -> NewTurn:
    return NewTurn(type_id="com.x.Y", type_version=1, payload=text.encode())


class Filled:
    """A store with a context to remove, a fork of it, and another one; and blobs of the first two."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def fill(self) -> Filled:
        store = EmbeddedStore.open(self.folder, capacity=SMALL)
        self.only = await store.put_blob(b"only the removed one names this" * 50)
        inner = await store.put_blob(b"named by a blob")
        self.inner = inner
        outer = await store.put_blob(f"names {inner.hex()}".encode())
        self.both = await store.put_blob(b"both name this")
        one = await store.create()
        texts = ["a", "b", f"c {self.only.hex()} {outer.hex()} {self.both.hex()}", "d"]
        self.turns = [(await store.append(one.context_id, [turn(text)]))[0].turn_id for text in texts]
        fork = await store.fork(self.turns[1])
        await store.append(fork.context_id, [turn(f"e {self.both.hex()}")])
        other = await store.create()
        await store.append(other.context_id, [turn("f"), turn("d")])
        last = await store.create()
        await store.append(last.context_id, [turn("g")])
        self.one, self.fork, self.other, self.last = (head.context_id for head in (one, fork, other, last))
        await store.close()
        return self

    async def check(self, *, removed: bool) -> None:
        store = EmbeddedStore.open(self.folder, capacity=SMALL)
        try:
            assert await store.deep_check() == []
            assert await texts(store, self.fork) == ["a", "b", f"e {self.both.hex()}"]
            assert await texts(store, self.other) == ["f", "d"]
            assert await store.get_blob(self.both) == b"both name this"
            if removed:
                with pytest.raises(SessionNotFound):
                    await texts(store, self.one)
                assert await texts(store, self.last) == []
                for blob in (self.only, self.inner):
                    with pytest.raises(SessionNotFound):
                        await store.get_blob(blob)
            else:
                assert len(await texts(store, self.one)) == 4
            new = await store.create()
            assert new.context_id > self.last
            await store.append(self.other, [turn("h")])
            assert (await store.turns(self.other))[-1].turn_id > self.turns[-1] + 4
        finally:
            await store.close()


async def texts(store: EmbeddedStore, context: int) -> list[str]:
    return [one.payload.decode() for one in await store.turns(context)]


async def test_what_other_contexts_need_stays_and_ids_continue(tmp_path: Path) -> None:
    filled = await Filled(tmp_path / "s").fill()
    before = sum(file.stat().st_size for file in (tmp_path / "s").rglob("*.pack"))
    store = EmbeddedStore.open(tmp_path / "s")
    done = await store.prune({filled.one, filled.last})
    with pytest.raises(StoreError, match="open it again"):
        await store.create()
    await store.close()
    assert (done.turns, done.blobs) == (3, 5)
    assert sum(file.stat().st_size for file in (tmp_path / "s").rglob("*.pack")) < before
    await filled.check(removed=True)
    assert list((tmp_path / "s").rglob("*.new")) == []


async def test_a_running_session_refuses_it(tmp_path: Path) -> None:
    filled = await Filled(tmp_path / "s").fill()
    runner, store = EmbeddedStore.open(tmp_path / "s"), EmbeddedStore.open(tmp_path / "s")
    hold = runner.hold(filled.other, "process 1")
    with pytest.raises(SessionTaken, match="process 1"):
        await store.prune({filled.one})
    hold.release()
    await store.prune({filled.one, filled.last})
    with pytest.raises(StoreUnreachable):
        await runner.append(filled.other, [turn("lost")])
    await runner.close()
    await store.close()
    await filled.check(removed=True)


class Killed(BaseException):
    """The process is gone."""


class Dying(Files):
    """Files of a process that dies at its n-th change."""

    CHANGES = ("pwrite", "fdatasync", "truncate", "rename", "unlink", "sync_folder", "open")

    def __init__(self, at: int) -> None:
        self.left = at
        self.armed = False
        for name in self.CHANGES:
            setattr(self, name, self._counted(getattr(self, name)))

    def _counted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            self.left -= self.armed
            if self.left < 0:
                raise Killed
            return real(*given, **named)

        return call


async def test_a_crash_at_any_change_leaves_the_old_store_or_the_new_one(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    step = 1 if request.config.getoption("--long") else 4
    ends, at = [], 0
    while True:
        filled = await Filled(tmp_path / f"s{at}").fill()
        layer = Dying(at)
        store = EmbeddedStore.open(filled.folder, files=layer, capacity=SMALL)
        await store.settle()
        layer.armed = True
        try:
            await store.prune({filled.one, filled.last})
        except Killed:
            layer.armed = False
            layer.left = 1000
            store._handle.release()
        else:
            break
        store = EmbeddedStore.open(filled.folder, capacity=SMALL)
        there = filled.one in [row.context_id for row in await store.contexts()]
        await store.close()
        await filled.check(removed=not there)
        ends.append(there)
        at += step
    assert ends == sorted(ends, reverse=True)
    assert set(ends) == {True, False}
