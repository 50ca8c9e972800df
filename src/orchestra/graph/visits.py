"""How often a run can enter a node at most, as far as the graph says so (A5)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import inf

from orchestra.graph.flow import components, reachable
from orchestra.graph.joins import fan_ins
from orchestra.graph.model import Attributed, Edge, Graph, Node

RETURNS = 50
"""Jumps to a retry target, and failures of a node in a row on a loop, where no ``max_visits`` says otherwise
(E15)."""


def most_visits(graph: Graph) -> dict[str, int]:
    """The most visits of every node; 0 where a cycle has nothing that bounds it.

    A node is entered once by each branch that leads to it, and again after each step of its cycles that is
    counted: a node or an edge with ``max_visits``, a jump to a retry target.
    """
    index = {node: number for number, node in enumerate(graph.nodes)}
    own = [_visit_bound(graph, node) for node in graph.nodes.values()]
    counted = _count(graph, index)
    edges = [[index[edge.target] for edge in graph.outgoing(node)] for node in index]
    jumps = {way: own[way[1]] or RETURNS for way in _jumps(graph, index)}
    ways = [[*targets, *(target for source, target in jumps if source == n)] for n, targets in enumerate(edges)]
    free = [
        [] if own[n] else [target for target in targets if not own[target] and (n, target) not in counted]
        for n, targets in enumerate(edges)
    ]
    endless = _cyclic(free)
    again = _returns(ways, own, {**counted, **jumps})
    branches = _branches(graph, index, edges)
    bounds = [
        (own[n] or inf) if n in endless else min(own[n] or inf, branches[n] * again[n]) for n in index.values()
    ]
    _narrow(graph, index, bounds, own, counted, jumps)
    return {node: 0 if bounds[n] == inf else int(bounds[n]) for node, n in index.items()}


ROUNDS = 20
"""How often bounds are carried along the edges; each round is sound by itself."""


def _narrow(
    graph: Graph,
    index: Mapping[str, int],
    bounds: list[float],
    own: Sequence[int],
    counted: Mapping[tuple[int, int], int],
    jumps: Mapping[tuple[int, int], int],
) -> None:
    """Lower each bound to what can enter the node over its edges and by jumps.

    A node that may be entered no more fails, which a condition or a jump may lead on from once more. Fan-ins and
    the exit are also entered without an edge.
    """
    entering: dict[int, dict[int, float]] = {n: {} for n in index.values()}
    for edge in graph.edges:
        way = index[edge.source], index[edge.target]
        entering[way[1]][way[0]] = counted.get(way, inf)
    for (source, target), count in jumps.items():
        entering[target][source] = inf if source in entering[target] else count
    fixed = {index[node] for node in graph.nodes if graph.type_of(node) in ("start", "exit", "parallel.fan_in")}
    fans = {index[node]: _fan(graph, node) for node in graph.nodes if graph.type_of(node) == "parallel"}
    once_more = {index[e.source] for e in graph.edges if e.condition or graph.type_of(e.target) == "conditional"}
    once_more.update(source for source, _target in jumps)
    for _ in range(ROUNDS):
        before = list(bounds)
        for n, sources in entering.items():
            if sources and n not in fixed:
                leaving = (
                    min((bounds[s] + bool(own[s] and s in once_more)) * fans.get(s, 1), count)
                    for s, count in sources.items()
                )
                bounds[n] = min(bounds[n], sum(leaving))
        if bounds == before:
            break


def _fan(graph: Graph, parallel: str) -> int:
    """The most branches that a visit of a parallel node starts."""
    node = graph.nodes[parallel]
    return node.integer("max_items") if node.text("for_each") else len(graph.outgoing(parallel))


def has_own_bound(graph: Graph, node: Node) -> bool:
    """Whether the author has said how often a node may be entered; ``max_visits=0`` says without bound."""
    return node.has("max_visits") or graph.has("default_max_visits")


def comes_back(graph: Graph, edge: Edge) -> bool:
    """Whether a run that takes an edge can come back to its source by edges and nodes that nothing counts."""
    seen = {edge.source}
    stack = [edge]
    while stack:
        way = stack.pop()
        if way.integer("max_visits") or way.flag("loop_restart"):
            continue
        if way.target == edge.source:
            return not has_own_bound(graph, graph.nodes[way.target])
        if way.target not in seen and not has_own_bound(graph, graph.nodes[way.target]):
            seen.add(way.target)
            stack += graph.outgoing(way.target)
    return False


def _visit_bound(graph: Graph, node: Node) -> int:
    return node.integer("max_visits") if node.has("max_visits") else graph.integer("default_max_visits")


def _count(graph: Graph, index: Mapping[str, int]) -> dict[tuple[int, int], int]:
    """How often a run can go from one node to another, where every edge between them has ``max_visits``."""
    found: dict[tuple[int, int], int] = {}
    for edge in sorted(graph.edges, key=lambda edge: -edge.integer("max_visits")):
        way, count = (index[edge.source], index[edge.target]), edge.integer("max_visits")
        if count:
            found[way] = found.get(way, 0) + count
        else:
            found.pop(way, None)
    return found


def _jumps(graph: Graph, index: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    """From where to which retry target a run can jump."""
    for node in graph.nodes.values():
        yield from ((index[node.id], target) for target in _targets(node, index))
    gates = [node for node in graph.nodes.values() if node.flag("goal_gate")]
    for exit_ in graph.exits if gates else ():
        for owner in (*gates, graph):
            yield from ((index[exit_], target) for target in _targets(owner, index))


def _targets(owner: Attributed, index: Mapping[str, int]) -> list[int]:
    names = (owner.text("retry_target"), owner.text("fallback_retry_target"))
    return [index[name] for name in names if name in index]


def _cyclic(ways: Sequence[Sequence[int]]) -> set[int]:
    """The nodes that are on a cycle."""
    return {node for part in components(ways) if len(part) > 1 or part[0] in ways[part[0]] for node in part}


def _returns(
    ways: Sequence[Sequence[int]], own: Sequence[int], counted: Mapping[tuple[int, int], int]
) -> list[int]:
    """How often each node is entered through its cycles: once, and after each counted step of them."""
    found = [1] * len(ways)
    for part in components(ways):
        inside = set(part)
        if len(part) == 1 and part[0] not in ways[part[0]]:
            continue
        steps = sum(own[node] for node in part)
        steps += sum(count for (source, target), count in counted.items() if {source, target} <= inside)
        for node in part:
            found[node] += steps
    return found


def _branches(graph: Graph, index: Mapping[str, int], edges: Sequence[Sequence[int]]) -> list[int]:
    """How many branches can enter each node; 1 outside of all fan-outs."""
    found = [1] * len(edges)
    for parallel, fan_in in fan_ins(graph).items():
        node, join = graph.nodes[parallel], index.get(fan_in, -1)
        closed = [() if number == join else targets for number, targets in enumerate(edges)]
        each = node.integer("max_items") if node.text("for_each") else 1
        inside = [reachable(closed, [target]) for target in edges[index[parallel]]]
        for number in range(len(edges)):
            entering = each * sum(seen[number] for seen in inside)
            if entering and number != join:
                found[number] *= entering
    return found
