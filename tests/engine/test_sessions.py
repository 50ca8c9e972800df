"""Sessions in a store: made, found, listed, read (S13-S17, S25)."""

from __future__ import annotations

import pytest

from orchestra.agents.simulation import ScriptedResult
from orchestra.cxdb.memory import MemoryStore
from orchestra.engine.loading import history, load_state
from orchestra.engine.sessions import Row, find, rows, summarize
from orchestra.errors import SessionNotFound, SessionTaken, UnknownEvent
from orchestra.ports import NewTurn
from orchestra.run.state import NEW
from orchestra.run.views import Phase
from support import START_MS, CountingStore, FixedClock, Session, opened, ran, resumed

CHAIN = "a b start -> a -> b -> exit"


async def three() -> tuple[MemoryStore, list[Session]]:
    store, clock = MemoryStore(), FixedClock()
    return store, [await ran(CHAIN, store=store, clock=clock) for _ in range(3)]


async def row_of(session: Session) -> Row:
    return await find(session.store, session.name)


# --- finding ----------------------------------------------------------------------------------------


async def test_sessions_are_listed_newest_first_and_each_once() -> None:
    store, sessions = await three()
    assert [row.session for row in await rows(store)] == [s.name for s in reversed(sessions)]
    assert [row.context_id for row in await rows(store)] == [s.context_id for s in reversed(sessions)]


async def test_a_session_is_found_by_its_id_its_context_and_as_the_last() -> None:
    store, sessions = await three()
    for session in sessions:
        assert (await find(store, session.name)).context_id == session.context_id
        assert (await find(store, f"#{session.context_id}")).session == session.name
    assert (await find(store, "last")).session == sessions[-1].name


async def test_a_beginning_finds_a_session_where_it_fits_only_one() -> None:
    store, sessions = await three()
    assert (await find(store, sessions[0].name[:6])).session == sessions[0].name
    assert (await find(store, sessions[0].name.upper())).session == sessions[0].name
    with pytest.raises(SessionNotFound, match="3 sessions"):
        await find(store, "s")


@pytest.mark.parametrize("name", ["zzz", "", "#", "#999", "1", "2"])
async def test_what_names_no_session_is_not_found_and_a_bare_number_never_is_one(name: str) -> None:
    store, _sessions = await three()
    with pytest.raises(SessionNotFound):
        await find(store, name)


async def test_an_empty_store_has_no_last_session() -> None:
    with pytest.raises(SessionNotFound, match="no session"):
        await find(MemoryStore(), "last")


async def test_a_context_that_another_program_made_is_no_session() -> None:
    store, sessions = await three()
    other = await store.create()
    await store.append(other.context_id, [NewTurn(type_id="com.example.Other", type_version=1, payload=b"\x80")])
    assert len(await rows(store)) == len(sessions)


# --- listing ----------------------------------------------------------------------------------------


async def test_a_completed_run_is_listed_with_its_steps_turns_and_times() -> None:
    session = await ran(CHAIN, {"a": [ScriptedResult(delay=2.0)]})
    found = await summarize(session.store, await row_of(session), START_MS)
    assert (found.phase, found.node, found.steps, found.turns) == (Phase.COMPLETED, "exit", 4, len(session.seen))
    assert (found.last_ms - found.started_ms, found.pipeline) == (2000, "t")


async def test_a_failed_run_is_listed_with_its_reason() -> None:
    session = await ran(CHAIN, {"a": [ScriptedResult(status="fail", reason="red tests")]})
    found = await summarize(session.store, await row_of(session), START_MS)
    assert (found.phase, found.node, found.detail) == (Phase.FAILED, "a", "red tests")


async def test_a_run_is_listed_as_running_while_it_is_held_and_as_crashed_when_it_no_longer_is() -> None:
    store = MemoryStore()
    session = await opened(CHAIN, store=store)
    row = await row_of(session)
    found = await summarize(store, row, START_MS)
    assert found.phase is Phase.RUNNING
    assert "process 1 on here" in found.detail
    with pytest.raises(SessionTaken, match="process 1"):
        store.hold(session.context_id, "somebody else")
    await session.hold.release()
    assert (await summarize(store, row, START_MS)).phase is Phase.CRASHED


async def test_a_paused_run_is_listed_with_the_reason_and_what_comes_next() -> None:
    session = await opened(CHAIN)
    session.control.pause("interrupt")
    await session.walk()
    await session.hold.release()
    found = await summarize(session.store, await row_of(session), START_MS)
    assert (found.phase, found.detail) == (Phase.PAUSED, "interrupt")
    later = await (await resumed(session)).walk()
    assert later.result is not None
    assert (await summarize(session.store, await row_of(session), START_MS)).phase is Phase.COMPLETED


async def test_a_run_that_ended_without_an_exit_is_completed_and_says_so() -> None:
    session = await ran("a start -> a")
    found = await summarize(session.store, await row_of(session), START_MS)
    assert (found.phase, found.detail) == (Phase.COMPLETED, "completed (no exit)")


async def test_a_listing_reads_a_few_turns_of_a_long_run() -> None:
    store = CountingStore()
    session = await ran("max_steps=600 n start -> n n -> n n -> exit [condition=never]", store=store)
    row = await row_of(session)
    store.turns_read = 0
    found = await summarize(store, row, START_MS)
    assert (found.phase, found.steps) == (Phase.FAILED, 600)
    assert store.turns_read < 20


async def test_the_title_is_the_label_or_the_name_and_the_goal() -> None:
    session = await ran('goal="ship it" start -> exit')
    assert (await row_of(session)).title == "t: ship it"


async def test_a_title_holds_no_secret_and_no_stray_surrogate() -> None:
    session = await ran('goal="word 12345678" start -> exit', secrets={"PIN": "12345678"})
    assert (await row_of(session)).title == "t: word [redacted:PIN]"


# --- reading ----------------------------------------------------------------------------------------


async def test_a_history_longer_than_a_page_is_read_whole_and_in_order() -> None:
    session = await ran("max_steps=200 n start -> n n -> n n -> exit [condition=never]")
    found = await history(session.store, session.context_id)
    assert [turn.depth for turn in found] == list(range(len(session.seen)))


async def test_an_empty_context_has_no_history_and_a_new_state() -> None:
    store = MemoryStore()
    context = await store.create()
    assert await history(store, context.context_id) == []
    assert await load_state(store, context.context_id) == NEW


async def test_a_turn_of_another_program_stops_going_on_and_not_listing() -> None:
    session = await ran(CHAIN)
    await session.store.append(
        session.context_id, [NewTurn(type_id="dev.orchestra.Dream", type_version=3, payload=b"\x80")]
    )
    with pytest.raises(UnknownEvent, match=r"dev\.orchestra\.Dream"):
        await load_state(session.store, session.context_id)
    assert (await summarize(session.store, await row_of(session), START_MS)).turns == len(session.seen) + 1
