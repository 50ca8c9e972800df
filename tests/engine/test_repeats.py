"""Nodes that fail again and again without a pause, and agents that run again and again (E15)."""

from __future__ import annotations

import pytest

from orchestra.agents.simulation import ScriptedResult
from orchestra.run.events import Meta, Recorded, StageCompleted, StageFailed
from orchestra.run.fold import evolve
from orchestra.run.judging import OFTEN, ROUNDS, repeat_warning
from orchestra.run.state import NEW, NodeRecord
from support import graph_of, ran

GRAPH = graph_of("verify other work counted [max_visits=900]")


def failed(reason: str = "exit code 1", node: str = "verify") -> StageFailed:
    return StageFailed(node=node, handler="tool", visit=1, attempt=1, failure_reason=reason)


def done(visit: int, node: str = "work", handler: str = "codergen") -> StageCompleted:
    return StageCompleted(node=node, handler=handler, visit=visit, attempt=1, status="success")


def warned(*events: StageFailed | StageCompleted, apart: int = 10) -> list[int]:
    """At which of the events a warning is raised, from 1."""
    state, found = NEW, []
    for number, event in enumerate(events, 1):
        now = 1_700_000_000_000 + number * apart
        if repeat_warning(GRAPH, state.nodes.get(event.node, NodeRecord()), event, now) is not None:
            found.append(number)
        state = evolve(state, Recorded(Meta(session="s", epoch=1, sequence=number, at=now), event))
    return found


def test_twenty_quick_failures_with_one_reason_are_a_warning_and_so_are_twenty_more() -> None:
    assert warned(*[failed()] * 45) == [OFTEN, 2 * OFTEN]


def test_failures_a_second_apart_are_none() -> None:
    assert warned(*[failed()] * 45, apart=1000) == []


def test_another_reason_or_a_success_begins_again() -> None:
    good = done(1, "verify", "tool")
    assert warned(*[failed()] * 19, failed("exit code 2"), *[failed()] * 19) == []
    assert warned(*[failed()] * 19, good, *[failed()] * 19) == []


def test_each_node_counts_for_itself() -> None:
    both = [failed(), failed(node="other")] * 20
    assert warned(*both) == [39, 40]


def test_an_agent_that_nothing_counts_is_a_warning_after_fifty_visits_and_each_time_it_has_doubled() -> None:
    assert warned(*[done(visit) for visit in range(1, 500)]) == [ROUNDS, 100, 200, 400]


def test_a_command_and_an_agent_with_a_bound_of_its_own_are_none() -> None:
    assert warned(*[done(visit, "other", "tool") for visit in range(1, 110)]) == []
    assert warned(*[done(visit, "counted") for visit in range(1, 110)]) == []


@pytest.mark.parametrize(
    ("graph", "visits"),
    [
        ("a b [retry_target=a] start -> a -> b -> exit", 4),
        ('a b start -> a -> b b -> a [condition="outcome=fail"] b -> exit', 3),
        ("a [max_visits=6] b [retry_target=a] start -> a -> b -> exit", 6),
    ],
)
async def test_a_failure_that_would_happen_again_sends_a_run_back_three_times(graph: str, visits: int) -> None:
    refused = ScriptedResult(status="fail", failure_class="terminal", reason="the key is not accepted")
    session = await ran(graph, {"b": [refused]})
    assert session.state.nodes["a"].executions == visits
    assert session.state.failed
