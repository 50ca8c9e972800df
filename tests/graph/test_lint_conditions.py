"""Edges that are equal, and conditions that cannot hold."""

from __future__ import annotations

import pytest
from lint_cases import edges, flow, found, marked, severities

from orchestra.errors import Severity
from orchestra.graph.lint.words import STATUSES
from orchestra.run.outcome import Status

TWO = "a\nb\nc\nb -> exit\nc -> exit\nstart -> a\n"


def test_two_equal_edges_are_a_note_that_says_which_wins() -> None:
    diagnostics = flow(TWO + "a -> c\na -> b")
    assert [(d.rule, d.severity, d.node) for d in diagnostics] == [("ambiguous_edges", Severity.INFO, "a")]
    assert edges(diagnostics) == [("a", "c")]
    assert "'b' is taken" in diagnostics[0].message


@pytest.mark.parametrize(
    "body",
    [
        "a -> b [weight=1]\na -> c",
        'a -> b [condition="outcome=fail"]\na -> c',
        'a -> b [condition="outcome=fail"]\na -> c [condition="outcome=success"]',
        "a -> b [weight=1]\na -> c [weight=2]",
        'a -> b [label="first"]\na -> b [label="second"]\nb -> c [condition="outcome=fail"]',
        'a -> b [condition="outcome == fail"]\na -> c',
    ],
)
def test_edges_that_differ_are_not_ambiguous(body: str) -> None:
    assert not flow(TWO + body, "ambiguous_edges")


def test_equal_edges_below_the_heaviest_are_never_compared() -> None:
    body = TWO + "d\nd -> exit\na -> b\na -> c\na -> d [weight=5]"
    assert not flow(body, "ambiguous_edges")
    assert flow(body.replace("weight=5", "weight=5, max_visits=2"), "ambiguous_edges")


@pytest.mark.parametrize("shape", ["component", "hexagon"])
def test_where_the_handler_chooses_nothing_is_ambiguous(shape: str) -> None:
    body = f"a [shape={shape}]\nb\nc\nj [shape=tripleoctagon]\nstart -> a -> {{b c}} -> j -> exit"
    assert not flow(body, "ambiguous_edges")


@pytest.mark.parametrize(
    "condition",
    [
        "outcome=success && outcome=fail",
        "outcome=success && outcome!=success",
        "context.ready && !context.ready",
        "context.ready && context.ready=false",
        "!context.ready && context.ready=yes",
        "context.n > 5 && context.n < 3",
        "context.n > 5 && context.n < 5",
        "context.n >= 5 && context.n < 5",
        "context.n = 3 && context.n > 4",
        "context.n = many && context.n > 4",
        "context.n > many",
        'context.n > \\"1e3\\" && context.n < 10',
        "context.n > 9007199254740993 && context.n <= 9007199254740993",
        "preferred_label=yes && preferred_label=no",
        "outcome=success && (context.a=1 && outcome=fail)",
        "(outcome=success && outcome=fail) || (context.n > 2 && context.n < 1)",
        "!!context.a && !context.a",
        "!(outcome=fail) && outcome=fail",
    ],
)
def test_a_condition_that_contradicts_itself_is_a_warning(condition: str) -> None:
    diagnostics = flow(TWO + f'a -> b [condition="{condition}"]\na -> c')
    assert [(d.rule, d.severity) for d in diagnostics] == [("dead_edge", Severity.WARNING)]
    assert marked(diagnostics) == [f'"{condition}"']


@pytest.mark.parametrize(
    "condition",
    ["outcome=fail && outcome=fail", "outcome=fail || outcome=fail", "context.a && (context.b || context.b)"],
)
def test_a_condition_that_repeats_itself_is_a_warning(condition: str) -> None:
    assert [d.rule for d in flow(TWO + f'a -> b [condition="{condition}"]\na -> c')] == ["dead_edge"]


@pytest.mark.parametrize(
    "condition",
    [
        "outcome=success && context.tests=ok",
        "outcome=success || outcome=fail",
        "outcome!=success && outcome!=fail",
        "context.n > 3 && context.n < 5",
        "context.n >= 5 && context.n <= 5",
        "context.n = 5 && context.n >= 5",
        "context.n > 9007199254740992 && context.n <= 9007199254740993",
        'context.n < \\"1e3\\" && context.n > 10',
        "context.n > 5 && context.n < 6",
        "context.n = 5.0 && context.n < 6",
        "context.a && !context.b",
        "context.ready && context.ready=yes",
        "!context.ready && context.ready=false",
        "preferred_label=Yes && preferred_label=yes",
        "outcome=has_tests",
        "context.log contains error && context.log contains fatal",
        "(outcome=success && outcome=fail) || outcome=retry",
        "!(context.n > 5) && context.n > 5",
    ],
)
def test_a_condition_that_can_hold_is_left_alone(condition: str) -> None:
    assert not flow(TWO + f'a -> b [condition="{condition}"]\na -> c', "dead_edge")


def test_of_two_edges_with_one_condition_the_second_is_dead() -> None:
    twins = 'a -> b [condition="outcome=fail"]\na -> c [condition="outcome = fail"]\na -> exit'
    assert edges(flow(TWO + twins, "dead_edge")) == [("a", "c")]
    heavier = twins.replace('fail"]\na -> exit', 'fail", weight=2]\na -> exit')
    assert edges(flow(TWO + heavier, "dead_edge")) == [("a", "b")]


def test_a_twin_that_is_used_up_leaves_room_for_the_other() -> None:
    body = 'a -> b [condition="outcome=fail", max_visits=2]\na -> c [condition="outcome=fail"]\na -> exit'
    assert not flow(TWO + body, "dead_edge")


def test_at_a_human_gate_and_a_parallel_node_twins_are_both_taken() -> None:
    for shape in ("hexagon", "component"):
        twins = 'a -> b [label=Left, condition="outcome=fail"]\na -> c [label=Right, condition="outcome=fail"]'
        body = f"a [shape={shape}]\nb\nc\nstart -> a\nb -> exit\nc -> exit\n{twins}"
        assert not flow(body, "dead_edge")


GATE = "a\nfix\ngate [shape=diamond]\nfix -> exit\n"


def test_a_diamond_after_the_start_only_ever_sees_success() -> None:
    body = GATE + 'start -> gate\ngate -> a [condition="outcome=success"]\na -> exit\n'
    assert edges(flow(body + 'gate -> fix [condition="outcome=fail"]')) == [("gate", "fix")]


def test_a_diamond_after_work_may_see_a_failure() -> None:
    body = GATE + "start -> a -> gate\ngate -> exit\n"
    assert not flow(body + 'gate -> fix [condition="outcome=fail"]')


def test_a_failure_that_jumps_to_a_retry_target_never_comes_to_the_diamond() -> None:
    body = "a [retry_target=fix]\nfix\ngate [shape=diamond]\nfix -> a\nstart -> a -> gate\ngate -> exit\n"
    assert edges(flow(body + 'gate -> fix [condition="outcome=fail"]', "dead_edge")) == [("gate", "fix")]
    assert not flow(body + 'gate -> fix [condition="outcome=partial_success"]', "dead_edge")


def test_an_outcome_that_took_another_edge_never_comes_to_the_diamond() -> None:
    body = GATE + 'start -> a -> gate\na -> fix [condition="outcome=fail"]\ngate -> exit\n'
    assert edges(flow(body + 'gate -> fix [condition="outcome=fail"]', "dead_edge")) == [("gate", "fix")]
    assert not flow(body + 'gate -> fix [condition="outcome!=success"]', "dead_edge")


def test_outcomes_go_through_a_row_of_diamonds() -> None:
    row = "second [shape=diamond]\nstart -> a -> gate -> second\nsecond -> exit\n"
    assert not flow(GATE + row + 'second -> fix [condition="outcome=fail"]', "dead_edge")
    only = GATE + "second [shape=diamond]\nstart -> gate -> second\nsecond -> exit\na -> exit\n"
    assert edges(flow(only + 'second -> fix [condition="outcome=fail"]', "dead_edge")) == [("second", "fix")]


def test_a_diamond_that_is_a_retry_target_may_see_anything() -> None:
    body = "a [retry_target=gate]\nfix\ngate [shape=diamond]\nfix -> exit\nstart -> gate -> a -> exit\n"
    assert not flow(body + 'gate -> fix [condition="outcome=fail"]', "dead_edge")


def test_a_diamond_in_a_branch_or_after_a_gate_may_see_anything() -> None:
    ask = "ask [shape=hexagon]\nstart -> ask -> gate\nask -> a\na -> exit\ngate -> exit\n"
    assert not flow(GATE + ask + 'gate -> fix [condition="outcome=fail"]', "dead_edge")


def test_a_tool_only_succeeds_or_fails() -> None:
    body = "t [shape=parallelogram, tool_command=make]\nfix\nfix -> exit\nstart -> t -> exit\n"
    assert edges(flow(body + 't -> fix [condition="outcome=failed"]')) == [("t", "fix")]
    assert not flow(body + 't -> fix [condition="outcome=fail"]')
    assert not flow(body + 't -> fix [condition="outcome!=success"]')
    assert not flow(body + 't -> fix [condition="outcome=broken || context.x=1"]')


def test_an_agent_may_report_a_word_of_its_own() -> None:
    assert not flow(TWO + 'a -> b [condition="outcome=ready"]\na -> c')


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("failed", "fail"),
        ("failure", "fail"),
        ("FAIL", "fail"),
        ("Success", "success"),
        ("succes", "success"),
        ("succeeded", "success"),
        ("partial-success", "partial_success"),
        ("rety", "retry"),
        ("skip", "skipped"),
    ],
)
def test_a_word_that_is_nearly_a_status_is_pointed_out(word: str, meant: str) -> None:
    (diagnostic,) = flow(TWO + f'a -> b [condition="context.x=1 && outcome={word}"]\na -> c')
    assert (diagnostic.rule, diagnostic.severity) == ("outcome_known", Severity.WARNING)
    assert diagnostic.fix == f"did you mean '{meant}'?"
    assert marked([diagnostic]) == [word]


@pytest.mark.parametrize(
    "word", [*"abc", "ok", "mail", "ready", "done", "redo", "passed", "approved", "fail", "retry"]
)
def test_other_words_are_agents_own(word: str) -> None:
    assert not flow(TWO + f'a -> b [condition="context.x=1 && outcome={word}"]\na -> c')
    assert not flow(TWO + 'a -> b [condition="context.outcome=failed || preferred_label=failed"]\na -> c')


def test_a_ring_of_diamonds_is_answered() -> None:
    ring = "\n".join(f'd{n} -> d{(n + 1) % 50}\nd{n} -> exit [condition="outcome=w{n}"]' for n in range(50))
    diagnostics = found(
        f"start [shape=Mdiamond]\nexit [shape=Msquare]\nnode [shape=diamond]\nstart -> d0\n{ring}", "dead_edge"
    )
    assert len(diagnostics) == 50
    assert set(severities(diagnostics)) == {Severity.WARNING}


@pytest.mark.parametrize(
    ("condition", "word", "fix"),
    [
        ("outcome", "outcome", "outcome=success"),
        ("else", "else", "remove the condition"),
        ("true", "true", "remove the condition"),
        ("contxt.score > 3", "contxt.score", "context.score > 3"),
        ("ctx.score > 3", "ctx.score", "context.score > 3"),
        ("tools.wrk.output contains x", "wrk", "'work'"),
        ("context.responses.wrok contains x", "wrok", "'work'"),
    ],
)
def test_a_condition_on_a_key_that_nothing_sets_is_a_warning(condition: str, word: str, fix: str) -> None:
    (one,) = flow(f'work\nback\nstart -> work -> exit\nwork -> back [condition="{condition}"]\nback -> work')
    assert marked([one]) == [word]
    assert fix in one.fix


def test_the_linter_and_a_run_know_the_same_statuses() -> None:
    assert set(STATUSES) == {status.value for status in Status}
