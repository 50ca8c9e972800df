"""A run that was paused, interrupted, killed or left by its store goes on to the end it would have had (E4)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from orchestra.engine.loading import event_of, history, load_state
from orchestra.errors import StoreUnreachable
from orchestra.graph.model import Graph, Node
from orchestra.ports import Handler, Scope
from orchestra.run.codec import VALUE_LIMIT
from orchestra.run.events import (
    PipelineCompleted,
    PipelineFailed,
    PipelinePaused,
    Recorded,
    StageCompleted,
    StageFailed,
    StageStarted,
)
from orchestra.run.outcome import Outcome, Status
from orchestra.run.state import Context
from support import CountingStore, FixedClock, Session, opened, resumed

EVERYTHING = """
goal_gates=all
a [max_retries=2] judge [shape=diamond] b [max_visits=3] g [goal_gate=true, retry_target=b] big
refused [max_visits=1]
start -> a -> judge
judge -> b [condition="outcome=success"]
judge -> a [condition="outcome=fail"]
b -> big -> refused
refused -> g
refused -> g [condition="outcome=fail"]
g -> exit [label=done]
g -> b [condition="context.size=small"]
"""

PLAN: Mapping[tuple[str, int, int], tuple[str, dict[str, Any]]] = {
    ("a", 1, 1): ("retry", {}),
    ("a", 1, 2): ("fail", {}),
    ("a", 1, 3): ("fail", {"tried": True}),
    ("a", 2, 1): ("success", {"list": [1, {"k": None}]}),
    ("big", 1, 1): ("partial_success", {"huge": "h" * (VALUE_LIMIT + 1)}),
    ("g", 1, 1): ("skipped", {}),
}
"""What each node does at which visit and attempt; everything else succeeds."""

Meddle = Callable[[str, int, int], None]


def acting(meddle: Meddle | None = None) -> Handler:
    """The handler that does as planned; ``meddle`` is called at each execution and may stop the run."""

    async def act(node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        if meddle is not None:
            meddle(node.id, scope.visit, scope.attempt)
            await asyncio.sleep(0)
        status, updates = PLAN.get((node.id, scope.visit, scope.attempt), ("success", {}))
        scope.response(f"{node.id} at {scope.visit}")
        return Outcome(status=Status(status), context_updates=updates, failure_reason=f"{node.id} {scope.visit}")

    return act


async def chain(session: Session) -> list[Recorded]:
    found = [event_of(turn) for turn in await history(session.store, session.context_id)]
    assert all(isinstance(event, Recorded) for event in found)
    return found  # type: ignore[return-value]


async def story(session: Session) -> dict[str, Any]:
    """What a run comes to: the nodes that ended and how, its end, its context, its counters."""
    recorded = await chain(session)
    state = await load_state(session.store, session.context_id)
    assert state == session.state
    ends = [r.event for r in recorded if isinstance(r.event, PipelineCompleted | PipelineFailed)]
    assert len(ends) == 1
    assert ends[0] == recorded[-1].event
    return {
        "ended": [
            (e.node, e.visit, e.attempt, e.status)
            for e in (r.event for r in recorded)
            if isinstance(e, StageCompleted | StageFailed)
        ],
        "end": (type(ends[0]).__name__, ends[0].status, ends[0].node, ends[0].steps),
        "context": dict(state.context),
        "counters": (state.edges, state.gates, {k: (n.visits, n.status) for k, n in state.nodes.items()}),
    }


async def start(store: CountingStore, meddle: Meddle | None = None) -> Session:
    return await opened(EVERYTHING, store=store, more={"codergen": acting(meddle)})


async def undisturbed() -> tuple[dict[str, Any], int, list[tuple[str, int, int]]]:
    """The story of a run that nobody stops, its appends, and its executions."""
    done: list[tuple[str, int, int]] = []
    store = CountingStore()
    session = await start(store, lambda *at: done.append(at))
    await session.walk()
    return await story(session), store.appends, done


async def to_the_end(session: Session, epoch: int = 2) -> Session:
    while session.result is None:
        session = await (await resumed(session, epoch=epoch)).walk()
        epoch += 1
    return session


async def test_the_story_has_everything_in_it() -> None:
    told, appends, done = await undisturbed()
    assert told["end"] == ("PipelineCompleted", "success", "exit", told["end"][3])
    statuses = {status for _node, _visit, _attempt, status in told["ended"]}
    assert statuses == {"success", "fail", "partial_success", "skipped"}
    assert ("refused", 2, 0, "fail") in told["ended"]
    assert told["counters"][1] == {"g": 1}
    assert appends > 15
    assert ("a", 1, 3) in done


async def test_a_store_that_fails_at_any_append_leaves_a_run_that_continues_to_the_same_end() -> None:
    told, appends, _done = await undisturbed()
    for refused in range(3, appends + 1):
        store = CountingStore()
        session = await start(store)
        store.fail_only = refused
        with pytest.raises(StoreUnreachable):
            await session.walk()
        session = await to_the_end(session)
        assert await story(session) == told, f"refused append {refused}"


@pytest.mark.parametrize("how", ["pause", "interrupt"])
async def test_a_run_stopped_during_any_execution_continues_to_the_same_end(how: str) -> None:
    told, _appends, done = await undisturbed()
    for place, where in enumerate(done):
        current: list[Session] = []

        def stop(*at: object, where: object = where, current: list[Session] = current) -> None:
            if at == where and not current[0].control.pausing:
                getattr(current[0].control, how)("test")

        session = await start(CountingStore(), stop)
        current.append(session)
        assert (await session.walk()).result is None, where
        assert isinstance(session.events[-1], PipelinePaused)
        ran_before = [e for e in session.events if isinstance(e, StageCompleted | StageFailed)]
        if how == "interrupt" and session.state.stage is not None:
            assert session.state.stage.node == where[0], "an interrupted node is still to be done"
        finished = await to_the_end(session)
        assert len(ran_before) < len((await story(finished))["ended"])
        assert await story(finished) == told, (how, place, where)


@pytest.mark.parametrize("how", ["pause", "interrupt"])
async def test_a_run_stopped_at_any_event_continues_to_the_same_end(how: str) -> None:
    told, _appends, _done = await undisturbed()
    count = 0
    for place in range(2, 200):
        session = await start(CountingStore())
        count = 0

        def stop(recorded: Recorded, session: Session = session, place: int = place) -> None:
            nonlocal count
            count += 1
            if count == place:
                getattr(session.control, how)("test")

        session.journal._listeners.append(stop)
        await session.walk()
        if count < place:
            break
        session = await to_the_end(session)
        assert await story(session) == told, (how, place)
    assert count > 50, "the loop ended early"


async def test_a_run_that_is_stopped_again_and_again_comes_to_the_same_end() -> None:
    told, _appends, done = await undisturbed()
    seen: set[tuple[str, int, int]] = set()
    current: list[Session] = []

    def stop(*at: Any) -> None:
        if at not in seen:
            seen.add(at)
            current[-1].control.interrupt("again")

    session = await start(CountingStore(), stop)
    epoch = 1
    while session.result is None:
        current.append(session)
        await session.walk()
        if session.result is None:
            epoch += 1
            session = await resumed(session, epoch=epoch)
    assert epoch == len(done) + 1
    assert await story(session) == told


async def test_an_interruption_uses_up_no_attempt_and_is_no_failure() -> None:
    current: list[Session] = []

    def stop(*at: Any) -> None:
        if at == ("a", 1, 1) and len(current) == 1:
            current[0].control.interrupt("test")

    current.append(await start(CountingStore(), stop))
    await current[0].walk()
    assert current[0].of(StageFailed) == []
    current.append(await resumed(current[0]))
    await current[1].walk()
    started = [e for e in current[1].events if isinstance(e, StageStarted) and e.node == "a"]
    assert started[0].attempt == 2, "the announced first attempt is run again without a new announcement"
    assert current[1].state.nodes["a"].executions == 4


async def test_a_pause_before_the_first_node_leaves_the_whole_run_to_be_done() -> None:
    told, _appends, _done = await undisturbed()
    session = await start(CountingStore())
    session.control.pause("early")
    assert (await session.walk()).result is None
    assert session.path == []
    assert await story(await to_the_end(session)) == told


async def test_a_pause_during_the_last_node_ends_the_run_or_leaves_only_its_end() -> None:
    session = await opened("start -> exit")
    session.control.pause("late")
    session.control.reason = ""
    await session.walk()
    assert session.result is not None


async def test_a_cancellation_from_elsewhere_is_no_pause() -> None:
    hung = asyncio.Event()

    async def hang(node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        hung.set()
        await asyncio.Event().wait()
        raise AssertionError

    session = await opened(EVERYTHING, more={"codergen": hang})
    walking = asyncio.ensure_future(session.walk())
    await hung.wait()
    walking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await walking
    assert session.of(PipelinePaused) == []
    session.handlers.by_type["codergen"] = acting()  # type: ignore[index]
    assert (await to_the_end(session)).result is not None


async def test_a_handler_that_swallows_its_interruption_is_done_and_the_run_pauses_after_it() -> None:
    session: Session | None = None

    async def stubborn(node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        assert session is not None
        session.control.interrupt("test")
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return Outcome(status=Status.SUCCESS)

    session = await opened("a b start -> a -> b -> exit", more={"codergen": stubborn})
    assert (await session.walk()).result is None
    assert session.path == ["start", "a"]
    assert session.state.next_node == "b"
    await asyncio.sleep(0)  # no cancellation is left over
    assert asyncio.current_task() is not None
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_a_handler_that_never_waits_leaves_no_cancellation_behind() -> None:
    session: Session | None = None

    async def busy(node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        assert session is not None
        session.control.interrupt("test")
        session.control.interrupt("and again")
        return Outcome(status=Status.SUCCESS)

    session = await opened("a b start -> a -> b -> exit", more={"codergen": busy})
    assert (await session.walk()).result is None
    assert (session.state.paused, session.state.next_node) == ("test", "b")


async def test_a_cancellation_from_elsewhere_is_heeded_beside_an_interruption() -> None:
    hung = asyncio.Event()

    async def hang(node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        hung.set()
        await asyncio.Event().wait()
        raise AssertionError

    session = await opened(EVERYTHING, more={"codergen": hang})
    walking = asyncio.ensure_future(session.walk())
    await hung.wait()
    session.control.interrupt("test")
    walking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await walking


async def test_events_of_the_next_runner_carry_its_epoch_and_count_from_one() -> None:
    session = await start(CountingStore())
    session.control.pause("test")
    await session.walk()
    later = await (await resumed(session)).walk()
    assert [r.meta.epoch for r in later.seen] == [2] * len(later.seen)
    assert [r.meta.sequence for r in later.seen] == list(range(1, len(later.seen) + 1))


async def test_time_that_passes_between_two_runners_does_not_change_the_story() -> None:
    told, _appends, _done = await undisturbed()
    session = await start(CountingStore())
    session.control.pause("test")
    await session.walk()
    session.clock = FixedClock(session.clock.now + 10**10)
    assert await story(await to_the_end(session)) == told
