"""Where the branches of parallel nodes meet (E30)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from orchestra.graph.flow import DominatorTree, Successors, components, dominators, predecessor_lists, reachable
from orchestra.graph.model import Graph


class Meetings(NamedTuple):
    """By number: the fan-in of every parallel node, and the first fan-in on every way out of a node.

    -1 means none.
    """

    fan_in: Mapping[int, int]
    nearest: Sequence[int]


def fan_ins(graph: Graph) -> dict[str, str]:
    """The fan-in of every parallel node by its id, empty where its branches meet in none (E30)."""
    ids, successors, types, _index = _number(graph)
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
    tree = DominatorTree(above, order)
    asking = {node: [t for t in successors[node] if t not in endless] for node in parallels}
    return Meetings({node: _meeting(asking[node], tree, nearest) for node in parallels}, nearest)


def ways_of_the_run(successors: Successors, types: Sequence[str], fan_in: Mapping[int, int]) -> list[list[int]]:
    """Return the successors in a run: a branch ends at its fan-in, the run continues after it."""
    joins = frozenset(fan_in.values())
    ways = [[target for target in targets if target not in joins] for targets in successors]
    for number, join in fan_in.items():
        if join >= 0:
            ways[number].append(join)
    for number, kind in enumerate(types):
        if kind == "exit":
            ways[number] = []
    return ways


class Before:
    """Which nodes a run can be at before it enters a parallel node: those that the node does not dominate."""

    def __init__(self, ways: Successors, root: int) -> None:
        above = dominators(ways, root)
        children: list[list[int]] = [[] for _ in ways]
        for node, parent in enumerate(above):
            if parent >= 0:
                children[parent].append(node)
        self._enter = [0] * len(ways)
        self._leave = [0] * len(ways)
        stack = [(root, False)]
        clock = 0
        while stack:
            node, left = stack.pop()
            clock += 1
            if left:
                self._leave[node] = clock
                continue
            self._enter[node] = clock
            stack.append((node, True))
            stack.extend((child, False) for child in children[node])

    def is_before(self, node: int, parallel: int) -> bool:
        """Whether a run may have been at ``node`` before ``parallel``; the parallel node itself counts."""
        if node == parallel:
            return True
        return not self._enter[parallel] <= self._enter[node] <= self._leave[node] <= self._leave[parallel]


def upstream(graph: Graph, parallel: str) -> tuple[str, ...]:
    """Return the nodes by which a branch would leave its parallel node's part of the graph (E30).

    The parallel node itself, and those before it to which a way leads back.
    """
    ids, successors, types, index = _number(graph)
    ways = ways_of_the_run(successors, types, meetings(successors, types).fan_in)
    here = index[parallel]
    for part in components(ways):
        if here in part:
            before = Before(ways, index.get(graph.start, here))
            return tuple(ids[node] for node in part if before.is_before(node, here))
    return (parallel,)


def outermost(graph: Graph, node: str, within: str = "") -> str:
    """Return the outermost parallel node whose branch contains a node; the node itself if there is none.

    That is by the main walk, or by a branch of the parallel node ``within`` (E11).
    """
    ids, successors, types, index = _number(graph)
    if "parallel" not in types:
        return node
    fan_in = meetings(successors, types).fan_in
    trunk = [*ways_of_the_run(successors, types, fan_in)]
    for number, join in fan_in.items():
        trunk[number] = [join] if join >= 0 else []
    outside = reachable(trunk, successors[index[within]] if within else [index[graph.start]])
    wanted = index[node]
    if outside[wanted]:
        return node
    for number, join in fan_in.items():
        if outside[number]:
            inside = [[t for t in targets if t != join and not outside[t]] for targets in successors]
            if reachable(inside, inside[number])[wanted]:
                return ids[number]
    return node


def _number(graph: Graph) -> tuple[list[str], list[list[int]], list[str], dict[str, int]]:
    ids = list(graph.nodes)
    index = {node: number for number, node in enumerate(ids)}
    successors = [[index[edge.target] for edge in graph.outgoing(node)] for node in ids]
    return ids, successors, [graph.type_of(node) for node in ids], index


def _meeting(targets: Sequence[int], tree: DominatorTree, nearest: Sequence[int]) -> int:
    if not targets:
        return -1
    common = targets[0]
    for target in targets[1:]:
        common = tree.common(common, target)
        if common < 0:
            return -1
    return nearest[common]


def _post_dominators(successors: Successors, types: Sequence[str]) -> tuple[list[int], set[int]]:
    """Return the nearest node on every way from each node to an end (-1: none), and the dead ends."""
    size = len(types)
    ended = [[] if kind == "exit" else list(targets) for targets, kind in zip(successors, types, strict=True)]
    for targets in ended:
        if not targets:
            targets.append(size)
    ended.append([])
    above = dominators(predecessor_lists(ended), size)[:size]
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
