"""Rules about the whole graph: start, exit, reachability."""

from __future__ import annotations

import re
from collections.abc import Iterator

from orchestra.errors import Diagnostic, Edit, Span
from orchestra.graph.flow import components, predecessor_lists
from orchestra.graph.lint.survey import Survey, append_edit, error, list_words, quote, swap_edit, warning
from orchestra.graph.model import Edge, Graph, Node

_TERMINAL_NAMES = {"start": "start", "Start": "start"} | dict.fromkeys(("exit", "Exit", "end", "End"), "exit")


def start_node(survey: Survey) -> Iterator[Diagnostic]:
    """Exactly one node is the start (language.md#shapes-and-handlers)."""
    graph = survey.graph
    if not graph.starts:
        root = next((name for name in survey.ids if not graph.incoming(name) and graph.outgoing(name)), "")
        fix, edits = _terminal(survey, "start", [root] if root else [])
        yield error("the pipeline has no start node", _header(graph), fix=fix, edits=edits)
    for name in graph.starts[1:]:
        node = graph.nodes[name]
        yield error(
            f"{quote(name)} is a second start node: {quote(graph.starts[0])} is the first,"
            " and a pipeline has exactly one",
            node.span_of("type", node.span_of("shape", node.span)),
            of=survey.graph.nodes[name],
            fix="give it another shape, or connect the start node to both paths",
        )


def _terminal(survey: Survey, kind: str, ends: list[str]) -> tuple[str, tuple[Edit, ...]]:
    """Return how to add the start or exit: a new node beside ``ends``, or the shape for an unused node."""
    shape = "Mdiamond" if kind == "start" else "Msquare"
    graph = survey.graph
    idle = next((name for name in ends if _does_nothing(survey, name)), "")
    if idle and len(ends) == 1:
        return f"give {quote(idle)} `shape={shape}`", _shape_edit(graph.nodes[idle], shape)
    edges = [f"start -> {name}" if kind == "start" else f"{name} -> exit" for name in ends]
    if not edges:
        return f"add `{kind} [shape={shape}]`", ()
    statements = (f"{kind} [shape={shape}]", *edges)
    return f"add `{'; '.join(statements)}`", append_edit(graph, *statements)


def _does_nothing(survey: Survey, name: str) -> bool:
    """Whether a node has no work of its own, so that it may be meant as the start or the exit."""
    node = survey.graph.nodes[name]
    return survey.type_of[name] == "codergen" and not {"prompt", "agent", "type", "tool_command"} & set(
        node.attributes
    )


def _shape_edit(node: Node, shape: str) -> tuple[Edit, ...]:
    """The edit that gives a node a shape; none where the node has only a default's."""
    written = node.attributes.get("shape")
    if written is not None and written.origin == "explicit":
        return swap_edit(written.span, shape)
    at, text = node.span.end, node.span.source.text
    listed = re.compile(r"\s*\[").match(text, at)
    if not node.declared or (written is not None and listed is None):
        return ()
    if listed is None:
        return (Edit(Span(node.span.source, at, at), f" [shape={shape}]"),)
    separator = "" if text.startswith("]", listed.end()) else ", "
    return (Edit(Span(node.span.source, listed.end(), listed.end()), f"shape={shape}{separator}"),)


def _header(graph: Graph) -> Span:
    """``digraph NAME``, where what is missing in the whole file is reported."""
    source = graph.span.source
    match = re.compile(rf'\bdigraph\s+"?{re.escape(graph.name)}\b').search(source.text)
    return graph.span if match is None else Span(source, match.start(), match.end())


def terminal_node(survey: Survey) -> Iterator[Diagnostic]:
    """Exactly one node is the exit (language.md#shapes-and-handlers)."""
    graph = survey.graph
    if not graph.exits:
        last = [name for name in survey.ids if graph.incoming(name) and not graph.outgoing(name)]
        fix, edits = _terminal(survey, "exit", last)
        yield error(
            "the pipeline has no exit node, so no run could finish and no goal gate would be checked",
            _header(graph),
            fix=fix,
            edits=edits,
        )
    for name in graph.exits[1:]:
        node = graph.nodes[name]
        yield error(
            f"{quote(name)} is a second exit node: {quote(graph.exits[0])} is the first,"
            " and a pipeline has exactly one",
            node.span_of("type", node.span_of("shape", node.span)),
            of=survey.graph.nodes[name],
            fix=f"connect its incoming edges to {quote(graph.exits[0])}",
        )


def start_no_incoming(survey: Survey) -> Iterator[Diagnostic]:
    """Nothing leads to the start."""
    for name in survey.graph.starts:
        following = next((edge.target for edge in survey.graph.outgoing(name)), "")
        for edge in survey.graph.incoming(name):
            yield error(
                f"an edge goes from {quote(edge.source)} back to the start node {quote(name)},"
                " which a run enters only once",
                edge.target_span,
                of=edge,
                fix=f"connect it to {quote(following)} instead" if following else "connect it to another node",
                edits=(Edit(edge.target_span, following),) if following else (),
            )


def exit_no_outgoing(survey: Survey) -> Iterator[Diagnostic]:
    """Nothing leads on from the exit."""
    for name in survey.graph.exits:
        for edge in survey.graph.outgoing(name):
            yield error(
                f"an edge goes from the exit node {quote(name)} to {quote(edge.target)},"
                " but the run ends at the exit",
                edge.span,
                of=edge,
                fix="delete the edge; to go back after an unmet goal gate, set `retry_target`",
                edits=_delete_edit(edge),
            )


def _delete_edit(edge: Edge) -> tuple[Edit, ...]:
    """The edit that deletes the statement of an edge; none where that is not the edge alone."""
    text, span = edge.span.source.text, edge.span
    statement = r"\w+\s*->\s*\w+[ \t]*(?:\[[^\[\]\"]*\])?[ \t]*;?"
    alone = re.compile(statement + r"(?=\s*(?:\w+\s*(?:->|\[|=)|[\w\"]+\s*\n|\}|//))")
    match = alone.match(text, span.start)
    before = text[: span.start].rstrip()
    if match is None or before.endswith("->"):
        return ()
    return (Edit(Span(span.source, span.start, match.end()), ""),)


def reachability(survey: Survey) -> Iterator[Diagnostic]:
    """The start leads to every node, by edges or retry targets.

    Reported once for the head of each unreached part; the exit has a rule of its own.
    """
    lost = [n for n, seen in enumerate(survey.reached) if not seen and survey.ids[n] not in survey.exits]
    if not lost:
        return
    start = quote(survey.graph.starts[0])
    for head, behind in _unreachable_parts(survey, lost):
        name = survey.ids[head]
        before, edge = _line_before(survey, name)
        if before and edge is not None:
            at = edge.span.start
            yield error(
                f"no path from {start} to {quote(name)}: an arrow is missing between {quote(before)}, at the end of"
                " the line before, and it",
                Span(edge.span.source, at, at + len(name)),
                of=survey.graph.nodes[name],
                fix=f"write {before} -> {name}",
                edits=(Edit(Span(edge.span.source, at, at), "-> "),),
            )
            continue
        rest = f", nor {list_words([survey.ids[n] for n in behind])} after it" if behind else ""
        yield error(
            f"no path from {start} to {quote(name)}{rest}: it would never run",
            survey.nodes[head].span,
            of=survey.graph.nodes[name],
            fix="add an edge to it, name it as a `retry_target`, or delete it",
        )


def _line_before(survey: Survey, name: str) -> tuple[str, Edge | None]:
    """The node with which the line ends before the first edge of a node, if nothing else follows that one."""
    edge = min(survey.graph.outgoing(name), key=lambda edge: edge.span.start, default=None)
    if edge is None:
        return "", None
    before = re.compile(r"(\w+)[ \t]*\n[ \t]*$").search(edge.span.source.text[: edge.span.start])
    found = before[1] if before is not None else ""
    ended = found in survey.index and found not in survey.exits and not survey.graph.outgoing(found)
    return (found, edge) if ended else ("", None)


def _lines_broken(survey: Survey) -> set[str]:
    """The nodes at the ends of lines after which an arrow is missing (``reachability``)."""
    heads = [n for n, seen in enumerate(survey.reached) if not seen and survey.graph.outgoing(survey.ids[n])]
    return {before for n in heads if (before := _line_before(survey, survey.ids[n])[0])}


def _unreachable_parts(survey: Survey, lost: list[int]) -> Iterator[tuple[int, list[int]]]:
    """Yield the head of every unreachable part, with the nodes reached only through it."""
    place = {node: position for position, node in enumerate(lost)}
    ways = [[place[t] for t in survey.ways[node] if t in place] for node in lost]
    back = predecessor_lists(ways)
    taken = bytearray(len(lost))
    for part in sorted(components(ways)):
        members = set(part)
        if any(source not in members for node in part for source in back[node]):
            continue
        behind: list[int] = []
        stack = part[:1]
        taken[part[0]] = 1
        while stack:
            for target in ways[stack.pop()]:
                if not taken[target]:
                    taken[target] = 1
                    behind.append(lost[target])
                    stack.append(target)
        yield lost[part[0]], sorted(behind)


def exit_reachable(survey: Survey) -> Iterator[Diagnostic]:
    """Some way leads from the start to the exit."""
    graph = survey.graph
    if not graph.starts or not graph.exits or any(survey.reached[survey.index[e]] for e in graph.exits):
        return
    if _lines_broken(survey):
        return
    name = graph.exits[0]
    last = [node for number, node in enumerate(survey.ids) if survey.reached[number] and not graph.outgoing(node)]
    yield error(
        f"no path from {quote(graph.starts[0])} to the exit node {quote(name)}: no run could reach it",
        graph.nodes[name].span,
        of=graph.nodes[name],
        fix=f"connect the last node to it: `{', '.join(last) if len(last) == 1 else '...'} -> {name}`",
        edits=append_edit(graph, f"{last[0]} -> {name}") if len(last) == 1 and not graph.incoming(name) else (),
    )


def dead_end(survey: Survey) -> Iterator[Diagnostic]:
    """Every node other than the exit leads on.

    Human gates, nodes that are not declared and nodes without any edge have rules of their own; so has
    a start that leads nowhere.
    """
    graph = survey.graph
    target = f"`-> {graph.exits[0]}`" if graph.exits else "an edge to the exit"
    for number, targets in enumerate(survey.successors):
        node = survey.nodes[number]
        if targets or survey.types[number] in {"exit", "wait.human"} or not node.declared:
            continue
        if (node.id in survey.starts and graph.exits) or _is_isolated(survey, number):
            continue
        if node.id in _lines_broken(survey):
            continue
        yield warning(
            f"{quote(node.id)} has no outgoing edge: a run that gets there ends without reaching the exit",
            node.span,
            of=node,
            fix=f"add {target}",
            edits=append_edit(graph, f"{node.id} -> {graph.exits[0]}") if _leads_on(survey) else (),
        )


def _leads_on(survey: Survey) -> bool:
    """Whether some node leads to the exit, so that ``exit_reachable`` does not propose the same edge."""
    return bool(survey.graph.exits) and bool(survey.graph.incoming(survey.graph.exits[0]))


def _is_isolated(survey: Survey, number: int) -> bool:
    return not survey.reached[number] and not survey.graph.incoming(survey.ids[number])


def edge_target_exists(survey: Survey) -> Iterator[Diagnostic]:
    """Every node that an edge mentions is declared (L8)."""
    for number, node in enumerate(survey.nodes):
        if not node.declared:
            yield _undeclared_node(survey, number, node)


def _undeclared_node(survey: Survey, number: int, node: Node) -> Diagnostic:
    graph = survey.graph
    kind = survey.types[number]
    terminal = _TERMINAL_NAMES.get(node.id, "")
    meant = _suggestion(survey, node, kind)
    last = not graph.outgoing(node.id) and kind != "exit"
    if kind in {"start", "exit"}:
        consequence = f"it is the {kind} only because of its name"
    elif kind == "codergen":
        consequence = "it would be an LLM node whose prompt is its id"
    else:
        consequence = f"the default shape would make it a {kind} node"
    if last:
        consequence += ", and a run that gets there would end"
    edge = next(iter(graph.incoming(node.id)), None) or next(iter(graph.outgoing(node.id)), None)
    wrong = survey.strict or bool(meant and last and not terminal)
    return (error if wrong else warning)(
        f"{quote(node.id)} is used in an edge but never declared: {consequence}",
        node.span,
        of=node,
        edge=edge,
        fix=f"did you mean {quote(meant)}?" if meant else f"declare it: `{node.id} {_DECLARED[kind]}`",
        edits=_rename_edits(survey, node.id, meant) if meant else (),
    )


def _rename_edits(survey: Survey, old: str, new: str) -> tuple[Edit, ...]:
    """The edits that write another node wherever an edge names one."""
    graph = survey.graph
    spans = [edge.target_span for edge in graph.incoming(old)]
    for edge in graph.outgoing(old):
        written = re.compile(rf'"?{old}"?').match(edge.span.source.text, edge.span.start)
        if written is not None:
            spans.append(Span(edge.span.source, *written.span()))
    return tuple(Edit(span, new) for span in dict.fromkeys(spans))


class _Declared(dict[str, str]):
    def __missing__(self, kind: str) -> str:
        return f'[type="{kind}"]'


_DECLARED = _Declared(
    start="[shape=Mdiamond]", exit="[shape=Msquare]", codergen='[prompt="..."]', conditional="[shape=diamond]"
)


def _suggestion(survey: Survey, node: Node, kind: str) -> str:
    """The declared node that is probably meant; a terminal by its name needs none."""
    if kind in {"start", "exit"}:
        return ""
    graph, role = survey.graph, _TERMINAL_NAMES.get(node.id, "")
    near = "" if role else survey.declared.nearest(node.id)
    if near:
        return near
    idle = {
        "start": [name for name in graph.starts if role or not (graph.incoming(node.id) or graph.outgoing(name))],
        "exit": [name for name in graph.exits if role or not (graph.outgoing(node.id) or graph.incoming(name))],
    }
    same = idle.get(role, [*idle["start"], *idle["exit"]])
    return same[0] if same else survey.declared.nearest(node.id)
