"""How often a node is tried, how long it waits, and what is left of a visit whose attempts are used up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra.graph.model import Graph, Node
from orchestra.run.judging import MAX_DELAY_MS, PRESETS, attempts_of, backoff_of, exhaust, may_retry
from orchestra.run.outcome import FailureClass, Outcome, Status, failed_outcome
from support import graph_of


def node_of(attributes: str, graph_attributes: str = "") -> tuple[Graph, Node]:
    graph = graph_of(f"{graph_attributes} n [{attributes}] start -> n -> exit")
    return graph, graph.nodes["n"]


@pytest.mark.parametrize(
    ("attributes", "graph_attributes", "attempts"),
    [
        ("max_retries=3", "", 4),
        ("max_retries=0", "default_max_retries=9", 1),
        ("", "default_max_retries=2", 3),
        ('max_retries=3, retry_policy="none"', "", 1),
        ('max_retries=3, retry_policy="patient"', "", 4),
    ],
)
def test_attempts_are_retries_and_one(attributes: str, graph_attributes: str, attempts: int) -> None:
    assert attempts_of(*node_of(attributes, graph_attributes)) == attempts


@pytest.mark.parametrize(
    ("policy", "delays"),
    [
        ("standard", [200, 400, 800, 1600]),
        ("aggressive", [500, 1000, 2000, 4000]),
        ("linear", [500, 500, 500, 500]),
        ("patient", [2000, 6000, 18_000, 54_000, 60_000, 60_000]),
    ],
)
def test_each_policy_waits_as_its_row_says(policy: str, delays: list[int]) -> None:
    backoff = backoff_of(node_of(f'retry_policy="{policy}"')[1])
    assert backoff is not None
    assert [backoff.delay_ms(n, 1.0) for n in range(1, len(delays) + 1)] == delays


def test_a_node_without_a_policy_has_the_standard_one() -> None:
    assert backoff_of(node_of("")[1]) == PRESETS["standard"]


@given(st.sampled_from([b for b in PRESETS.values() if b]), st.integers(1, 10**6), st.floats(0.5, 1.5))
def test_a_delay_is_bounded_and_never_negative_however_many_attempts(
    backoff: object, attempt: int, jitter: float
) -> None:
    assert 0 < backoff.delay_ms(attempt, jitter) <= MAX_DELAY_MS * 1.5  # type: ignore[attr-defined]


def test_a_longer_wait_of_a_provider_wins_and_a_shorter_one_does_not() -> None:
    backoff = PRESETS["standard"]
    assert backoff is not None
    assert backoff.delay_ms(1, 1.0, retry_after=90.0) == 90_000
    assert backoff.delay_ms(1, 1.0, retry_after=0.1) == 200


@pytest.mark.parametrize(
    ("outcome", "again"),
    [
        (Outcome(status=Status.RETRY), True),
        (failed_outcome("x"), True),
        (failed_outcome("x", FailureClass.TRANSIENT), True),
        (failed_outcome("x", FailureClass.TERMINAL), False),
        (failed_outcome("x", FailureClass.CANCELED), False),
        (Outcome(status=Status.SUCCESS), False),
        (Outcome(status=Status.SKIPPED), False),
        (Outcome(status=Status.PARTIAL_SUCCESS), False),
    ],
)
def test_only_what_could_end_otherwise_is_tried_again(outcome: Outcome, again: bool) -> None:
    assert may_retry(outcome) is again


def test_used_up_retries_of_a_node_that_allows_it_are_a_partial_success_with_a_note() -> None:
    node = node_of("allow_partial=true")[1]
    last = Outcome(status=Status.RETRY, notes="half done", context_updates={"k": 1}, preferred_label="on")
    ended = exhaust(node, last, 3)
    assert ended.status is Status.PARTIAL_SUCCESS
    assert "half done" in ended.notes
    assert "retries exhausted" in ended.notes
    assert (ended.context_updates, ended.preferred_label) == ({"k": 1}, "on")


def test_a_failure_is_no_partial_success() -> None:
    assert exhaust(node_of("allow_partial=true")[1], failed_outcome("broken"), 3).status is Status.FAIL


@pytest.mark.parametrize("last", [Outcome(status=Status.RETRY, failure_reason="busy"), failed_outcome("busy")])
def test_used_up_retries_are_a_failure_with_the_last_reason(last: Outcome) -> None:
    ended = exhaust(node_of("")[1], last, 3)
    assert ended.status is Status.FAIL
    assert "max retries exceeded: busy" in ended.failure_reason


def test_the_reason_of_a_failure_without_retries_does_not_mention_them() -> None:
    node = node_of("")[1]
    assert exhaust(node, failed_outcome("no key", FailureClass.TERMINAL), 3).failure_reason == "no key"
    assert exhaust(node, failed_outcome("red"), 1).failure_reason == "red"


def test_an_end_without_words_still_gets_a_reason() -> None:
    assert "n" in exhaust(node_of("")[1], Outcome(status=Status.FAIL), 1).failure_reason


@pytest.mark.parametrize("failure_class", [FailureClass.TERMINAL, FailureClass.CANCELED])
def test_a_retry_that_may_not_be_granted_is_a_failure_and_no_partial_success(
    failure_class: FailureClass,
) -> None:
    node = graph_of("a [allow_partial=true] start -> a -> exit").nodes["a"]
    outcome = Outcome(status=Status.RETRY, failure_reason="no key", failure_class=failure_class)
    ended = exhaust(node, outcome, 3)
    assert (ended.status, ended.failure_reason) == (Status.FAIL, "no key")
