"""Graph algorithms: reachability, cycles, dominators.

Nodes are numbers from 0; ``successors[n]`` are the nodes that an edge leads to from ``n``. Everything is
iterative and linear or nearly so, so a pipeline of any size and depth can be asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

Successors: TypeAlias = Sequence[Sequence[int]]


def reachable(successors: Successors, roots: Iterable[int]) -> bytearray:
    """One byte per node: 1 where some root leads, the roots included."""
    seen = bytearray(len(successors))
    stack = []
    for root in roots:
        seen[root] = 1
        stack.append(root)
    while stack:
        for target in successors[stack.pop()]:
            if not seen[target]:
                seen[target] = 1
                stack.append(target)
    return seen


def predecessor_lists(successors: Successors) -> list[list[int]]:
    """The predecessors of every node."""
    predecessors: list[list[int]] = [[] for _ in successors]
    for node, targets in enumerate(successors):
        for target in targets:
            predecessors[target].append(node)
    return predecessors


def components(successors: Successors) -> list[list[int]]:
    """The strongly connected components, each sorted; those that are led to come before those that lead."""
    size = len(successors)
    number = [0] * size
    low = [0] * size
    on_stack = bytearray(size)
    stack: list[int] = []
    found: list[list[int]] = []
    counter = 0
    for root in range(size):
        path = [] if number[root] else [(root, iter(successors[root]))]
        while path:
            node, targets = path[-1]
            if not number[node]:
                counter += 1
                number[node] = low[node] = counter
                stack.append(node)
                on_stack[node] = 1
            onward = _look(node, targets, number, low, on_stack)
            if onward >= 0:
                path.append((onward, iter(successors[onward])))
                continue
            path.pop()
            if path and low[node] < low[path[-1][0]]:
                low[path[-1][0]] = low[node]
            if low[node] == number[node]:
                found.append(_unstack(stack, on_stack, node))
    return found


def _look(node: int, targets: Iterator[int], number: list[int], low: list[int], on_stack: bytearray) -> int:
    """Return the next target that was not visited yet, else -1; note the places of the others."""
    for target in targets:
        if not number[target]:
            return target
        if on_stack[target] and number[target] < low[node]:
            low[node] = number[target]
    return -1


def _unstack(stack: list[int], on_stack: bytearray, node: int) -> list[int]:
    component = []
    while True:
        member = stack.pop()
        on_stack[member] = 0
        component.append(member)
        if member == node:
            component.sort()
            return component


def dominators(successors: Successors, root: int) -> list[int]:
    """The immediate dominator of every node: the nearest other node on every way to it from ``root``.

    -1 for the root and for what it does not reach. By Lengauer and Tarjan, with path compression.
    """
    order, parent, number = _preorder(successors, root)
    predecessors = predecessor_lists(successors)
    size = len(order)
    semi = list(range(size))
    best = list(range(size))
    ancestor = [-1] * size
    bucket: list[list[int]] = [[] for _ in range(size)]
    idom = [0] * size
    for w in range(size - 1, 0, -1):
        for node in predecessors[order[w]]:
            v = number[node]
            if v >= 0:
                candidate = semi[_lowest(v, ancestor, best, semi)]
                if candidate < semi[w]:
                    semi[w] = candidate
        bucket[semi[w]].append(w)
        above = parent[w]
        ancestor[w] = above
        for v in bucket[above]:
            u = _lowest(v, ancestor, best, semi)
            idom[v] = u if semi[u] < semi[v] else above
        bucket[above] = []
    result = [-1] * len(successors)
    for w in range(1, size):
        if idom[w] != semi[w]:
            idom[w] = idom[idom[w]]
        result[order[w]] = order[idom[w]]
    return result


def _preorder(successors: Successors, root: int) -> tuple[list[int], list[int], list[int]]:
    """Depth first from ``root``: the nodes in order, each one's parent by order, each node's place or -1."""
    number = [-1] * len(successors)
    order: list[int] = []
    parent: list[int] = []
    stack = [(root, -1)]
    while stack:
        node, above = stack.pop()
        if number[node] >= 0:
            continue
        mine = len(order)
        number[node] = mine
        order.append(node)
        parent.append(above)
        stack.extend((target, mine) for target in reversed(successors[node]) if number[target] < 0)
    return order, parent, number


def _lowest(v: int, ancestor: list[int], best: list[int], semi: list[int]) -> int:
    """The node of least semidominator on the way up from ``v``; shortens that way for the next time."""
    if ancestor[v] < 0:
        return v
    path = []
    node = v
    while ancestor[ancestor[node]] >= 0:
        path.append(node)
        node = ancestor[node]
    while path:
        node = path.pop()
        above = ancestor[node]
        if semi[best[above]] < semi[best[node]]:
            best[node] = best[above]
        ancestor[node] = ancestor[above]
    return best[v]


class DominatorTree:
    """A forest given by each node's parent (-1 for a root) that answers for the nearest common ancestor."""

    __slots__ = ("_depth", "_jump", "_parent")

    def __init__(self, parent: Sequence[int], order: Iterable[int]) -> None:
        """``order`` names every node after its parent."""
        size = len(parent)
        self._parent = parent
        self._depth = depth = [0] * size
        # each node also knows one far ancestor, spaced so that any climb takes logarithmically many steps
        self._jump = jump = list(range(size))
        for node in order:
            above = parent[node]
            if above < 0:
                continue
            depth[node] = depth[above] + 1
            far = jump[above]
            if depth[above] - depth[far] == depth[far] - depth[jump[far]]:
                jump[node] = jump[far]
            else:
                jump[node] = above

    def common(self, a: int, b: int) -> int:
        """Return the nearest common ancestor of two nodes, themselves included, else -1."""
        depth, jump, parent = self._depth, self._jump, self._parent
        if depth[a] < depth[b]:
            a, b = b, a
        while depth[a] > depth[b]:
            a = jump[a] if depth[jump[a]] >= depth[b] else parent[a]
        while a != b:
            if depth[a] == 0:
                return -1
            if jump[a] != jump[b]:
                a, b = jump[a], jump[b]
            else:
                a, b = parent[a], parent[b]
        return a
