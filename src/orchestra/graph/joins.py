"""Where the branches of parallel nodes meet (E30)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from orchestra.graph.flow import Successors, Tree, dominators, reversed_edges
from orchestra.graph.model import Graph


class Meetings(NamedTuple):
    """By number: the fan-in of every parallel node, and the first fan-in that every way out of a node passes.

    -1 stands for none.
    """

    fan_in: Mapping[int, int]
    nearest: Sequence[int]


def fan_ins(graph: Graph) -> dict[str, str]:
    """The fan-in of every parallel node by its id, empty where its branches meet in none (E30)."""
    ids = list(graph.nodes)
    index = {node: number for number, node in enumerate(ids)}
    types = [graph.type_of(node) for node in ids]
    successors = [[index[edge.target] for edge in graph.outgoing(node)] for node in ids]
    met = meetings(successors, types).fan_in
    return {ids[node]: ids[join] if join >= 0 else "" for node, join in met.items()}


def meetings(successors: Successors, types: Sequence[str]) -> Meetings:
    """Where branches meet (E30): the nearest fan-in on every way from every branch target to an end.

    A way that never ends asks for nothing.
    """
    parallels = [node for node, kind in enumerate(types) if kind == "parallel"]
    nearest = [-1] * len(types)
    if not parallels:
        return Meetings({}, nearest)
    above, endless = _post_dominators(successors, types)
    order = _from_roots(above)
    for node in order:
        if types[node] == "parallel.fan_in":
            nearest[node] = node
        elif above[node] >= 0:
            nearest[node] = nearest[above[node]]
    tree = Tree(above, order)
    asking = {node: [t for t in successors[node] if t not in endless] for node in parallels}
    return Meetings({node: _meeting(asking[node], tree, nearest) for node in parallels}, nearest)


def _meeting(targets: Sequence[int], tree: Tree, nearest: Sequence[int]) -> int:
    if not targets:
        return -1
    common = targets[0]
    for target in targets[1:]:
        common = tree.common(common, target)
        if common < 0:
            return -1
    return nearest[common]


def _post_dominators(successors: Successors, types: Sequence[str]) -> tuple[list[int], set[int]]:
    """The nearest node on every way from each node to an end, -1 for none; and the nodes that lead to no end."""
    size = len(types)
    ended = [[] if kind == "exit" else list(targets) for targets, kind in zip(successors, types, strict=True)]
    for targets in ended:
        if not targets:
            targets.append(size)
    ended.append([])
    above = dominators(reversed_edges(ended), size)[:size]
    endless = {node for node, parent in enumerate(above) if parent < 0}
    return [-1 if parent == size else parent for parent in above], endless


def _from_roots(parent: Sequence[int]) -> list[int]:
    """Every node, each after its parent."""
    children: list[list[int]] = [[] for _ in parent]
    order = []
    for node, above in enumerate(parent):
        if above < 0:
            order.append(node)
        else:
            children[above].append(node)
    for node in order:
        order.extend(children[node])
    return order
