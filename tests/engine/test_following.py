"""A session watched from outside: every event once, in order, whenever one begins to look (S28)."""

from __future__ import annotations

import asyncio

import pytest

from orchestra.cxdb.memory import MemoryStore
from orchestra.engine import following
from orchestra.engine.following import Follower, Tell, follow
from orchestra.engine.sessions import Row
from orchestra.errors import SessionNotFound
from orchestra.ports import Scope
from orchestra.run.events import Event, PipelinePaused, Recorded
from orchestra.run.outcome import Outcome, Status
from orchestra.run.resuming import resumption
from orchestra.run.state import RunState
from support import FixedClock, Session, opened, ran, resumed

LINE = "a b c start -> a -> b -> c -> exit"


async def breathe(node: object, context: object, graph: object, scope: Scope) -> Outcome:
    await asyncio.sleep(0.002)
    return Outcome(status=Status.SUCCESS)


async def walked(session: Session) -> None:
    await session.walk()
    await session.hold.release()


def row_of(session: Session) -> Row:
    return Row(
        session=session.name,
        context_id=session.context_id,
        mailbox=session.state.mailbox,
        pipeline="t",
        title="t",
        created_ms=0,
    )


async def looked(session: Session, tell: Tell) -> RunState:
    _row, state = await follow(session.store, row_of(session), tell, session.clock)
    return state


def turns(seen: list[Recorded]) -> list[tuple[int, Event]]:
    return [(recorded.depth, recorded.event) for recorded in seen]


async def test_what_is_followed_from_any_moment_is_what_was_recorded() -> None:
    session = await opened(LINE, more={"codergen": breathe})
    seen: list[list[Recorded]] = [[] for _ in range(4)]
    async with asyncio.TaskGroup() as group:
        group.create_task(walked(session))
        for place in seen:
            group.create_task(looked(session, place.append))
            await asyncio.sleep(0.003)
    for place in seen:
        assert turns(place) == turns(session.seen)


async def test_a_session_that_has_ended_is_reported_whole_and_at_once() -> None:
    session = await ran(LINE)
    await session.hold.release()
    seen: list[Recorded] = []
    state = await looked(session, seen.append)
    assert turns(seen) == turns(session.seen)
    assert state.result == session.result


async def test_a_pause_is_the_end_until_the_session_is_resumed() -> None:
    session = await opened(LINE)
    session.control.pause("test")
    await walked(session)
    seen: list[Recorded] = []
    state = await looked(session, seen.append)
    assert isinstance(seen[-1].event, PipelinePaused)
    assert state.paused == "test"
    later = await resumed(session)
    later.journal.record(resumption(later.graph, later.state))
    await later.walk()
    again: list[Recorded] = []
    state = await looked(session, again.append)
    assert turns(again) == turns([*session.seen, *later.seen])
    assert state.result is not None


async def test_a_runner_that_is_gone_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "RUNNER_POLL_SECONDS", 0.01)
    session = await opened(LINE)
    await session.runner._step()
    await session.journal.flush()
    await session.hold.release()
    state = await looked(session, lambda _recorded: None)
    assert (state.result, state.paused) == (None, "")


async def test_events_left_by_a_replaced_runner_are_not_reported() -> None:
    session = await opened(LINE)
    session.control.pause("test")
    await session.walk()
    later = await resumed(session)
    later.journal.record(resumption(later.graph, later.state))
    await later.journal.flush()
    stale = await resumed(session, epoch=1)
    stale.journal.record(PipelinePaused(reason="late"))
    await stale.journal.flush()
    await later.walk()
    reader = Follower(session.store, session.context_id)
    told = [recorded.event for recorded in await reader.news()]
    assert PipelinePaused(reason="late") not in told
    assert reader.state.result is not None
    assert await reader.news() == []


async def test_a_long_history_is_read_in_pages() -> None:
    session = await ran('a start -> a a -> a [max_visits=200] a -> exit [condition="internal.visits.a=201"]')
    seen = await Follower(session.store, session.context_id).news()
    assert [(r.depth, type(r.event)) for r in seen] == [(r.depth, type(r.event)) for r in session.seen]
    assert len(seen) > 2 * 256


async def test_trouble_with_the_store_is_reported_as_it_is() -> None:
    with pytest.raises(SessionNotFound):
        await follow(MemoryStore(), row_of(await opened(LINE)), lambda _recorded: None, FixedClock())
