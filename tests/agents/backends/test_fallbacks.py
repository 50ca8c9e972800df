"""Another model is used only where the author said so, in the next attempt, and it is recorded (A15)."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.backends.talking import world
from orchestra.run.events import AgentResponded, WarningRaised
from orchestra.run.state import Result

GRAPH = 'work [prompt="do it", max_retries=1, {more}retry_policy=linear] start -> work -> exit'
SCRIPT = """
rules:
  - when: {model: gpt-5}
    answers: [{error: ERROR}]
  - when: {model: gpt-4.1}
    answers: [{text: from the other}]
"""
FALLBACKS = 'fallbacks="openai:gpt-4.1", '


@pytest.mark.parametrize("error", ["overloaded", "insufficient_quota"])
async def test_a_model_that_failed_for_a_moment_or_out_of_quota_is_followed_by_the_next(
    error: str, tmp_path: Path
) -> None:
    with world(tmp_path, SCRIPT.replace("ERROR", error)) as here:
        session = await here.ran(GRAPH.replace("{more}", FALLBACKS))
        asked = [request.model for request in here.requests]
    assert isinstance(session.result, Result)
    assert session.result.good
    assert asked[-1] == "gpt-4.1"
    assert set(asked[:-1]) == {"gpt-5"}
    assert [event.model for event in session.of(AgentResponded)] == ["gpt-4.1"]
    warned = [event.message for event in session.of(WarningRaised) if event.rule == "fallback"]
    assert warned == ["work: openai:gpt-5 failed; using openai:gpt-4.1 (fallbacks)"]


async def test_without_fallbacks_no_other_model_is_asked(tmp_path: Path) -> None:
    with world(tmp_path, SCRIPT.replace("ERROR", "overloaded")) as here:
        session = await here.ran(GRAPH.replace("{more}", ""))
        assert {request.model for request in here.requests} == {"gpt-5"}
    assert not (isinstance(session.result, Result) and session.result.good)


async def test_a_failure_that_would_come_again_is_not_followed_by_another_model(tmp_path: Path) -> None:
    with world(tmp_path, SCRIPT.replace("ERROR", "unauthorized")) as here:
        session = await here.ran(GRAPH.replace("{more}", FALLBACKS))
        assert {request.model for request in here.requests} == {"gpt-5"}
    assert not (isinstance(session.result, Result) and session.result.good)
