"""How often a run can enter a node at most (A5)."""

from __future__ import annotations

import pytest

from orchestra.graph.visits import most_visits
from support import graph_of

FAN = "f [shape=component] j [shape=tripleoctagon]"


@pytest.mark.parametrize(
    ("text", "visits"),
    [
        ("start -> a -> exit", 1),
        ('start -> a -> exit a -> a [condition="outcome=fail"]', 0),
        ("a [max_visits=3] start -> a -> exit a -> a", 3),
        ("start -> b -> a -> b -> exit b [max_visits=2]", 2),
        ("start -> b -> c -> a -> exit b [max_visits=4] a -> b", 4),
        (
            "start -> b -> c -> a -> exit c -> b [condition=x] b [max_visits=4] a [goal_gate=true, retry_target=b]",
            4,
        ),
        ('start -> b -> a -> b -> exit b [max_visits=2] b -> a [condition="outcome=fail"]', 3),
        ("start -> a -> b -> exit b -> a [max_visits=4]", 5),
        ("start -> a -> b -> exit b -> a [max_visits=4] b -> a", 0),
        ("start -> a -> exit a [goal_gate=true, retry_target=a]", 101),
        (f"{FAN} start -> f f -> a f -> b a -> j b -> j j -> exit", 1),
        (f"{FAN} start -> f f -> b f -> c b -> a c -> a a -> j j -> exit", 2),
        (f'{FAN} f [for_each="x", max_items=7] start -> f f -> a a -> j j -> exit', 7),
        (f"{FAN} start -> f f -> b b -> j j -> a a -> exit", 1),
    ],
)
def test_the_most_visits_of_a_node_follow_from_the_graph(text: str, visits: int) -> None:
    assert most_visits(graph_of(text))["a"] == visits
