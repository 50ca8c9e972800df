"""Parse the start and the end of a graph, and report what cannot start a statement (L1, L11)."""

from __future__ import annotations

import re

from orchestra.graph.nearest import nearest
from orchestra.graph.parser.file import (
    File,
    Resync,
    Stop,
    error,
    following,
    line_end,
    next_start,
    show_token,
    skip_wrong_quote,
    token_at,
)
from orchestra.graph.parser.layout import ATTRIBUTES, FAR, statement_at
from orchestra.graph.parser.lists import read_blocks, skip_to
from orchestra.graph.parser.names import read_id
from orchestra.graph.tokens import Token


def read_header(file: File, at: Token) -> tuple[str, Token]:
    """``digraph NAME {`` and the graph's name."""
    at = skip_fence(file, at)
    if at.kind == "id" and at.text == "strict":
        edits = [(at.start, next_start(file, at), "")]
        error(file, at, "'strict' is not supported", fix="remove it: digraph NAME { … }", edits=edits)
        at = following(file, at)
    if at.kind == "id" and at.text == "graph":
        error(
            file,
            at,
            "this graph is undirected; a pipeline is directed",
            fix="write digraph, and -> for its edges",
            put="digraph",
            edits=[(match.start(), match.end(), "->") for match in undirected_edges(file.text)],
        )
        file.undirected = True
    elif not (at.kind == "id" and at.text == "digraph"):
        at = find_digraph(file, at)
    at = following(file, at)
    name = "pipeline"
    if at.is_mark("{") or at.kind == "end":
        insertion = (at.start, at.start, f"{name} ")
        error(file, at, "the graph has no name", fix=f"write digraph {name} {{", edits=[insertion])
    else:
        found, at = read_id(file, at, "the graph's name")
        name = found or name
    file.root.opened = at.start
    return name, following(file, at) if at.is_mark("{") else note_no_brace(file, at, name)


def note_no_brace(file: File, at: Token, name: str) -> Token:
    """Something else stands where the graph's brace should be."""
    match = re.compile(r"(?:\([ \t]*\)[ \t]*\{?|[:\[(])[ \t]*(?=\n|\Z)").match(file.text, at.start)
    if match is not None:
        shown = match[0].rstrip(" \t{")
        end = at.start + len(shown)
        put = "" if match[0].rstrip().endswith("{") else " {"
        error(file, at, f"expected '{{' after the graph's name, not {shown!r}", fix="write {", end=end, put=put)
        return token_at(file, match.end())
    edits = [(at.before, at.before, " {")] if at.kind == "id" else []
    message = f"expected '{{' after the graph's name, not {show_token(file, at)}"
    error(file, at, message, fix=f"write digraph {name} {{", edits=edits)
    if at.kind != "id":
        raise Stop
    return at


def undirected_edges(text: str) -> list[re.Match[str]]:
    """The ``--`` of a text, outside of quoted texts and comments."""
    pieces = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/|(?P<edge>--)', re.DOTALL)
    return [match for match in pieces.finditer(text) if match["edge"]]


def skip_fence(file: File, at: Token) -> Token:
    """Note a Markdown fence around the pipeline, and skip the opening one."""
    if not file.text.startswith("```", at.start):
        return at
    file.fenced = True
    line = min(line_end(file.text, at.start) + 1, len(file.text))
    closing = file.text.rfind("\n```")
    edits = [(at.start, line, ""), *([(closing + 1, len(file.text), "")] if closing >= line - 1 else [])]
    message = "a Markdown fence around the pipeline"
    error(file, at, message, fix="remove the lines with ```", end=at.start + 3, edits=edits)
    return token_at(file, line)


def find_digraph(file: File, at: Token) -> Token:
    """Something else stands where the graph should begin; return where it begins if there is one."""
    near = at.kind == "id" and (nearest(at.text.lower(), ["digraph"]) or at.text.lower() == "digraph")
    error(
        file,
        at,
        f"a pipeline starts with digraph NAME {{, not {show_token(file, at)}",
        fix="write digraph" if near else "write digraph pipeline { … }",
        put="digraph" if near else None,
    )
    if near:
        return at
    match = re.compile(r"\bdigraph\b").search(file.text, at.end)
    at = at if match is None else token_at(file, match.start())
    if at.text != "digraph":
        raise Stop
    return at


def read_end(file: File, at: Token) -> tuple[bool, Token]:
    """The graph's closing brace is at hand: whether it ends the graph, or rather is one too many."""
    brace, at = at, following(file, at)
    if at.kind == "end" or not file.text.rstrip().endswith("}"):
        return True, at
    if at.is_mark("}"):
        error(file, at, "unmatched '}': the graph has already ended", fix="remove it", put="")
        while at.is_mark("}"):
            at = following(file, at)
        return at.kind == "end", at
    if at.text in ("digraph", "graph", "strict"):
        return True, at
    message = "this '}' ends the graph, but more follows"
    error(file, at, message, fix="remove it", start=brace.start, end=brace.end, put="")
    if at.kind in ("arrow", "dash") or at.is_mark("["):
        raise Resync(at)
    return False, skip_separator(file, at)


def check_after(file: File, at: Token) -> None:
    """Check what follows the graph."""
    fence = file.text.startswith("```", at.start)
    if at.kind == "end" or (file.fenced and fence):
        return
    if fence:
        edits = [(at.start, len(file.text), "")]
        message = "a Markdown fence after the pipeline"
        error(file, at, message, fix="remove it", end=at.start + 3, edits=edits)
    elif at.kind == "id" and at.text in ("digraph", "graph", "strict", "subgraph"):
        error(file, at, "a second graph; a file has one pipeline", fix="move it to another file")
    else:
        message = f"unexpected {show_token(file, at)} after the end of the graph"
        error(file, at, message, fix="move it inside the braces")


def skip_separator(file: File, at: Token) -> Token:
    """A statement may end with ``;``."""
    return following(file, at) if at.is_mark(";") else at


def read_misplaced(file: File, at: Token) -> Token:
    """No statement begins like this; continue where the meaning is plain."""
    if at.is_mark("["):
        error(file, at, "attributes without a node or an edge", fix="write the id before the bracket")
        at = read_blocks(file, at, None)[1]
    elif at.is_mark("]"):
        error(file, at, "unmatched ']'", fix="remove it, or add the missing [ before it", put="")
        at = read_blocks(file, following(file, at), None)[1]
    elif at.is_mark(","):
        at = skip_comma(file, at)
    elif at.is_mark(";"):
        error(file, at, "unexpected ';'", fix="remove it", put="")
        at = following(file, at)
    elif (after := skip_round_list(file, at)) is not None:
        return after
    elif at.text in ("&", "+", "|"):
        error(file, at, f"{at.text!r} does not connect nodes", fix="write a set as {a b}")
        at = following(file, at)
    else:
        raise Resync(note_hopeless(file, at))
    return skip_separator(file, at)


def skip_round_list(file: File, at: Token) -> Token | None:
    """Note a list of attributes in round brackets or braces, and skip it."""
    if at.text not in ("(", "{"):
        return None
    pattern = r'[({](?:\s*[\w.]+\s*=\s*(?:"(?:[^"\\]|\\.)*"|[\w.]+)[,;]?)+\s*[)}]'
    match = re.compile(pattern).match(file.text, at.start)
    if match is None:
        return None
    start, end = match.span()
    edits = [(start, start + 1, "["), (end - 1, end, "]")]
    error(file, at, "attributes must be in square brackets", fix="write [ … ]", edits=edits)
    return token_at(file, end)


def skip_comma(file: File, at: Token) -> Token:
    """A comma between statements, or between attributes whose bracket is missing."""
    last = min(statement_at(file.text, at.start)[1], at.end + FAR)
    closing = ATTRIBUTES.match(file.text, at.end, last)
    if closing is not None:
        error(file, at, "a list of attributes without its '['", fix="write NODE [key=value, …]")
        return token_at(file, closing.end())
    fix = "write a set as {a b}, or end each statement with ;"
    error(file, at, "a comma cannot connect nodes or end a statement", fix=fix, astray=True)
    return following(file, at)


def note_hopeless(file: File, at: Token) -> Token:
    """Something begins no statement, and it is not plain what was meant."""
    html = re.compile(r"<!--.*?-->", re.DOTALL).match(file.text, at.start)
    if html is not None:
        edits = [(at.start, at.start + 4, "/*"), (html.end() - 3, html.end(), "*/")]
        error(file, at, "'<!--' does not start a comment", fix="write /* … */ or //", end=at.start + 4, edits=edits)
        return token_at(file, html.end())
    if at.kind == "dash" and re.compile(r"--[ \t]+\w[^>\n]*$", re.MULTILINE).match(file.text, at.start):
        error(file, at, "'--' does not start a comment", fix="write //, or the id before an arrow ->", put="//")
        return token_at(file, line_end(file.text, at.start))
    if at.kind in ("arrow", "dash"):
        error(file, at, "an edge without a source", fix="write the id before the arrow")
        return at
    if at.text == "#":
        error(file, at, "'#' starts a comment only at the start of a line", fix="write //", put="//")
        return token_at(file, line_end(file.text, at.start))
    after = skip_wrong_quote(file, at)
    if after is None:
        fix = "write [ … ]" if at.text == "(" else "write a node, an edge a -> b, or key = value"
        error(file, at, f"{show_token(file, at)} is not the start of a statement", fix=fix)
        return at
    return after


def note_no_target(file: File, at: Token) -> Resync:
    """An edge leads nowhere; continue if its target follows a list of attributes."""
    if at.is_mark("["):
        error(file, at, "an edge needs a target, not a list", fix="write a set as {a b}")
        if re.compile(r"\[\s*[\w.]+\s*=").match(file.text, at.start):
            return Resync(read_blocks(file, at, None)[1])
        return Resync(following(file, skip_to(file, at, "]}") or at))
    after = skip_wrong_quote(file, at)
    if after is None:
        fix = "write a set as {a b}" if at.text == "(" else "write a node's id after the arrow"
        error(file, at, f"an edge needs a target, not {show_token(file, at)}", fix=fix)
    return Resync(after or at)
