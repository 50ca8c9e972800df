"""A clock that is set, or a machine that was suspended, changes nothing of what a run does: at work, in the wait
before another attempt, and while its claim is held."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import pytest
from test_holding import Far

from orchestra.cxdb.memory import MemoryStore
from orchestra.engine.loading import load_state
from orchestra.engine.mailbox import Mailbox
from orchestra.engine.sessions import find, summarize
from orchestra.engine.walk import Walk
from orchestra.errors import SessionTaken
from orchestra.graph.model import Graph, Node
from orchestra.ports import Scope
from orchestra.run.outcome import Outcome, Status
from orchestra.run.state import Context
from orchestra.run.views import Phase
from support import CHILDLESS, FixedClock, Session, handlers_of, opened, plan_of, reopened

HOUR_MS = 3_600_000
JUMPS = {"forward by 3 h": 3 * HOUR_MS, "backward by 1 h": -HOUR_MS, "suspended for 3 h": 0}
CHAIN = "a [max_retries=1, retry_policy=patient] b start -> a -> b -> exit"


class Died(BaseException):
    """The runner's death."""


class Set(FixedClock):
    """A clock that can be set: what has passed since the machine was started is counted apart from UTC."""

    def __init__(self) -> None:
        super().__init__()
        self.boot = 1000.0
        self.in_sleep = ""

    def boot_seconds(self) -> float:
        return self.boot

    def jump(self, name: str) -> None:
        """Be set, or be suspended with its machine."""
        self.now += JUMPS[name]
        if name.startswith("suspended"):
            self.now += 3 * HOUR_MS
            self.boot += 3 * 3600

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        self.boot += seconds
        if self.in_sleep:
            self.jump(self.in_sleep)
            self.in_sleep = ""


@dataclass
class Work:
    """Counts what it is asked to do; ``a`` is tried twice; the clock jumps while ``jumping`` is at work."""

    clock: Set
    jumping: str = ""
    how: str = ""
    done: Counter[tuple[str, int]] = field(default_factory=Counter)

    async def __call__(self, node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        self.done[node.id, scope.attempt] += 1
        if node.id == self.jumping:
            self.clock.jump(self.how)
            self.jumping = ""
        again = node.id == "a" and scope.attempt == 1
        return Outcome(status=Status.RETRY if again else Status.SUCCESS)


async def begun(work: Work, store: MemoryStore | None = None) -> Session:
    return await opened(CHAIN, store=store, clock=work.clock, more={"codergen": work})


async def ended_well(session: Session) -> None:
    state = await load_state(session.store, session.context_id)
    assert state.result is not None
    assert state.result.good
    assert all(record.duration_ms >= 0 for record in state.nodes.values())
    row = await find(session.store, session.name)
    assert (await summarize(session.store, row, session.clock.now)).phase is Phase.COMPLETED


ONCE = {("a", 1): 1, ("a", 2): 1, ("b", 1): 1}


@pytest.mark.parametrize("how", JUMPS)
@pytest.mark.parametrize("node", ["a", "b"])
async def test_a_clock_that_jumps_while_a_node_runs_changes_nothing(how: str, node: str) -> None:
    work = Work(Set(), node, how)
    session = await begun(work)
    await session.hold.during(session.runner.walk())
    assert work.done == ONCE
    await ended_well(session)


@pytest.mark.parametrize("how", JUMPS)
async def test_a_clock_that_jumps_during_the_wait_before_another_attempt_neither_drops_nor_prolongs_it(
    how: str,
) -> None:
    work = Work(Set())
    work.clock.in_sleep = how
    session = await begun(work)
    await session.walk()
    assert work.done == ONCE
    assert work.clock.slept == [2.0]
    await ended_well(session)


@pytest.mark.parametrize("how", JUMPS)
async def test_a_clock_that_jumps_between_a_runners_death_in_the_wait_and_the_resume_prolongs_nothing(
    how: str,
) -> None:
    work = Work(Set())
    session = await begun(work)

    async def dies(_seconds: float) -> None:
        raise Died

    work.clock.sleep = dies  # type: ignore[method-assign]
    with pytest.raises(BaseExceptionGroup):
        await session.walk()
    del work.clock.sleep  # type: ignore[method-assign]
    await session.hold.release()
    work.clock.jump(how)
    await (await again(session, work)).walk()
    assert work.done == ONCE
    assert sum(work.clock.slept) <= 2.0
    await ended_well(session)


async def again(session: Session, work: Work) -> Walk:
    """Another runner of the session, on another machine."""
    made = await reopened(session.store, work.clock, await find(session.store, session.name))
    return Walk(
        plan=plan_of(session.graph, handlers_of(more={"codergen": work})),
        journal=made.journal,
        clock=work.clock,
        control=session.control,
        spawning=CHILDLESS,
    )


@pytest.mark.parametrize("how", JUMPS)
async def test_a_runner_whose_claim_was_not_taken_meanwhile_continues(how: str) -> None:
    work = Work(Set(), "b", how)
    session = await begun(work, Far(work.clock))
    await session.hold.during(session.runner.walk())
    assert work.done == ONCE
    await ended_well(session)


async def test_a_runner_that_was_suspended_while_another_took_its_session_does_nothing_more() -> None:
    """It was at ``a`` then, which counts as cut off; what comes behind that is the other's."""
    theirs, ours = Work(Set()), Work(Set())
    session = await begun(ours, Far(theirs.clock))

    async def slept(node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        outcome = await ours(node, context, graph, scope)
        for clock in (ours.clock, theirs.clock):
            clock.jump("suspended for 3 h")
        await (await again(session, theirs)).walk()
        return outcome

    session.runner._plan = plan_of(session.graph, handlers_of(more={"codergen": slept}))
    with pytest.raises(SessionTaken):
        await session.hold.during(session.runner.walk())
    assert (ours.done, theirs.done) == ({("a", 1): 1}, ONCE)
    await ended_well(session)


async def test_setting_the_clock_of_one_machine_does_not_release_its_session() -> None:
    """What counts is the store's own clock."""
    ours, store = Work(Set()), Far(Set())
    session = await begun(ours, store)
    for how in ("forward by 3 h", "backward by 1 h"):
        elsewhere = Work(Set())
        elsewhere.clock.jump(how)
        ours.clock.jump(how)
        with pytest.raises(SessionTaken):
            await again(session, elsewhere)
        await session.hold.renew()


# --- the store's own clock is set ----------------------------------------------------------------


class Yielding(Set):
    """Others get a turn while somebody waits."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("how", ["forward by 3 h", "backward by 1 h"])
async def test_a_session_whose_stores_clock_is_set_is_not_taken_from_a_live_runner(how: str) -> None:
    here, there, stores = Work(Yielding()), Work(Yielding()), Set()
    store = Far(stores)
    session = await begun(here, store)
    refused: list[str] = []

    async def meanwhile(node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        if node.id == "b":
            stores.jump(how)
            with pytest.raises(SessionTaken) as raised:
                await again(session, there)
            refused.append(str(raised.value))
        return await here(node, context, graph, scope)

    session.runner._plan = plan_of(session.graph, handlers_of(more={"codergen": meanwhile}))
    await session.hold.during(
        session.runner.walk(), Mailbox(store, session.state, session.control, session.hold.answer).listen()
    )
    assert len(refused) == 1
    assert (here.done, there.done) == (ONCE, {})
    await ended_well(session)


@pytest.mark.parametrize("how", ["forward by 3 h", "backward by 1 h"])
async def test_a_dead_runners_session_is_taken_soon_though_the_stores_clock_was_set(how: str) -> None:
    here, there, stores = Work(Yielding()), Work(Yielding()), Set()
    session = await begun(here, Far(stores))
    stores.jump(how)
    await (await again(session, there)).walk()
    assert there.done == ONCE
    assert sum(there.clock.slept) <= 23
    await ended_well(session)
