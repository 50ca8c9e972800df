"""Appends of one process that are ready together share a sync, and each stays all or nothing (S6)."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from store_script import TIME, new

from faults import CountingFiles, KilledFiles, LossyFiles, PowerCut, RefusedFiles
from orchestra.cxdb.embedded.files import Files
from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.cxdb.format.packing import digest_of
from orchestra.errors import SessionNotFound, StoreError, StoreFull

TASKS, ROUNDS = 4, 2
SMALL_LOG = 8192 + 6000

Acknowledge = Callable[[int, Sequence[bytes]], None]


def opened(path: Path, files: Files, capacity: int = SMALL_LOG) -> EmbeddedStore:
    return EmbeddedStore.open(path, files=files, now_ms=lambda: TIME, capacity=capacity)


def payloads(number: int, turn: int) -> list[bytes]:
    """The two turns of an append; some are long enough to be compressed, some are the same in every task."""
    return [f"{number} {turn} ".encode() + b"x" * (number * 150), b"the same in each task " * turn]


async def crowd(store: EmbeddedStore, acknowledge: Acknowledge) -> None:
    """Tasks that make contexts, append and keep blobs side by side; stops at the first that fails."""

    async def one(number: int) -> None:
        context = (await store.create()).context_id
        for turn in range(ROUNDS):
            pair = payloads(number, turn)
            extra = (b"blob of %d" % turn * 30,) if number == 2 else ()
            turns = await store.append(context, [new(data.decode()) for data in pair], blobs=extra)
            acknowledge(context, pair)
            if turn == 1 and number % 2:
                context = (await store.fork(turns[0].turn_id)).context_id
                acknowledge(context, pair[:1])

    for result in await asyncio.gather(*(one(number) for number in range(TASKS)), return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


def check(path: Path, known: Sequence[tuple[int, Sequence[bytes]]]) -> None:
    """What was acknowledged is there, no append is there by half, and the store works on."""

    async def look() -> None:
        store = opened(path, CountingFiles())
        chains = {
            row.context_id: [turn.payload for turn in await store.turns(row.context_id)]
            for row in await store.contexts()
        }
        for context, pair in known:
            assert all(data in chains[context] for data in pair)
        for chain in chains.values():
            firsts = sum(not data.startswith(b"the same") and data != b"" for data in chain)
            assert len(chain) in (2 * firsts, 2 * firsts - 1)  # a fork begins behind the first of a pair
        again = (await store.create()).context_id
        await store.append(again, [new("after")])
        assert await store.deep_check() == []
        await store.close()

    asyncio.run(look())


def changes(path: Path) -> int:
    files = CountingFiles()

    async def play() -> None:
        store = opened(path, files)
        await crowd(store, lambda context, pair: None)
        await store.close()

    asyncio.run(play())
    return len(files.calls)


def test_a_process_killed_while_tasks_share_syncs_loses_nothing(quick_path: Path) -> None:
    for at in range(changes(quick_path / "counted")):
        path = quick_path / str(at)
        check(path, killed(path, at, halfway=at % 2 == 1))
        shutil.rmtree(path)


def killed(path: Path, at: int, *, halfway: bool) -> list[tuple[int, list[bytes]]]:
    """What a child had acknowledged before it killed itself at a change."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)

        async def play() -> None:
            store = opened(path, KilledFiles(at, halfway=halfway))
            await crowd(store, lambda context, pair: acknowledged(writer, context, pair))
            await store.close()

        asyncio.run(play())
        os._exit(0)
    os.close(writer)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL
    with open(reader, "rb") as said:
        lines = said.read().splitlines()
    return [
        (int(context), [bytes.fromhex(data.decode()) for data in pair])
        for context, *pair in map(bytes.split, lines)
    ]


def acknowledged(writer: int, context: int, pair: Sequence[bytes]) -> None:
    os.write(writer, " ".join([str(context), *(data.hex() for data in pair if data)]).encode() + b"\n")


def test_power_that_goes_while_tasks_share_syncs_takes_nothing(quick_path: Path) -> None:
    for at in range(changes(quick_path / "counted")):
        path, after = quick_path / "running", quick_path / "after"
        known: list[tuple[int, Sequence[bytes]]] = []
        files = LossyFiles(cut_at=at)

        async def play(files: Files = files, known: list[tuple[int, Sequence[bytes]]] = known) -> None:
            store = opened(quick_path / "running", files)
            await crowd(store, lambda context, pair: known.append((context, pair)))
            await store.close()

        with pytest.raises(PowerCut):
            asyncio.run(play())
        files.end()
        for seed in range(2):
            files.disk.after_power_cut(str(path), str(after), random.Random(seed * 10_000 + at))
            after.mkdir(exist_ok=True)
            check(after, known)
            shutil.rmtree(after)
        shutil.rmtree(path)


@pytest.mark.anyio
async def test_appends_that_are_ready_together_cost_one_sync(quick_path: Path) -> None:
    files = CountingFiles()
    store = opened(quick_path, files, capacity=1 << 20)
    heads = await asyncio.gather(*(store.create() for _ in range(100)))
    assert [head.context_id for head in heads] == list(range(1, 101))
    files.calls.clear()
    for turn in range(20):
        await asyncio.gather(*(store.append(head.context_id, [new(f"{turn}"), new("and")]) for head in heads))
    assert files.calls.count("fdatasync") == 20
    found = await asyncio.gather(*(store.turns(head.context_id) for head in heads))
    assert {tuple(turn.payload for turn in turns)[:4] for turns in found} == {(b"0", b"and", b"1", b"and")}
    assert {turns[0].parent for turns in found} == {0}
    await store.close()


@pytest.mark.anyio
async def test_an_append_that_fails_takes_no_other_with_it(quick_path: Path) -> None:
    store = opened(quick_path, CountingFiles())
    known = (await store.create()).context_id
    results = await asyncio.gather(
        store.append(known, [new("one")]),
        store.append(99, [new("lost")]),
        store.append(known, [new("two")]),
        store.fork(77),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [tuple, SessionNotFound, tuple, SessionNotFound]
    assert [turn.payload for turn in await store.turns(known)] == [b"one", b"two"]
    await store.close()


@pytest.mark.anyio
async def test_a_refused_sync_fails_all_that_share_it_and_leaves_no_trace(quick_path: Path) -> None:
    store = opened(quick_path, CountingFiles())
    known = (await store.create()).context_id
    await store.close()
    counted = CountingFiles()
    await opened(quick_path, counted).close()
    for at in range(len(counted.calls), len(counted.calls) + 4):
        store = opened(quick_path, RefusedFiles(at, errno.ENOSPC))
        before = await store.turns(known)
        appends = [store.append(known, [new(text)]) for text in ("one", "two", "three")]
        results = await asyncio.gather(*appends, return_exceptions=True)
        assert [type(result) for result in results] == [StoreFull] * 3
        assert await store.turns(known) == before
        await store.append(known, [new("again")])
        assert [turn.payload for turn in await store.turns(known)][len(before) :] == [b"again"]
        await store.close()


@pytest.mark.anyio
async def test_an_append_that_is_canceled_while_it_waits_is_not_stored(quick_path: Path) -> None:
    store = opened(quick_path, CountingFiles())
    known = (await store.create()).context_id
    first, second = (asyncio.ensure_future(store.append(known, [new(text)])) for text in ("one", "two"))
    await asyncio.sleep(0)
    first.cancel()
    assert [turn.payload for turn in await second] == [b"two"]
    assert first.cancelled() or first.cancel()
    assert [turn.payload for turn in await store.turns(known)] == [b"two"]
    await store.close()


@pytest.mark.anyio
async def test_closing_a_store_stores_what_waits(quick_path: Path) -> None:
    store = opened(quick_path, CountingFiles())
    known = (await store.create()).context_id
    waiting = asyncio.ensure_future(store.append(known, [new("one")]))
    kept = asyncio.ensure_future(store.put_blob(b"a blob"))
    await asyncio.sleep(0)
    await store.close()
    assert [turn.payload for turn in await waiting] == [b"one"]
    assert await kept == digest_of(b"a blob")
    with pytest.raises(StoreError, match="closed"):
        await store.append(known, [new("two")])
    store = opened(quick_path, CountingFiles())
    assert [turn.payload for turn in await store.turns(known)] == [b"one"]
    await store.close()
