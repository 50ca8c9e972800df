"""Rules about cycles."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence, Set

from orchestra.errors import Diagnostic
from orchestra.graph.flow import components
from orchestra.graph.lint.survey import RETRIES, Survey, has_condition, info, quote, warning
from orchestra.graph.model import Edge, Node
from orchestra.graph.report import plural
from orchestra.graph.visits import RETURNS, has_own_bound

_SHOWN = 4


def unbounded_loop(survey: Survey) -> Iterator[Diagnostic]:
    """Something on every cycle can end it: a condition, ``max_visits``, a human gate or a goal gate.

    A node that one conditional edge leaves decides, whichever way that edge goes; restarts are counted
    (E14). Retry targets count as edges. Reported once for each knot of cycles, on an edge that closes one. A loop
    that only conditions end, and a goal gate that sends a run back as often as E15 allows, are worth knowing.
    """
    knots = {n: knot for knot, part in enumerate(_knots(survey.ways)) for n in part if survey.reached[n]}
    if not knots:
        return
    counted = _counted(survey)
    ways = _free_ways(survey, knots.keys() - counted - _judged(survey), survey.jumps)
    free = [cycle for part in _knots(ways) if not _leaves_a_branch(survey, cycle := _cycle(ways, part[0]))]
    for cycle in free:
        yield _diagnostic(survey, cycle)
    yield from _uncounted_loops(survey, knots, {node for cycle in free for node in cycle})
    yield from _gates(survey, knots, counted)


def _knots(ways: Sequence[Sequence[int]]) -> list[list[int]]:
    """The nodes of each knot of cycles."""
    return [part for part in components(ways) if len(part) > 1 or part[0] in ways[part[0]]]


def _free_ways(survey: Survey, free: Set[int], jumps: Sequence[Sequence[int]]) -> list[list[int]]:
    """The targets of the edges and jumps among these nodes on which nothing bounds a run."""
    ways: list[list[int]] = [[] for _ in survey.nodes]
    for number in free:
        edges = zip(survey.successors[number], survey.graph.outgoing(survey.ids[number]), strict=True)
        ways[number] = [target for target, edge in edges if target in free and _is_free(edge)]
        ways[number] += [target for target in jumps[number] if target in free]
    return ways


def _counted(survey: Survey) -> set[int]:
    """The nodes at which a person or ``max_visits`` ends every loop."""
    own = {survey.index[node.id]: node.integer("max_visits") for node, _ in survey.on_nodes.get("max_visits", ())}
    found = {number for number, visits in own.items() if visits > 0}
    if survey.graph.integer("default_max_visits") > 0:
        found |= set(range(len(survey.nodes))) - own.keys()
    return found.union(survey.index[node.id] for node in survey.by_type["wait.human"])


def _judged(survey: Survey) -> set[int]:
    """The nodes at which a goal gate or the condition of an edge may end a loop."""
    gates = (node.id for node, attribute in survey.on_nodes.get("goal_gate", ()) if attribute.value is True)
    asked = (edge.source for edge, _ in survey.on_edges.get("condition", ()) if has_condition(edge))
    return {survey.index[name] for name in (*gates, *asked)}


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


def _diagnostic(survey: Survey, cycle: Sequence[int]) -> Diagnostic:
    names = [survey.ids[node] for node in cycle]
    for source, target in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
        leaving = survey.graph.outgoing(survey.ids[source])
        if not any(edge.target == survey.ids[target] and _is_free(edge) for edge in leaving):
            return _returning(survey, names, survey.nodes[source])
    closing = _closing(survey, names)
    steps = survey.graph.integer("max_steps")
    end = f"until it fails after {plural(steps, 'node')}" if steps else "forever"
    return warning(
        f"nothing ends the loop {_cycle_words(names)}: the run would repeat it {end}",
        closing.target_span,
        of=closing,
        fix=f"add a condition to an edge that leaves it, or set `max_visits` on {quote(names[0])} or on this edge",
    )


def _uncounted_loops(survey: Survey, circling: Iterable[int], known: Container[int]) -> Iterator[Diagnostic]:
    """Loops over a command that only a condition ends: while the command fails every round is a paid one."""
    if not survey.by_type["tool"]:
        return
    judged = _judged(survey)
    people = {survey.index[node.id] for node in survey.by_type["wait.human"]}
    open_ = {n for n in circling if n not in people and not has_own_bound(survey.graph, survey.nodes[n])}
    ways = _free_ways(survey, open_, [()] * len(survey.nodes))
    for part in _knots(ways):
        commands = [node for node in part if survey.types[node] == "tool"]
        if not commands or any(node in known for node in part):
            continue
        judge = next((node for node in commands if node in judged), commands[0])
        cycle = _cycle(ways, judge)
        if _leaves_a_branch(survey, cycle):
            continue
        names = [survey.ids[node] for node in cycle]
        closing = _closing(survey, names)
        yield info(
            f"nothing limits the loop {_cycle_words(names)}: it ends only when {quote(names[0])} has"
            f" failed {RETURNS} times in a row",
            closing.target_span,
            of=closing,
            fix=f"set `max_visits` on {quote(names[0])} to limit it; 0 means no limit",
        )


def _closing(survey: Survey, names: Sequence[str]) -> Edge:
    return next(edge for edge in survey.graph.outgoing(names[-1]) if edge.target == names[0] and _is_free(edge))


def _cycle_words(names: Sequence[str]) -> str:
    """A cycle in words."""
    shown = names if len(names) <= _SHOWN else [*names[: _SHOWN - 1], "...", names[-1]]
    return " -> ".join([*shown, names[0]])


def _returning(survey: Survey, names: Sequence[str], node: Node) -> Diagnostic:
    """A loop that goes back to a node's retry target whenever that node fails (E15)."""
    attribute = node.attributes.get("retry_target") or node.attributes["fallback_retry_target"]
    target = quote(str(attribute.value))
    return warning(
        f"while {quote(node.id)} fails, the run repeats the loop {_cycle_words(names)}, up to {RETURNS} times",
        attribute.span,
        of=node,
        fix=f"set `max_visits` on {target}, or use `max_retries` on {quote(node.id)} to try it again",
    )


def _gates(survey: Survey, knots: Mapping[int, int], counted: Container[int]) -> Iterator[Diagnostic]:
    """Return goal gates of commands whose retry target leads back to them without a bound.

    A command that no agent can make succeed fails every time.
    """
    for node, attribute in survey.on_nodes.get("goal_gate", ()):
        written = next((found for key in RETRIES if (found := node.attributes.get(key))), None)
        number = survey.index[node.id]
        target = survey.index.get(str(written.value)) if written is not None else None
        if attribute.value is not True or survey.types[number] != "tool" or written is None or target is None:
            continue
        if target in counted or number in counted or knots.get(number, -1) != knots.get(target, -2):
            continue
        yield info(
            f"while the goal gate {quote(node.id)} fails, the run goes back to {quote(survey.ids[target])},"
            f" up to {RETURNS} times",
            written.span,
            of=node,
            fix=f"set `max_visits` on {quote(survey.ids[target])} to allow fewer rounds",
        )
