"""Join and error policies, and the best of several results (E31, E32)."""

from __future__ import annotations

import pytest

from orchestra.run.parallel import BranchResult, Policy, best_of, is_decided, policy_of, results_to_keep, verdict


def results(words: str) -> list[BranchResult]:
    """Results from words such as ``ok fail``."""
    status = {"ok": "success", "part": "partial_success", "skip": "skipped", "gone": "canceled"}
    return [BranchResult(id=f"b{n}", status=status.get(word, word)) for n, word in enumerate(words.split())]


@pytest.mark.parametrize(
    ("join", "errors", "k", "quorum", "words", "total", "status", "early"),
    [
        ("wait_all", "continue", None, None, "ok ok ok", 3, "success", False),
        ("wait_all", "continue", None, None, "ok fail ok", 3, "partial_success", False),
        ("wait_all", "continue", None, None, "fail fail", 2, "fail", False),
        ("wait_all", "continue", None, None, "ok skip", 2, "success", False),
        ("wait_all", "ignore", None, None, "ok fail", 2, "success", False),
        ("wait_all", "ignore", None, None, "fail fail", 2, "fail", False),
        ("wait_all", "fail_fast", None, None, "ok fail", 3, "fail", True),
        ("first_success", "continue", None, None, "fail ok", 3, "success", True),
        ("first_success", "continue", None, None, "fail fail", 2, "fail", True),
        ("first_success", "continue", None, None, "ok gone gone", 3, "success", True),
        ("k_of_n", "continue", 2, None, "ok ok", 3, "success", True),
        ("k_of_n", "continue", 2, None, "fail fail", 3, "fail", True),
        ("k_of_n", "continue", 2, None, "ok fail", 3, "fail", False),
        ("quorum", "continue", None, 0.5, "ok ok", 4, "success", True),
        ("quorum", "continue", None, 0.51, "ok ok", 4, "fail", False),
        ("quorum", "continue", None, 0.6, "ok ok ok", 5, "success", True),
    ],
)
def test_a_policy_says_when_a_fan_out_is_decided_and_how(
    join: str, errors: str, k: int | None, quorum: float | None, words: str, total: int, status: str, early: bool
) -> None:
    policy = policy_of(join, errors, total, k, quorum)
    assert isinstance(policy, Policy)
    assert is_decided(policy, results(words), total) is early
    assert verdict(policy, results(words), total)[0] == status


@pytest.mark.parametrize(("join", "k"), [("k_of_n", None), ("k_of_n", 4), ("quorum", None)])
def test_a_policy_that_cannot_be_met_is_named(join: str, k: int | None) -> None:
    assert join in str(policy_of(join, "continue", 3, k, None))


def test_canceled_results_are_left_out_and_ignored_failures_too() -> None:
    found = results("ok fail gone")
    assert [r.id for r in results_to_keep(Policy(join="wait_all", errors="continue"), found)] == ["b0", "b1"]
    assert [r.id for r in results_to_keep(Policy(join="wait_all", errors="ignore"), found)] == ["b0"]


def test_the_best_result_is_chosen_by_status_then_score_then_id() -> None:
    shown = [
        {"id": "c", "status": "partial_success", "score": 9.0},
        {"id": "b", "status": "success", "score": 1.0},
        {"id": "a", "status": "success", "score": None},
        {"id": "d", "status": "success", "score": 1.0},
    ]
    assert best_of(shown)["id"] == "b"
