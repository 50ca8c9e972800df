"""A replay forks the children that had not ended, and theirs, and goes on in those; the old ones stay the same."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from crown import LOG, Points, WatchedFiles

from orchestra.app.pipelines import Pipeline, compile_pipeline, read
from orchestra.app.replaying import Future, replay
from orchestra.app.resuming import Changes, resume
from orchestra.app.runs import start
from orchestra.clock import SystemClock
from orchestra.config.settings import Settings
from orchestra.cxdb.embedded import EmbeddedStore
from orchestra.cxdb.memory import MemoryStore
from orchestra.cxdb.remote.asking import Place
from orchestra.cxdb.remote.store import RemoteStore
from orchestra.cxdb.server.backing import ServedMemory
from orchestra.cxdb.server.http import Guard
from orchestra.cxdb.server.serve import serving
from orchestra.engine.archives import blobs_of, put_in, take_out
from orchestra.engine.control import Control
from orchestra.engine.forking import Wanted
from orchestra.engine.running import Run
from orchestra.engine.sessions import Origin, Row, event_of, find, history, load_state, rows
from orchestra.errors import ConfigError, SessionNotFound, StoreError, StoreUnreachable
from orchestra.graph.model import Graph, Node
from orchestra.ports import Head, NewTurn, Scope, Store, Turn
from orchestra.run.context import Context
from orchestra.run.events import (
    CheckpointSaved,
    ChildEnded,
    ChildStarted,
    Event,
    PipelineForked,
    PipelinePaused,
    Recorded,
)
from orchestra.run.outcome import Outcome, Status
from support import CountingStore

SETTINGS = Settings(store=None)
ENDS = "start [shape=Mdiamond] exit [shape=Msquare]"
TEXTS = {
    "parent": f"""digraph parent {{ {ENDS} plan done
        check [KIND, stack.child_dotfile="check.dot"] start -> plan -> check -> done -> exit }}""",
    "check": f"""digraph check {{ {ENDS} a b
        deep [type=pipeline, stack.child_dotfile="deep.dot"] start -> a -> deep -> b -> exit }}""",
    "deep": f"""digraph deep {{ {ENDS} x y z start -> x -> y -> z -> exit }}""",
}
PIPELINE = "type=pipeline"


class Clock(SystemClock):
    """Nobody waits."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@dataclass
class Work:
    """A handler that counts what it is asked to do, costs something, and does at nodes what is said of them."""

    control: Control = field(default_factory=Control)
    pauses_at: str = ""
    fails_at: str = ""
    done: list[str] = field(default_factory=list)

    async def __call__(self, node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        self.done.append(node.id)
        if node.id == self.pauses_at:
            self.control.interrupt("enough")
            await asyncio.sleep(30)
        scope.spend(cost_micros=1)
        if node.id == self.fails_at:
            return Outcome(status=Status.FAIL, failure_reason="no")
        return Outcome(status=Status.SUCCESS, context_updates={f"made_{node.id}": context.get("colour", "")})


def compiled(folder: Path, kind: str = PIPELINE, **texts: str) -> Pipeline:
    for name, text in {**TEXTS, **texts}.items():
        (folder / f"{name}.dot").write_text(text.replace("KIND", kind))
    source, found = read(folder / "parent.dot")
    return compile_pipeline(source, found, variables={}, secrets={})


async def walked(pipeline: Pipeline, store: Store, work: Work) -> Run:
    """A new session, run to its end or pause."""
    run = await start(
        pipeline,
        store=store,
        settings=SETTINGS,
        variables={"colour": "blue"},
        clock=Clock(),
        control=work.control,
        more={"codergen": work},
    )
    await run.walk()
    return run


async def gone_on(store: Store, session: str, work: Work) -> Run:
    run, _pipeline = await resume(
        session, store=store, settings=SETTINGS, clock=Clock(), control=work.control, more={"codergen": work}
    )
    await run.walk()
    return run


async def forked(
    store: Store, session: str, turn_id: int, work: Work, future: Future | None = None, *, walk: bool = True
) -> Run:
    run, _pipeline = await replay(
        session,
        at=Wanted(turn_id=turn_id),
        future=future or Future(),
        store=store,
        settings=SETTINGS,
        clock=Clock(),
        control=work.control,
        more={"codergen": work},
    )
    if walk:
        await run.walk()
    return run


async def everything(store: Store) -> dict[int, list[tuple[int, bytes]]]:
    """Every turn of every context that has one."""
    listed = [row.context_id for row in await store.contexts()]
    return {one: [(turn.turn_id, turn.payload) for turn in await history(store, one)] for one in listed}


async def recorded(store: Store, context_id: int) -> list[tuple[Turn, Event]]:
    turns = await history(store, context_id)
    return [(turn, found.event) for turn in turns if isinstance(found := event_of(turn), Recorded)]


async def between(store: Store, context_id: int) -> list[int]:
    """The turns of a parent from its pause up to its child's end."""
    found = await recorded(store, context_id)
    events = [event for _turn, event in found]
    first = next(n for n, event in enumerate(events) if isinstance(event, PipelinePaused))
    last = next((n for n, e in enumerate(events) if isinstance(e, ChildEnded)), len(events))
    return [turn.turn_id for turn, _event in found[first:last]]


async def new_rows(store: Store, known: Sequence[Row]) -> list[Row]:
    """The sessions that were not known, oldest first."""
    return [row for row in reversed(await rows(store)) if row not in known]


async def paused_and_gone_on(folder: Path, store: Store, kind: str = PIPELINE, at: str = "y") -> tuple[Run, Run]:
    run = await walked(compiled(folder, kind), store, Work(pauses_at=at))
    return run, await gone_on(store, run.session, Work())


@pytest.mark.parametrize("kind", [PIPELINE, "shape=house"])
async def test_children_that_had_not_ended_are_forked_and_nothing_of_theirs_is_run_again(
    kind: str, tmp_path: Path
) -> None:
    store = MemoryStore()
    first, whole = await paused_and_gone_on(tmp_path, store, kind)
    places = await between(store, first.context_id)
    assert len(places) == 3
    for turn in places:
        before, known = await everything(store), await rows(store)
        work = Work()
        run = await forked(store, first.session, turn, work)
        assert run.state.result is not None
        assert run.state.result.good
        assert work.done == ["y", "z", "b", "done"]
        assert run.state.spent == whole.state.spent
        after = await everything(store)
        assert {one: after[one] for one in before} == before
        above, check, deep = await new_rows(store, known)
        assert (above.why, check.why, deep.why) == ("fork", "child", "child")
        assert (check.parent, deep.parent) == (above.context_id, check.context_id)
        states = [await load_state(store, row.context_id) for row in (above, check, deep)]
        assert [state.session for state in states] == [above.session, check.session, deep.session]
        assert (states[1].parent, states[2].parent) == (above.session, check.session)
        old = await load_state(store, (await rows(store))[-2].context_id)
        assert _plain(states[1].context) == _plain(old.context)


def _plain(context: object) -> dict[str, object]:
    assert isinstance(context, dict)
    return {key: value for key, value in context.items() if not key.endswith("session")}


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[Store]:
    store = EmbeddedStore.open(folder / "store", capacity=LOG)
    yield store
    await store.close()


@asynccontextmanager
async def remote(_folder: Path) -> AsyncIterator[Store]:
    async with serving(ServedMemory(), guard=Guard()) as at:
        place = Place(host=at.host, port=at.port, http_host=at.http_host, http_port=at.http_port)
        store = RemoteStore(place, patience=5)
        yield store
        await store.close()


@pytest.mark.parametrize("kind", [embedded, remote], ids=["embedded", "remote"])
async def test_children_are_forked_in_every_kind_of_store(
    kind: Callable[[Path], AbstractAsyncContextManager[Store]], tmp_path: Path
) -> None:
    async with kind(tmp_path) as store:
        first, _whole = await paused_and_gone_on(tmp_path, store)
        before, work = await everything(store), Work()
        run = await forked(store, first.session, (await between(store, first.context_id))[0], work)
        assert run.state.result is not None
        assert run.state.result.good
        assert work.done == ["y", "z", "b", "done"]
        after = await everything(store)
        assert {one: after[one] for one in before} == before


async def test_a_paused_parent_is_replayed_while_its_own_child_stays_paused(tmp_path: Path) -> None:
    store = MemoryStore()
    first = await walked(compiled(tmp_path), store, Work(pauses_at="y"))
    (place,) = await between(store, first.context_id)
    run = await forked(store, first.session, place, Work())
    assert run.state.result is not None
    assert run.state.result.good
    assert [(await load_state(store, row.context_id)).paused for row in (await rows(store))[-3:]] == ["enough"] * 3
    work = Work()
    await gone_on(store, first.session, work)
    assert work.done == ["y", "z", "b", "done"]


async def test_a_child_that_began_behind_the_turn_is_run_anew(tmp_path: Path) -> None:
    store = MemoryStore()
    first, _whole = await paused_and_gone_on(tmp_path, store)
    named = next(
        t for t, event in await recorded(store, first.context_id) if isinstance(event, ChildStarted)
    ).turn_id
    work = Work()
    await forked(store, first.session, named, work)
    assert work.done == ["a", "x", "y", "z", "b", "done"]


async def test_a_finished_childs_result_stays_as_recorded(tmp_path: Path) -> None:
    store = MemoryStore()
    first = await walked(compiled(tmp_path), store, Work(fails_at="b"))
    ended = next(t for t, e in await recorded(store, first.context_id) if isinstance(e, ChildEnded)).turn_id
    child = (await rows(store))[-2]
    await gone_on(store, child.session, Work())  # what becomes of it later does not count
    before, known, work = await everything(store), await rows(store), Work()
    run = await forked(store, first.session, ended, work)
    assert run.state.result is not None
    assert not run.state.result.good
    assert work.done == []
    assert len(await new_rows(store, known)) == 1
    after = await everything(store)
    assert {one: after[one] for one in before} == before


async def test_a_grandchild_counts_as_it_stood_at_the_turn_and_not_at_its_parents_last(tmp_path: Path) -> None:
    """Between the middle one's last turn and the turn asked for the grandchild had gone on."""
    store = MemoryStore()
    first = await walked(compiled(tmp_path), store, Work(pauses_at="y"))
    deep = (await rows(store))[0]
    await gone_on(store, deep.session, Work(pauses_at="z"))  # it goes on alone, up to z
    await gone_on(store, first.session, Work(pauses_at="z"))
    place = (await between(store, first.context_id))[-1]
    work = Work()
    run = await forked(store, first.session, place, work)
    assert run.state.result is not None
    assert run.state.result.good
    assert work.done == ["z", "b", "done"]


async def test_other_variables_reach_the_forked_children(tmp_path: Path) -> None:
    store = MemoryStore()
    first, _whole = await paused_and_gone_on(tmp_path, store)
    place = (await between(store, first.context_id))[0]
    run = await forked(store, first.session, place, Work(), Future(variables={"colour": "red"}))
    context = run.state.context
    assert (context["made_done"], context["check.made_b"], context["check.made_a"]) == ("red", "red", "blue")
    assert (context["check.deep.made_z"], context["check.deep.made_x"]) == ("red", "blue")


async def test_a_fork_of_a_fork_that_has_not_gone_on_forks_the_first_ones_children(tmp_path: Path) -> None:
    store = MemoryStore()
    first, _whole = await paused_and_gone_on(tmp_path, store)
    place = (await between(store, first.context_id))[0]
    idle = await forked(store, first.session, place, Work(), walk=False)
    await idle.opened.journal.flush()
    await idle.opened.hold.release()
    turn = (await store.head(idle.context_id)).turn_id
    work = Work()
    await forked(store, idle.session, turn, work)
    assert work.done == ["y", "z", "b", "done"]


async def test_a_fork_that_is_paused_in_its_child_is_a_session_like_others(tmp_path: Path) -> None:
    store = MemoryStore()
    first, _whole = await paused_and_gone_on(tmp_path, store)
    place = (await between(store, first.context_id))[0]
    run = await forked(store, first.session, place, Work(pauses_at="z"))
    known = await rows(store)
    again = await forked(store, run.session, (await store.head(run.context_id)).turn_id, Work())
    assert again.state.result is not None
    assert again.state.result.good
    assert len(await new_rows(store, known)) == 3
    known, work = await rows(store), Work()
    await gone_on(store, run.session, work)
    assert work.done == ["z", "b", "done"]
    assert await new_rows(store, known) == []


async def test_a_fork_is_replayed_from_the_turn_that_names_the_fork_of_its_child(tmp_path: Path) -> None:
    store = MemoryStore()
    first, _whole = await paused_and_gone_on(tmp_path, store)
    run = await forked(store, first.session, (await between(store, first.context_id))[0], Work())
    named = [turn.turn_id for turn, e in await recorded(store, run.context_id) if isinstance(e, ChildStarted)]
    work = Work()
    await forked(store, run.session, named[-1], work)
    assert work.done == ["y", "z", "b", "done"]


async def test_children_of_an_imported_session_are_forked_where_they_stood(tmp_path: Path) -> None:
    store, other = MemoryStore(), MemoryStore()
    await walked(compiled(tmp_path), other, Work())  # contexts have other ids here, and theirs are somebody else's
    first, _whole = await paused_and_gone_on(tmp_path, store)
    taken = await take_out(store, first.session)
    async for blob in blobs_of(store, [turn for one in taken for turn in (*one.turns, *one.mailbox)]):
        await other.put_blob(blob)
    await put_in(other, taken, Clock(), Origin(host="here", pid=1, version="0"))
    before = await everything(other)
    here = await find(other, first.session)
    for turn in await between(other, here.context_id):
        work = Work()
        await forked(other, first.session, turn, work)
        assert work.done == ["y", "z", "b", "done"]
    after = await everything(other)
    assert {one: after[one] for one in before} == before


async def test_a_child_that_restarts_as_another_one_is_forked_where_it_had_come_to(tmp_path: Path) -> None:
    again = f"""digraph check {{ {ENDS} a b c start -> a -> b c -> exit
        b -> a [loop_restart=true, condition="context.made_a=blue"]
        b -> c [condition="context.made_a!=blue"] }}"""
    store = MemoryStore()
    pipeline = compiled(tmp_path, check=again)

    class Restarting(Work):
        async def __call__(self, node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
            outcome = await super().__call__(node, context, graph, scope)
            if node.id == "a" and scope.visit > 1:
                return Outcome(status=Status.SUCCESS, context_updates={"made_a": "red"})
            return outcome

    first = await walked(pipeline, store, Restarting(pauses_at="c"))
    assert len(await rows(store)) == 3
    (place,) = await between(store, first.context_id)
    before, known, work = await everything(store), await rows(store), Restarting()
    run = await forked(store, first.session, place, work)
    assert run.state.result is not None
    assert run.state.result.good
    assert work.done == ["c", "done"]
    assert len(await new_rows(store, known)) == 2
    after = await everything(store)
    assert {one: after[one] for one in before} == before


async def test_a_session_is_replayed_from_where_it_stood_when_its_child_came_to_a_turn(tmp_path: Path) -> None:
    store = MemoryStore()
    first = await walked(compiled(tmp_path), store, Work())
    _above, check, deep = reversed(await rows(store))
    before = await everything(store)
    for row, node, left in (
        (deep, "y", ["z", "b", "done"]),
        (deep, "x", ["y", "z", "b", "done"]),
        (check, "a", ["x", "y", "z", "b", "done"]),
    ):
        place = next(
            turn.turn_id
            for turn, event in await recorded(store, row.context_id)
            if isinstance(event, CheckpointSaved) and event.current_node == node
        )
        known, work = await rows(store), Work()
        run = await forked(store, first.session, place, work)
        assert work.done == left
        assert run.state.result is not None
        assert run.state.result.good
        assert [one.why for one in (await new_rows(store, known))[:2]] == ["fork", "child"]
        after = await everything(store)
        assert {one: after[one] for one in before} == before


async def test_a_childs_file_that_has_lost_a_node_refuses_the_replay_and_nothing_is_written(tmp_path: Path) -> None:
    store = MemoryStore()
    first, _whole = await paused_and_gone_on(tmp_path, store)
    (place, *_more) = await between(store, first.context_id)
    (tmp_path / "deep.dot").write_text(f"digraph deep {{ {ENDS} y z start -> y -> z -> exit }}")
    source, found = read(tmp_path / "parent.dot")
    before = await everything(store)
    with pytest.raises(ConfigError, match="'x'"):
        await forked(
            store, first.session, place, Work(), Future(changes=Changes(graph=source, found=found)), walk=False
        )
    assert await everything(store) == before


async def test_a_turn_of_another_session_is_no_place(tmp_path: Path) -> None:
    store = MemoryStore()
    first = await walked(compiled(tmp_path), store, Work())
    other = await walked(compiled(tmp_path), store, Work())
    for session, context in ((first.session, other.context_id), ((await rows(store))[0].session, other.context_id)):
        with pytest.raises(SessionNotFound):
            await forked(store, session, (await store.head(context)).turn_id, Work())
    with pytest.raises(SessionNotFound):
        await forked(store, first.session, 10**9, Work())


# --- children that failed ------------------------------------------------------------------------


async def test_a_resume_of_a_failed_parent_goes_on_at_the_failed_node_of_its_child(tmp_path: Path) -> None:
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


async def test_a_replay_of_a_failed_parent_goes_on_at_the_failed_node_of_a_fork_of_its_child(
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


async def test_a_failed_child_that_somebody_brought_to_its_end_alone_is_not_run_again(tmp_path: Path) -> None:
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


async def test_a_failed_child_that_somebody_took_up_and_paused_goes_on_from_there(tmp_path: Path) -> None:
    store = MemoryStore()
    first = await walked(compiled(tmp_path), store, Work(fails_at="z"))
    await gone_on(store, (await rows(store))[-2].session, Work(pauses_at="b"))
    known, work = await rows(store), Work()
    run = await gone_on(store, first.session, work)
    assert work.done == ["b", "done"]
    assert run.state.result is not None
    assert run.state.result.good
    assert await new_rows(store, known) == []


async def test_a_child_that_failed_is_run_anew_by_another_attempt_and_by_the_pipelines_own_loop(
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


async def test_a_child_whose_file_has_lost_a_node_is_run_anew_after_its_failure(tmp_path: Path) -> None:
    store = MemoryStore()
    first = await walked(compiled(tmp_path), store, Work(fails_at="b"))
    (tmp_path / "check.dot").write_text(f"digraph check {{ {ENDS} other start -> other -> exit }}")
    source, found = read(tmp_path / "parent.dot")
    work = Work()
    run, _pipeline = await resume(
        first.session,
        store=store,
        settings=SETTINGS,
        clock=Clock(),
        changes=Changes(graph=source, found=found),
        more={"codergen": work},
    )
    await run.walk()
    assert work.done == ["other", "done"]


async def test_wherever_the_resume_of_a_failed_parent_is_cut_off_its_child_goes_on_once(tmp_path: Path) -> None:
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


# --- cut off -------------------------------------------------------------------------------------


class Failing(CountingStore):
    """A store that is lost from one of its changes on, whichever kind that is."""

    def __init__(self, inner: MemoryStore, lost_from: int = sys.maxsize) -> None:
        super().__init__(inner)
        self.changes = 0
        self._lost_from = lost_from

    def _change(self) -> None:
        self.changes += 1
        if self.changes >= self._lost_from:
            raise StoreUnreachable("the store is gone", fix="none")

    async def create(self, base_turn: int = 0) -> Head:
        self._change()
        return await super().create(base_turn)

    async def fork(self, turn: int) -> Head:
        self._change()
        return await super().fork(turn)

    async def append(
        self, context_id: int, turns: Sequence[NewTurn], *, blobs: Sequence[bytes] = ()
    ) -> tuple[Turn, ...]:
        self._change()
        return await super().append(context_id, turns, blobs=blobs)


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
        assert _plain(run.state.context).keys() == _plain(expected.context).keys(), cut
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
