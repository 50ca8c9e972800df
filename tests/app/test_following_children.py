"""A session is watched with its children and theirs: every event once, in the order of the turns (S28)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from nested import (
    Clock,
    Work,
    between,
    compiled,
    forked,
    gone_on,
    new_rows,
    paused_and_gone_on,
    walked,
)

from orchestra.clock import SystemClock
from orchestra.cxdb.memory import MemoryStore
from orchestra.engine.archives import blobs_of, put_in, take_out
from orchestra.engine.following import follow
from orchestra.engine.loading import history
from orchestra.engine.running import Run
from orchestra.engine.sessions import Row, RunnerProcess, find, rows
from orchestra.graph.model import Graph, Node
from orchestra.ports import Scope, Store
from orchestra.run.events import ChildStarted, Recorded
from orchestra.run.outcome import Outcome
from orchestra.run.state import Context


async def told(store: Store, session: str) -> list[Recorded]:
    seen: list[Recorded] = []
    await follow(store, await find(store, session), seen.append, SystemClock())
    return seen


async def all_of(store: Store, known: list[Row]) -> set[int]:
    """The turns of sessions."""
    return {turn.turn_id for row in known for turn in await history(store, row.context_id)}


def once_in_order(seen: list[Recorded]) -> list[int]:
    turns = [recorded.turn_id for recorded in seen]
    assert turns == sorted(set(turns))
    return turns


async def test_children_are_reported_with_their_parent(tmp_path: Path) -> None:
    store = MemoryStore()
    run = await walked(compiled(tmp_path), store, Work())
    turns = once_in_order(await told(store, run.session))
    assert set(turns) == await all_of(store, await rows(store))


async def test_several_children_of_one_node_and_resumed_ones_are_reported(tmp_path: Path) -> None:
    store = MemoryStore()
    parent = (
        "digraph parent { start [shape=Mdiamond] exit [shape=Msquare] done"
        ' check [type=pipeline, max_retries=1, retry_policy=linear, stack.child_dotfile="check.dot"]'
        " start -> check -> done -> exit }"
    )
    run = await walked(compiled(tmp_path, parent=parent), store, Work(fails_at="z"))
    await gone_on(store, run.session, Work())
    assert len(await rows(store)) == 5
    turns = once_in_order(await told(store, run.session))
    assert set(turns) == await all_of(store, await rows(store))


class Breathing(Work):
    async def __call__(self, node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        await asyncio.sleep(0.004)
        return await super().__call__(node, context, graph, scope)


async def test_every_watcher_sees_the_same_from_any_moment_on(tmp_path: Path) -> None:
    store = MemoryStore()
    places: list[list[Recorded]] = [[] for _ in range(4)]
    run: Run | None = None
    async with asyncio.TaskGroup() as group:
        walking = group.create_task(walked(compiled(tmp_path), store, Breathing()))
        while not await rows(store):
            await asyncio.sleep(0.001)
        (row,) = (await rows(store))[-1:]
        for place in places:
            group.create_task(follow(store, row, place.append, SystemClock()))
            await asyncio.sleep(0.01)
        run = await walking
    expected = await all_of(store, await rows(store))
    for place in places:
        assert {recorded.turn_id for recorded in place} == expected
        assert len(place) == len(expected)
        named = {recorded.event.child_session for recorded in place if isinstance(recorded.event, ChildStarted)}
        for session in named:  # a child is told behind its name
            first = next(n for n, recorded in enumerate(place) if recorded.meta.session == session)
            assert any(
                isinstance(recorded.event, ChildStarted) and recorded.event.child_session == session
                for recorded in place[:first]
            )
    assert run.state.result is not None


@pytest.mark.parametrize("which", [0, 1, 2])
async def test_a_fork_is_reported_with_the_old_children_up_to_its_turn_and_its_own_from_there(
    which: int, tmp_path: Path
) -> None:
    store = MemoryStore()
    first, _whole = await paused_and_gone_on(tmp_path, store)
    known = await rows(store)
    place = (await between(store, first.context_id))[which]
    old = {turn for turn in await all_of(store, known) if turn <= place}
    run = await forked(store, first.session, place, Work())
    made = await new_rows(store, known)
    turns = once_in_order(await told(store, run.session))
    assert set(turns) == old | await all_of(store, made)


async def test_an_imported_session_is_reported_with_its_children_here(tmp_path: Path) -> None:
    store, other = MemoryStore(), MemoryStore()
    await walked(compiled(tmp_path), other, Work())  # contexts and turns have other ids here
    first, _whole = await paused_and_gone_on(tmp_path, store)
    taken = await take_out(store, first.session)
    async for blob in blobs_of(store, [turn for one in taken for turn in (*one.turns, *one.mailbox)]):
        await other.put_blob(blob)
    made = await put_in(other, taken, Clock(), RunnerProcess(host="here", pid=1, version="0"))
    turns = once_in_order(await told(other, first.session))
    assert set(turns) == await all_of(other, made)
