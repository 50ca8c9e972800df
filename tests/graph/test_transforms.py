"""What happens to a graph between parsing and running: variables, the stylesheet, registered transforms."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra.errors import ConfigError, Source
from orchestra.graph.dot import parse
from orchestra.graph.model import Attribute, Graph
from orchestra.graph.transforms import expand, expand_text, transform


def read(text: str) -> Graph:
    graph, found = parse(Source("g.dot", text))
    assert graph is not None
    assert not found
    return graph


@pytest.mark.parametrize(
    ("prompt", "expanded"),
    [
        ("Do $goal", "Do win"),
        ("$goal$goal, $goal.", "winwin, win."),
        ("$name is $who", "ada is $who"),
        ("$goals and $goal_x stay", "$goals and $goal_x stay"),
        ("${goal} {{ goal }} $(goal) %goal% stay", "${goal} {{ goal }} $(goal) %goal% stay"),
        ("$$goal costs $5", "$win costs $5"),
        ("", ""),
        ("$nested", "$goal"),
    ],
)
def test_a_prompt_gets_the_goal_and_the_variables_and_nothing_else(prompt: str, expanded: str) -> None:
    graph = read(f'digraph g {{ goal=win a [prompt="{prompt}"] }}')
    after = expand(graph, {"name": "ada", "nested": "$goal"})
    assert after.nodes["a"].text("prompt") == expanded


def test_commands_and_edges_are_not_expanded() -> None:
    graph = read('digraph g { goal="win" a [tool_command="echo $goal"] a -> b [label="$goal"] }')
    assert expand(graph, {}) is graph


def test_a_default_prompt_is_expanded_on_every_node_that_has_it() -> None:
    graph = expand(read('digraph g { goal=win node [prompt="Do $goal"] a b }'), {})
    assert {node.text("prompt") for node in graph.nodes.values()} == {"Do win"}


def test_an_expanded_prompt_keeps_its_place() -> None:
    graph = expand(read('digraph g { goal=win a [prompt="Do $goal"] }'), {})
    assert graph.nodes["a"].attributes["prompt"].span.text == '"Do $goal"'


@given(st.text(max_size=30), st.text(max_size=10))
def test_a_text_without_known_names_is_itself(text: str, goal: str) -> None:
    assert expand_text(text, {}) == text
    assert expand_text(text.replace("$", ""), {"goal": goal}) == text.replace("$", "")


# --- registered transforms -----------------------------------------------------------------------------


def labelled(word: str):  # type: ignore[no-untyped-def]
    def add(graph: Graph) -> Graph:
        span = graph.span
        nodes = {}
        for node in graph.nodes.values():
            label = Attribute(
                key="label", value=f"{node.label}{word}", key_span=span, span=span, origin="transform"
            )
            nodes[node.id] = replace(node, attributes={**node.attributes, "label": label})
        return replace(graph, nodes=nodes)

    return add


def test_registered_transforms_run_in_their_order_after_ours() -> None:
    graph = read('digraph g { goal=win model_stylesheet="* { llm_model: m }" a [prompt="$goal"] }')
    seen: list[tuple[str, str]] = []

    def look(graph: Graph) -> Graph:
        node = graph.nodes["a"]
        seen.append((node.text("prompt"), node.text("llm_model")))
        return graph

    after = transform(graph, {}, [labelled("1"), look, labelled("2")])
    assert after.nodes["a"].label == "a12"
    assert seen == [("win", "m")]
    assert not graph.nodes["a"].has("label")


def test_a_transform_may_take_nodes_and_edges_away() -> None:
    def shorten(graph: Graph) -> Graph:
        return replace(
            graph,
            nodes={key: node for key, node in graph.nodes.items() if key != "b"},
            edges=tuple(edge for edge in graph.edges if "b" not in (edge.source, edge.target)),
        )

    after = transform(read("digraph g { a -> b -> c; a -> c }"), {}, [shorten])
    assert list(after.nodes) == ["a", "c"]
    assert [edge.target for edge in after.outgoing("a")] == ["c"]


def test_a_transform_that_returns_no_graph_is_named() -> None:
    def broken(graph: Graph) -> Graph:
        return None  # type: ignore[return-value]

    with pytest.raises(ConfigError, match="broken"):
        transform(read("digraph g { a }"), {}, [broken])


def test_what_a_transform_raises_passes_through() -> None:
    def broken(graph: Graph) -> Graph:
        raise LookupError(graph.name)

    with pytest.raises(LookupError):
        transform(read("digraph g { a }"), {}, [broken])


def test_the_goal_gets_the_variables_before_prompts_get_the_goal() -> None:
    after = expand(read('digraph g { goal="Check $project of $goal" a [prompt="Do: $goal"] }'), {"project": "inv"})
    assert after.goal == "Check inv of $goal"
    assert after.nodes["a"].text("prompt") == "Do: Check inv of $goal"


def test_a_label_which_may_be_the_prompt_gets_the_goal_and_the_variables_too() -> None:
    after = expand(read('digraph g { goal=win a [label="Do $goal for $who in $PATH"] }'), {"who": "ada"})
    assert after.nodes["a"].label == "Do win for ada in $PATH"
