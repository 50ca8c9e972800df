"""Rules about the branches of parallel nodes (E30)."""

from __future__ import annotations

from collections.abc import Iterator

from orchestra.errors import Diagnostic
from orchestra.graph.flow import components
from orchestra.graph.joins import Before
from orchestra.graph.lint.survey import Survey, error, list_words, quote, swap_edit, warning
from orchestra.graph.model import Attribute, Edge, Node
from orchestra.graph.nearest import nearest


def parallel_join(survey: Survey) -> Iterator[Diagnostic]:
    """The branches of a parallel node meet in a fan-in, fan-ins join some, policies can be met."""
    yield from _policies(survey)
    met = survey.meetings.fan_in
    unjoined = False
    for number, join in met.items():
        if join >= 0 or not survey.successors[number] or not survey.reached[number]:
            continue
        unjoined = True
        node = survey.nodes[number]
        yield warning(
            f"the branches of {quote(node.id)} do not meet in one fan-in: {_apart(survey, number)};"
            " the run fails unless every branch ends at the exit",
            node.span,
            of=node,
            fix="connect every branch to one node with `shape=tripleoctagon`",
        )
    if not unjoined:
        yield from _idle_fan_ins(survey)


def _policies(survey: Survey) -> Iterator[Diagnostic]:
    """Yield parallel nodes whose join policy lacks its number or needs too many successes (E32)."""
    for node, written in survey.on_nodes.get("join_policy", ()):
        key = {"k_of_n": "k", "quorum": "quorum"}.get(str(written.value), "")
        if not key or survey.type_of[node.id] != "parallel":
            continue
        branches = len(survey.graph.outgoing(node.id))
        needed = node.attributes.get(key)
        if needed is None:
            what, fix = f"has no `{key}`", "add `k=N`" if key == "k" else "add `quorum=0.5`, or another share"
        elif key == "k" and branches and not node.text("for_each") and (node.integer("k") or 0) > branches:
            have = "1 branch" if branches == 1 else f"{branches} branches"
            what, fix = f"needs {needed.value} successes, but has {have}", f"write k={branches}, or add branches"
        else:
            continue
        yield error(
            f"`join_policy={written.value}` of {quote(node.id)} {what}, so it always fails",
            (needed or written).span,
            of=node,
            fix=fix,
        )


def _apart(survey: Survey, number: int) -> str:
    """Where the branches go instead of meeting."""
    nearest = survey.meetings.nearest
    targets = list(dict.fromkeys(survey.successors[number]))
    without = [survey.ids[t] for t in targets if nearest[t] < 0]
    if without:
        return f"a path from {list_words(without, 3)} bypasses every fan-in"
    first, second = _two_that_differ([(t, nearest[t]) for t in targets])
    return (
        f"{quote(survey.ids[first[0]])} leads to {quote(survey.ids[first[1]])},"
        f" {quote(survey.ids[second[0]])} to {quote(survey.ids[second[1]])}"
    )


def _two_that_differ(pairs: list[tuple[int, int]]) -> tuple[tuple[int, int], tuple[int, int]]:
    return pairs[0], next((pair for pair in pairs if pair[1] != pairs[0][1]), pairs[-1])


def _idle_fan_ins(survey: Survey) -> Iterator[Diagnostic]:
    """A fan-in that no parallel node hands its results to fails whenever it is entered.

    A branch that leads out of its piece takes the fan-in along: then that is the finding.
    """
    used = set(survey.meetings.fan_in.values())
    idle = [
        number
        for number, kind in enumerate(survey.types)
        if kind == "parallel.fan_in" and number not in used and survey.reached[number]
    ]
    if not idle or any(_escapes(survey, survey.run_ways)):
        return
    for number in idle:
        node = survey.nodes[number]
        yield warning(
            f"fan-in {quote(node.id)} has no parallel node before it, so it would find no results and fail",
            node.span,
            of=node,
            fix="connect the branches of a parallel node (`shape=component`) to it, or make it an ordinary node",
        )


def branch_escape(survey: Survey) -> Iterator[Diagnostic]:
    """No branch comes back to its own parallel node or upstream of it, nor takes a ``loop_restart`` edge.

    Either ends the branch as failed (``left its branch``).
    """
    if not survey.meetings.fan_in:
        return
    ways = survey.run_ways
    escapes = list(_escapes(survey, ways))
    reported: set[int] = set()
    for number, edge in escapes:
        if edge.index in reported:
            continue
        reported.add(edge.index)
        node = survey.ids[number]
        back = "back to it" if edge.target == node else f"to {quote(edge.target)}, which comes before it"
        yield _escape(survey, edge, f"a branch of {quote(node)} leads {back}", number)
    yield from _restarts(survey, reported)


def _escape(survey: Survey, edge: Edge, what: str, number: int) -> Diagnostic:
    join = survey.meetings.fan_in[number]
    return warning(
        f"{what}, where the branch fails ('left its branch')",
        edge.target_span,
        of=edge,
        fix=f"connect it to the fan-in {quote(survey.ids[join])}, and go back from there"
        if join >= 0
        else "connect the branches to a fan-in, and go back from there",
    )


def _escapes(survey: Survey, ways: list[list[int]]) -> Iterator[tuple[int, Edge]]:
    """The parallel nodes that a branch comes back to or goes round, with the edge by which it does."""
    knot = [0] * len(ways)
    for name, part in enumerate(components(ways)):
        for node in part:
            knot[node] = name
    caught = [
        (number, [t for t in survey.successors[number] if knot[t] == knot[number] and t != join])
        for number, join in survey.meetings.fan_in.items()
        if survey.reached[number] and join >= 0
    ]
    caught = [(number, targets) for number, targets in caught if targets]
    if not caught:
        return
    before = Before(ways, survey.index[survey.graph.starts[0]] if survey.graph.starts else 0)
    # looking for the very edge is bounded over all nodes, so that a tangle of a graph is read in time too
    steps = 4 * len(ways) + 10_000
    for number, targets in caught:
        edges, steps = _closing_edges(survey, ways, knot, before, number, targets, steps)
        yield from ((number, edge) for edge in edges)


def _closing_edges(
    survey: Survey,
    ways: list[list[int]],
    knot: list[int],
    before: Before,
    number: int,
    targets: list[int],
    steps: int,
) -> tuple[list[Edge], int]:
    """The edges by which branches of a node get back to it or before it; and the steps that are left."""
    found = [edge for edge in survey.graph.outgoing(survey.ids[number]) if edge.target == survey.ids[number]]
    seen = set(targets)
    queue = [target for target in targets if target != number]
    for node in queue:
        steps -= 1
        if steps < 0:
            break
        inside = {t for t in ways[node] if knot[t] == knot[number]}
        for edge in survey.graph.outgoing(survey.ids[node]):
            target = survey.index[edge.target]
            if target in inside and before.is_before(target, number):
                found.append(edge)
                inside.discard(target)
        queue.extend(inside - seen)
        seen |= inside
    return found, steps


def for_each(survey: Survey) -> Iterator[Diagnostic]:
    """A parallel node with ``for_each`` has one outgoing edge, and the node it names exists (E36)."""
    for node, attribute in survey.on_nodes.get("for_each", ()):
        number = survey.index[node.id]
        if survey.types[number] != "parallel" or not str(attribute.value):
            continue
        count = len(survey.graph.outgoing(node.id))
        if count > 1:
            yield error(
                f"{quote(node.id)} has {count} outgoing edges, but `for_each` needs exactly one",
                attribute.span,
                of=node,
                fix="put the nodes of one branch in sequence, or remove `for_each`",
            )
        yield from _unknown_source(survey, node, attribute)


def _unknown_source(survey: Survey, node: Node, attribute: Attribute) -> Iterator[Diagnostic]:
    """The list is not the output of a command, though it nearly is: its node or its last word is wrong."""
    text = str(attribute.value)
    plain = text.strip("{} $").removeprefix("context.")
    words = plain.split(".")
    name = words[1] if words[0] == "tools" and len(words) > 1 else words[0]
    source = name if name in survey.index else nearest(name, survey.ids) if words[0] == "tools" else ""
    meant, what = f"tools.{source}.output" if source else "", "is not the output of a command"
    if survey.type_of.get(source) != "tool":
        meant, what = "", f"names the output of {quote(name)}, which does not exist"
        if words[0] != "tools" or len(words) < 3 or name in survey.index:
            meant, what = plain, "must be a key without braces"
    if meant == text.removeprefix("context.") or (source == name and words[2:3] == ["output"] and plain == text):
        return
    yield error(
        f"`for_each` of {quote(node.id)} {what}",
        attribute.span,
        of=node,
        fix=f"did you mean `{meant}`?" if meant else "name a node that runs a command",
        edits=swap_edit(attribute.span, meant) if meant else (),
    )


def _restarts(survey: Survey, escaped: set[int]) -> Iterator[Diagnostic]:
    """The ``loop_restart`` edges that a branch can take."""
    edges = [edge for edge, attribute in survey.on_edges.get("loop_restart", ()) if attribute.value is True]
    if not edges:
        return
    for edge in edges:
        number = survey.owners[survey.index[edge.source]]
        if number >= 0 and edge.index not in escaped:
            what = f"a branch of {quote(survey.ids[number])} takes a `loop_restart` edge"
            yield _escape(survey, edge, what, number)
