"""Parse statements into draft nodes, edges and subgraphs (language.md#syntax).

Braces are kept on a list of our own, so that no nesting can exhaust the stack. After an error the parser continues:
inside the statement where it is plain what was meant, else at the next one (L11).
"""

from __future__ import annotations

import re

from orchestra.errors import Diagnostic, Source, Span
from orchestra.graph.attributes import EDGE, GRAPH, NODE
from orchestra.graph.model import Graph
from orchestra.graph.parser.draft import Attributes, BraceScope, Ends, as_defaults, finish
from orchestra.graph.parser.file import (
    File,
    Resync,
    Stop,
    error,
    file_of,
    first_token,
    following,
    give_edits,
    line_end,
    on_new_line,
    peek,
    show_token,
    token_at,
)
from orchestra.graph.parser.frame import (
    check_after,
    note_no_target,
    read_end,
    read_header,
    read_misplaced,
    skip_round_list,
    skip_separator,
)
from orchestra.graph.parser.lists import (
    check_key,
    read_attribute,
    read_blocks,
    read_key,
    skip_to,
    skip_words,
    take_attribute,
)
from orchestra.graph.parser.names import is_name, read_arrow, read_id
from orchestra.graph.parser.recovery import closing_brace, find_unclosed_brace, resync, skip_braced_list
from orchestra.graph.parser.slips import (
    connect,
    declare,
    is_assignment,
    is_hyphened,
    is_more_words,
    mention,
    move_list,
    note_missing_between,
    note_pair,
    read_backwards,
    read_text_after,
    read_unbracketed,
    skip_bare_list,
    skip_early_list,
    skip_text_after_edge,
)
from orchestra.graph.parser.values import read_value
from orchestra.graph.tokens import Token

MAX_DEPTH = 200
"""Subgraphs inside one another."""

_AFTER_NAME = frozenset(" \t\r\n[;}")
"""What follows a name that has nothing more to it."""

MAX_DEFAULTS = 100
"""Keys in one scope's defaults; each of its nodes gets them all."""


def parse_graph(source: Source) -> tuple[Graph | None, list[Diagnostic]]:
    """Return the graph, None if not even its beginning can be read, and all diagnostics."""
    file, name = file_of(source), ""
    try:
        name, at = read_header(file, first_token(file))
        at = read_body(file, at)
        check_after(file, at)
        note_missing_between(file, at)
    except (Stop, Resync):
        if not name:
            return None, file.found
    graph = finish(
        name=name,
        span=Span(file.source, 0, len(file.text)),
        attributes=file.root.attributes,
        nodes=file.nodes.values(),
        edges=file.edges,
        report=file.found,
    )
    return graph, file.found


def read_body(file: File, at: Token) -> Token:
    """Statements until the graph's own brace closes. Every turn reads at least one word."""
    last = -1
    while True:
        try:
            if at.start == last:
                at = following(file, at)
            last = at.start
            brace = closing_brace(file, at)
            if brace is not None and file.scope.parent is not None:
                at = close_scope(file, brace)
            elif brace is not None:
                ended, at = read_end(file, brace)
                if ended:
                    return at
            elif at.kind == "end":
                note_unclosed(file, at)
            else:
                at = read_statement(file, at)
        except Resync as lost:
            at = resync(file, lost.at)


def note_unclosed(file: File, at: Token) -> None:
    """The text ends inside braces."""
    brace = find_unclosed_brace(file.text, file.root.opened)
    brace = file.scope.opened if brace is None else brace
    edits = [(len(file.text), len(file.text), "}\n")]
    message = "this brace is never closed"
    error(file, at, message, fix="end it with }", start=brace, end=brace + 1, edits=edits)
    raise Stop


def read_statement(file: File, at: Token) -> Token:
    """One statement (L2)."""
    if at.is_mark("{"):
        return skip_braced_list(file, at) or open_scope(file, at, "", plain=True, chain=None)
    if at.kind == "id" and at.text == "subgraph":
        return read_subgraph(file, at, None)
    if at.kind == "id" and at.text in ("graph", "node", "edge"):
        return read_defaults(file, at)
    if at.kind in ("id", "string") or is_name(file, at):
        return read_named(file, at)
    return read_misplaced(file, at)


def read_defaults(file: File, at: Token) -> Token:
    """``graph [ … ]``, ``node [ … ]`` or ``edge [ … ]``."""
    word, mark = at, peek(file, at)
    if mark in ("{", "("):
        at = following(file, at)
        after = skip_round_list(file, at) if mark == "(" else skip_braced_list(file, at) or skip_braces(file, at)
        if after is not None:
            return skip_separator(file, after)
    if mark != "[":
        fix = f'write {word.text} [ … ] for defaults, or "{word.text}" for a node of that name'
        error(file, at, f"{word.text!r} is a keyword", fix=fix)
        raise Resync(following(file, at))
    scope, at = file.scope, following(file, at)
    if word.text == "graph":
        found, at = read_blocks(file, at, GRAPH if scope.parent is None else None)
        scope.attributes.update(found)
        return skip_separator(file, at)
    found, at = read_blocks(file, at, NODE if word.text == "node" else EDGE)
    new = (scope.node_defaults if word.text == "node" else scope.edge_defaults) | as_defaults(found)
    if len(new) > MAX_DEFAULTS:
        message, fix = f"more than {MAX_DEFAULTS} defaults", "set each only where it is used"
        error(file, at, message, fix=fix, start=word.start, end=word.end)
    elif word.text == "node":
        scope.node_defaults = new
    else:
        scope.edge_defaults = new
    return skip_separator(file, at)


def skip_braces(file: File, at: Token) -> Token:
    """Note braces around a list of attributes, and skip them."""
    noted = len(file.found)
    error(file, at, "expected '[', not '{'", fix="write [ … ]")
    inside = following(file, at)
    end = skip_to(file, inside, "]}")
    if end is None:
        return following(file, inside)
    give_edits(file, noted, (at.start, at.end, "["), (end.start, end.start + 1, "]"))
    return following(file, end)


_BLOCK = re.compile(r"[A-Za-z_]\w*[ \t]+[A-Za-z_]\w*[ \t]*\{[ \t]*$", re.MULTILINE)
"""``cluster NAME {``: a subgraph under the word of another language."""


def read_named(file: File, at: Token) -> Token:
    """A statement that begins with a name: ``key = value``, an edge, or a node."""
    start = at.start
    if at.kind == "id" and at.text in ("digraph", "strict"):
        message = "a graph inside the graph; a file has one pipeline"
        error(file, at, message, fix="check for a missing } before it")
        raise Stop
    if at.kind == "id" and _BLOCK.match(file.text, start):
        error(file, at, f"{at.text!r} is not a keyword", fix="write subgraph", put="subgraph")
        return read_subgraph(file, at, None)
    if is_assignment(file, at):
        return skip_separator(file, read_assignment(file, at))
    if file.text[at.end : at.end + 1] not in _AFTER_NAME and is_hyphened(file, at):
        scope = GRAPH if file.scope.parent is None else None
        return skip_separator(file, read_attribute(file, at, scope, file.scope.attributes))
    known = at.text.strip('"') in file.nodes
    name, at = read_id(file, at, "a node's id")
    span = Span(file.source, start, at.before)
    after = None if at.is_mark("[;}") else read_after_name(file, at, name, span)
    if after is not None:
        return after
    attributes: Attributes = {}
    try:
        if at.is_mark("{") and not on_new_line(file, at):
            at = skip_round_list(file, at) or at
        if at.is_mark("["):
            attributes, at = read_blocks(file, at, NODE)
        at = read_unbracketed(file, at, NODE, attributes)
    finally:
        declare(file, name, span, attributes)
    if not attributes:
        note_pair(file, name, span, known)
    file.last = None if at.is_mark(";") else (name, span)
    return end_statement(file, at, name, span)


def read_after_name(file: File, at: Token, name: str, span: Span) -> Token | None:
    """The rest of an edge, or of a slip, after a statement's first name; None where neither follows."""
    arrow = read_arrow(file, at)
    if arrow is not None:
        mention(file, name, span)
        return read_chain(file, arrow, [((name, span),)])
    turned = read_backwards(file, at, name, span)
    if turned is not None:
        return finish_chain(file, turned[1], turned[0])
    after = read_text_after(file, at, name, span)
    return None if after is None else end_statement(file, after, name, span)


def end_statement(file: File, at: Token, name: str, span: Span) -> Token:
    """The end of a node or an edge, or what an author put there by mistake; ``span`` is of its last node."""
    if at.kind == "arrow" and not on_new_line(file, at):
        error(
            file,
            at,
            "an edge continues after its attributes",
            fix="write the attributes at the end of the edge, or two edges",
            edits=[(at.before, at.start, f"; {span.text} ")],
        )
        return read_chain(file, at, [((name, span),)])
    if at.is_mark("="):
        if file.illegal_end != at.before:
            error(file, at, "'=' sets a key, not a node or an edge", fix="write [key=value]")
        at = read_value(file, at, name, None)[1]
    return skip_separator(file, at)


def read_assignment(file: File, at: Token) -> Token:
    """``key = value``, an attribute of the graph or the subgraph."""
    start = at.start
    key, at = read_key(file, at)
    key_span = Span(file.source, start, at.before)
    if at.kind == "point":
        doubled = peek(file, at) == "="
        error(file, at, f"':' after {key!r}", fix=f"write {key} =", put="" if doubled else " =")
        if doubled:
            at = following(file, at)
    elif re.compile(r"[ \t]*\n\s*[A-Za-z_]\w*\s*(?:->|[\[={])").match(file.text, at.end):
        error(file, at, f"{key!r} has no value", fix=f"write {key} = …", start=start, end=key_span.end)
        return following(file, at)
    check_key(file, at, key, key_span)
    scope = GRAPH if file.scope.parent is None else None
    written, at = read_value(file, at, key, scope)
    if written is not None:
        if not written[1] and key in GRAPH.entries and is_more_words(file, at):
            at = skip_words(file, at, at.start) or at
        elif not written[1] and key == "inputs" and at.is_mark(","):
            at = skip_bare_list(file, at, written[2].start)
        take_attribute(file, at, file.scope.attributes, key, key_span, written, scope)
    return at


def read_subgraph(file: File, at: Token, chain: list[Ends] | None) -> Token:
    """``subgraph NAME? {``."""
    at = following(file, at)
    name = ""
    if at.kind == "string" or is_name(file, at):
        name, at = read_id(file, at, "a subgraph's name")
    if not at.is_mark("{"):
        message = f"expected '{{' after subgraph, not {show_token(file, at)}"
        error(file, at, message, fix="write subgraph NAME { … }")
        brace = file.text.find("{", at.start, line_end(file.text, at.start))
        meant = at.text in ("[", "(") and not file.text[at.end : line_end(file.text, at.end)].strip()
        if brace >= 0:
            at = token_at(file, brace)
        elif not meant:
            if file.text.count("}", at.start) - file.text.count("{", at.start) <= file.scope.depth + 1:
                raise Resync(at)
            at = at._replace(end=at.before)
    return open_scope(file, at, name, plain=False, chain=chain)


def open_scope(file: File, at: Token, name: str, *, plain: bool, chain: list[Ends] | None) -> Token:
    """A brace opens a scope; ``chain`` holds the ends of the edge that it is an end of."""
    if file.scope.depth >= MAX_DEPTH:
        error(file, at, f"subgraphs are nested more than {MAX_DEPTH} levels deep", fix="flatten them")
        raise Stop
    file.scope = file.scope.inner(at.start, name, plain, chain)
    return following(file, at)


def close_scope(file: File, at: Token) -> Token:
    """A subgraph ends; it may be an end of an edge."""
    scope = file.scope
    assert scope.parent is not None
    file.scope = scope.parent
    file.scope.members.update(scope.members)
    at = following(file, at)
    arrow = read_arrow(file, at) if scope.chain is None else at
    if arrow is None:
        return skip_separator(file, at)
    if scope.plain:
        mention_only(file, scope)
    return read_chain(file, arrow, [*(scope.chain or ()), tuple(scope.members.items())])


def mention_only(file: File, scope: BraceScope) -> None:
    """In a set ``{a b}`` at an end of an edge nodes are mentioned, not declared (L8)."""
    for name in scope.members:
        node = file.nodes[name]
        around: BraceScope | None = node.scope
        while around is not scope and around is not None and around.plain:
            around = around.parent
        if around is scope and node.bare:
            node.declared = False


def read_chain(file: File, at: Token, ends: list[Ends]) -> Token:
    """The rest of an edge chain; ``ends`` are the endpoints read so far."""
    while (arrow := read_arrow(file, at)) is not None:
        at = following(file, arrow)
        fresh = on_new_line(file, at)
        if at.kind == "arrow":
            error(file, at, "an arrow after an arrow", fix="remove it", put="")
            at = following(file, at)
        if at.is_mark("{"):
            return open_scope(file, at, "", plain=True, chain=ends)
        if at.kind == "id" and at.text == "subgraph":
            return read_subgraph(file, at, ends)
        early = skip_early_list(file, at)
        if early is not None:
            at = early[1]
        if at.kind != "string" and not is_name(file, at):
            connect(file, at, ends, file.scope.edge_defaults)
            raise note_no_target(file, at)
        start = at.start
        name, at = read_id(file, at, "a node's id")
        span = Span(file.source, start, at.before)
        following_arrow = read_arrow(file, at) if fresh else None
        if following_arrow is not None and ends[-1] and ends[-1][-1][0] == name:
            at = following_arrow
            error(
                file,
                at,
                "an edge needs a target before the next statement",
                fix="remove the arrow",
                start=arrow.start,
                end=arrow.end,
                put="",
            )
            ends[-1:] = []
        mention(file, name, span)
        ends.append(((name, span),))
        if early is not None:
            move_list(file, at, early[0], span)
    return finish_chain(file, at, ends)


def finish_chain(file: File, at: Token, ends: list[Ends]) -> Token:
    """The attributes of a chain, and its end."""
    attributes: Attributes = {}
    try:
        if at.is_mark("{") and not on_new_line(file, at):
            at = skip_round_list(file, at) or at
        if at.is_mark("["):
            attributes, at = read_blocks(file, at, EDGE)
        at = skip_text_after_edge(file, read_unbracketed(file, at, EDGE, attributes))
    finally:
        connect(file, at, ends, file.scope.edge_defaults | attributes if attributes else file.scope.edge_defaults)
    name, span = ends[-1][-1] if ends[-1] else ("", Span(file.source, at.start, at.end))
    file.last = None if attributes or at.is_mark(";") else (name, span)
    return end_statement(file, at, name, span)
