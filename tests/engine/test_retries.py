"""Attempts, their waits and their ends as the walk records them (E20-E23)."""

from __future__ import annotations

import asyncio

import pytest

from orchestra.agents.simulation import ScriptedResult
from orchestra.clock import SystemClock
from orchestra.engine.control import Control
from orchestra.graph.model import Graph, Node
from orchestra.ports import Scope
from orchestra.run.events import StageCompleted, StageFailed, StageRetrying, StageStarted
from orchestra.run.outcome import FailureClass, Outcome, Status
from orchestra.run.state import Context
from support import FixedClock, Session, opened, ran, resumed

THRICE = "a [max_retries=2] start -> a -> exit"


def retries(session: Session) -> list[StageRetrying]:
    return [event for event in session.events if isinstance(event, StageRetrying)]


async def test_a_node_is_tried_again_after_its_delay_until_it_succeeds() -> None:
    session = await ran(THRICE, {"a": ["retry", "fail", "success"]})
    assert session.result is not None
    assert session.result.good
    assert [(r.attempt, r.of, r.status, r.delay_ms) for r in retries(session)] == [
        (1, 3, "retry", 200),
        (2, 3, "fail", 400),
    ]
    assert session.clock.slept == [0.2, 0.4]
    started = [e for e in session.events if isinstance(e, StageStarted) and e.node == "a"]
    assert [(e.visit, e.attempt, e.of) for e in started] == [(1, 1, 3), (1, 2, 3), (1, 3, 3)]
    assert session.state.nodes["a"].executions == 3
    assert session.state.nodes["a"].visits == 1
    assert session.state.nodes["a"].retries == 0


async def test_used_up_attempts_fail_the_node_with_the_last_reason() -> None:
    session = await ran(THRICE, {"a": [ScriptedResult(status="retry", reason="busy")]})
    (failed,) = session.of(StageFailed)
    assert isinstance(failed, StageFailed)
    assert failed.failure_reason == "max retries exceeded: busy"
    assert failed.attempt == 3
    assert session.state.nodes["a"].retries == 2


async def test_used_up_attempts_of_a_node_that_allows_it_are_a_partial_success() -> None:
    session = await ran("a [max_retries=1, allow_partial=true] start -> a -> exit", {"a": ["retry"]})
    (done,) = [e for e in session.of(StageCompleted) if isinstance(e, StageCompleted) and e.node == "a"]
    assert done.status == "partial_success"
    assert done.notes
    assert session.result is not None
    assert session.result.good


@pytest.mark.parametrize("failure_class", ["terminal", "canceled"])
async def test_a_failure_that_would_come_again_is_not_tried_again(failure_class: str) -> None:
    script = {"a": [ScriptedResult(status="fail", reason="no key", failure_class=failure_class)]}
    session = await ran(THRICE, script)
    assert retries(session) == []
    (failed,) = session.of(StageFailed)
    assert isinstance(failed, StageFailed)
    assert (failed.failure_reason, failed.failure_class) == ("no key", failure_class)


async def test_an_exception_and_a_timeout_are_tried_again() -> None:
    session = await ran(THRICE, {"a": [ScriptedResult(error="boom"), "success"]})
    assert [r.failure_reason for r in retries(session)] == ["SimulatedError: boom"]
    tries = 0

    async def slow_once(node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        nonlocal tries
        tries += 1
        if tries == 1:
            await asyncio.sleep(60)
        return Outcome(status=Status.SUCCESS)

    session = await ran("a [max_retries=1, timeout=10ms] start -> a -> exit", more={"codergen": slow_once})
    assert [(r.failure_reason, r.failure_class) for r in retries(session)] == [("timeout after 10ms", "transient")]
    assert session.result is not None
    assert session.result.good


async def test_a_longer_wait_that_a_provider_asks_for_is_kept() -> None:
    async def busy(node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        if scope.attempt == 1:
            return Outcome(
                status=Status.FAIL, failure_class=FailureClass.TRANSIENT, failure_reason="429", retry_after=12.5
            )
        return Outcome(status=Status.SUCCESS)

    session = await ran(THRICE, more={"codergen": busy})
    assert session.clock.slept == [12.5]


@pytest.mark.parametrize(
    "result",
    [
        ScriptedResult(error="429", failure_class="transient", retry_after=7.0),
        ScriptedResult(status="fail", reason="429", retry_after=7.0),
        ScriptedResult(status="retry", retry_after=7.0),
    ],
)
async def test_a_script_may_ask_to_wait_as_a_provider_does(result: ScriptedResult) -> None:
    session = await ran(THRICE, {"a": [result, "success"]})
    assert session.clock.slept == [7.0]


async def test_a_provider_that_asks_for_more_than_five_minutes_fails_the_node_at_once() -> None:
    days = ScriptedResult(error="429 slow down", failure_class="transient", retry_after=30 * 24 * 3600)
    session = await ran(THRICE, {"a": [days, "success"]})
    assert session.clock.slept == []
    (failure,) = session.of(StageFailed)
    assert isinstance(failure, StageFailed)
    assert (failure.attempt, failure.failure_class) == (1, "transient")
    assert "429 slow down" in failure.failure_reason
    assert "2592000 s" in failure.failure_reason


@pytest.mark.parametrize(("failure_class", "again"), [("", 2), ("transient", 2), ("terminal", 0)])
async def test_a_script_raises_exceptions_of_each_class(failure_class: str, again: int) -> None:
    session = await ran(THRICE, {"a": [ScriptedResult(error="it broke", failure_class=failure_class)]})
    assert len(retries(session)) == again
    (failure,) = session.of(StageFailed)
    assert isinstance(failure, StageFailed)
    assert "it broke" in failure.failure_reason


def test_jitter_comes_from_a_source_that_a_seed_fixes() -> None:
    def draws(seed: int) -> list[float]:
        clock = SystemClock(seed)
        return [clock.jitter() for _ in range(200)]

    assert draws(7) == draws(7) != draws(8)
    assert all(0.5 <= draw <= 1.5 for draw in draws(7))


async def test_each_visit_has_all_its_attempts() -> None:
    session = await ran(
        'a [max_retries=1] b start -> a -> b b -> a [condition="internal.visits.a=1"] b -> exit',
        {"a": ["fail", "success", "fail", "success"]},
    )
    assert [r.attempt for r in retries(session)] == [1, 1]
    assert session.state.nodes["a"].visits == 2
    assert session.state.nodes["a"].executions == 4


async def test_a_condition_sees_how_many_retries_a_failed_visit_used() -> None:
    text = (
        "a [max_retries=2, retry_target=b] b start -> a a -> exit [condition=never] "
        'b -> exit [condition="internal.retry_count.a=2"]'
    )
    session = await ran(text, {"a": ["fail"]})
    assert session.result is not None
    assert session.result.good


async def test_a_failing_attempt_keeps_what_was_asked_and_answered() -> None:
    session = await ran(
        "a [prompt=do, max_retries=1] start -> a -> exit",
        {"a": [ScriptedResult(status="retry", text="half"), "success"]},
    )
    (again,) = retries(session)
    assert (again.prompt, again.response) == ("do", "half")


async def test_updates_of_an_attempt_that_is_tried_again_do_not_count() -> None:
    session = await ran(
        THRICE, {"a": [ScriptedResult(status="retry", updates={"k": 1}), ScriptedResult(updates={"l": 2})]}
    )
    assert "k" not in session.state.context
    assert session.state.context["l"] == 2


async def test_no_jitter_is_drawn_when_nothing_is_retried() -> None:
    class Drawn(FixedClock):
        draws = 0

        def jitter(self) -> float:
            self.draws += 1
            return 0.5

    clock = Drawn()
    await ran(THRICE, clock=clock)
    assert clock.draws == 0
    session = await ran(THRICE, {"a": ["retry", "success"]}, clock=clock)
    assert clock.draws == 1
    assert [r.delay_ms for r in retries(session)] == [100]


# --- waiting ----------------------------------------------------------------------------------------


class Waiting(FixedClock):
    """A clock on which a sleep lasts until it is cancelled, and which says when one has begun."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.begun.set()
        await asyncio.Event().wait()


@pytest.mark.parametrize("how", ["pause", "interrupt"])
async def test_a_wait_ends_when_a_pause_is_requested_and_a_resume_waits_out_the_rest(how: str) -> None:
    clock = Waiting()
    session = await opened(THRICE, {"a": ["retry", "success"]}, clock=clock)
    walking = asyncio.ensure_future(session.walk())
    await clock.begun.wait()
    getattr(session.control, how)("test")
    assert (await asyncio.wait_for(walking, 5)).result is None
    assert session.state.paused == "test"
    assert session.state.stage is not None
    due = session.state.stage.due

    session.clock = FixedClock(due - 50)
    later = await (await resumed(session)).walk()
    assert later.clock.slept == [0.05]
    assert later.result is not None
    started = [e for e in later.events if isinstance(e, StageStarted) and e.node == "a"]
    assert [(e.visit, e.attempt) for e in started] == [(1, 2)]


async def test_a_wait_that_has_ended_when_the_run_continues_is_not_waited_again() -> None:
    clock = Waiting()
    session = await opened(THRICE, {"a": ["retry", "success"]}, clock=clock)
    walking = asyncio.ensure_future(session.walk())
    await clock.begun.wait()
    session.control.pause("test")
    await walking
    session.clock = FixedClock(clock.now + 10**9)
    later = await (await resumed(session)).walk()
    assert later.clock.slept == []
    assert later.result is not None


async def test_a_wait_is_never_longer_than_the_recorded_delay_though_the_clock_was_set_back() -> None:
    clock = Waiting()
    session = await opened(THRICE, {"a": ["retry", "success"]}, clock=clock)
    walking = asyncio.ensure_future(session.walk())
    await clock.begun.wait()
    session.control.pause("test")
    await walking
    session.clock = FixedClock(clock.now - 10**9)
    later = await (await resumed(session)).walk()
    assert later.clock.slept == [0.2]


async def test_the_attempt_number_survives_a_resume() -> None:
    session = await opened(THRICE, {"a": ["retry", "retry", "success"]})

    async def stop(node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        if scope.attempt == 2:
            session.control.interrupt("test")
            await asyncio.sleep(60)
        return Outcome(status=Status.RETRY if scope.attempt < 3 else Status.SUCCESS)

    session = await opened(THRICE, more={"codergen": stop})
    assert (await session.walk()).result is None
    assert session.state.stage is not None
    assert (session.state.stage.attempt, session.state.stage.due) == (2, 0)

    async def go(node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        return Outcome(status=Status.RETRY if scope.attempt < 3 else Status.SUCCESS)

    later = await resumed(session)
    session.handlers.by_type["codergen"] = go  # type: ignore[index]
    await later.walk()
    assert [(r.attempt, r.of) for r in retries(later)] == [(2, 3)]
    assert later.result is not None
    assert later.result.good


async def test_a_control_that_nobody_uses_waits_as_long_as_the_clock_says() -> None:
    clock = FixedClock()
    assert not await Control().pausing_during(clock.sleep(3))
    assert clock.slept == [3]


async def test_a_wait_leaves_no_task_behind_however_it_ends() -> None:
    async def failing() -> None:
        raise RuntimeError("the clock broke")

    control, before = Control(), asyncio.all_tasks()
    with pytest.raises(ExceptionGroup, match="TaskGroup"):
        await control.pausing_during(failing())
    waiting = asyncio.create_task(control.pausing_during(asyncio.sleep(60)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    asyncio.get_running_loop().call_soon(control.pause, "test")
    assert await control.pausing_during(asyncio.sleep(60))
    assert asyncio.all_tasks() == before
