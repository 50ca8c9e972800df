"""Recognize slips around nodes and edges: report them, read what was meant, offer an edit (L11)."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

from orchestra.errors import Edit, Span
from orchestra.graph.attributes import GRAPH, SHAPES
from orchestra.graph.attributes import AttributeScope as Table
from orchestra.graph.draft import Attributes, EdgeDraft, Ends, NodeDraft
from orchestra.graph.layout import ATTRIBUTES, FAR, statement_at
from orchestra.graph.lists import read_attribute, read_rest, take_attribute
from orchestra.graph.reader import Cursor, advance, error, is_mark, line_end, move_to, on_new_line, span_at
from orchestra.graph.tokens import KEY, TRIVIA, unescape

MAX_SET_EDGES = 100_000
"""Edges that sets and subgraphs as endpoints may make in one file."""


def declare(here: Cursor, name: str, span: Span, attributes: Attributes) -> None:
    """A node statement (L8)."""
    node = mention(here, name, span)
    if not node.declared:
        node.declared, node.span = True, span
    if attributes:
        node.add(attributes)


def mention(here: Cursor, name: str, span: Span) -> NodeDraft:
    """A node is named; where it is new, it gets the defaults of its scope (L8)."""
    scope = here.scope
    scope.members.setdefault(name, span)
    node = here.nodes.get(name)
    if node is None:
        node = here.nodes[name] = NodeDraft(name, scope, span, scope.node_defaults, False, False, True)
    return node


def connect(here: Cursor, ends: list[Ends], attributes: Attributes) -> None:
    """One edge per pair of neighbours, or of their members (L2)."""
    for sources, targets in pairwise(ends):
        made = len(sources) * len(targets)
        here.set_edges += made if made > 1 else 0
        if here.set_edges > MAX_SET_EDGES:
            first, last = sources[0][1], targets[-1][1]
            here.set_edges -= made
            error(
                here,
                f"these sets make {made} edges; at most {MAX_SET_EDGES} per pipeline are allowed",
                fix="put a node between the sets",
                start=min(first.start, last.start),
                end=max(first.end, last.end),
            )
            continue
        for source, there in sources:
            for target, named in targets:
                span = Span(here.source, min(there.start, named.start), max(there.end, named.end))
                here.edges.append(EdgeDraft(source, target, attributes, span, named))


def is_assignment(here: Cursor) -> bool:
    """Whether ``key =`` stands here, or what looks much like it."""
    if here.kind not in ("id", "string") or here.text[here.end : here.end + 2] in (" [", " -"):
        return False
    match = None if here.kind != "id" else KEY.match(here.text, here.start)
    end = here.end if match is None else match.end()
    trivia = TRIVIA.match(here.text, end)
    at = end if trivia is None else trivia.end()
    if here.text.startswith(":", at):
        return here.kind == "id" and re.compile(r':(?:=|[ \t]*"|[ \t]+\S)').match(here.text, at) is not None
    arrow = re.compile(r"=+[ \t]?>").match(here.text, at)
    text = arrow and here.word in GRAPH.entries and re.compile(r'[ \t]*"[^"\n]*\W').match(here.text, arrow.end())
    return here.text.startswith("=", at) and (arrow is None or bool(text))


def note_pair(here: Cursor, name: str, span: Span, known: bool) -> None:
    """Remember two names side by side: an arrow may be missing between them, or the ``=`` of a setting."""
    last = here.last
    if last is None or not last[0] or here.text[last[1].end : span.start].strip(" \t") != "":
        return
    arrow = known and here.scope.parent is None
    if arrow or _is_setting(last[0]):
        here.pairs.append((last[0], name, last[1], span, arrow))


def _is_setting(key: str) -> bool:
    """Whether a graph is likely to be given this attribute."""
    return GRAPH.entry(GRAPH.canonical(key)) is not None or key in _DRAWN


_KEYWORD = dict.fromkeys("graf graphs grpah garph gragh".split(), "graph")
_KEYWORD |= dict.fromkeys("nodes ndoe noed".split(), "node") | dict.fromkeys("edges egde edeg".split(), "edge")
"""Keywords misspelt, where no edge has such a node."""

_DRAWN = frozenset("bgcolor compound fontname labeljust labelloc layout rankdir splines".split())


def note_missing_between(here: Cursor) -> None:
    """Note names side by side that nothing connects, where an arrow is missing, or the ``=`` of a setting."""
    sources = {edge.source for edge in here.edges}
    targets = {edge.target for edge in here.edges}
    complete = not here.errors
    paired = {name for pair in here.pairs for name in pair[:2]}
    for name in GRAPH.entries.keys() & here.nodes.keys() - sources - targets - paired:
        node = here.nodes[name]
        if node.bare:
            here.ended = False
            error(here, f"{name!r} has no value", fix=f"write {name} = …", start=node.span.start, end=node.span.end)
    for name in _KEYWORD.keys() & here.nodes.keys() - sources - targets:
        span, meant = here.nodes[name].span, _KEYWORD[name]
        here.ended = False
        error(here, f"{name!r} is not a keyword", fix=f"write {meant}", start=span.start, end=span.end, put=meant)
    for source, target, first, second, arrow in here.pairs:
        at = first
        if _is_setting(source) and sources.union(targets).isdisjoint((source, target)) and here.nodes[source].bare:
            what, put = f"'=' between {source!r} and its value", "="
        elif arrow and complete and source != target and not (source in sources and target in targets):
            if _is_terminal(here, source, "exit") or _is_terminal(here, target, "start"):
                continue
            what, put, at = f"arrow between {source!r} and {target!r}", "->", second
        else:
            continue
        here.ended = False
        edits = [(first.end, second.start, f" {put} ")]
        fix = f"write {source} {put} {second.text}"
        error(here, f"missing {what}", fix=fix, start=at.start, end=at.end, edits=edits)


def _is_terminal(here: Cursor, name: str, kind: str) -> bool:
    """Whether a node is an exit, which nothing follows, or a start, which nothing leads to."""
    attributes = here.nodes[name].attributes
    shape, type_ = (attributes[key].value if key in attributes else "" for key in ("shape", "type"))
    named = name.lower() in (("exit", "end") if kind == "exit" else ("start",))
    return named or type_ == kind or SHAPES.get(str(shape)) == kind


def read_backwards(here: Cursor, name: str, span: Span) -> list[Ends]:
    """Note ``a <- b``, and read it as ``b -> a``: its ends, none where nothing of the kind stands here."""
    if here.kind != "html":
        return []
    match = re.compile(r"<-+[ \t]*([A-Za-z_]\w*)").match(here.text, here.start)
    if match is None:
        return []
    other = Span(here.source, *match.span(1))
    error(
        here,
        "'<-' is not an arrow",
        fix=f"write {match[1]} -> {name}",
        end=here.start + match[0].rindex("-") + 1,
        edits=[(span.start, match.end(), f"{match[1]} -> {span.text}")],
    )
    mention(here, name, span)
    mention(here, match[1], other)
    move_to(here, match.end())
    return [((match[1], other),), ((name, span),)]


def read_text_after(here: Cursor, name: str, span: Span) -> bool:
    """Note ``goal "Ship it"``: a text after a name, with nothing between them."""
    if here.kind != "string" or on_new_line(here) or here.word[1:-1].isidentifier():
        return False
    setting = here.scope.parent is not None or GRAPH.knows(name) or name not in here.nodes
    shown = here.word if len(here.word) <= 40 else '"…"'
    if setting and (GRAPH.knows(name) or GRAPH.nearest(name)):
        error(
            here,
            f"missing '=' between {name!r} and its text",
            fix=f"write {name} = {shown}",
            edits=[(span.end, here.start, " = ")],
        )
        text, place = unescape(here.word[1:-1]), span_at(here)
        take_attribute(here, here.scope.attributes, name, span, text, True, place, GRAPH)
    else:
        error(here, "a text after a node's id", fix=f"write {name} [label={shown}]", put=f"[label={here.word}]")
        declare(here, name, span, {})
    advance(here)
    return True


def read_unbracketed(here: Cursor, table: Table, found: Attributes) -> None:
    """Note attributes that follow a node or an edge without brackets, and take them."""
    if here.kind != "id" or on_new_line(here):
        return
    start, noted = here.start, len(here.found)
    if is_assignment(here) and is_listed(here):
        error(here, "a list of attributes without its '['", fix="write [ … ]", edits=[(start, start, "[")])
        read_rest(here, table, found, start, False)
        return
    while here.kind == "id" and not on_new_line(here) and is_assignment(here):
        match = KEY.match(here.text, here.start)
        if match is None or table.entry(table.canonical(match[0])) is None:
            break
        if here.start == start:
            error(here, "attributes must be in brackets", fix=f"write [{match[0]}=…]", end=match.end())
        read_attribute(here, table, found)
        end = here.before
        if len(here.found) > noted:
            edits = (Edit(Span(here.source, start, start), "["), Edit(Span(here.source, end, end), "]"))
            here.found[noted] = replace(here.found[noted], edits=edits)
        if is_mark(here, ","):
            advance(here)


def is_listed(here: Cursor) -> bool:
    """Whether the bracket that would close a list follows in the same statement."""
    closing = ATTRIBUTES.match(here.text, here.start, here.end + FAR)
    return closing is not None and closing.end() <= statement_at(here.text, here.start)[1]


def skip_early_list(here: Cursor) -> tuple[int, int, int] | None:
    """Note and skip the attributes of ``a -> [label=x] b``, which come too early.

    Returns where they are, and how many findings there were.
    """
    if not is_mark(here, "["):
        return None
    closing = ATTRIBUTES.match(here.text, here.end, line_end(here, here.end))
    if closing is None or not re.compile(r"[ \t]*[A-Za-z_]").match(here.text, closing.end()):
        return None
    if not re.compile(r"\[\s*[\w.]+\s*=").match(here.text, here.start):
        return None
    start, noted = here.start, len(here.found)
    error(here, "the attributes of an edge come after its target", fix="write a -> b [ … ]", end=closing.end())
    move_to(here, closing.end())
    return start, closing.end(), noted


def move_list(here: Cursor, start: int, end: int, noted: int, target: Span) -> None:
    """Give the finding about an early list its edit: move the list after the target."""
    if len(here.found) == noted:
        return
    more = f"; {target.text}" if here.kind == "arrow" else ""
    put = f" {here.text[start:end]}{more}"
    edits = (
        Edit(Span(here.source, start, target.start), ""),
        Edit(Span(here.source, target.end, target.end), put),
    )
    fix = f"write -> {target.text} {here.text[start:end]}"
    here.found[noted] = replace(here.found[noted], fix=fix, edits=edits)


def skip_text_after_edge(here: Cursor) -> None:
    """Note ``a -> b "yes"``: a text after an edge, which is its condition or its label."""
    if here.kind != "string" or on_new_line(here) or here.word[1:-1].isidentifier():
        return
    key = "condition" if re.search("[=<>]", here.word) else "label"
    fix = f"write [{key}={here.word if len(here.word) <= 40 else '…'}]"
    error(here, "a text after an edge", fix=fix, put=f"[{key}={here.word}]")
    advance(here)
