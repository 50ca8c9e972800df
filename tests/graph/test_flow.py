"""The algorithms over graphs, against their definitions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestra.graph.flow import DominatorTree, components, dominators, reachable
from orchestra.graph.joins import meetings


@st.composite
def graphs(draw: st.DrawFn) -> list[list[int]]:
    size = draw(st.integers(1, 9))
    node = st.integers(0, size - 1)
    return draw(st.lists(st.lists(node, max_size=3), min_size=size, max_size=size))


def without(successors: list[list[int]], node: int) -> list[list[int]]:
    return [[] if n == node else [t for t in targets if t != node] for n, targets in enumerate(successors)]


def dominates(successors: list[list[int]], root: int, above: int, node: int) -> bool:
    return above in (node, root) or not reachable(without(successors, above), [root])[node]


@given(graphs())
def test_the_immediate_dominator_is_the_nearest_node_on_every_way(successors: list[list[int]]) -> None:
    found = dominators(successors, 0)
    live = reachable(successors, [0])
    for node in range(len(successors)):
        if not live[node] or node == 0:
            assert found[node] == -1
            continue
        strict = [d for d in range(len(successors)) if d != node and live[d] and dominates(successors, 0, d, node)]
        nearest = [d for d in strict if all(dominates(successors, 0, other, d) for other in strict)]
        assert [found[node]] == nearest


@given(graphs())
def test_a_component_is_what_leads_to_one_another(successors: list[list[int]]) -> None:
    leads = [reachable(successors, [node]) for node in range(len(successors))]
    expected = {
        tuple(m for m in range(len(successors)) if leads[n][m] and leads[m][n]) for n in range(len(successors))
    }
    found = components(successors)
    assert {tuple(part) for part in found} == expected
    assert len(found) == len(expected)
    place = {node: number for number, part in enumerate(found) for node in part}
    assert all(place[t] <= place[n] for n, targets in enumerate(successors) for t in targets)


@given(st.lists(st.integers(-1, 30), min_size=1, max_size=30))
def test_the_common_ancestor_is_the_first_on_both_ways_up(raw: list[int]) -> None:
    parent = [min(above, node - 1) for node, above in enumerate(raw)]
    tree = DominatorTree(parent, range(len(parent)))

    def ways_up(node: int) -> list[int]:
        way = []
        while node >= 0:
            way.append(node)
            node = parent[node]
        return way

    for a in range(len(parent)):
        for b in range(len(parent)):
            expected = next((node for node in ways_up(a) if node in ways_up(b)), -1)
            assert tree.common(a, b) == expected


@given(graphs(), st.data())
def test_the_fan_in_lies_on_every_way_from_every_branch_to_an_end(
    successors: list[list[int]], data: st.DataObject
) -> None:
    kinds = st.sampled_from(["parallel", "parallel.fan_in", "codergen", "exit"])
    types = data.draw(st.lists(kinds, min_size=len(successors), max_size=len(successors)))
    ended = [[] if kind == "exit" else targets for targets, kind in zip(successors, types, strict=True)]
    ends = [n for n, targets in enumerate(ended) if not targets]

    def on_every_way(join: int, target: int) -> bool:
        return join == target or not any(reachable(without(ended, join), [target])[e] for e in ends if e != join)

    for node, join in meetings(successors, types).fan_in.items():
        targets = [t for t in successors[node] if any(reachable(ended, [t])[e] for e in ends)]
        common = [
            f
            for f, kind in enumerate(types)
            if kind == "parallel.fan_in" and targets and all(on_every_way(f, t) for t in targets)
        ]
        common = [f for f in common if any(reachable(ended, [t])[f] for t in targets)]
        nearest = [f for f in common if all(on_every_way(other, f) for other in common)]
        assert [join] == (nearest or [-1])


def test_nothing_of_it_recurses() -> None:
    size = 50_000
    chain = [[node + 1] for node in range(size - 1)] + [[]]
    assert len(components(chain)) == size
    assert dominators(chain, 0)[-1] == size - 2
    ring = [[(node + 1) % size] for node in range(size)]
    assert len(components(ring)) == 1
    assert DominatorTree(dominators(chain, 0), range(size)).common(size - 1, 17) == 17
