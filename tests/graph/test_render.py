"""A graph written back means the same and is Graphviz; drawn, it is harmless; as data, it is JSON."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from html import unescape

import pytest
from dot_texts import pipelines
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestra.errors import Severity, Source
from orchestra.graph.attributes import Duration
from orchestra.graph.dot import parse
from orchestra.graph.model import Attribute, Graph
from orchestra.graph.render import dumps, literal, quote, to_dot, to_drawing, to_json
from orchestra.graph.stylesheet import apply

NOP, DOT = shutil.which("nop"), shutil.which("dot")


def read(text: str) -> Graph:
    graph, found = parse(Source("g.dot", text))
    assert graph is not None
    assert not [d for d in found if d.severity is Severity.ERROR], found
    return graph


def again(graph: Graph) -> Graph:
    return read(to_dot(graph))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pipelines())
def test_parsing_the_rendered_text_returns_the_same_graph(text: str) -> None:
    graph = read(text)
    back = again(graph)
    assert back == graph
    assert list(back.nodes) == list(graph.nodes)
    assert to_dot(again(back)) == to_dot(back)
    assert apply(back) == apply(graph)
    assert again(apply(graph)) == apply(graph)


@pytest.mark.long
@settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
@given(pipelines())
def test_long_parsing_the_rendered_text_returns_the_same_graph(text: str) -> None:
    graph = read(text)
    back = again(graph)
    assert back == graph
    assert list(back.nodes) == list(graph.nodes)
    assert to_dot(again(back)) == to_dot(back)
    assert apply(back) == apply(graph)


@pytest.mark.skipif(NOP is None, reason="Graphviz is not installed")
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(pipelines(), min_size=10, max_size=10))
def test_graphviz_reads_what_is_written_and_what_we_read(texts: list[str]) -> None:
    assert NOP is not None
    for written in ("".join(to_dot(read(text)) for text in texts), "".join(texts)):
        done = subprocess.run([NOP], input=written.encode(), capture_output=True)
        assert (done.returncode, done.stderr) == (0, b""), written


# --- mentions, defaults -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "digraph g { a -> b }",
        "digraph g { b; a -> b; c -> b; }",
        "digraph g { node [shape=diamond] a -> b; c }",
        "digraph g { a; node [shape=diamond] b -> a; c [shape=box] d -> a }",
        "digraph g { subgraph s { node [x=1] a -> b } subgraph s { c; d -> c } e }",
        "digraph g { subgraph s { node [x=1] a -> b; subgraph t { node [x=2 y=3] c -> a } d -> e } }",
        "digraph g { subgraph s { node [x=1] a; } node [x=2] b -> c }",
        "digraph g { {a b} -> c -> {d e} }",
        "digraph g { a -> {b -> c} }",
    ],
)
def test_a_node_that_is_only_mentioned_stays_so(text: str) -> None:
    graph = read(text)
    back = again(graph)
    assert {n.id: n.declared for n in back.nodes.values()} == {n.id: n.declared for n in graph.nodes.values()}
    assert back == graph
    assert list(back.nodes) == list(graph.nodes)


def test_edges_that_bring_in_their_nodes_need_no_more() -> None:
    assert to_dot(read("digraph g { a; a -> b -> c }")) == "digraph g {\n    a\n    a -> b\n    b -> c\n}\n"


def test_a_model_from_a_default_block_can_still_be_overruled_by_the_stylesheet() -> None:
    graph = read(
        'digraph g { model_stylesheet=".x { llm_model: s }"'
        " subgraph t { node [llm_model=d] a [class=x] b c [llm_model=own class=x] } d [class=x] }"
    )
    models = {node.id: node.text("llm_model") for node in apply(again(graph)).nodes.values()}
    assert models == {"a": "s", "b": "d", "c": "own", "d": "s"}


def test_a_graph_that_no_text_can_produce_is_still_rendered_whole() -> None:
    graph = read("digraph g { node [x=1] a -> b; c }")
    without = replace(graph, nodes={**graph.nodes, "c": replace(graph.nodes["c"], attributes={})})
    back = again(without)
    assert {n.id: dict(n.attributes) for n in back.nodes.values()} == {
        n.id: dict(n.attributes) for n in without.nodes.values()
    }


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_written_without_exponent_and_exactly(value: float) -> None:
    written = literal(value)
    assert float(written) == value
    assert "e" not in written


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_a_quoted_text_is_read_back(text: str) -> None:
    graph = read(f"digraph g {{ a [prompt={quote(text)}] }}")
    assert graph.nodes["a"].text("prompt") == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0s"),
        (250, "250ms"),
        (1000, "1s"),
        (90_000, "90s"),
        (60_000, "1m"),
        (86_400_000, "1d"),
        (1500, "1500ms"),
    ],
)
def test_a_duration_is_written_in_its_shortest_exact_form(milliseconds: int, text: str) -> None:
    assert str(Duration(milliseconds)) == text


# --- drawings ---------------------------------------------------------------------------------------------

NASTY = ['a"b', "a\\", 'x\\" ]; evil [label=y', "<b>x</b>", "&lt;&amp;", "é\u202e→", "a\nb\tc", "\\N\\l\\G", ""]


@pytest.mark.skipif(DOT is None, reason="Graphviz is not installed")
@pytest.mark.parametrize("text", NASTY)
def test_nothing_in_a_pipeline_breaks_out_of_its_drawing(text: str) -> None:
    assert DOT is not None
    said = quote(text)
    graph = read(
        f"digraph g {{ label={said} tooltip={said} a [label={said} tooltip={said} color={said} fontname={said}]"
        f" a -> b [label={said} style={said}] }}"
    )
    drawing = to_drawing(graph)
    assert set(read(drawing).nodes) == {"a", "b"}
    done = subprocess.run([DOT, "-Tsvg"], input=drawing.encode(), capture_output=True)
    assert done.returncode == 0
    drawn = unescape(done.stdout.decode())
    assert "<title>evil</title>" not in drawn
    assert drawn.count('id="node-') == 2


def test_a_drawing_holds_no_prompt_and_no_command() -> None:
    drawing = to_drawing(
        read('digraph g { goal="secret1" a [prompt="secret2" tool_command="secret3" own="secret4"] }')
    )
    assert "secret" not in drawing


def test_a_drawn_edge_shows_its_label_and_its_condition() -> None:
    drawing = to_drawing(read('digraph g { a -> b [label=Yes condition="outcome=success"] }'))
    assert "Yes" in drawing
    assert "outcome=success" in drawing


# --- data ------------------------------------------------------------------------------------------------


def test_a_graph_as_data_says_where_everything_is() -> None:
    data = to_json(read('digraph g {\n  goal="x"\n  a [timeout="90s" class=k]\n  a -> b [weight=2]\n}'))
    assert json.loads(json.dumps(data)) == data
    assert data["attributes"] == {"goal": "x"}
    node, mentioned = data["nodes"]  # type: ignore[misc]
    assert node["id"] == "a"
    assert node["type"] == "codergen"
    assert node["attributes"] == {"timeout": "90s", "class": "k"}
    assert (node["at"]["line"], node["at"]["column"]) == (3, 3)
    assert mentioned["declared"] is False
    (edge,) = data["edges"]  # type: ignore[misc]
    assert (edge["source"], edge["target"], edge["at"]["line"]) == ("a", "b", 4)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(pipelines())
def test_any_graph_is_json(text: str) -> None:
    assert json.loads(dumps(read(text)))["name"] == "g"


def test_attributes_compare_by_what_they_say_not_by_where() -> None:
    one = read("digraph g { a [label=x] }").nodes["a"].attributes["label"]
    two = read('digraph g {\n\n a [label = "x"] }').nodes["a"].attributes["label"]
    assert isinstance(one, Attribute)
    assert one == two
    assert one.span != two.span
