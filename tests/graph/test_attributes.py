"""The attribute table: its defaults, its old words, what is near a known key, and that the reference has it all."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import orchestra
from orchestra.errors import Source
from orchestra.graph.attributes import (
    EDGE,
    GRAPH,
    NODE,
    SHAPES,
    AttributeScope,
    Duration,
    ValueKind,
)
from orchestra.graph.dot import parse
from orchestra.graph.model import Graph
from orchestra.graph.nearest import edit_distance, nearest
from orchestra.graph.parser.typed import read_typed

REFERENCE = (Path(__file__).resolve().parents[2] / "docs/reference/language.md").read_text()
SCOPES = {"Of the pipeline": GRAPH, "Of a node": NODE, "Of an edge": EDGE}


def read(text: str) -> Graph:
    graph, _ = parse(Source("g.dot", text))
    assert graph is not None
    return graph


@pytest.mark.parametrize(("heading", "scope"), SCOPES.items(), ids=SCOPES)
def test_the_reference_has_every_key_and_every_choice(heading: str, scope: AttributeScope) -> None:
    part = REFERENCE.partition(f"### {heading}\n")[2].partition("\n#")[0]
    words = {*scope.entries, *scope.aliases, *scope.old_words}
    words |= {choice for entry in scope.entries.values() for choice in entry.choices if choice}
    assert not {word for word in words if f"`{word}`" not in part}


def test_the_reference_has_every_shape() -> None:
    assert not [word for pair in SHAPES.items() for word in pair if f"`{word}`" not in REFERENCE]


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
def test_every_default_is_a_value_of_its_type(scope: AttributeScope) -> None:
    for entry in scope.entries.values():
        if entry.default is not None and (entry.default != "" or entry.kind is ValueKind.CHOICE):
            assert (
                read_typed(
                    entry,
                    str(entry.default).lower() if entry.kind is ValueKind.BOOLEAN else str(entry.default),
                    True,
                )[0]
                == entry.default
            ), entry.key


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
def test_other_names_lead_to_known_keys(scope: AttributeScope) -> None:
    for word, key in {**scope.aliases, **scope.old_words}.items():
        assert word not in scope.entries
        assert scope.canonical(word) == key
        assert scope.entry(key) is not None
        assert scope.knows(word)


@pytest.mark.parametrize(
    ("scope", "key", "default"),
    [
        (GRAPH, "goal", ""),
        (GRAPH, "max_steps", 10000),
        (GRAPH, "default_max_retries", 0),
        (GRAPH, "goal_gates", "visited"),
        (NODE, "shape", "box"),
        (NODE, "max_retries", None),
        (NODE, "timeout", None),
        (NODE, "goal_gate", False),
        (NODE, "manager.poll_interval", Duration(45_000)),
        (EDGE, "weight", 0),
        (EDGE, "nothing_known", None),
    ],
)
def test_a_key_that_is_not_written_has_its_default(scope: AttributeScope, key: str, default: object) -> None:
    assert scope.default(key) == default


@pytest.mark.parametrize(
    ("scope", "key", "meant"),
    [
        (NODE, "promt", "prompt"),
        (NODE, "max_retrys", "max_retries"),
        (NODE, "gaol_gate", "goal_gate"),
        (NODE, "lable", "label"),
        (EDGE, "wieght", "weight"),
        (EDGE, "condtion", "condition"),
        (GRAPH, "gaol", "goal"),
        (GRAPH, "model_stylesheets", "model_stylesheet"),
        (NODE, "colour_of_the_sky", ""),
        (NODE, "x", ""),
    ],
)
def test_a_misspelt_key_is_near_the_one_that_was_meant(scope: AttributeScope, key: str, meant: str) -> None:
    assert scope.nearest(key) == meant


@pytest.mark.parametrize("key", ["rankdir", "color", "fillcolor", "penwidth", "URL", "manager.own", "human.own"])
def test_drawing_attributes_and_families_of_handlers_are_known(key: str) -> None:
    assert NODE.knows(key)


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("ab", "ba", 1), ("abc", "abc", 0), ("abcd", "badc", 2)],
)
def test_the_distance_counts_changes_and_swaps(a: str, b: str, distance: int) -> None:
    assert edit_distance(a, b, 9) == edit_distance(b, a, 9) == distance


def test_the_nearest_word_is_never_the_word_itself() -> None:
    assert nearest("box", ["box", "bot"]) == "bot"
    assert nearest("box", []) == ""


@pytest.mark.parametrize("share", ["0", "0.5", "1", '"1e-1"'])
def test_a_quorum_is_a_share(share: str) -> None:
    assert read(f"digraph g {{ a [quorum={share}] }}").nodes["a"].has("quorum")


@pytest.mark.parametrize("share", ["1.5", "-0.1", "half", "9" * 400, '"nan"'])
def test_what_is_no_share_is_no_quorum(share: str) -> None:
    _graph, found = parse(Source("g.dot", f"digraph g {{ a [quorum={share}] }}"))
    assert [d.rule for d in found] == ["attribute_type"]


GETTERS = {
    "text": {ValueKind.STRING, ValueKind.NODE, ValueKind.CHOICE, ValueKind.FIDELITY},
    "integer": {ValueKind.INTEGER},
    "number": {ValueKind.FLOAT},
    "flag": {ValueKind.BOOLEAN},
    "duration": {ValueKind.DURATION},
}


def test_every_attribute_is_read_as_the_kind_in_the_table() -> None:
    wrong = [
        f"{path.name}:{call.lineno} reads {key} by .{call.func.attr}()"
        for path in Path(orchestra.__file__).parent.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in GETTERS
        for key in [a.value for a in call.args[:1] if isinstance(a, ast.Constant)]
        for scope in (GRAPH, NODE, EDGE)
        if (entry := scope.entries.get(str(key))) and entry.kind not in GETTERS[call.func.attr]
    ]
    assert wrong == []


# --- reading attributes from a graph -----------------------------------------------------------------------


def test_a_getter_returns_the_written_value_or_the_default() -> None:
    graph = read(
        "digraph g { a [max_visits=2 timeout=90s goal_gate=true quorum=0.5] b a->b [weight=-3 loop_restart=true] }"
    )
    a, b = graph.nodes.values()
    assert (a.integer("max_visits"), a.flag("goal_gate"), a.number("quorum")) == (2, True, 0.5)
    assert a.duration("timeout") == Duration(90_000)
    assert (b.integer("max_visits"), b.flag("goal_gate"), b.duration("timeout")) == (0, False, None)
    assert (a.label, a.shape, b.text("retry_policy")) == ("a", "box", "standard")
    assert a.has("timeout")
    assert not b.has("timeout")
    edge = graph.edges[0]
    assert (edge.weight, edge.flag("loop_restart"), edge.label, edge.integer("max_visits")) == (-3, True, "", 0)


def test_a_span_is_the_values_or_the_whole() -> None:
    node = read('digraph g { a [label="x y"] }').nodes["a"]
    assert node.span_of("label", node.span).text == '"x y"'
    assert node.span_of("prompt", node.span).text == "a"


@pytest.mark.parametrize(
    ("body", "starts", "exits"),
    [
        ("start; exit", "start", "exit"),
        ("Start -> end", "Start", "end"),
        ("a [shape=Mdiamond] start b [shape=Msquare] exit", "a", "b"),
        ("a [type=start shape=box] b [type=exit]", "a", "b"),
        ("start [shape=diamond] exit [shape=hexagon]", "start", "exit"),
        ("a [shape=Mdiamond] b [shape=Mdiamond]", "", ""),
        ("start Start", "", ""),
        ("a b", "", ""),
    ],
)
def test_start_and_exit_are_found_by_type_else_by_id(body: str, starts: str, exits: str) -> None:
    graph = read(f"digraph g {{ {body} }}")
    assert (graph.start, graph.exit) == (starts, exits)


@pytest.mark.parametrize(
    ("attributes", "handler"),
    [
        ("", "codergen"),
        ("shape=hexagon", "wait.human"),
        ("shape=hexagon type=tool", "tool"),
        ("shape=ellipse", "codergen"),
        ('type="my.own"', "my.own"),
        *((f"shape={shape}", kind) for shape, kind in SHAPES.items()),
    ],
)
def test_a_type_wins_over_a_shape(attributes: str, handler: str) -> None:
    assert read(f"digraph g {{ a [{attributes}] }}").type_of("a") == handler


def test_edges_are_found_from_both_ends_in_file_order() -> None:
    graph = read("digraph g { a -> c; a -> b; b -> c; a -> c }")
    assert [(e.target, e.index) for e in graph.outgoing("a")] == [("c", 0), ("b", 1), ("c", 3)]
    assert [(e.source, e.index) for e in graph.incoming("c")] == [("a", 0), ("b", 2), ("a", 3)]
    assert graph.outgoing("nobody") == ()
