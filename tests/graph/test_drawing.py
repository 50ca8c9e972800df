"""A graph's drawing: everything on the page, nothing on top of another, edges from their source to their target."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from random import Random

import pytest

from orchestra.graph.drawing import Drawing, draw
from orchestra.graph.model import Graph
from support import graph_of

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").rglob("*.dot"))


def random_graph(seed: int) -> Graph:
    """Up to 40 nodes with edges in any direction, some of them pairs and loops."""
    chance = Random(seed)
    nodes = [f"n{number}" for number in range(chance.randrange(1, 40))]
    edges = [f"{chance.choice(nodes)} -> {chance.choice(nodes)}" for _ in range(chance.randrange(60))]
    labels = [f'{node} [label="{"word " * chance.randrange(9)}x", shape=box]' for node in nodes]
    return graph_of("\n".join(["start -> n0", "n0 -> exit", *labels, *edges]))


def is_sound(graph: Graph, drawing: Drawing) -> None:
    assert set(drawing.boxes) == set(graph.nodes)
    for box in drawing.boxes.values():
        assert box.x - box.width / 2 >= 0
        assert box.x + box.width / 2 <= drawing.width
        assert 0 <= box.y - box.height / 2 < box.y + box.height / 2 <= drawing.height
    for one, other in combinations(drawing.boxes.values(), 2):
        assert abs(one.y - other.y) >= one.height or abs(one.x - other.x) >= (one.width + other.width) / 2 - 1e-6
    assert [line.edge for line in drawing.lines] == list(graph.edges)
    for line in drawing.lines:
        for (x, y), node in ((line.points[0], line.edge.source), (line.points[-1], line.edge.target)):
            box = drawing.boxes[node]
            assert abs(x - box.x) <= box.width / 2 + 1e-6
            assert abs(y - box.y) <= box.height / 2 + 1e-6


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_drawn_without_overlaps(file: Path) -> None:
    graph = graph_of(file.read_text())
    is_sound(graph, draw(graph))


@pytest.mark.parametrize("seed", range(30))
def test_any_graph_is_drawn_without_overlaps(seed: int) -> None:
    graph = random_graph(seed)
    is_sound(graph, draw(graph))


def test_a_chain_goes_straight_down_and_what_leads_back_goes_up() -> None:
    drawing = draw(graph_of("a [prompt=x] b [prompt=x] start -> a -> b -> exit\n b -> a"))
    places = [drawing.boxes[node] for node in ("start", "a", "b", "exit")]
    assert [box.y for box in places] == sorted(box.y for box in places)
    assert len({round(box.x) for box in places}) == 1
    back = drawing.lines[-1]
    assert back.points[0][1] > back.points[-1][1]


def test_a_graph_of_a_thousand_nodes_is_drawn() -> None:
    nodes = [f"n{number}" for number in range(1000)]
    graph = graph_of(
        " -> ".join(["start", *nodes, "exit"]) + "\n" + "\n".join(f"n{n} -> n{n // 2}" for n in range(0, 999, 50))
    )
    assert len(draw(graph).boxes) == 1002
