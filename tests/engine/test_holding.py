"""One runner at a time (S16): locks of a machine, and claims in the mailbox where no lock reaches."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from orchestra.cxdb.memory import MemoryStore
from orchestra.cxdb.remote.requests import ServerPlace
from orchestra.cxdb.remote.store import RemoteStore
from orchestra.cxdb.server.http import Guard
from orchestra.cxdb.server.serve import serving
from orchestra.engine.holding import GONE_MS, UNSURE_MS, Holding, find_runner, machine
from orchestra.engine.loading import event_of, history, load, load_state
from orchestra.engine.opening import Opening, lock_session
from orchestra.engine.sessions import Row, find, rows, summarize
from orchestra.engine.wiring import RunnerProcess
from orchestra.errors import SessionTaken
from orchestra.ports import NewTurn, Store, Turn
from orchestra.run.events import PipelineCompleted, PipelineTaken, StageStarted
from orchestra.run.views import Phase
from served_memory import ServedMemory
from support import START_MS, FixedClock, Unlocked, opened, plain_wiring, reopened

CHAIN = "start -> a -> exit"


class Far(MemoryStore):
    """A store as runners on several machines see it, whose locks do not reach one another; its clock is its own."""

    def __init__(self, clock: FixedClock) -> None:
        super().__init__(now_ms=clock.now_ms)
        self.locks: dict[int, str] = {}

    @property
    def local(self) -> bool:
        return False

    def hold(self, context_id: int, note: str) -> _Nothing:  # type: ignore[override]
        return _Nothing()

    def holder(self, context_id: int) -> str | None:
        return None


class _Nothing:
    def release(self) -> None:
        pass


async def far() -> tuple[Far, FixedClock, Row, Holding]:
    """A session that a runner on another machine begins."""
    clock = FixedClock()
    store = Far(clock)
    session = await opened(CHAIN, store=store, clock=clock)
    return store, clock, await find(store, session.name), session.hold


class Named(RunnerProcess):
    """A process under a name of its own."""

    @property
    def note(self) -> str:
        return self.host


async def won(store: Store, clock: FixedClock, row: Row, note: str) -> Holding:
    wiring = replace(plain_wiring(store, clock), origin=Named(host=note, pid=0, version="0"))
    holding = Holding(wiring, row, 2)
    try:
        await holding.win()
    except BaseException:
        await holding.release()
        raise
    return holding


async def taken_by(store: MemoryStore, clock: FixedClock, row: Row, note: str) -> Holding:
    return await won(store, clock, row, note)


async def test_a_live_claim_keeps_others_away_and_names_its_holder() -> None:
    store, clock, row, _ = await far()
    clock.now += 59_000
    with pytest.raises(SessionTaken, match="process 1 on here; if that runner was killed, the lock expires in 1 s"):
        await taken_by(store, clock, row, "another")


async def test_a_claim_that_was_not_renewed_expires_after_a_minute() -> None:
    store, clock, row, first = await far()
    clock.now += 61_000
    second = await taken_by(store, clock, row, "another")
    assert second.epoch == 2
    with pytest.raises(SessionTaken, match="another"):
        await first.check()
    await second.check()


async def test_a_renewal_holds_for_another_minute() -> None:
    store, clock, row, first = await far()
    clock.now += 44_000
    await first.renew()
    clock.now += 50_000
    with pytest.raises(SessionTaken):
        await taken_by(store, clock, row, "another")


async def test_a_released_session_is_free_at_once() -> None:
    store, clock, row, first = await far()
    await first.release()
    assert (await taken_by(store, clock, row, "another")).epoch == 2


async def test_a_runner_without_a_sign_of_life_checks_before_it_does_anything() -> None:
    store, clock, row, first = await far()
    turns = (await store.head(row.mailbox)).depth
    await first.check()
    assert (await store.head(row.mailbox)).depth == turns  # nothing to ask
    clock.now += 46_000
    await first.check()
    assert (await store.head(row.mailbox)).depth == turns + 1


async def test_a_machine_whose_clock_is_wrong_does_not_take_a_live_session() -> None:
    store, _, row, _ = await far()
    ahead = FixedClock(START_MS + 3_600_000)
    with pytest.raises(SessionTaken):
        await taken_by(store, ahead, row, "another")


def ended_process() -> int:
    """The id of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


@pytest.mark.parametrize("kind", ["dead", "alive", "dead elsewhere"])
async def test_a_runner_of_this_machine_that_was_killed_is_known_at_once(kind: str) -> None:
    clock = FixedClock()
    store = Far(clock)
    session = await opened(CHAIN, store=store, clock=clock)
    row = await find(store, session.name)
    await session.hold.release()
    origin = RunnerProcess(
        host="here",
        pid=os.getpid() if kind == "alive" else ended_process(),
        version="0",
        machine="another" if kind == "dead elsewhere" else machine(),
    )
    opening = Opening(place=row, loaded=await load(store, row.context_id))
    await lock_session(replace(plain_wiring(store, clock), origin=origin), opening)
    seen = (await summarize(store, row, clock.now)).phase
    assert seen is (Phase.CRASHED if kind == "dead" else Phase.RUNNING)
    if kind == "dead":
        assert (await taken_by(store, clock, row, "another")).epoch > 2
    else:
        with pytest.raises(SessionTaken):
            await taken_by(store, clock, row, "another")


async def test_what_a_stale_runner_appends_after_it_was_replaced_does_not_count() -> None:
    clock = FixedClock()
    store = Far(clock)
    stale = await opened(CHAIN, store=store, clock=clock)
    row = await find(store, stale.name)
    stale.journal.owner = Unlocked(stale.name, 1)  # it is in the middle of a batch, and does not look
    clock.now += 120_000
    second = await reopened(store, clock, row)
    stale.journal.record(PipelineCompleted(status="success", node="exit", duration_ms=1, steps=9))
    await stale.journal.flush()
    second.journal.record(StageStarted(node="start", handler="start", visit=1))
    await second.journal.flush()
    state = await load_state(store, row.context_id)
    assert (state.epoch, state.result) == (2, None)
    assert state.stage is not None
    await second.hold.release()
    stale.journal.record(PipelineCompleted(status="success", node="exit", duration_ms=1, steps=9))
    await stale.journal.flush()
    assert (await summarize(store, row, clock.now)).phase is Phase.CRASHED


async def test_a_taken_session_names_its_runner_in_the_chain() -> None:
    store, clock, row, first = await far()
    await first.release()
    second = await reopened(store, clock, row)
    assert (second.hold.epoch, second.journal.state.epoch) == (2, 2)
    events = [event_of(turn) for turn in await history(store, row.context_id)]
    assert PipelineTaken(holder="process 2 on there") in [getattr(event, "event", None) for event in events]


@pytest.mark.parametrize(
    ("ago", "phase"),
    [(0, Phase.RUNNING), (UNSURE_MS + 1, Phase.DOUBTFUL), (GONE_MS, Phase.DOUBTFUL), (GONE_MS + 1, Phase.CRASHED)],
)
async def test_a_listing_says_how_sure_it_is_of_a_runner_far_away(ago: int, phase: Phase) -> None:
    store, clock, row, _ = await far()
    found = await summarize(store, row, clock.now + ago)
    assert found.phase is phase


async def test_a_runner_with_a_lock_is_gone_when_its_lock_is_free() -> None:
    session = await opened(CHAIN)
    (row,) = await rows(session.store)
    session.hold._lock.release()  # as its process's death would
    assert await find_runner(session.store, row, START_MS) is None
    assert isinstance(session.store, MemoryStore)
    assert (await taken_by(session.store, session.clock, row, "another")).epoch == 2


async def test_work_ends_when_the_session_is_taken() -> None:
    store, clock, row, first = await far()
    clock.now += 61_000
    await taken_by(store, clock, row, "another")
    with pytest.raises(SessionTaken, match="another"):
        await first.during(asyncio.Event().wait(), every=0.001)


async def test_what_the_work_raises_comes_out_as_it_is() -> None:
    _, _, _, first = await far()

    async def work() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await first.during(work())


# --- races ---------------------------------------------------------------------------------------


class Slow(Far):
    """Gives others a turn before and after everything it does."""

    async def append(
        self, context_id: int, turns: Sequence[NewTurn], *, blobs: Sequence[bytes] = ()
    ) -> tuple[Turn, ...]:
        await asyncio.sleep(0)
        added = await super().append(context_id, turns, blobs=blobs)
        await asyncio.sleep(0)
        return added

    async def turns(self, context_id: int, *, before: int | None = None, limit: int = 64) -> list[Turn]:
        await asyncio.sleep(0)
        return await super().turns(context_id, before=before, limit=limit)


async def test_of_many_that_race_for_a_session_one_wins() -> None:
    clock = FixedClock()
    store = Slow(clock)
    session = await opened(CHAIN, store=store, clock=clock)
    (row,) = await rows(store)
    await session.hold.release()
    outcomes = await asyncio.gather(
        *(taken_by(store, clock, row, f"racer {number}") for number in range(20)), return_exceptions=True
    )
    winners = [outcome for outcome in outcomes if isinstance(outcome, Holding)]
    assert len(winners) == 1
    assert all(isinstance(outcome, Holding | SessionTaken) for outcome in outcomes)
    await winners[0].renew()


async def races(count: int) -> None:
    async with AsyncExitStack() as stack:
        at = await stack.enter_async_context(serving(ServedMemory(), guard=Guard()))
        place = ServerPlace(host=at.host, port=at.port, http_host=at.http_host, http_port=at.http_port)
        stores = [RemoteStore(place, patience=5) for _ in range(4)]
        clock = FixedClock()
        session = await opened(CHAIN, store=stores[0], clock=clock)
        (row,) = await rows(stores[0])
        await session.hold.release()
        for number in range(count):
            outcomes = await asyncio.gather(
                *(_raced(store, clock, row, f"{number}.{place}") for place, store in enumerate(stores)),
                return_exceptions=True,
            )
            winners = [outcome for outcome in outcomes if isinstance(outcome, Holding)]
            assert len(winners) == 1, (number, outcomes)
            assert winners[0].epoch == number + 2
            await winners[0].release()
        for store in stores:
            await store.close()


async def _raced(store: RemoteStore, clock: FixedClock, row: Row, note: str) -> Holding:
    return await won(store, clock, row, note)


async def test_of_runners_that_race_over_the_wire_one_wins() -> None:
    await races(20)


@pytest.mark.long
async def test_of_runners_that_race_over_the_wire_one_wins_long() -> None:
    await races(200)
