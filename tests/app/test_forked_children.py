"""A replay forks the children that had not ended, and theirs, and goes on in those; the old ones stay the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from nested import (
    ENDS,
    PIPELINE,
    Clock,
    Once,
    Work,
    between,
    compiled,
    embedded,
    everything,
    forked,
    gone_on,
    new_rows,
    paused_and_gone_on,
    plain,
    recorded,
    walked,
)

from orchestra.app.pipelines import read
from orchestra.app.plans import ResumeChanges
from orchestra.app.runs import Future
from orchestra.cxdb.memory import MemoryStore
from orchestra.cxdb.remote.requests import ServerPlace
from orchestra.cxdb.remote.store import RemoteStore
from orchestra.cxdb.server.http import Guard
from orchestra.cxdb.server.serve import serving
from orchestra.engine.archives import blobs_of, put_in, take_out
from orchestra.engine.loading import load_state
from orchestra.engine.sessions import RunnerProcess, find, rows
from orchestra.errors import ConfigError, SessionNotFound
from orchestra.graph.model import Graph, Node
from orchestra.ports import Scope, Store
from orchestra.run.events import (
    CheckpointSaved,
    ChildEnded,
    ChildStarted,
)
from orchestra.run.outcome import Outcome, Status
from orchestra.run.state import Context
from served_memory import ServedMemory


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
        assert plain(states[1].context) == plain(old.context)


@asynccontextmanager
async def remote(_folder: Path) -> AsyncIterator[Store]:
    async with serving(ServedMemory(), guard=Guard()) as at:
        place = ServerPlace(host=at.host, port=at.port, http_host=at.http_host, http_port=at.http_port)
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


async def test_a_child_that_began_after_the_turn_is_run_again(tmp_path: Path) -> None:
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
    await put_in(other, taken, Clock(), RunnerProcess(host="here", pid=1, version="0"))
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
            store,
            first.session,
            place,
            Work(),
            Future(changes=ResumeChanges(graph=source, found=found)),
            walk=False,
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


async def test_a_session_that_had_restarted_at_the_turn_restarts_itself_as_another_one(tmp_path: Path) -> None:
    text = f"""digraph parent {{ {ENDS} a b start -> a a -> b [condition="outcome=success"] b -> exit
        a -> a [loop_restart=true, condition="outcome=fail"] }}"""
    store = MemoryStore()
    first = await walked(compiled(tmp_path, parent=text), store, Once("a"))
    old = (await rows(store))[-1]
    assert first.session != old.session
    before, known, work = await everything(store), await rows(store), Work()
    run = await forked(store, old.session, (await store.head(old.context_id)).turn_id, work)
    assert work.done == ["a", "b"]
    assert run.state.result is not None
    assert run.state.result.good
    assert [row.why for row in await new_rows(store, known)] == ["fork", "restart"]
    after = await everything(store)
    assert {one: after[one] for one in before} == before
