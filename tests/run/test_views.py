"""What people see of a session: a listing's short look agrees with the whole fold (S25)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from orchestra.agents.simulation import ScriptedResult
from orchestra.run.events import (
    CheckpointSaved,
    PipelineCompleted,
    PipelineFailed,
    PipelinePaused,
    Recorded,
    StageStarted,
)
from orchestra.run.fold import fold
from orchestra.run.state import RunState, Spent
from orchestra.run.views import Phase, limit_setting, newest, raised_limit, state_phase
from support import opened, ran, resumed

LOOP = "a [max_retries=2] b [max_visits=4] start -> a -> b b -> a b -> exit [condition=never]"


async def a_paused_run() -> list[Recorded]:
    session = await opened(LOOP, {"a": ["retry", "success"]})

    def stop(recorded: Recorded) -> None:
        if isinstance(recorded.event, StageStarted) and recorded.event.node == "b":
            session.control.interrupt("interrupt")

    session.journal._listeners.append(stop)
    await session.walk()
    later = await (await resumed(session)).walk()
    return [*session.seen, *later.seen]


@pytest.fixture(params=["failed", "completed", "no exit", "paused"])
async def events(request: pytest.FixtureRequest) -> list[Recorded]:
    match request.param:
        case "failed":
            return (await ran(LOOP, {"a": [ScriptedResult(status="retry"), "success"]})).seen
        case "completed":
            return (await ran("a b start -> a -> b -> exit")).seen
        case "no exit":
            return (await ran("a b start -> a -> b")).seen
        case _:
            return await a_paused_run()


def seen_of(state: RunState | None, *, alive: bool) -> tuple[object, ...]:
    """What a listing shows of a state."""
    assert state is not None
    phase = state_phase(state, alive=alive)
    return (phase, state.node, state.steps, state.started_ms, state.at, state.mailbox, state.session)


@pytest.mark.parametrize("alive", [True, False])
async def test_a_listing_shows_at_every_moment_what_the_whole_fold_says(
    events: list[Recorded], alive: bool
) -> None:
    for end in range(1, len(events) + 1):
        assert seen_of(newest(events[:end]), alive=alive) == seen_of(fold(events[:end]), alive=alive), end


async def test_the_newest_events_are_enough_once_a_checkpoint_is_among_them(events: list[Recorded]) -> None:
    found = [newest(events[-n:]) for n in range(1, len(events) + 1)]
    assert None in found[:1] or isinstance(events[-1].event, CheckpointSaved)
    for short in found:
        assert short is None or seen_of(short, alive=False) == seen_of(fold(events), alive=False)


async def test_each_phase_is_shown(events: list[Recorded]) -> None:
    expected = {PipelineCompleted: Phase.COMPLETED, PipelineFailed: Phase.FAILED, PipelinePaused: Phase.PAUSED}
    for end, recorded in enumerate(events, 1):
        state = fold(events[:end])
        if type(recorded.event) in expected:
            assert state_phase(state, alive=False)[0] is expected[type(recorded.event)]
        elif state.result is None:
            assert state_phase(state, alive=True)[0] is Phase.RUNNING
            assert state_phase(state, alive=False)[0] is Phase.CRASHED


def test_only_a_limit_of_cost_is_to_be_raised_and_to_whole_cents() -> None:
    paused = RunState(paused="limit", limit="cost_micros", spent=Spent(cost_micros=1_234))
    assert raised_limit(paused) == 10_000
    assert raised_limit(replace(paused, max_cost_micros=2_000_000)) == 4_000_000
    assert raised_limit(replace(paused, limit="turns")) == 0
    assert raised_limit(replace(paused, paused="")) == 0
    names = {"cost_micros": "run.cost", "node.seconds": "node.time", "tool_calls": "run.tool_calls"}
    assert [limit_setting(replace(paused, limit=name)) for name in names] == [f"limits.{n}" for n in names.values()]
    assert limit_setting(replace(paused, limit="quota")) == ""
