"""The layout of a graph on a page: ranks from top to bottom, few crossings, smooth lines.

Edges that lead back are turned around first, so that every edge leads down. A node's rank is the longest way to it.
An edge over several ranks gets a point in each of them. Points of a rank are ordered by the mean place of their
neighbors, then moved as close to that mean as their distances allow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from orchestra.graph.model import Edge, Graph

HEIGHT = 40.0
GAP = 28.0
"""Between neighbors of a rank, in pixels."""

RANK = 92.0
"""From a rank to the next, in pixels."""

THIN = 12.0
"""Room that an edge takes where it passes a rank."""

CHARACTER = 7.2
WIDEST = 220.0
SWEEPS = 8


@dataclass(frozen=True, slots=True)
class Box:
    """A node's place: its middle, and its size in pixels."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Line:
    """An edge's points from its source to its target, and the place of its label."""

    edge: Edge
    points: tuple[tuple[float, float], ...]
    label: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Drawing:
    """Everything placed, on a page of this size."""

    width: float
    height: float
    boxes: Mapping[str, Box]
    lines: Sequence[Line]


def draw(graph: Graph) -> Drawing:
    """The graph's drawing."""
    ranks, chains = _ranks(graph)
    sizes = {node.id: _width(node.label) for node in graph.nodes.values()}
    rows = _order(ranks, chains)
    xs = _place(rows, chains, sizes)
    left = min((xs[p] - _size(p, sizes) / 2 for p in xs), default=0.0) - GAP
    boxes = {node: Box(xs[node] - left, ranks[node] * RANK + RANK / 2, sizes[node], HEIGHT) for node in graph.nodes}
    lines = _lines(graph, chains, boxes, {p: x - left for p, x in xs.items()}, ranks)
    width = max((xs[p] + _size(p, sizes) / 2 - left for p in xs), default=0.0) + GAP
    loops = GAP * any(edge.source == edge.target for edge in graph.edges)
    return Drawing(width + loops, (max(ranks.values(), default=0) + 1) * RANK, boxes, lines)


def _width(label: str) -> float:
    return min(max(len(label) * CHARACTER + 32, 64.0), WIDEST)


def _size(point: str, sizes: Mapping[str, float]) -> float:
    return sizes.get(point, THIN)


def _ranks(graph: Graph) -> tuple[dict[str, int], list[list[str]]]:
    """Every point's rank, and per edge the points that it passes, from above to below."""
    back = _back_edges(graph)
    down = [
        (edge.target, edge.source) if number in back else (edge.source, edge.target)
        for number, edge in enumerate(graph.edges)
    ]
    ranks = _longest_ways(list(graph.nodes), [pair for pair in down if pair[0] != pair[1]])
    chains = []
    for number, (above, below) in enumerate(down):
        passed = [f"\0{number}.{rank}" for rank in range(ranks[above] + 1, ranks[below])]
        for offset, point in enumerate(passed, 1):
            ranks[point] = ranks[above] + offset
        chains.append([above, *passed, below])
    return ranks, chains


def _back_edges(graph: Graph) -> set[int]:
    """The edges that close a cycle, for a walk through the graph that begins at its start."""
    after: dict[str, list[tuple[int, str]]] = {node: [] for node in graph.nodes}
    for number, edge in enumerate(graph.edges):
        after[edge.source].append((number, edge.target))
    found: set[int] = set()
    done: set[str] = set()
    open_: set[str] = set()
    for first in ([graph.start] if graph.start in after else []) + list(graph.nodes):
        stack = [(first, iter(after[first]))] if first not in done else []
        open_.update({first} if stack else ())
        while stack:
            node, rest = stack[-1]
            number, target = next(rest, (-1, ""))
            if number < 0:
                stack.pop()
                open_.discard(node)
                done.add(node)
            elif target in open_:
                found.add(number)
            elif target not in done:
                open_.add(target)
                stack.append((target, iter(after[target])))
    return found


def _longest_ways(nodes: Sequence[str], down: Sequence[tuple[str, str]]) -> dict[str, int]:
    ranks = dict.fromkeys(nodes, 0)
    after: dict[str, list[str]] = {node: [] for node in nodes}
    waits = dict.fromkeys(nodes, 0)
    for above, below in down:
        after[above].append(below)
        waits[below] += 1
    ready = [node for node in nodes if not waits[node]]
    while ready:
        node = ready.pop()
        for below in after[node]:
            ranks[below] = max(ranks[below], ranks[node] + 1)
            waits[below] -= 1
            if not waits[below]:
                ready.append(below)
    return ranks


def _neighbors(chains: Sequence[Sequence[str]]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    above: dict[str, list[str]] = {}
    below: dict[str, list[str]] = {}
    for chain in chains:
        for upper, lower in pairwise(chain):
            if upper != lower:
                below.setdefault(upper, []).append(lower)
                above.setdefault(lower, []).append(upper)
    return above, below


def _order(ranks: Mapping[str, int], chains: Sequence[Sequence[str]]) -> list[list[str]]:
    """The points of each rank from left to right."""
    rows: list[list[str]] = [[] for _ in range(max(ranks.values(), default=0) + 1)]
    for point, rank in ranks.items():
        rows[rank].append(point)
    above, below = _neighbors(chains)
    at = {point: place for row in rows for point, place in _shares(row)}
    for sweep in range(SWEEPS):
        near = below if sweep % 2 else above
        for row in reversed(rows) if sweep % 2 else rows:
            means = {point: _mean([at[other] for other in near.get(point, ())], at[point]) for point in row}
            row.sort(key=means.__getitem__)
            at.update(_shares(row))
    return rows


def _shares(row: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Every point's place in its rank, from 0 to 1."""
    return ((point, index / max(len(row) - 1, 1)) for index, point in enumerate(row))


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _place(
    rows: Sequence[Sequence[str]], chains: Sequence[Sequence[str]], sizes: Mapping[str, float]
) -> dict[str, float]:
    """Every point's place from left to right."""
    xs: dict[str, float] = {}
    for row in rows:
        xs.update(_spread(row, [0.0] * len(row), sizes))
    above, below = _neighbors(chains)
    for sweep in range(SWEEPS):
        near = below if sweep % 2 else above
        for row in reversed(rows) if sweep % 2 else rows:
            wanted = [_mean([xs[other] for other in near.get(point, ())], xs[point]) for point in row]
            xs.update(_spread(row, wanted, sizes))
    return xs


def _spread(row: Sequence[str], wanted: Sequence[float], sizes: Mapping[str, float]) -> dict[str, float]:
    """The places closest to the wanted ones (least squares) that keep order and distances.

    Points that would come too close form a group, which stands at the mean of what its points want.
    """
    offsets = [0.0]
    for left, right in pairwise(row):
        gap = GAP if left in sizes or right in sizes else THIN
        offsets.append(offsets[-1] + (_size(left, sizes) + _size(right, sizes)) / 2 + gap)
    groups: list[tuple[float, int]] = []  # the sum of what is wanted, and how many points
    for want, offset in zip(wanted, offsets, strict=False):
        total, count = want - offset, 1
        while groups and groups[-1][0] / groups[-1][1] > total / count:
            before = groups.pop()
            total, count = total + before[0], count + before[1]
        groups.append((total, count))
    means = [total / count for total, count in groups for _ in range(count)]
    return {point: mean + offset for point, mean, offset in zip(row, means, offsets, strict=False)}


def _lines(
    graph: Graph,
    chains: Sequence[Sequence[str]],
    boxes: Mapping[str, Box],
    xs: Mapping[str, float],
    ranks: Mapping[str, int],
) -> list[Line]:
    leaving = _ports(chains, boxes, xs, first=True)
    arriving = _ports(chains, boxes, xs, first=False)
    below, above = Counter(chain[0] for chain in chains), Counter(chain[-1] for chain in chains)
    crowds = {node: (below[node], above[node]) for node in boxes}
    lines = []
    for number, (edge, chain) in enumerate(zip(graph.edges, chains, strict=True)):
        if edge.source == edge.target:
            lines.append(_loop(edge, boxes[edge.source]))
            continue
        points = [(leaving[number], boxes[chain[0]].y + HEIGHT / 2)]
        for passed in chain[1:-1]:
            y = ranks[passed] * RANK + RANK / 2
            points += [(xs[passed], y - HEIGHT / 2), (xs[passed], y + HEIGHT / 2)]
        points.append((arriving[number], boxes[chain[-1]].y - HEIGHT / 2))
        lower = crowds[chain[-1]][1] <= crowds[chain[0]][0]  # the label is put where fewer lines meet
        first, second = points[-2:] if lower else points[:2]
        share = 0.6 if lower else 0.4
        label = (first[0] + (second[0] - first[0]) * share, first[1] + (second[1] - first[1]) * share)
        ordered = points if chain[0] == edge.source else points[::-1]
        lines.append(Line(edge, tuple(ordered), label))
    return lines


def _ports(
    chains: Sequence[Sequence[str]], boxes: Mapping[str, Box], xs: Mapping[str, float], *, first: bool
) -> dict[int, float]:
    """Where each edge leaves its upper node (or arrives at its lower one), so that no two share a place."""
    by_node: dict[str, list[tuple[float, int]]] = {}
    for number, chain in enumerate(chains):
        if chain[0] != chain[-1]:
            node, other = (chain[0], chain[1]) if first else (chain[-1], chain[-2])
            by_node.setdefault(node, []).append((xs[other], number))
    places = {}
    for node, edges in by_node.items():
        box = boxes[node]
        for place, (_x, number) in enumerate(sorted(edges), 1):
            places[number] = box.x - box.width / 2 + box.width * place / (len(edges) + 1)
    return places


def _loop(edge: Edge, box: Box) -> Line:
    right, out = box.x + box.width / 2, box.x + box.width / 2 + GAP
    points = ((right, box.y - 8), (out, box.y - 14), (out, box.y + 14), (right, box.y + 8))
    return Line(edge, points, (out, box.y))
