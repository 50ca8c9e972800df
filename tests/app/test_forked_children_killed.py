"""Wherever a replay with children is cut off, its resume comes to the same end, and nothing half is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
from collections import Counter
from pathlib import Path

from kill_sweep import LOG, Points, WatchedFiles
from nested import (
    Failing,
    Work,
    between,
    compiled,
    embedded,
    everything,
    forked,
    gone_on,
    new_rows,
    plain,
    recorded,
    walked,
)

from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.cxdb.memory import MemoryStore
from orchestra.engine.sessions import rows
from orchestra.errors import StoreError
from orchestra.run.events import (
    PipelineForked,
)


async def test_wherever_a_replay_is_cut_off_its_resume_comes_to_the_same_end_with_one_fork_of_each_child(
    tmp_path: Path,
) -> None:
    pipeline = compiled(tmp_path)

    async def original() -> tuple[MemoryStore, str, int]:
        store = MemoryStore()
        run = await walked(pipeline, store, Work(pauses_at="y"))
        (place,) = await between(store, run.context_id)
        return store, run.session, place

    inner, session, place = await original()
    whole = Failing(inner)
    expected = (await forked(whole, session, place, Work())).state
    for cut in range(1, whole.changes + 1):
        store, session, place = await original()
        before, known, work = await everything(store), await rows(store), Work()
        with contextlib.suppress(StoreError, BaseExceptionGroup):
            await forked(Failing(store, cut), session, place, work)
        made = await new_rows(store, known)
        if not made:  # nothing of the fork is listed, and so there is nothing to go on with
            assert work.done == []
            continue
        run = await gone_on(store, made[0].session, work)
        assert run.state.result is not None, cut
        assert run.state.result.good, (cut, run.state.result.text)
        assert (run.state.spent, run.state.steps) == (expected.spent, expected.steps), cut
        assert plain(run.state.context).keys() == plain(expected.context).keys(), cut
        assert [row.why for row in await new_rows(store, known)] == ["fork", "child", "child"], cut
        assert set(work.done) == {"y", "z", "b", "done"}, cut
        assert max(Counter(work.done).values()) <= 2, cut
        after = await everything(store)
        assert {one: after[one] for one in before} == before, cut
        forks = [
            event
            for row in await new_rows(store, known)
            for _turn, event in await recorded(store, row.context_id)
            if isinstance(event, PipelineForked)
        ]
        assert len(forks) == 3, cut


async def _opened(folder: Path, points: Points) -> EmbeddedStore:
    return EmbeddedStore.open(folder / "store", files=WatchedFiles(points), capacity=LOG)


async def _replayed(folder: Path, session: str, place: int, points: Points) -> None:
    store = await _opened(folder, points)
    await forked(store, session, place, Work())
    await store.close()


def _killed(folder: Path, session: str, place: int, at: int) -> None:
    """Replay in a process that is killed at its point ``at``."""

    def die(number: int, _name: str) -> None:
        if number == at:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if not child:
        try:
            asyncio.run(_replayed(folder, session, place, Points(die)))
        finally:
            os._exit(3)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_wherever_a_replaying_process_is_killed_no_half_thing_is_left(quick_path: Path) -> None:
    pipeline, points = compiled(quick_path), Points()

    async def original(folder: Path) -> tuple[str, int, dict[int, list[tuple[int, bytes]]]]:
        async with embedded(folder) as store:
            run = await walked(pipeline, store, Work(pauses_at="y"))
            (place,) = await between(store, run.context_id)
            return run.session, place, await everything(store)

    async def finished(folder: Path, before: dict[int, list[tuple[int, bytes]]], at: int) -> None:
        async with embedded(folder) as store:
            made = [row for row in reversed(await rows(store)) if row.why == "fork"]
            if made:
                run = await gone_on(store, made[0].session, Work())
                assert run.state.result is not None, at
                assert run.state.result.good, (at, run.state.result.text)
                assert (len(await rows(store)), run.state.spent.cost_micros) == (6, 7), at
            after = await everything(store)
            assert {one: after[one] for one in before} == before, at

    (quick_path / "first").mkdir()
    session, place, before = asyncio.run(original(quick_path / "first"))
    shutil.copytree(quick_path / "first", quick_path / "whole")
    asyncio.run(_replayed(quick_path / "whole", session, place, points))
    rng = random.Random(7)
    for at in sorted(rng.sample(range(len(points.names)), 12)):
        here = quick_path / str(at)
        shutil.copytree(quick_path / "first", here)
        _killed(here, session, place, at)
        asyncio.run(finished(here, before, at))
        shutil.rmtree(here)
