"""Nodes that fail again and again without a pause (E15)."""

from __future__ import annotations

from orchestra.engine.repeats import OFTEN, Repeats
from orchestra.run.events import StageCompleted, StageFailed


def failed(reason: str = "exit code 1", node: str = "verify") -> StageFailed:
    return StageFailed(node=node, handler="tool", visit=1, attempt=1, failure_reason=reason)


def warned(repeats: Repeats, *events: StageFailed | StageCompleted, apart: int = 10) -> list[int]:
    """At which of the events a warning is raised, from 1."""
    return [
        number
        for number, event in enumerate(events, 1)
        if repeats.warning(event, 1_700_000_000_000 + number * apart) is not None
    ]


def test_twenty_quick_failures_with_one_reason_are_a_warning_and_so_are_twenty_more() -> None:
    assert warned(Repeats(), *[failed()] * 45) == [OFTEN, 2 * OFTEN]


def test_failures_a_second_apart_are_none() -> None:
    assert warned(Repeats(), *[failed()] * 45, apart=1000) == []


def test_another_reason_or_a_success_begins_again() -> None:
    done = StageCompleted(node="verify", handler="tool", visit=1, attempt=1, status="success")
    assert warned(Repeats(), *[failed()] * 19, failed("exit code 2"), *[failed()] * 19) == []
    assert warned(Repeats(), *[failed()] * 19, done, *[failed()] * 19) == []


def test_each_node_counts_for_itself() -> None:
    both = [failed(), failed(node="other")] * 20
    assert warned(Repeats(), *both) == [39, 40]
