"""What is reported first, what is left out, and what is reported once for many nodes."""

from __future__ import annotations

import pytest
from lint_cases import flow, found, graph_of, marked

from orchestra.errors import Severity, Source
from orchestra.graph.attributes import SHAPES
from orchestra.graph.dot import parse
from orchestra.graph.edits import apply
from orchestra.graph.lint import lint


def test_a_misspelt_node_is_reported_before_what_follows_from_it() -> None:
    diagnostics = flow("work\nbuild\nstart -> work -> build\nbiuld -> exit")
    assert diagnostics[0].rule == "edge_target_exists"
    assert "'build'" in diagnostics[0].fix
    assert {d.rule for d in diagnostics[1:]} == {"reachability", "exit_reachable", "dead_end"}
    assert not any(d.edits for d in diagnostics[1:])


def test_a_misspelt_attribute_is_reported_and_not_that_it_is_missing() -> None:
    body = 'start [shape=Mdiamond]\nexit [shape=Msquare]\na [promt="x"]\nt [shape=parallelogram, command=ls]\n'
    diagnostics = found(body + "start -> a -> t -> exit")
    assert [d.rule for d in diagnostics] == ["unknown_attribute", "unknown_attribute"]
    assert [d.edits[0].text for d in diagnostics] == ["prompt", "tool_command"]


def test_many_nodes_with_one_problem_are_one_finding_with_a_list() -> None:
    names = [f"step{letter}" for letter in "abcdefg"]
    body = "".join(f"{name} [model=gpt]\n" for name in names) + f"start -> {' -> '.join(names)} -> exit"
    (one,) = flow(body)
    assert one.rule == "unknown_attribute"
    assert one.nodes == tuple(names)
    assert "'stepb', 'stepc', 'stepd', 'stepe', 'stepf' and 1 more" in one.message
    assert len(one.edits) == len(names)


def test_two_nodes_with_one_problem_are_two_findings() -> None:
    diagnostics = flow("a [model=gpt]\nb [model=gpt]\nstart -> a -> b -> exit")
    assert marked(diagnostics) == ["model", "model"]


def test_after_a_syntax_error_only_what_stands_there_is_reported() -> None:
    text = 'digraph g {\n start [shape=Mdiamond]\n exit [shape=Msqaure]\n a [promt="x"\n start -> a -> b exit\n}'
    graph, errors = parse(Source("p.dot", text))
    assert graph is not None
    assert any(d.severity is Severity.ERROR for d in errors)
    assert {d.rule for d in lint(graph)} > {"type_known"}
    assert {d.rule for d in lint(graph, broken=True)} <= {"type_known", "unknown_attribute"}


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != "box"])
def test_a_type_is_checked_exactly_like_its_shape(shape: str) -> None:
    bodies = (
        "fan [{}]\nstart -> fan\nfan -> a\nfan -> b\na -> exit\nb -> exit\na [prompt=x]\nb [prompt=x]",
        "start -> x -> exit\nx [{}, prompt=p]",
        'x [{}, tool_command=ls]\nstart -> x -> exit\nx -> exit [label="[A] One"]\nx -> exit [label="[A] Two"]',
    )
    for body in bodies:
        by_shape = found("start [shape=Mdiamond]\nexit [shape=Msquare]\n" + body.format(f"shape={shape}"))
        by_type = found("start [shape=Mdiamond]\nexit [shape=Msquare]\n" + body.format(f'type="{SHAPES[shape]}"'))
        assert [d.rule for d in by_type] == [d.rule for d in by_shape]


@pytest.mark.parametrize("weight", ["2.0", '"2.0"', "2.", '"2.00"'])
def test_a_whole_float_is_an_integer(weight: str) -> None:
    graph = graph_of(f"start -> exit [weight={weight}]")
    assert graph.edges[0].weight == 2


def test_a_pipeline_without_a_start_gets_one_before_its_first_node() -> None:
    text = 'digraph a { work [prompt="Do it"] exit [shape=Msquare] work -> exit }'
    source = Source("p.dot", text)
    graph, _ = parse(source)
    assert graph is not None
    repaired, _ = parse(Source("p.dot", apply(source, lint(graph))))
    assert repaired is not None
    assert not lint(repaired)
    assert repaired.start == "start"
    assert [(edge.source, edge.target) for edge in repaired.edges] == [("work", "exit"), ("start", "work")]
