"""The words in which a node's end is told (L31)."""

from __future__ import annotations

import pytest

from orchestra.run.outcome import FailureClass, Outcome, Status, failed_outcome, read_status


@pytest.mark.parametrize("status", list(Status))
def test_a_status_is_read_whatever_its_case(status: Status) -> None:
    for word in (status.value, status.value.upper(), f"  {status.value.title()}\n"):
        assert read_status(word, ()) == (status, "", "")


def test_a_word_that_an_edge_asks_for_is_a_success_that_keeps_the_word() -> None:
    assert read_status("has_tests", {"has_tests"}) == (Status.SUCCESS, "has_tests", "")


def test_any_other_word_is_a_failure_that_names_it() -> None:
    status, word, reason = read_status("blocked", {"has_tests"})
    assert (status, word) == (Status.FAIL, "")
    assert "'blocked'" in reason


def test_a_status_stays_one_where_an_edge_asks_for_it_too() -> None:
    assert read_status("fail", {"fail", "success"}) == (Status.FAIL, "", "")


def test_no_word_at_all_is_a_failure() -> None:
    assert read_status("", ())[0] is Status.FAIL


def test_a_condition_sees_the_word_before_the_status() -> None:
    assert Outcome(status=Status.SUCCESS, word="has_tests").shown == "has_tests"
    assert Outcome(status=Status.SUCCESS).shown == "success"


def test_a_failure_carries_its_reason_and_class() -> None:
    outcome = failed_outcome("no key", FailureClass.TERMINAL)
    assert (outcome.status, outcome.failure_reason, outcome.failure_class) == ("fail", "no key", "terminal")


def test_a_word_that_is_nearly_known_is_distinguished() -> None:
    assert "'fail'" in read_status("failed", ())[2]
    assert "'has_tests'" in read_status("has_test", {"has_tests"})[2]
    assert "meant" not in read_status("x" * 100_000, {"has_tests"})[2]
