"""The linter as a whole: order, custom rules, the examples, the size of things."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lint_cases import ENDS, flow, found, graph_of

from orchestra.errors import Diagnostic, Severity, Source
from orchestra.graph.dot import parse
from orchestra.graph.lint import RULES, in_order, lint
from orchestra.graph.model import Graph

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.dot"))


def test_findings_come_in_source_order_then_by_severity() -> None:
    diagnostics = found(ENDS + "b [shape=cloud]\na [goal_gate=true]\nstart -> b -> a -> start\norphan")
    starts = [d.span.start for d in diagnostics if d.span is not None]
    assert len(starts) == len(diagnostics) > 4
    assert starts == sorted(starts)
    rank = [Severity.ERROR, Severity.WARNING, Severity.INFO]
    same_place = [d for d in diagnostics if d.span is not None and d.span.text == "a"]
    assert [rank.index(d.severity) for d in same_place] == sorted(rank.index(d.severity) for d in same_place)


def test_a_finding_without_a_place_comes_first() -> None:
    placed = flow("a\norphan\nstart -> a -> exit")
    nowhere = Diagnostic(rule="mine", severity=Severity.INFO, message="no place")
    assert in_order([*placed, nowhere])[0] is nowhere


def test_custom_rules_see_the_graph_and_are_reported_among_the_others() -> None:
    def owner_named(graph: Graph) -> Iterator[Diagnostic]:
        for node in graph.nodes.values():
            if not node.has("owner"):
                yield Diagnostic(
                    rule="owner_named", severity=Severity.WARNING, message="no owner", span=node.span, node=node.id
                )

    graph = graph_of(ENDS + "a [prompt=x, owner=me]\nb [prompt=x]\nstart -> a -> b -> exit")
    diagnostics = lint(graph, rules=[owner_named])
    assert [d.node for d in diagnostics] == ["start", "exit", "b"]


def test_each_rule_reports_under_its_own_name() -> None:
    bodies = [ENDS + "a", "a -> b", ENDS + "start -> start -> exit -> exit\nx [type=q, promt=1]"]
    for body in bodies:
        for diagnostic in found(body):
            assert diagnostic.rule in RULES


def test_every_finding_says_where_it_is() -> None:
    for diagnostic in found("a -> b -> a\nc [shape=hexagon]\nd [goal_gate=true, retry_target=z]"):
        assert diagnostic.span is not None
        assert diagnostic.message


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_nothing_is_found_in_the_examples(path: Path) -> None:
    graph, findings = parse(Source(path.name, path.read_text()))
    assert graph is not None
    assert not findings
    assert not lint(graph, strict=True)


def test_an_empty_graph_lints() -> None:
    assert {d.rule for d in found("")} == {"start_node", "terminal_node"}


def test_the_examples_of_the_specification_get_no_error() -> None:
    branch = (
        'graph [goal="Implement and validate a feature"]\nrankdir=LR\nnode [shape=box, timeout="900s"]\n'
        'start [shape=Mdiamond, label="Start"]\nexit [shape=Msquare, label="Exit"]\n'
        'plan [label="Plan", prompt="Plan"]\nimplement [label="Implement", prompt="Implement"]\n'
        'validate [label="Validate", prompt="Run tests"]\ngate [shape=diamond, label="Tests passing?"]\n'
        'start -> plan -> implement -> validate -> gate\ngate -> exit [label="Yes", condition="outcome=success"]\n'
        'gate -> implement [label="No", condition="outcome!=success"]'
    )
    assert not found(branch)
    review = (
        'start [shape=Mdiamond, label="Start"]\nexit [shape=Msquare, label="Exit"]\n'
        'review_gate [shape=hexagon, label="Review Changes", type="wait.human"]\nstart -> review_gate\n'
        'review_gate -> ship_it [label="[A] Approve"]\nreview_gate -> fixes [label="[F] Fix"]\n'
        "ship_it -> exit\nfixes -> review_gate"
    )
    assert [(d.rule, d.severity) for d in found(review)] == [("edge_target_exists", Severity.WARNING)] * 2


def large(size: int) -> Graph:
    kinds = [
        'prompt="Do it", max_retries=2, class="a"',
        "shape=diamond",
        'shape=parallelogram, tool_command="make {{ last_response }}"',
        'prompt="Check it"',
    ]
    lines = [f"n{number} [{kinds[number % 4]}]" for number in range(size)]
    for number in range(size):
        target = f"n{number + 1}" if number + 1 < size else "exit"
        if number % 4 == 1:
            lines.append(f'n{number} -> {target} [condition="outcome=success"]')
            lines.append(f'n{number} -> n{number - 1} [condition="outcome!=success"]')
        else:
            lines.append(f"n{number} -> {target}")
    return graph_of(ENDS + "start -> n0\n" + "\n".join(lines))


def cost(graph: Graph) -> float:
    before = time.process_time()
    assert lint(graph) == ()
    return time.process_time() - before


def test_ten_thousand_nodes_are_linted_in_well_under_a_second() -> None:
    graph = large(10_000)
    assert min(cost(graph) for _ in range(2)) < 0.8


@pytest.mark.long
def test_a_hundred_thousand_nodes_are_linted_in_a_few_seconds() -> None:
    assert cost(large(100_000)) < 10


HARD = {
    "undeclared": "start -> " + " -> ".join(f"word_{number:x}_x" for number in range(4_000)) + " -> exit",
    "ring": "start -> " + " -> ".join(f"n{number}" for number in range(4_000)) + " -> n0",
    "gate": "g [shape=hexagon]\nstart -> g\n" + "\n".join(f"g -> n{number} -> exit" for number in range(4_000)),
    "fan": "f [shape=component]\nj [shape=tripleoctagon]\nstart -> f\nj -> exit\n"
    + "\n".join(f"f -> n{number} -> j\nn{number} -> f" for number in range(3_000)),
    "nested": "start -> f0\nj0 -> exit\n"
    + "\n".join(
        f"f{n} [shape=component]\nj{n} [shape=tripleoctagon]\nf{n} -> s{n} -> j{n}\n"
        f"f{n} -> f{n + 1}\nj{n + 1} -> j{n}\ns{n} -> f0"
        for n in range(1_500)
    ),
    "diamonds": "node [shape=diamond]\nstart -> d0\n"
    + "\n".join(
        f'd{n} -> d{n + 1}\nd{n} -> d{n * 7 % (n + 1)} [condition="outcome=w{n % 50}"]' for n in range(4_000)
    ),
}


@pytest.mark.parametrize("name", sorted(HARD))
def test_no_shape_of_graph_makes_the_linter_slow(name: str) -> None:
    graph = graph_of(ENDS + HARD[name])
    before = time.process_time()
    lint(graph)
    assert time.process_time() - before < 5
