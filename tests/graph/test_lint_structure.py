"""Start, exit, what is reached, what ends where, what is declared."""

from __future__ import annotations

import pytest
from lint_cases import ENDS, WORK, edges, flow, found, marked, nodes, severities

from orchestra.errors import Severity

START_ONLY = "start [shape=Mdiamond]\n" + WORK
EXIT_ONLY = "exit [shape=Msquare]\n" + WORK


def test_a_pipeline_without_a_start_is_refused_once() -> None:
    diagnostics = found(EXIT_ONLY + "a\na -> exit")
    assert [d.rule for d in diagnostics] == ["start_node"]
    assert severities(diagnostics) == [Severity.ERROR]
    assert marked(diagnostics) == ["digraph case"]
    assert "start -> a" in diagnostics[0].fix


def test_every_start_beyond_the_first_is_reported_at_its_shape() -> None:
    diagnostics = flow("b [shape=Mdiamond]\na\nstart -> a -> exit\nb -> a")
    assert [(d.rule, d.node) for d in diagnostics] == [("start_node", "b")]
    assert marked(diagnostics) == ["Mdiamond"]


@pytest.mark.parametrize("name", ["start", "Start"])
def test_a_node_is_the_start_by_its_id_when_none_is_by_its_shape(name: str) -> None:
    assert not found(EXIT_ONLY + f"{name}\na\n{name} -> a -> exit")


def test_a_pipeline_without_an_exit_is_refused_once() -> None:
    diagnostics = found(START_ONLY + "a [max_visits=3]\nstart -> a -> a")
    assert [d.rule for d in diagnostics] == ["terminal_node"]


def test_a_second_exit_is_refused() -> None:
    diagnostics = flow('done [shape=Msquare]\na\nstart -> a -> exit\na -> done [condition="outcome=fail"]')
    assert [(d.rule, d.node) for d in diagnostics] == [("terminal_node", "done")]


@pytest.mark.parametrize("name", ["exit", "Exit", "end", "End"])
def test_a_node_is_the_exit_by_its_id(name: str) -> None:
    assert not found(START_ONLY + f"{name}\na\nstart -> a -> {name}")


def test_an_edge_to_the_start_is_refused_at_its_target() -> None:
    diagnostics = flow('a\nstart -> a -> exit\na -> start [condition="outcome=fail"]')
    assert [d.rule for d in diagnostics] == ["start_no_incoming"]
    assert edges(diagnostics) == [("a", "start")]
    assert diagnostics[0].span is not None
    assert diagnostics[0].span.line == 8 - 1


def test_an_edge_from_the_exit_is_refused() -> None:
    diagnostics = flow("a [max_visits=2]\nstart -> a -> exit -> a")
    assert [d.rule for d in diagnostics] == ["exit_no_outgoing"]
    assert edges(diagnostics) == [("exit", "a")]


def test_an_orphan_is_reported_as_unreachable_and_nothing_else() -> None:
    diagnostics = flow("a\norphan\nstart -> a -> exit")
    assert [(d.rule, d.node) for d in diagnostics] == [("reachability", "orphan")]


def test_an_unreached_part_is_reported_once_at_its_head_with_what_lies_behind() -> None:
    diagnostics = flow("a\nstart -> a -> exit\nx\ny\nz\nx -> y -> z -> exit", "reachability")
    assert nodes(diagnostics) == ["x"]
    assert "'y' and 'z'" in diagnostics[0].message


def test_two_unreached_parts_are_two_findings() -> None:
    diagnostics = flow("a\nstart -> a -> exit\nx\ny\nx -> exit\ny -> exit", "reachability")
    assert nodes(diagnostics) == ["x", "y"]


def test_an_unreached_cycle_has_a_head_too() -> None:
    diagnostics = flow("a\nstart -> a -> exit\nx [max_visits=2]\ny\nx -> y -> x", "reachability")
    assert nodes(diagnostics) == ["x"]


@pytest.mark.parametrize("key", ["retry_target", "fallback_retry_target"])
def test_retry_targets_of_nodes_and_of_the_graph_reach(key: str) -> None:
    assert not flow(f"a [{key}=mend]\nmend\nstart -> a -> exit\nmend -> exit", "reachability")
    assert not flow(f"{key}=mend\na\nmend\nstart -> a -> exit\nmend -> exit", "reachability")


def test_a_retry_target_of_an_unreached_node_reaches_nothing() -> None:
    diagnostics = flow("a\nlost [retry_target=mend]\nmend\nstart -> a -> exit\nlost -> exit\nmend -> exit")
    assert nodes(diagnostics) == ["lost"]
    assert "'mend'" in diagnostics[0].message


def test_a_misplaced_start_does_not_make_everything_unreachable() -> None:
    assert {d.rule for d in found(EXIT_ONLY + "a\nb\na -> b -> exit")} == {"start_node"}


def test_an_exit_that_nothing_leads_to_is_reported_once() -> None:
    diagnostics = flow("a [max_visits=3]\nstart -> a -> a")
    assert [(d.rule, d.node) for d in diagnostics] == [("exit_reachable", "exit")]


def test_a_start_that_leads_nowhere_is_one_finding() -> None:
    assert [d.rule for d in found(ENDS)] == ["exit_reachable"]


def test_start_and_exit_alone_are_fine() -> None:
    assert not found(ENDS + "start -> exit")


def test_a_node_without_outgoing_edges_is_a_dead_end() -> None:
    diagnostics = flow('a\nb\nstart -> a -> exit\na -> b [condition="outcome=fail"]')
    assert [(d.rule, d.node) for d in diagnostics] == [("dead_end", "b")]
    assert severities(diagnostics) == [Severity.WARNING]


def test_an_undeclared_node_is_a_warning_that_shows_where_it_is_mentioned() -> None:
    diagnostics = found(ENDS + 'work [prompt="x"]\nstart -> work -> ship_it -> exit')
    assert [(d.rule, d.node, d.severity) for d in diagnostics] == [
        ("edge_target_exists", "ship_it", Severity.WARNING)
    ]
    assert diagnostics[0].edge == ("work", "ship_it")
    assert marked(diagnostics) == ["ship_it"]


def test_an_undeclared_last_node_near_a_declared_one_is_an_error() -> None:
    diagnostics = flow('implement\nstart -> implement -> exit\nimplement -> implment [condition="outcome=fail"]')
    assert [(d.rule, d.severity) for d in diagnostics] == [("edge_target_exists", Severity.ERROR)]
    assert "'implement'" in diagnostics[0].fix


def test_an_undeclared_last_node_that_is_near_nothing_is_a_warning_only() -> None:
    diagnostics = flow('implement\nstart -> implement -> exit\nimplement -> publish [condition="outcome=fail"]')
    assert [(d.rule, d.severity) for d in diagnostics] == [("edge_target_exists", Severity.WARNING)]


def test_an_undeclared_node_near_a_declared_one_with_edges_of_its_own_is_a_warning() -> None:
    diagnostics = flow("reviews\nstart -> reviews -> review -> exit")
    assert [(d.rule, d.severity) for d in diagnostics] == [("edge_target_exists", Severity.WARNING)]
    assert "'reviews'" in diagnostics[0].fix


def test_names_that_differ_in_their_number_are_no_misspellings() -> None:
    diagnostics = flow('step_1\nstart -> step_1 -> exit\nstep_1 -> step_2 [condition="outcome=fail"]')
    assert severities(diagnostics) == [Severity.WARNING]


def test_short_names_are_no_misspellings_of_one_another() -> None:
    diagnostics = flow('a\nstart -> a -> exit\na -> b [condition="outcome=fail"]')
    assert severities(diagnostics) == [Severity.WARNING]


def test_the_exit_is_no_misspelling_of_edit() -> None:
    diagnostics = found('start [shape=Mdiamond]\nedit [prompt="x"]\nstart -> edit -> exit')
    assert [(d.rule, d.severity) for d in diagnostics] == [("edge_target_exists", Severity.WARNING)]
    assert "exit" in diagnostics[0].message


def test_an_undeclared_exit_beside_a_declared_one_means_that_one() -> None:
    diagnostics = found('start [shape=Mdiamond]\ndone [shape=Msquare]\na [prompt="x"]\nstart -> a -> exit -> done')
    assert [d.rule for d in diagnostics] == ["edge_target_exists"]
    assert "'done'" in diagnostics[0].fix


def test_strict_makes_every_undeclared_node_an_error() -> None:
    diagnostics = flow("a\nstart -> a -> ship_it -> exit", strict=True)
    assert [(d.rule, d.severity) for d in diagnostics] == [("edge_target_exists", Severity.ERROR)]


def test_declared_nodes_are_never_reported_as_undeclared() -> None:
    assert not flow("start -> a -> exit\na", strict=True)
