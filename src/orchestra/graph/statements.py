"""Parse statements into draft nodes, edges and subgraphs (language.md#syntax).

Braces are kept on a list of our own, so that no nesting can exhaust the stack. After an error the parser continues:
inside the statement where it is plain what was meant, else at the next one (L11).
"""

from __future__ import annotations

import re
from dataclasses import replace

from orchestra.errors import Diagnostic, Edit, Source, Span
from orchestra.graph.attributes import EDGE, GRAPH, NODE
from orchestra.graph.braces import brace_for_bracket, bracket_for_brace, find_unclosed_brace, resync
from orchestra.graph.draft import Attributes, BraceScope, Ends, as_defaults, finish
from orchestra.graph.frame import (
    check_after,
    note_no_target,
    read_end,
    read_header,
    read_misplaced,
    skip_round_list,
    skip_separator,
)
from orchestra.graph.lists import (
    check_key,
    read_attribute,
    read_blocks,
    read_key,
    skip_to,
    skip_words,
    take_attribute,
)
from orchestra.graph.model import Graph
from orchestra.graph.names import at_arrow, is_name, read_id
from orchestra.graph.reader import (
    Cursor,
    Resync,
    Stop,
    advance,
    at_start,
    error,
    is_mark,
    line_end,
    move_to,
    on_new_line,
    peek,
    show_word,
    span_at,
)
from orchestra.graph.slips import (
    connect,
    declare,
    is_assignment,
    mention,
    move_list,
    note_missing_between,
    note_pair,
    read_backwards,
    read_text_after,
    read_unbracketed,
    skip_early_list,
    skip_text_after_edge,
)
from orchestra.graph.texts import read_value
from orchestra.graph.tokens import KEYWORDS

MAX_DEPTH = 200
"""Subgraphs inside one another."""

_AFTER_NAME = frozenset(" \t\r\n[;}")
"""What follows a name that has nothing more to it."""

MAX_DEFAULTS = 100
"""Keys in one scope's defaults; each of its nodes gets them all."""


def parse_graph(source: Source) -> tuple[Graph | None, list[Diagnostic]]:
    """Return the graph, None if not even its beginning can be read, and all diagnostics."""
    here, name = at_start(source), ""
    try:
        advance(here)
        name = read_header(here)
        read_body(here)
        check_after(here)
        note_missing_between(here)
    except (Stop, Resync):
        if not name:
            return None, here.found
    graph = finish(
        name=name,
        span=Span(here.source, 0, len(here.text)),
        attributes=here.root.attributes,
        nodes=here.nodes.values(),
        edges=here.edges,
        report=here.found,
    )
    return graph, here.found


def read_body(here: Cursor) -> None:
    """Statements until the graph's own brace closes. Every turn reads at least one word."""
    at = -1
    while True:
        try:
            if here.start == at:
                advance(here)
            at = here.start
            if is_mark(here, "}") or bracket_for_brace(here):
                if here.scope.parent is not None:
                    close_scope(here)
                elif read_end(here):
                    return
            elif here.kind == "end":
                brace = find_unclosed_brace(here.text, here.root.opened)
                brace = here.scope.opened if brace is None else brace
                edits = [(len(here.text), len(here.text), "}\n")]
                error(
                    here, "this brace is never closed", fix="end it with }", start=brace, end=brace + 1, edits=edits
                )
                raise Stop
            else:
                read_statement(here)
        except Resync:
            resync(here)


def read_statement(here: Cursor) -> None:
    """One statement (L2)."""
    if is_mark(here, "{"):
        if not brace_for_bracket(here):
            open_scope(here, "", plain=True, chain=None)
    elif here.kind == "id" and here.word == "subgraph":
        read_subgraph(here, None)
    elif here.kind == "id" and here.word in ("graph", "node", "edge"):
        read_defaults(here, here.word)
        skip_separator(here)
    elif here.kind in ("id", "string") or is_name(here):
        read_named(here)
    else:
        read_misplaced(here)


def read_defaults(here: Cursor, word: str) -> None:
    """``graph [ … ]``, ``node [ … ]`` or ``edge [ … ]``."""
    if peek(here) == "{":
        advance(here)
        if brace_for_bracket(here):
            return
        opened, noted = here.start, len(here.found)
        error(here, "expected '[', not '{'", fix="write [ … ]")
        move_to(here, here.end)
        if skip_to(here, "]}") and len(here.found) > noted:
            edits = tuple(Edit(span_at(here, at, at + 1), put) for at, put in ((opened, "["), (here.start, "]")))
            here.found[noted] = replace(here.found[noted], edits=edits)
        advance(here)
        return
    if peek(here) == "(":
        advance(here)
        if skip_round_list(here):
            skip_separator(here)
            return
    if not is_mark(here, "[") and peek(here) != "[":
        error(
            here,
            f"{word!r} is a keyword",
            fix=f'write {word} [ … ] for defaults, or "{word}" for a node of that name',
        )
        advance(here)
        raise Resync
    start, end = here.start, here.end
    advance(here)
    scope = here.scope
    if word == "graph":
        scope.attributes.update(read_blocks(here, GRAPH if scope.parent is None else None))
        return
    old = scope.node_defaults if word == "node" else scope.edge_defaults
    new = old | as_defaults(read_blocks(here, NODE if word == "node" else EDGE))
    if len(new) > MAX_DEFAULTS:
        error(
            here, f"more than {MAX_DEFAULTS} defaults", fix="set each only where it is used", start=start, end=end
        )
    elif word == "node":
        scope.node_defaults = new
    else:
        scope.edge_defaults = new


def read_named(here: Cursor) -> None:
    """A statement that begins with a name: ``key = value``, an edge, or a node."""
    start = here.start
    if here.kind == "id" and here.word in ("digraph", "strict"):
        error(here, "a graph inside the graph; a file has one pipeline", fix="check for a missing } before it")
        raise Stop
    if is_assignment(here):
        read_assignment(here)
        skip_separator(here)
        return
    if here.text[here.end : here.end + 1] not in _AFTER_NAME and is_hyphened(here):
        read_attribute(here, GRAPH if here.scope.parent is None else None, here.scope.attributes)
        skip_separator(here)
        return
    known = here.word.strip('"') in here.nodes
    name = read_id(here, "a node's id")
    span = Span(here.source, start, here.before)
    if not is_mark(here, "[;}") and read_after_name(here, name, span):
        return
    attributes: Attributes = {}
    try:
        if is_mark(here, "{") and not on_new_line(here):
            skip_round_list(here)
        if is_mark(here, "["):
            attributes = read_blocks(here, NODE)
        read_unbracketed(here, NODE, attributes)
    finally:
        declare(here, name, span, attributes)
    if not attributes:
        note_pair(here, name, span, known)
    here.last = None if is_mark(here, ";") else (name, span)
    end_statement(here, name, span)


def is_hyphened(here: Cursor) -> bool:
    """Whether a key with hyphens stands here: ``my-key = value``."""
    glued = re.compile(r"[\w.]+(?:-[\w.]+)+[ \t]*=(?!>)").match(here.text, here.start)
    return glued is not None and here.kind == "id"


def read_after_name(here: Cursor, name: str, span: Span) -> bool:
    """The rest of an edge, or of a slip, after a statement's first name; false where neither follows."""
    if at_arrow(here):
        mention(here, name, span)
        read_chain(here, [((name, span),)])
    elif turned := read_backwards(here, name, span):
        finish_chain(here, turned)
    elif read_text_after(here, name, span):
        end_statement(here, name, span)
    else:
        return False
    return True


def end_statement(here: Cursor, name: str, span: Span) -> None:
    """The end of a node or an edge, or what an author put there by mistake; ``span`` is of its last node."""
    if here.kind == "arrow" and not on_new_line(here):
        error(
            here,
            "an edge continues after its attributes",
            fix="write the attributes at the end of the edge, or two edges",
            edits=[(here.before, here.start, f"; {span.text} ")],
        )
        read_chain(here, [((name, span),)])
        return
    if is_mark(here, "="):
        if here.illegal_end != here.before:
            error(here, "'=' sets a key, not a node or an edge", fix="write [key=value]")
        read_value(here, name, None)
    skip_separator(here)


def read_assignment(here: Cursor) -> None:
    """``key = value``, an attribute of the graph or the subgraph."""
    start = here.start
    key = read_key(here)
    key_span = Span(here.source, start, here.before)
    if here.kind == "point":
        doubled = peek(here) == "="
        error(here, f"':' after {key!r}", fix=f"write {key} =", put="" if doubled else " =")
        if doubled:
            advance(here)
    elif re.compile(r"[ \t]*\n\s*[A-Za-z_]\w*\s*(?:->|[\[={])").match(here.text, here.end):
        error(here, f"{key!r} has no value", fix=f"write {key} = …", start=start, end=key_span.end)
        advance(here)
        return
    check_key(here, key, key_span)
    table = GRAPH if here.scope.parent is None else None
    taken = read_value(here, key, table)
    if taken is not None:
        if not taken[1] and key in GRAPH.entries and is_more_words(here):
            skip_words(here, here.start)
        take_attribute(here, here.scope.attributes, key, key_span, *taken, table)


def is_more_words(here: Cursor) -> bool:
    """Whether the line continues with words that are not a statement: ``label = Nightly triage``."""
    if here.kind != "id" or on_new_line(here) or here.word in here.nodes or here.word.lower() in KEYWORDS:
        return False
    return re.compile(r"\w+(?:[ \t]+\w+)*[ \t]*(?:\n|;|\Z)").match(here.text, here.start) is not None


def read_subgraph(here: Cursor, chain: list[Ends] | None) -> None:
    """``subgraph NAME? {``."""
    advance(here)
    name = ""
    if here.kind == "string" or is_name(here):
        name = read_id(here, "a subgraph's name")
    if not is_mark(here, "{"):
        error(here, f"expected '{{' after subgraph, not {show_word(here)}", fix="write subgraph NAME { … }")
        brace = here.text.find("{", here.start, line_end(here, here.start))
        meant = here.word in ("[", "(") and not here.text[here.end : line_end(here, here.end)].strip()
        if brace >= 0:
            move_to(here, brace)
        elif not meant:
            if here.text.count("}", here.start) - here.text.count("{", here.start) <= here.scope.depth + 1:
                raise Resync
            here.end = here.before
    open_scope(here, name, plain=False, chain=chain)


def open_scope(here: Cursor, name: str, *, plain: bool, chain: list[Ends] | None) -> None:
    """A brace opens a scope; ``chain`` holds the ends of the edge that it is an end of."""
    if here.scope.depth >= MAX_DEPTH:
        error(here, f"subgraphs are nested more than {MAX_DEPTH} levels deep", fix="flatten them")
        raise Stop
    here.scope = here.scope.inner(here.start, name, plain, chain)
    advance(here)


def close_scope(here: Cursor) -> None:
    """A subgraph ends; it may be an end of an edge."""
    scope = here.scope
    assert scope.parent is not None
    here.scope = scope.parent
    here.scope.members.update(scope.members)
    advance(here)
    if scope.chain is None and not at_arrow(here):
        skip_separator(here)
        return
    if scope.plain:
        mention_only(here, scope)
    read_chain(here, [*(scope.chain or ()), tuple(scope.members.items())])


def mention_only(here: Cursor, scope: BraceScope) -> None:
    """In a set ``{a b}`` at an end of an edge nodes are mentioned, not declared (L8)."""
    for name in scope.members:
        node = here.nodes[name]
        around: BraceScope | None = node.scope
        while around is not scope and around is not None and around.plain:
            around = around.parent
        if around is scope and node.bare:
            node.declared = False


def read_chain(here: Cursor, ends: list[Ends]) -> None:
    """The rest of an edge chain; ``ends`` are the endpoints read so far."""
    while at_arrow(here):
        arrow = here.start, here.end
        advance(here)
        fresh = on_new_line(here)
        if here.kind == "arrow":
            error(here, "an arrow after an arrow", fix="remove it", put="")
            advance(here)
        if is_mark(here, "{"):
            open_scope(here, "", plain=True, chain=ends)
            return
        if here.kind == "id" and here.word == "subgraph":
            read_subgraph(here, ends)
            return
        early = skip_early_list(here)
        if here.kind != "string" and not is_name(here):
            connect(here, ends, here.scope.edge_defaults)
            note_no_target(here)
        start = here.start
        name = read_id(here, "a node's id")
        span = Span(here.source, start, here.before)
        if fresh and at_arrow(here) and ends[-1] and ends[-1][-1][0] == name:
            error(
                here,
                "an edge needs a target before the next statement",
                fix="remove the arrow",
                start=arrow[0],
                end=arrow[1],
                put="",
            )
            ends[-1:] = []
        mention(here, name, span)
        ends.append(((name, span),))
        if early is not None:
            move_list(here, *early, span)
    finish_chain(here, ends)


def finish_chain(here: Cursor, ends: list[Ends]) -> None:
    """The attributes of a chain, and its end."""
    attributes: Attributes = {}
    try:
        if is_mark(here, "{") and not on_new_line(here):
            skip_round_list(here)
        if is_mark(here, "["):
            attributes = read_blocks(here, EDGE)
        read_unbracketed(here, EDGE, attributes)
        skip_text_after_edge(here)
    finally:
        connect(here, ends, here.scope.edge_defaults | attributes if attributes else here.scope.edge_defaults)
    name, span = ends[-1][-1] if ends[-1] else ("", span_at(here))
    here.last = None if attributes or is_mark(here, ";") else (name, span)
    end_statement(here, name, span)
