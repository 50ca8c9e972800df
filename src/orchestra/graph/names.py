"""Parse ids and arrows, and recognize what was meant as one (L1, L3)."""

from __future__ import annotations

import re

from orchestra.graph.reader import Cursor, advance, error, move_to, quote_piece
from orchestra.graph.tokens import IDENTIFIER, KEYWORDS, end_of_glued, unescape
from orchestra.graph.values import legal_id

_ARROWISH = r"<-+>|--+>?|-[ \t]?>+|-(?=[ \t])|->>+|=+[ \t]?>|>|[–—−]>?|[→⟶⇒➔➜]|~>"
_APART = frozenset(" \t\r\n;[{}")
"""What may follow an id without being taken for a part of it."""


def is_name(here: Cursor) -> bool:
    """Whether something stands here that was meant as a name: also ``2nd``, ``naïve``, ``@work``."""
    if here.kind == "id":
        return True
    end = end_of_glued(here.text, here.start)
    return any(c.isalnum() for c in here.text[here.start : end])


def at_arrow(here: Cursor) -> bool:
    """Whether an arrow is at hand, or what was meant as one."""
    if here.kind == "arrow" and (here.end - here.start > 2 or here.text[here.end : here.end + 1] != ">"):
        return True
    if here.kind in ("id", "string", "end") or (here.kind == "mark" and here.word != "="):
        return False
    match = re.compile(_ARROWISH).match(here.text, here.start)
    if match is None:
        return False
    if not (here.undirected and match[0] == "--"):
        what = "is an undirected edge; pipelines are directed" if match[0] == "--" else "is not an arrow"
        error(here, f"{match[0]!r} {what}", fix="write ->", end=match.end(), astray="=" in match[0], put="->")
    here.kind, here.word, here.end = "arrow", "->", match.end()
    return True


def read_id(here: Cursor, what: str) -> str:
    """The id at hand (L3). What is none is reported, and read as the legal id that the message proposes."""
    if here.kind == "string":
        name = unescape(here.word[1:-1])
        if not IDENTIFIER.fullmatch(name):
            note_illegal(here, name, what)
            name = legal_id(name)
        advance(here)
    else:
        name = read_bare_id(here, what)
    if here.kind == "point" and here.word == ":" and what != "the graph's name":
        skip_port(here, name)
    return name


def read_bare_id(here: Cursor, what: str) -> str:
    """An id without quotes, or what was meant as one."""
    name = here.word
    if here.kind == "id" and name.lower() not in KEYWORDS and here.text[here.end : here.end + 1] in _APART:
        advance(here)
        return name
    end = max(end_of_glued(here.text, here.start), here.end)
    name = here.text[here.start : end]
    if not IDENTIFIER.fullmatch(name):
        legal = legal_id(name)
        message = f"{what} may have only letters, digits and _, not {quote_piece(name)}"
        error(here, message, fix=f"write {legal}", end=end, put=legal)
        here.illegal_end, name = end, legal
    elif name.lower() in KEYWORDS:
        error(here, f"{name!r} is a keyword and cannot be {what}", fix=f'write "{name}" in quotes', put=f'"{name}"')
    move_to(here, end)
    return name


def note_illegal(here: Cursor, name: str, what: str) -> None:
    """Note a quoted id that is none (L3)."""
    legal, label = legal_id(name), here.word if len(here.word) <= 60 else '"…"'
    fix = f"write {legal} [label={label}]"
    if what != "a node's id":
        fix = f"write {legal}, with label={label} inside the braces"
    error(here, f"{what} may have only letters, digits and _, not {quote_piece(name)}", fix=fix, put=legal)


def skip_port(here: Cursor, name: str) -> None:
    """Note a port (L1) and skip it."""
    start = here.start
    while here.kind == "point" and here.word == ":":
        advance(here)
        if here.kind in ("id", "string", "number"):
            advance(here)
    error(
        here,
        "ports are not supported",
        fix=f"write {name} alone",
        start=start,
        end=here.before,
        astray=True,
        put="",
    )
