"""Parse the start and the end of a graph, and report what cannot start a statement (L1, L11)."""

from __future__ import annotations

import re

from orchestra.graph.attributes import nearest
from orchestra.graph.layout import ATTRIBUTES, FAR, statement_at
from orchestra.graph.lists import read_blocks, skip_to
from orchestra.graph.names import read_id
from orchestra.graph.reader import (
    Cursor,
    Resync,
    Stop,
    advance,
    error,
    is_mark,
    line_end,
    move_to,
    next_start,
    show_word,
    skip_wrong_quote,
)


def read_header(here: Cursor) -> str:
    """``digraph NAME {`` and the graph's name."""
    here.fenced = skip_fence(here)
    if here.kind == "id" and here.word == "strict":
        edits = [(here.start, next_start(here), "")]
        error(here, "'strict' is not supported", fix="remove it: digraph NAME { … }", edits=edits)
        advance(here)
    if here.kind == "id" and here.word == "graph":
        error(
            here,
            "this graph is undirected; a pipeline is directed",
            fix="write digraph, and -> for its edges",
            put="digraph",
            edits=[(match.start(), match.end(), "->") for match in undirected_edges(here)],
        )
        here.undirected = True
    elif not (here.kind == "id" and here.word == "digraph"):
        find_digraph(here)
    advance(here)
    name = "pipeline"
    if is_mark(here, "{") or here.kind == "end":
        insertion = (here.start, here.start, f"{name} ")
        error(here, "the graph has no name", fix=f"write digraph {name} {{", edits=[insertion])
    else:
        name = read_id(here, "the graph's name") or name
    here.root.opened = here.start
    if is_mark(here, "{"):
        advance(here)
        return name
    match = re.compile(r"(?:\([ \t]*\)[ \t]*\{?|[:\[(])[ \t]*(?=\n|\Z)").match(here.text, here.start)
    if match is not None:
        shown = match[0].rstrip(" \t{")
        end = here.start + len(shown)
        put = "" if match[0].rstrip().endswith("{") else " {"
        error(here, f"expected '{{' after the graph's name, not {shown!r}", fix="write {", end=end, put=put)
        move_to(here, match.end())
        return name
    insertion = (here.before, here.before, " {")
    message = f"expected '{{' after the graph's name, not {show_word(here)}"
    error(here, message, fix=f"write digraph {name} {{", edits=[insertion] if here.kind == "id" else [])
    if here.kind != "id":
        raise Stop
    return name


def undirected_edges(here: Cursor) -> list[re.Match[str]]:
    """The ``--`` of a text, outside of quoted texts and comments."""
    pieces = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/|(?P<edge>--)', re.DOTALL)
    return [match for match in pieces.finditer(here.text) if match["edge"]]


def skip_fence(here: Cursor) -> bool:
    """Note a Markdown fence around the pipeline, and skip the opening one."""
    if not here.text.startswith("```", here.start):
        return False
    line = min(line_end(here, here.start) + 1, len(here.text))
    closing = here.text.rfind("\n```")
    edits = [(here.start, line, ""), *([(closing + 1, len(here.text), "")] if closing >= line - 1 else [])]
    message = "a Markdown fence around the pipeline"
    error(here, message, fix="remove the lines with ```", end=here.start + 3, edits=edits)
    move_to(here, line)
    return True


def find_digraph(here: Cursor) -> None:
    """Something else stands where the graph should begin; continue at the graph if there is one."""
    near = here.kind == "id" and (nearest(here.word.lower(), ["digraph"]) or here.word.lower() == "digraph")
    fix = "write digraph pipeline { … }"
    error(
        here,
        f"a pipeline starts with digraph NAME {{, not {show_word(here)}",
        fix="write digraph" if near else fix,
        put="digraph" if near else None,
    )
    if near:
        return
    match = re.compile(r"\bdigraph\b").search(here.text, here.end)
    if match is None:
        raise Stop
    move_to(here, match.start())
    if here.word != "digraph":
        raise Stop


def read_end(here: Cursor) -> bool:
    """The graph's closing brace is at hand: whether it ends the graph, or rather is one too many."""
    start, end = here.start, here.end
    advance(here)
    if here.kind == "end" or not here.text.rstrip().endswith("}"):
        return True
    if is_mark(here, "}"):
        error(here, "unmatched '}': the graph has already ended", fix="remove it", put="")
        while is_mark(here, "}"):
            advance(here)
        return here.kind == "end"
    if here.word in ("digraph", "graph", "strict"):
        return True
    error(here, "this '}' ends the graph, but more follows", fix="remove it", start=start, end=end, put="")
    if here.kind in ("arrow", "dash") or is_mark(here, "["):
        raise Resync
    skip_separator(here)
    return False


def check_after(here: Cursor) -> None:
    """Check what follows the graph."""
    if here.kind == "end" or (here.fenced and here.text.startswith("```", here.start)):
        return
    if here.text.startswith("```", here.start):
        edits = [(here.start, len(here.text), "")]
        error(here, "a Markdown fence after the pipeline", fix="remove it", end=here.start + 3, edits=edits)
    elif here.kind == "id" and here.word in ("digraph", "graph", "strict", "subgraph"):
        error(here, "a second graph; a file has one pipeline", fix="move it to another file")
    else:
        error(here, f"unexpected {show_word(here)} after the end of the graph", fix="move it inside the braces")


def skip_separator(here: Cursor) -> None:
    """A statement may end with ``;``."""
    if is_mark(here, ";"):
        advance(here)


def read_misplaced(here: Cursor) -> None:
    """No statement begins like this; continue where the meaning is plain."""
    if is_mark(here, "["):
        error(here, "attributes without a node or an edge", fix="write the id before the bracket")
        read_blocks(here, None)
    elif is_mark(here, "]"):
        error(here, "unmatched ']'", fix="remove it, or add the missing [ before it", put="")
        advance(here)
        read_blocks(here, None)
    elif is_mark(here, ","):
        skip_comma(here)
    elif is_mark(here, ";"):
        error(here, "unexpected ';'", fix="remove it", put="")
        advance(here)
    elif skip_round_list(here):
        return
    elif here.word in ("&", "+", "|"):
        error(here, f"{here.word!r} does not connect nodes", fix="write a set as {a b}")
        advance(here)
    else:
        note_hopeless(here)
        raise Resync
    skip_separator(here)


def skip_round_list(here: Cursor) -> bool:
    """Note a list of attributes in round brackets or braces, and skip it."""
    match = None
    if here.word in ("(", "{"):
        match = re.compile(r'[({](?:\s*[\w.]+\s*=\s*(?:"(?:[^"\\]|\\.)*"|[\w.]+)[,;]?)+\s*[)}]').match(
            here.text, here.start
        )
    if match is None:
        return False
    start, end = match.span()
    error(
        here,
        "attributes stand in square brackets",
        fix="write [ … ]",
        edits=[(start, start + 1, "["), (end - 1, end, "]")],
    )
    move_to(here, end)
    return True


def skip_comma(here: Cursor) -> None:
    """A comma between statements, or between attributes whose bracket is missing."""
    last = min(statement_at(here.text, here.start)[1], here.end + FAR)
    closing = ATTRIBUTES.match(here.text, here.end, last)
    if closing is None:
        error(
            here,
            "a comma connects no nodes and ends no statement",
            fix="write a set as {a b}, or end each statement with ;",
            astray=True,
        )
        advance(here)
    else:
        error(here, "a list of attributes without its '['", fix="write NODE [key=value, …]")
        move_to(here, closing.end())


def note_hopeless(here: Cursor) -> None:
    """Something begins no statement, and it is not plain what was meant."""
    if here.kind in ("arrow", "dash"):
        error(here, "an edge without a source", fix="write the id before the arrow")
    elif here.word == "#":
        error(here, "'#' starts a comment only at the start of a line", fix="write //", put="//")
        here.end = line_end(here, here.start)
        advance(here)
    elif not skip_wrong_quote(here):
        wanted = "write a node, an edge a -> b, or key = value"
        error(
            here,
            f"{show_word(here)} is not the start of a statement",
            fix="write [ … ]" if here.word == "(" else wanted,
        )


def note_no_target(here: Cursor) -> None:
    """An edge leads nowhere; continue if its target follows a list of attributes."""
    if is_mark(here, "["):
        error(here, "an edge needs a target, not a list", fix="write a set as {a b}")
        if re.compile(r"\[\s*[\w.]+\s*=").match(here.text, here.start):
            read_blocks(here, None)
        else:
            skip_to(here, "]}")
            advance(here)
    elif not skip_wrong_quote(here):
        fix = "write a set as {a b}" if here.word == "(" else "write a node's id after the arrow"
        error(here, f"an edge needs a target, not {show_word(here)}", fix=fix)
    raise Resync
