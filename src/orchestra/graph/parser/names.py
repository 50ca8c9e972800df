"""Parse ids and arrows, and recognize what was meant as one (L1, L3)."""

from __future__ import annotations

import re

from orchestra.graph.parser.file import File, error, following, quote_piece, token_at
from orchestra.graph.parser.typed import legal_id
from orchestra.graph.tokens import IDENTIFIER, KEYWORDS, Token, end_of_glued, unescape

_ARROWISH = r"<-+>|--+>?|-[ \t]?>+|-(?=[ \t])|->>+|=+[ \t]?>|>|[–—−]>?|[→⟶⇒➔➜]|~>"
_APART = frozenset(" \t\r\n;[{}")
"""What may follow an id without being taken for a part of it."""


def is_name(file: File, at: Token) -> bool:
    """Whether something stands here that was meant as a name: also ``2nd``, ``naïve``, ``@work``."""
    if at.kind == "id":
        return True
    end = end_of_glued(file.text, at.start)
    return any(c.isalnum() for c in file.text[at.start : end])


def read_arrow(file: File, at: Token) -> Token | None:
    """The arrow at hand, or what was meant as one, which is reported; None where neither stands."""
    if at.kind == "arrow" and (at.end - at.start > 2 or file.text[at.end : at.end + 1] != ">"):
        return at
    if at.kind in ("id", "string", "end") or (at.kind == "mark" and at.text != "="):
        return None
    match = re.compile(_ARROWISH).match(file.text, at.start)
    if match is None:
        return None
    if not (file.undirected and match[0] == "--"):
        what = "is an undirected edge; pipelines are directed" if match[0] == "--" else "is not an arrow"
        message = f"{match[0]!r} {what}"
        error(file, at, message, fix="write ->", end=match.end(), astray="=" in match[0], put="->")
    return Token("arrow", "->", at.start, match.end(), at.before)


def read_id(file: File, at: Token, what: str) -> tuple[str, Token]:
    """The id at hand (L3). What is none is reported, and read as the legal id that the message proposes."""
    if at.kind == "string":
        name = unescape(at.text[1:-1])
        if not IDENTIFIER.fullmatch(name):
            name = note_illegal(file, at, name, what)
        at = following(file, at)
    else:
        name, at = read_bare_id(file, at, what)
    if at.kind == "point" and at.text == ":" and what != "the graph's name":
        at = skip_port(file, at, name)
    return name, at


def read_bare_id(file: File, at: Token, what: str) -> tuple[str, Token]:
    """An id without quotes, or what was meant as one."""
    name = at.text
    if at.kind == "id" and name.lower() not in KEYWORDS and file.text[at.end : at.end + 1] in _APART:
        return name, following(file, at)
    end = max(end_of_glued(file.text, at.start), at.end)
    name = file.text[at.start : end]
    if not IDENTIFIER.fullmatch(name):
        legal = legal_id(name)
        message = f"{what} may have only the letters a-z, digits and _, not {quote_piece(name)}"
        error(file, at, message, fix=f"write {legal}", end=end, put=legal)
        file.illegal_end, name = end, legal
    elif name.lower() in KEYWORDS:
        message = f"{name!r} is a keyword and cannot be {what}"
        error(file, at, message, fix=f'write "{name}" in quotes', put=f'"{name}"')
    return name, token_at(file, end)


def note_illegal(file: File, at: Token, name: str, what: str) -> str:
    """Note a quoted id that is none (L3), and return the legal one: that of the node with this label, if any."""
    labels = {node.attributes["label"].value: node.id for node in file.nodes.values() if "label" in node.attributes}
    if what == "a node's id" and name in labels:
        message = f"{quote_piece(name)} is a label, not {what}"
        error(file, at, message, fix=f"write {labels[name]}", put=labels[name])
        return labels[name]
    legal, label = legal_id(name), at.text if len(at.text) <= 60 else '"…"'
    fix = f"write {legal} [label={label}]"
    if what != "a node's id":
        fix = f"write {legal}, with label={label} inside the braces"
    message = f"{what} may have only the letters a-z, digits and _, not {quote_piece(name)}"
    error(file, at, message, fix=fix, put=legal)
    return legal


def skip_port(file: File, at: Token, name: str) -> Token:
    """Note a port (L1) and skip it."""
    first = at
    while at.kind == "point" and at.text == ":":
        at = following(file, at)
        if at.kind in ("id", "string", "number"):
            at = following(file, at)
    fix = f"write {name} alone"
    error(file, at, "ports are not supported", fix=fix, start=first.start, end=at.before, astray=True, put="")
    return at
