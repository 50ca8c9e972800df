"""Recognize slips around nodes and edges: report them, read what was meant, offer an edit (L11)."""

from __future__ import annotations

import re
from itertools import pairwise

from orchestra.errors import Span
from orchestra.graph.attributes import GRAPH, SHAPES, AttributeScope
from orchestra.graph.parser.draft import Attributes, EdgeDraft, Ends, NodeDraft
from orchestra.graph.parser.file import (
    File,
    error,
    following,
    give_edits,
    line_end,
    on_new_line,
    token_at,
)
from orchestra.graph.parser.layout import ATTRIBUTES, FAR, statement_at
from orchestra.graph.parser.lists import read_attribute, read_rest, take_attribute
from orchestra.graph.tokens import KEY, KEYWORDS, TRIVIA, Token, unescape

MAX_SET_EDGES = 100_000
"""Edges that sets and subgraphs as endpoints may make in one file."""


def declare(file: File, name: str, span: Span, attributes: Attributes) -> None:
    """A node statement (L8)."""
    node = mention(file, name, span)
    if not node.declared:
        node.declared, node.span = True, span
    if attributes:
        node.add(attributes)


def mention(file: File, name: str, span: Span) -> NodeDraft:
    """A node is named; where it is new, it gets the defaults of its scope (L8)."""
    scope = file.scope
    scope.members.setdefault(name, span)
    node = file.nodes.get(name)
    if node is None:
        node = file.nodes[name] = NodeDraft(name, scope, span, scope.node_defaults, False, False, True)
    return node


def connect(file: File, at: Token, ends: list[Ends], attributes: Attributes) -> None:
    """One edge per pair of neighbours, or of their members (L2)."""
    for sources, targets in pairwise(ends):
        made = len(sources) * len(targets)
        file.set_edges += made if made > 1 else 0
        if file.set_edges > MAX_SET_EDGES:
            first, last = sources[0][1], targets[-1][1]
            file.set_edges -= made
            error(
                file,
                at,
                f"these sets make {made} edges; at most {MAX_SET_EDGES} per pipeline are allowed",
                fix="put a node between the sets",
                start=min(first.start, last.start),
                end=max(first.end, last.end),
            )
            continue
        for source, there in sources:
            for target, named in targets:
                span = Span(file.source, min(there.start, named.start), max(there.end, named.end))
                file.edges.append(EdgeDraft(source, target, attributes, span, named))


def is_assignment(file: File, at: Token) -> bool:
    """Whether ``key =`` stands here, or what looks much like it."""
    text = file.text
    if at.kind not in ("id", "string") or text[at.end : at.end + 2] in (" [", " -"):
        return False
    match = None if at.kind != "id" else KEY.match(text, at.start)
    end = at.end if match is None else match.end()
    trivia = TRIVIA.match(text, end)
    after = end if trivia is None else trivia.end()
    if text.startswith(":", after):
        return at.kind == "id" and re.compile(r':(?:=|[ \t]*"|[ \t]+\S)').match(text, after) is not None
    arrow = re.compile(r"=+[ \t]?>").match(text, after)
    is_text = arrow and at.text in GRAPH.entries and re.compile(r'[ \t]*"[^"\n]*\W').match(text, arrow.end())
    return text.startswith("=", after) and (arrow is None or bool(is_text))


def note_pair(file: File, name: str, span: Span, known: bool) -> None:
    """Remember two names side by side: an arrow may be missing between them, or the ``=`` of a setting."""
    last = file.last
    if last is None or not last[0] or file.text[last[1].end : span.start].strip(" \t") != "":
        return
    arrow = known and file.scope.parent is None
    if arrow or _is_setting(last[0]):
        file.pairs.append((last[0], name, last[1], span, arrow))


def _is_setting(key: str) -> bool:
    """Whether a graph is likely to be given this attribute."""
    return GRAPH.entry(GRAPH.canonical(key)) is not None or key in _DRAWN


_KEYWORD = dict.fromkeys("graf graphs grpah garph gragh".split(), "graph")
_KEYWORD |= dict.fromkeys("nodes ndoe noed".split(), "node") | dict.fromkeys("edges egde edeg".split(), "edge")
"""Keywords misspelt, where no edge has such a node."""

_DRAWN = frozenset("bgcolor compound fontname labeljust labelloc layout rankdir splines".split())


def note_missing_between(file: File, at: Token) -> None:
    """Note names side by side that nothing connects, where an arrow is missing, or the ``=`` of a setting."""
    sources = {edge.source for edge in file.edges}
    targets = {edge.target for edge in file.edges}
    complete = not file.errors
    paired = {name for pair in file.pairs for name in pair[:2]}
    at = at._replace(kind="")  # what is missing is not at the end
    for name in GRAPH.entries.keys() & file.nodes.keys() - sources - targets - paired:
        node = file.nodes[name]
        if node.bare:
            message, fix = f"{name!r} has no value", f"write {name} = …"
            error(file, at, message, fix=fix, start=node.span.start, end=node.span.end)
    for name in GRAPH.entries.keys() & sources - targets:
        leaving = [edge for edge in file.edges if edge.source == name]
        setting = file.nodes.get(name)
        if complete and len(leaving) == 1 and setting is not None and setting.bare and not setting.declared:
            arrow = file.text.find("->", setting.span.end)
            fix = f"write {name} = {leaving[0].target}"
            error(file, at, f"{name!r} is set with '='", fix=fix, start=arrow, end=arrow + 2, put="=")
    for name in _KEYWORD.keys() & file.nodes.keys() - sources - targets:
        span, meant = file.nodes[name].span, _KEYWORD[name]
        message = f"{name!r} is not a keyword"
        error(file, at, message, fix=f"write {meant}", start=span.start, end=span.end, put=meant)
    for source, target, first, second, arrow in file.pairs:
        place = first
        if _is_setting(source) and sources.union(targets).isdisjoint((source, target)) and file.nodes[source].bare:
            what, put = f"'=' between {source!r} and its value", "="
        elif arrow and complete and source != target and not (source in sources and target in targets):
            if _is_terminal(file, source, "exit") or _is_terminal(file, target, "start"):
                continue
            what, put, place = f"arrow between {source!r} and {target!r}", "->", second
        else:
            continue
        edits = [(first.end, second.start, f" {put} ")]
        fix = f"write {source} {put} {second.text}"
        error(file, at, f"missing {what}", fix=fix, start=place.start, end=place.end, edits=edits)


def _is_terminal(file: File, name: str, kind: str) -> bool:
    """Whether a node is an exit, which nothing follows, or a start, which nothing leads to."""
    attributes = file.nodes[name].attributes
    shape, type_ = (attributes[key].value if key in attributes else "" for key in ("shape", "type"))
    named = name.lower() in (("exit", "end") if kind == "exit" else ("start",))
    return named or type_ == kind or SHAPES.get(str(shape)) == kind


def read_backwards(file: File, at: Token, name: str, span: Span) -> tuple[list[Ends], Token] | None:
    """Note ``a <- b``, and read it as ``b -> a``: its ends; None where nothing of the kind stands here."""
    match = re.compile(r"<-+[ \t]*([A-Za-z_]\w*)").match(file.text, at.start) if at.kind == "html" else None
    if match is None:
        return None
    other = Span(file.source, *match.span(1))
    error(
        file,
        at,
        "'<-' is not an arrow",
        fix=f"write {match[1]} -> {name}",
        end=at.start + match[0].rindex("-") + 1,
        edits=[(span.start, match.end(), f"{match[1]} -> {span.text}")],
    )
    mention(file, name, span)
    mention(file, match[1], other)
    return [((match[1], other),), ((name, span),)], token_at(file, match.end())


def read_text_after(file: File, at: Token, name: str, span: Span) -> Token | None:
    """Note ``goal "Ship it"``: a text after a name, with nothing between them."""
    if at.kind != "string" or on_new_line(file, at) or at.text[1:-1].isidentifier():
        return None
    setting = file.scope.parent is not None or GRAPH.knows(name) or name not in file.nodes
    shown = at.text if len(at.text) <= 40 else '"…"'
    if setting and (GRAPH.knows(name) or GRAPH.nearest(name)):
        edits = [(span.end, at.start, " = ")]
        error(file, at, f"missing '=' between {name!r} and its text", fix=f"write {name} = {shown}", edits=edits)
        written = (unescape(at.text[1:-1]), True, Span(file.source, at.start, at.end))
        take_attribute(file, at, file.scope.attributes, name, span, written, GRAPH)
    else:
        fix, put = f"write {name} [label={shown}]", f"[label={at.text}]"
        error(file, at, "a text after a node's id", fix=fix, put=put)
        declare(file, name, span, {})
    return following(file, at)


def read_unbracketed(file: File, at: Token, scope: AttributeScope, found: Attributes) -> Token:
    """Note attributes that follow a node or an edge without brackets, and take them."""
    if at.kind != "id" or on_new_line(file, at):
        return at
    start, noted = at.start, len(file.found)
    if is_assignment(file, at) and is_listed(file, at):
        edits = [(start, start, "[")]
        error(file, at, "a list of attributes without its '['", fix="write [ … ]", edits=edits)
        return read_rest(file, at, scope, found, opened=start, fresh=False)
    while at.kind == "id" and not on_new_line(file, at) and is_assignment(file, at):
        match = KEY.match(file.text, at.start)
        if match is None or scope.entry(scope.canonical(match[0])) is None:
            break
        if at.start == start:
            error(file, at, "attributes must be in brackets", fix=f"write [{match[0]}=…]", end=match.end())
        at = read_attribute(file, at, scope, found)
        give_edits(file, noted, (start, start, "["), (at.before, at.before, "]"))
        if at.is_mark(","):
            at = following(file, at)
    return at


def is_listed(file: File, at: Token) -> bool:
    """Whether the bracket that would close a list follows in the same statement."""
    closing = ATTRIBUTES.match(file.text, at.start, at.end + FAR)
    return closing is not None and closing.end() <= statement_at(file.text, at.start)[1]


def skip_early_list(file: File, at: Token) -> tuple[tuple[int, int, int], Token] | None:
    """Note and skip the attributes of ``a -> [label=x] b``, which come too early.

    Returns where they are, and how many findings there were.
    """
    if not at.is_mark("["):
        return None
    closing = ATTRIBUTES.match(file.text, at.end, line_end(file.text, at.end))
    if closing is None or not re.compile(r"[ \t]*[A-Za-z_]").match(file.text, closing.end()):
        return None
    if not re.compile(r"\[\s*[\w.]+\s*=").match(file.text, at.start):
        return None
    noted = len(file.found)
    message = "the attributes of an edge come after its target"
    error(file, at, message, fix="write a -> b [ … ]", end=closing.end())
    return (at.start, closing.end(), noted), token_at(file, closing.end())


def move_list(file: File, at: Token, early: tuple[int, int, int], target: Span) -> None:
    """Give the finding about an early list its edit: move the list after the target."""
    start, end, noted = early
    written = file.text[start:end]
    put = f" {written}" + (f"; {target.text}" if at.kind == "arrow" else "")
    fix = f"write -> {target.text} {written}"
    give_edits(file, noted, (start, target.start, ""), (target.end, target.end, put), fix=fix)


def skip_text_after_edge(file: File, at: Token) -> Token:
    """Note ``a -> b "yes"``: a text after an edge, which is its condition or its label."""
    if at.kind != "string" or on_new_line(file, at) or at.text[1:-1].isidentifier():
        return at
    key = "condition" if re.search("[=<>]", at.text) else "label"
    fix = f"write [{key}={at.text if len(at.text) <= 40 else '…'}]"
    error(file, at, "a text after an edge", fix=fix, put=f"[{key}={at.text}]")
    return following(file, at)


def is_hyphened(file: File, at: Token) -> bool:
    """Whether a key with hyphens stands here: ``my-key = value``."""
    glued = re.compile(r"[\w.]+(?:-[\w.]+)+[ \t]*=(?!>)").match(file.text, at.start)
    return glued is not None and at.kind == "id"


def is_more_words(file: File, at: Token) -> bool:
    """Whether the line continues with words that are not a statement: ``label = Nightly triage``."""
    if at.kind != "id" or on_new_line(file, at) or at.text in file.nodes or at.text.lower() in KEYWORDS:
        return False
    return re.compile(r"\w+(?:[ \t]+\w+)*[ \t]*(?:\n|;|\Z)").match(file.text, at.start) is not None


def skip_bare_list(file: File, at: Token, start: int) -> Token:
    """Note a list that is not quoted, up to the end of its line or statement, and skip it."""
    match = re.compile(r"[^\n;\]}]*").match(file.text, start)
    text = match[0].rstrip() if match is not None else ""
    end = start + len(text)
    fix, put = f'write "{text}"', f'"{text}"'
    error(file, at, "a list must be quoted", fix=fix, start=start, end=end, put=put)
    return token_at(file, end)
