"""What people see of a session: a listing's short look agrees with the whole fold (S25)."""

from __future__ import annotations

import pytest

from orchestra.agents.simulation import Scripted
from orchestra.run.events import PipelineCompleted, PipelineFailed, PipelinePaused, Recorded, StageStarted
from orchestra.run.fold import fold
from orchestra.run.views import Phase, newest, phase_of, state_phase
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
            return (await ran(LOOP, {"a": [Scripted(status="retry"), "success"]})).seen
        case "completed":
            return (await ran("a b start -> a -> b -> exit")).seen
        case "no exit":
            return (await ran("a b start -> a -> b")).seen
        case _:
            return await a_paused_run()


async def test_a_short_look_tells_at_every_moment_what_the_whole_fold_tells(events: list[Recorded]) -> None:
    for end in range(1, len(events) + 1):
        state, seen = fold(events[:end]), newest(events[:end])
        for alive in (True, False):
            assert phase_of(seen.end, alive=alive) == state_phase(state, alive=alive), end
        assert seen.complete
        assert (seen.started_ms, seen.last_ms) == (state.started_ms, state.at)
        assert state.steps - 1 <= seen.steps <= state.steps
        if end > 1:
            assert seen.node in (state.next_node, state.current_node)


async def test_a_short_look_at_the_newest_events_is_enough_once_a_checkpoint_is_among_them(
    events: list[Recorded],
) -> None:
    whole = newest(events)
    short = next(newest(events[-n:]) for n in range(1, len(events) + 1) if newest(events[-n:]).complete)
    assert short == whole


async def test_each_phase_can_be_told(events: list[Recorded]) -> None:
    ends = [e.event for e in events if isinstance(e.event, PipelineCompleted | PipelineFailed | PipelinePaused)]
    expected = {PipelineCompleted: Phase.COMPLETED, PipelineFailed: Phase.FAILED, PipelinePaused: Phase.PAUSED}
    for end in ends:
        assert phase_of(end, alive=False)[0] is expected[type(end)]
    assert phase_of(None, alive=True)[0] is Phase.RUNNING
    assert phase_of(None, alive=False)[0] is Phase.CRASHED
