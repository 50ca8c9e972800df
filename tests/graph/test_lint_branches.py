"""Parallel nodes, their branches and their fan-ins."""

from __future__ import annotations

import pytest
from lint_cases import edges, flow, graph_of, marked, nodes

from orchestra.graph.joins import fan_ins

FAN = "fan [shape=component]\njoin [shape=tripleoctagon]\na\nb\n"
JOINED = FAN + "start -> fan -> {a b} -> join -> exit\n"


def test_branches_that_meet_in_a_fan_in_are_fine() -> None:
    assert not flow(JOINED)


@pytest.mark.parametrize(
    "body",
    [
        FAN + "start -> fan -> {a b}\na -> join -> exit\nb -> exit",
        FAN + "other [shape=tripleoctagon]\nstart -> fan -> {a b}\na -> join -> exit\nb -> other -> exit",
        "fan [shape=component]\na\nb\nstart -> fan -> {a b} -> exit",
        JOINED + 'a -> exit [condition="outcome=fail"]',
    ],
    ids=["one goes round", "two fan-ins", "none", "one may leave"],
)
def test_branches_that_meet_in_no_fan_in_are_a_warning_on_their_node(body: str) -> None:
    diagnostics = flow(body)
    assert [(d.rule, d.node) for d in diagnostics] == [("parallel_join", "fan")]
    assert marked(diagnostics) == ["fan"]


def test_a_branch_may_loop_and_branch_before_the_fan_in() -> None:
    body = JOINED + 'mend\nb -> mend [condition="outcome=fail"]\nmend -> b\na -> mend [condition="outcome=fail"]'
    assert not flow(body)


def test_a_branch_may_go_straight_to_the_fan_in() -> None:
    assert not flow(FAN + "start -> fan -> {a b join} \n{a b} -> join -> exit")


def test_parallel_nodes_nest() -> None:
    body = (
        "fan [shape=component]\ninner [shape=component]\nj1 [shape=tripleoctagon]\nj2 [shape=tripleoctagon]\n"
        "a\nb\nc\nstart -> fan -> {a inner}\ninner -> {b c} -> j1 -> j2 -> exit\na -> j2"
    )
    assert not flow(body)
    assert fan_ins(graph_of("start [shape=Mdiamond]\nexit [shape=Msquare]\n" + body)) == {
        "fan": "j2",
        "inner": "j1",
    }


def test_a_fan_in_without_parallel_node_is_a_warning() -> None:
    diagnostics = flow("a\njoin [shape=tripleoctagon]\nstart -> a -> join -> exit")
    assert [(d.rule, d.node) for d in diagnostics] == [("parallel_join", "join")]


def test_a_fan_in_is_not_reported_beside_the_node_that_misses_it() -> None:
    assert nodes(flow(FAN + "start -> fan -> {a b}\na -> join -> exit\nb -> exit")) == ["fan"]


def test_a_branch_back_to_its_parallel_node_is_a_warning_on_that_edge() -> None:
    diagnostics = flow(JOINED + 'b -> fan [condition="outcome=fail"]')
    assert [(d.rule, d.edge) for d in diagnostics] == [("branch_escape", ("b", "fan"))]
    assert marked(diagnostics) == ["fan"]
    assert "'join'" in diagnostics[0].fix


def test_a_branch_back_to_what_came_before_is_a_warning() -> None:
    body = "plan\n" + JOINED.replace("start -> fan", "start -> plan -> fan")
    diagnostics = flow(body + 'b -> plan [condition="outcome=fail"]')
    assert [(d.rule, d.edge) for d in diagnostics] == [("branch_escape", ("b", "plan"))]


def test_a_branch_back_over_a_node_of_its_own_is_reported_where_it_leaves() -> None:
    body = "plan\nmend\n" + JOINED.replace("start -> fan", "start -> plan -> fan")
    diagnostics = flow(body + 'b -> mend [condition="outcome=fail"]\nmend -> plan')
    assert edges(diagnostics) == [("mend", "plan")]


def test_going_back_after_the_fan_in_is_fine() -> None:
    body = "plan\n" + JOINED.replace("start -> fan", "start -> plan -> fan")
    assert not flow(body + 'join -> plan [condition="outcome=fail"]')


def test_a_branch_of_an_inner_parallel_node_may_leave_the_inner_or_the_outer_one() -> None:
    body = (
        "fan [shape=component]\ninner [shape=component]\nj1 [shape=tripleoctagon]\nj2 [shape=tripleoctagon]\n"
        "a\nb\nc\nstart -> fan -> {a inner}\ninner -> {b c} -> j1 -> j2 -> exit\na -> j2\n"
    )
    assert edges(flow(body + 'b -> fan [condition="outcome=fail"]')) == [("b", "fan")]
    assert edges(flow(body + 'c -> inner [condition="outcome=fail"]')) == [("c", "inner")]
    assert not flow(body + 'j1 -> inner [condition="outcome=fail"]')


def test_a_restart_in_a_branch_is_a_warning() -> None:
    inside = flow(JOINED + 'mend\nb -> mend [condition="outcome=fail", loop_restart=true]\nmend -> join')
    assert [(d.rule, d.edge) for d in inside] == [("branch_escape", ("b", "mend"))]


def test_a_restart_after_the_fan_in_is_fine() -> None:
    assert not flow(JOINED + 'join -> a [condition="outcome=fail", loop_restart=true]', "branch_escape")


def test_for_each_needs_one_edge_and_a_command_that_exists() -> None:
    body = """list [shape=parallelogram, tool_command="ls"] each [shape=component, for_each="SOURCE"]
    join [shape=tripleoctagon] a start -> list -> each -> a -> join -> exit """
    assert not flow(body.replace("SOURCE", "tools.list.output"))
    assert not flow(body.replace("SOURCE", "files"))
    (found,) = flow(body.replace("SOURCE", "tools.lst.output"))
    assert (found.rule, found.fix) == ("for_each", "did you mean `tools.list.output`?")
    (found,) = flow(body.replace("SOURCE", "files") + "b each -> b -> join")
    assert (found.rule, found.node) == ("for_each", "each")


@pytest.mark.parametrize(
    ("policy", "fix"),
    [
        ("join_policy=k_of_n, k=9", "k=2"),
        ("join_policy=k_of_n", "k=N"),
        ("join_policy=quorum", "quorum=0.5"),
        ("join_policy=k_of_n, k=2", ""),
        ("join_policy=quorum, quorum=1", ""),
        ('join_policy=k_of_n, k=9, for_each="files"', ""),
    ],
)
def test_a_join_policy_that_can_never_be_met_is_a_warning(policy: str, fix: str) -> None:
    body = f"fan [shape=component, {policy}]\njoin [shape=tripleoctagon]\na\nb\n"
    body += "start -> fan -> {a b} -> join -> exit"
    found = flow(body, "parallel_join")
    assert [fix in each.fix for each in found] == [True] * bool(fix)
