"""Loops that nothing ends."""

from __future__ import annotations

import pytest
from lint_cases import edges, flow, found, marked

from orchestra.errors import Severity

RULE = "unbounded_loop"
LOOP = "work\nreview\nstart -> work -> review\n"


def test_a_loop_without_any_bound_is_a_warning_on_the_edge_that_closes_it() -> None:
    diagnostics = flow(LOOP + "review -> work [weight=1]\nreview -> exit")
    assert [d.rule for d in diagnostics] == [RULE]
    assert edges(diagnostics) == [("review", "work")]
    assert marked(diagnostics) == ["work"]


@pytest.mark.parametrize(
    "body",
    [
        LOOP + "review -> work [max_visits=3, weight=1]\nreview -> exit",
        "work [max_visits=3]\nreview\nstart -> work -> review -> work [weight=1]\nreview -> exit",
        "default_max_visits=5\n" + LOOP + "review -> work [weight=1]\nreview -> exit",
        "work\nask [shape=hexagon]\nstart -> work -> ask -> work\nask -> exit",
        LOOP + "review -> work [loop_restart=true, weight=1]\nreview -> exit",
        'work [max_visits=0]\nreview\nstart -> work -> review -> exit\nreview -> work [condition="outcome=fail"]',
    ],
    ids=["edge bound", "node bound", "graph bound", "human", "restart", "refused, with a condition"],
)
def test_a_loop_with_a_bound_is_fine(body: str) -> None:
    assert not flow(body, RULE)


CONDITIONAL = [
    LOOP + 'review -> work [condition="outcome=fail"]\nreview -> exit',
    LOOP + 'review -> exit [condition="outcome=success"]\nreview -> work',
    LOOP + 'review -> work [condition="outcome == fail"]\nreview -> exit',
    "work [goal_gate=true]\nreview\nstart -> work -> review -> work [weight=1]\nreview -> exit",
]
IDS = ["condition back", "condition out", "condition that cannot be read", "gate"]


@pytest.mark.parametrize("body", CONDITIONAL, ids=IDS)
def test_a_loop_of_agents_that_a_condition_or_a_gate_ends_is_fine(body: str) -> None:
    assert not flow(body, RULE)


@pytest.mark.parametrize("body", CONDITIONAL, ids=IDS)
def test_such_a_loop_over_a_command_is_worth_knowing(body: str) -> None:
    command = 'review [shape=parallelogram, tool_command="make test"]\n'
    diagnostics = flow(command + body, RULE)
    assert [(d.severity, d.edge) for d in diagnostics] == [(Severity.INFO, ("work", "review"))]
    assert "'review' has failed 50 times in a row" in diagnostics[0].message
    assert "`max_visits` on 'review'" in diagnostics[0].fix


def test_a_node_may_refuse_the_bound_of_the_graph() -> None:
    body = "default_max_visits=5\nwork [max_visits=0]\nreview [max_visits=0]\nstart -> work -> review\n"
    assert flow(body + "review -> work [weight=1]\nreview -> exit", RULE)


def test_a_node_that_leads_to_itself_is_a_loop() -> None:
    assert edges(flow("a\nstart -> a\na -> a [weight=1]\na -> exit", RULE)) == [("a", "a")]


def test_each_knot_of_loops_is_one_finding() -> None:
    body = "a\nb\nc\nd\nstart -> a -> b -> c -> d -> exit\nb -> a [weight=1]\nd -> c [weight=1]\nb -> b"
    assert len(flow(body, RULE)) == 2


def test_a_loop_after_a_bounded_one_is_still_found() -> None:
    body = 'a\nb\nc\nstart -> a -> b -> exit\nb -> a [condition="outcome=fail"]\na -> c [weight=1]\nc -> a'
    assert len(flow(body, RULE)) == 1


def test_a_loop_that_no_run_reaches_is_left_to_reachability() -> None:
    body = "a\nb\nc\nstart -> a -> exit\nb -> c -> b"
    assert [d.rule for d in flow(body)] == ["reachability"]


def test_a_loop_over_a_parallel_node_and_its_fan_in_is_found() -> None:
    fan = "fan [shape=component]\njoin [shape=tripleoctagon]\na\nb\nstart -> fan -> {a b} -> join\n"
    assert flow(fan + "join -> fan [weight=1]\njoin -> exit", RULE)
    assert not flow(fan + 'join -> fan [condition="outcome=fail"]\njoin -> exit', RULE)


def test_a_branch_that_leads_back_is_no_loop_because_it_ends_there() -> None:
    body = (
        "fan [shape=component]\njoin [shape=tripleoctagon]\na\nb\nstart -> fan -> {a b} -> join -> exit\na -> fan"
    )
    assert {d.rule for d in flow(body)} == {"branch_escape", "ambiguous_edges"}


def test_a_loop_of_ten_thousand_nodes_is_named_in_one_line() -> None:
    ring = " -> ".join(f"n{number}" for number in range(10_000))
    diagnostics = found(f"start [shape=Mdiamond]\nstart -> {ring} -> n0", RULE)
    assert edges(diagnostics) == [("n9999", "n0")]
    assert len(diagnostics[0].message) < 200


# --- retry targets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["retry_target", "fallback_retry_target"])
def test_a_retry_target_closes_a_loop(key: str) -> None:
    diagnostics = flow(f"work\nreview [{key}=work]\nstart -> work -> review -> exit", RULE)
    assert [(d.severity, d.node) for d in diagnostics] == [(Severity.WARNING, "review")]
    assert marked(diagnostics) == ["work"]
    assert "50 times" in diagnostics[0].message
    assert "max_visits" in diagnostics[0].fix


def test_a_node_that_is_its_own_retry_target_is_a_loop() -> None:
    body = 'work [shape=parallelogram, tool_command="exit 1", retry_target=work]\nstart -> work -> exit'
    assert [d.node for d in flow(body, RULE)] == ["work"]


def test_a_goal_gate_that_sends_back_without_a_bound_of_its_own_is_worth_knowing() -> None:
    gate = 'verify [shape=parallelogram, goal_gate=true, retry_target=build, tool_command="exit 1"]'
    diagnostics = flow(f"build\n{gate}\nstart -> build -> verify -> exit", RULE)
    assert [(d.severity, d.node) for d in diagnostics] == [(Severity.INFO, "verify")]


CHECK = "check [shape=parallelogram]\n"


@pytest.mark.parametrize(
    "body",
    [
        "work [max_visits=3]\nreview [retry_target=work]\nstart -> work -> review -> exit",
        "work\nreview [retry_target=work, max_visits=2]\nstart -> work -> review -> exit",
        CHECK + "work [max_visits=3]\ncheck [goal_gate=true, retry_target=work]\nstart -> work -> check -> exit",
        "work\nreview [goal_gate=true, retry_target=work]\nstart -> work -> review -> exit",
        CHECK + "work\ncheck [goal_gate=true, retry_target=work, max_visits=2]\nstart -> work -> check -> exit",
        "default_max_visits=4\nwork\nreview [retry_target=work]\nstart -> work -> review -> exit",
        "work\nask [shape=hexagon]\nreview [retry_target=ask]\nstart -> work -> ask -> review -> exit\nask -> exit",
        "work\nlate\nreview [retry_target=late]\nstart -> work -> review -> exit\nlate -> exit",
        CHECK
        + "work\nlate\ncheck [goal_gate=true, retry_target=late]\nstart -> work -> check -> exit\nlate -> exit",
    ],
    ids=["target", "node", "gate's target", "agent", "gate", "graph", "human", "elsewhere", "gate elsewhere"],
)
def test_a_retry_target_that_is_bounded_or_leads_elsewhere_is_fine(body: str) -> None:
    assert not flow(body, RULE)
