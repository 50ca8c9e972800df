"""A parent that failed for its child is resumed: so is the child, once, however it stands by then."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path

from nested import (
    ENDS,
    SETTINGS,
    TEXTS,
    Clock,
    Failing,
    Work,
    compiled,
    everything,
    forked,
    gone_on,
    new_rows,
    walked,
)

from orchestra.app.pipelines import read
from orchestra.app.plans import ResumeChanges
from orchestra.app.runs import RunSetup, resume
from orchestra.cxdb.memory import MemoryStore
from orchestra.engine.sessions import rows
from orchestra.errors import StoreError


async def test_a_resume_of_a_failed_parent_continues_at_the_failed_node_of_its_child(tmp_path: Path) -> None:
    store = MemoryStore()
    first = await walked(compiled(tmp_path), store, Work(fails_at="z"))
    assert first.state.failed
    known, work = await rows(store), Work(fails_at="z")
    await gone_on(store, first.session, work)
    assert work.done == ["z"]
    work = Work()
    run = await gone_on(store, first.session, work)
    assert work.done == ["z", "b", "done"]
    assert run.state.result is not None
    assert run.state.result.good
    assert await new_rows(store, known) == []
    assert run.state.spent.cost_micros == 9  # each of plan, a, x, y, b, done once, z three times


async def test_a_replay_of_a_failed_parent_continues_at_the_failed_node_of_a_fork_of_its_child(
    tmp_path: Path,
) -> None:
    store = MemoryStore()
    first = await walked(compiled(tmp_path), store, Work(fails_at="z"))
    before, known, work = await everything(store), await rows(store), Work()
    run = await forked(store, first.session, (await store.head(first.context_id)).turn_id, work)
    assert work.done == ["z", "b", "done"]
    assert run.state.result is not None
    assert run.state.result.good
    assert [row.why for row in await new_rows(store, known)] == ["fork", "child", "child"]
    assert run.state.spent.cost_micros == 8
    after = await everything(store)
    assert {one: after[one] for one in before} == before


async def test_a_failed_child_that_was_resumed_alone_to_its_end_is_not_run_again(tmp_path: Path) -> None:
    store = MemoryStore()
    first = await walked(compiled(tmp_path), store, Work(fails_at="b"))
    child = (await rows(store))[-2]
    await gone_on(store, child.session, Work())
    known, place = await rows(store), (await store.head(child.context_id)).turn_id
    work = Work()
    run = await gone_on(store, first.session, work)
    assert work.done == ["done"]
    assert run.state.result is not None
    assert run.state.result.good
    assert await new_rows(store, known) == []
    assert (await store.head(child.context_id)).turn_id == place
    assert run.state.spent.cost_micros == 8  # plan, a, x, y, z, b twice, done


async def test_a_failed_child_that_was_resumed_and_paused_continues_from_there(tmp_path: Path) -> None:
    store = MemoryStore()
    first = await walked(compiled(tmp_path), store, Work(fails_at="z"))
    await gone_on(store, (await rows(store))[-2].session, Work(pauses_at="b"))
    known, work = await rows(store), Work()
    run = await gone_on(store, first.session, work)
    assert work.done == ["b", "done"]
    assert run.state.result is not None
    assert run.state.result.good
    assert await new_rows(store, known) == []


async def test_a_child_that_failed_is_run_again_by_another_attempt_and_by_the_pipelines_own_loop(
    tmp_path: Path,
) -> None:
    retrying = TEXTS["parent"].replace("KIND,", "KIND, max_retries=1, retry_policy=linear,")
    looping = TEXTS["parent"].replace("start ->", 'check -> plan [condition="outcome=fail"] start ->')
    looping = looping.replace("plan done\n", "plan [max_visits=2] done\n")
    for number, text in enumerate((retrying, looping)):
        folder = tmp_path / str(number)
        folder.mkdir()
        store, work = MemoryStore(), Work(fails_at="b")
        await walked(compiled(folder, parent=text), store, work)
        assert work.done.count("a") == 2


async def test_a_child_whose_file_has_lost_a_node_is_run_again_after_its_failure(tmp_path: Path) -> None:
    store = MemoryStore()
    first = await walked(compiled(tmp_path), store, Work(fails_at="b"))
    (tmp_path / "check.dot").write_text(f"digraph check {{ {ENDS} other start -> other -> exit }}")
    source, found = read(tmp_path / "parent.dot")
    work = Work()
    run, _pipeline = await resume(
        RunSetup(store=store, settings=SETTINGS, clock=Clock(), more={"codergen": work}),
        first.session,
        changes=ResumeChanges(graph=source, found=found),
    )
    await run.walk()
    assert work.done == ["other", "done"]


async def test_wherever_the_resume_of_a_failed_parent_is_cut_off_its_child_continues_once(tmp_path: Path) -> None:
    pipeline = compiled(tmp_path)

    async def original() -> tuple[MemoryStore, str]:
        store = MemoryStore()
        return store, (await walked(pipeline, store, Work(fails_at="z"))).session

    inner, session = await original()
    whole = Failing(inner)
    expected = (await gone_on(whole, session, Work())).state
    for cut in range(1, whole.changes + 1):
        store, session = await original()
        known, work = await rows(store), Work()
        with contextlib.suppress(StoreError, BaseExceptionGroup):
            await gone_on(Failing(store, cut), session, work)
        run = await gone_on(store, session, work)
        assert run.state.result is not None, cut
        assert run.state.result.good, (cut, run.state.result.text)
        assert run.state.spent == expected.spent, cut
        assert await new_rows(store, known) == [], cut
        assert set(work.done) == {"z", "b", "done"}, cut
        assert max(Counter(work.done).values()) <= 2, cut
