"""Rules about cycles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestra.errors import Diagnostic
from orchestra.graph.flow import components
from orchestra.graph.lint.survey import Survey, has_condition, quoted, warning
from orchestra.graph.model import Edge

_SHOWN = 4


def unbounded_loop(survey: Survey) -> Iterator[Diagnostic]:
    """Something on every cycle can end it: a condition, ``max_visits``, a human gate or a goal gate.

    A node that one conditional edge leaves decides, whichever way that edge goes; restarts are counted
    (E14). Reported once for each knot of cycles, on an edge that closes one.
    """
    ways = _free_ways(survey)
    for part in components(ways):
        if len(part) == 1 and part[0] not in ways[part[0]]:
            continue
        cycle = _cycle(ways, part[0])
        if _leaves_a_branch(survey, cycle):
            continue
        yield _found(survey, cycle)


def _free_ways(survey: Survey) -> list[list[int]]:
    """The targets of the edges on which nothing bounds a run."""
    index = survey.index
    bounded = [not survey.reached[n] or _bounds(survey, n) for n in range(len(survey.nodes))]
    return [
        []
        if bounded[number]
        else [
            index[edge.target]
            for edge in survey.graph.outgoing(node.id)
            if not bounded[index[edge.target]] and _is_free(edge)
        ]
        for number, node in enumerate(survey.nodes)
    ]


def _bounds(survey: Survey, number: int) -> bool:
    if survey.types[number] == "wait.human":
        return True
    node = survey.nodes[number]
    attributes = node.attributes
    owner = node if "max_visits" in attributes else survey.graph
    bound = owner.integer("max_visits" if owner is node else "default_max_visits")
    if bound > 0 or ("goal_gate" in attributes and node.flag("goal_gate")):
        return True
    return any(has_condition(edge) for edge in survey.graph.outgoing(node.id))


def _is_free(edge: Edge) -> bool:
    attributes = edge.attributes
    if "max_visits" in attributes and edge.integer("max_visits") > 0:
        return False
    return not ("loop_restart" in attributes and edge.flag("loop_restart"))


def _cycle(ways: Sequence[Sequence[int]], first: int) -> list[int]:
    """A shortest cycle through a node that is on one."""
    came: dict[int, int] = {}
    queue = [first]
    for node in queue:
        for target in ways[node]:
            if target == first:
                cycle = [node]
                while node != first:
                    node = came[node]
                    cycle.append(node)
                return cycle[::-1]
            if target not in came:
                came[target] = node
                queue.append(target)
    return []


def _leaves_a_branch(survey: Survey, cycle: Sequence[int]) -> bool:
    """Whether the cycle goes out of a branch without its fan-in: that ends the branch (``branch_escape``)."""
    on_cycle = frozenset(cycle)
    return any(
        survey.types[node] == "parallel" and survey.meetings.fan_in.get(node, -1) not in on_cycle for node in cycle
    )


def _found(survey: Survey, cycle: Sequence[int]) -> Diagnostic:
    names = [survey.ids[node] for node in cycle]
    closing = next(edge for edge in survey.graph.outgoing(names[-1]) if edge.target == names[0] and _is_free(edge))
    steps = survey.graph.integer("max_steps")
    end = f"until it fails after {steps} nodes" if steps else "forever"
    shown = names if len(names) <= _SHOWN else [*names[: _SHOWN - 1], "...", names[-1]]
    return warning(
        "unbounded_loop",
        f"nothing ends the loop {' -> '.join([*shown, names[0]])}: the run would repeat it {end}",
        closing.target_span,
        edge=(closing.source, closing.target),
        fix=f"add a condition to an edge that leaves it, or set `max_visits` on {quoted(names[0])} or on this edge",
    )
