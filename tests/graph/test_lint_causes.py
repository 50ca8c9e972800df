"""What is reported first, what is left out, and what is reported once for many nodes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from lint_cases import flow, found, graph_of, marked

from orchestra.errors import Severity, Source
from orchestra.graph.attributes import SHAPES
from orchestra.graph.dot import parse
from orchestra.graph.edits import apply
from orchestra.graph.lint import lint

FAN = "fan [shape=component]\njoin [shape=tripleoctagon]\nstart -> fan -> {work build} -> join -> exit\n"
CHECK = "check [shape=parallelogram, tool_command=ls]\nstart -> work -> check -> exit\n"


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ("start -> work -> build\nbiuld -> exit", "biuld"),
        ("start -> work -> biuld\nbuild -> exit", "biuld"),
        ("start -> work\nbuild -> exit\nwrok -> build", "wrok"),
        (FAN.replace("build} -> join", "build} -> jion"), "jion"),
        (FAN.replace("start -> fan", "start -> fna"), "fna"),
        (FAN.replace("tripleoctagon", "trippleoctagon"), "trippleoctagon"),
        (FAN.replace("component", "fan_out"), "fan_out"),
        (CHECK + 'check -> build [condition="outcome=fail"]\nbiuld -> check', "biuld"),
        (CHECK.replace("shape=parallelogram", "typ=tool") + "build -> check\nstart -> build", "typ"),
    ],
)
def test_what_follows_from_a_misspelt_word_is_silent_and_the_word_is_an_error(body: str, word: str) -> None:
    nodes = ["work", "build"]
    diagnostics = [d for d in flow("\n".join((*nodes, body))) if d.severity is not Severity.INFO]
    assert marked(diagnostics) == [word] * len(diagnostics)
    assert diagnostics[0].edits


def test_no_error_is_left_out_for_a_warning() -> None:
    (one,) = flow("work\nbuild\nstart -> work -> build\nbiuld -> exit")
    assert (one.rule, one.severity) == ("edge_target_exists", Severity.ERROR)


def test_what_is_wrong_beside_a_misspelt_word_is_still_reported() -> None:
    diagnostics = flow("work\nbuild\nidle\nstart -> work -> build\nbiuld -> exit")
    assert [(d.rule, d.node) for d in diagnostics] == [("edge_target_exists", "biuld"), ("reachability", "idle")]


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


def test_after_a_syntax_error_only_problems_in_the_parsed_text_are_reported() -> None:
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


def test_many_edges_with_one_problem_are_one_finding_with_their_lines() -> None:
    steps = [f"step{letter}" for letter in "abcd"]
    body = "\n".join(f'{one} -> {two} [condition="outcome=Success"]' for one, two in pairwise([*steps, "exit"]))
    (one,) = flow(f"{' '.join(steps)}\nstart -> stepa\n{body}")
    assert one.rule == "outcome_known"
    assert "(3 more, in lines" in one.message
    assert len(one.edits) == 4
