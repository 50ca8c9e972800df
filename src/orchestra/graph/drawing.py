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


_OUTLINES: Mapping[str, Sequence[tuple[float, float]]] = {
    "Mdiamond": ((0.12, 0), (0.88, 0), (1, 0.5), (0.88, 1), (0.12, 1), (0, 0.5)),
    "diamond": ((0.5, -0.25), (1.1, 0.5), (0.5, 1.25), (-0.1, 0.5)),
    "hexagon": ((0.1, 0), (0.9, 0), (1.03, 0.5), (0.9, 1), (0.1, 1), (-0.03, 0.5)),
    "parallelogram": ((0.08, 0), (1.05, 0), (0.92, 1), (-0.05, 1)),
    "component": ((0, 0), (1, 0), (0.93, 1), (0.07, 1)),
    "tripleoctagon": ((0.07, 0), (0.93, 0), (1, 1), (0, 1)),
}
"""Corners of a node's shape, as shares of its box; other shapes are boxes."""


def outline(shape: str, box: Box) -> str:
    """The points of a node's shape; empty for a box."""
    left, top = box.x - box.width / 2, box.y - box.height / 2
    corners = _OUTLINES.get(shape, ())
    return " ".join(f"{left + x * box.width:.1f},{top + y * box.height:.1f}" for x, y in corners)


def path_of(line: Line) -> str:
    """A line's path: straight down where it starts and ends, curved between."""
    (x, y), *rest = line.points
    if line.edge.source == line.edge.target:
        return f"M{x:.1f},{y:.1f} C" + " ".join(f"{px:.1f},{py:.1f}" for px, py in rest)
    parts = [f"M{x:.1f},{y:.1f}"]
    for px, py in rest:
        half = (py - y) / 2
        parts.append(f"C{x:.1f},{y + half:.1f} {px:.1f},{py - half:.1f} {px:.1f},{py:.1f}")
        x, y = px, py
    return " ".join(parts)


def edge_keys(lines: Sequence[Line]) -> list[str]:
    """Return the edges as events name them: source->target, with #n for the n-th of a pair.

    ``jump`` comes before a jump without an edge.
    """
    keys = []
    seen: Counter[str] = Counter()
    for line in lines:
        name = f"{line.edge.source}->{line.edge.target}"
        seen[name] += not is_jump(line)
        keys.append(f"jump {name}" if is_jump(line) else f"{name}#{seen[name]}" if seen[name] > 1 else name)
    return keys


LABEL_LENGTH, LETTER, ROW = 26, 5.8, 13.0
"""Letters of a label that are shown; the width of one, and the height of a row of them, in pixels."""


def labels_of(lines: Sequence[Line]) -> Iterator[tuple[str, float, float]]:
    """The labels of edges and where their middles stand: one that would cover another moves down."""
    placed: list[tuple[float, float, float]] = []
    for line in lines:
        text = line.edge.label or line.edge.condition.text
        if not text:
            continue
        x, y = line.label
        half = min(len(text), LABEL_LENGTH) * LETTER / 2
        while any(abs(x - other) < half + its and abs(y - at) < ROW for other, at, its in placed):
            y += ROW
        placed.append((x, y, half))
        yield text, x, y


def is_jump(line: Line) -> bool:
    """Whether a line leads to a retry target."""
    return line.edge.index < 0
