"""Recover from unmatched braces: find what is not closed, continue at the next statement (L11)."""

from __future__ import annotations

from orchestra.graph.layout import ATTRIBUTES, FAR, statement_at
from orchestra.graph.lists import skip_to
from orchestra.graph.reader import (
    Cursor,
    Resync,
    advance,
    error,
    is_mark,
    line_end,
    mark_lost,
    move_to,
    on_new_line,
    peek,
)
from orchestra.graph.tokens import TRIVIA, WORD


def find_unclosed_brace(text: str, at: int) -> int | None:
    """The innermost brace, from ``at`` on, whose line is indented otherwise than the line that closes it."""
    opened: list[tuple[int, int]] = []
    line = text[text.rfind("\n", 0, at) + 1 : at]
    indent, first = len(line) - len(line.lstrip()), False
    while at < len(text):
        match = WORD.match(text, at)
        assert match is not None
        if match[0] == "{":
            opened.append((at, indent))
        elif match[0] == "}" and opened:
            begin, wanted = opened.pop()
            if first and indent != wanted:
                return begin
        trivia = TRIVIA.match(text, match.end())
        after = match.end() if trivia is None else trivia.end()
        newline = text.rfind("\n", at, after)
        first = newline >= 0
        indent = after - newline - 1 if first else indent
        at = after
    return None


def bracket_for_brace(here: Cursor) -> bool:
    """Note a bracket where a brace is wanted, or the other way round: ``a {x=1, y=2]``."""
    scope, opened = here.scope, here.scope.opened
    if not is_mark(here, ",]") or here.text.startswith("]", here.start - 1):
        return False
    same_line = scope.parent is not None and here.text.find("\n", opened, here.start) < 0
    if scope.plain and same_line and "=" in here.text[opened : here.start]:
        error(here, "expected '[', not '{'", fix="write [ … ]", start=opened, end=opened + 1, put="[")
        if is_mark(here, ","):
            skip_to(here, "]}")
    elif is_mark(here, "]") and (same_line or (on_new_line(here) and (scope.parent or not peek(here)))):
        error(here, "expected '}', not ']'", fix="write }", put="}")
    else:
        return False
    here.word = "}"
    return True


def brace_for_bracket(here: Cursor) -> bool:
    """Note a brace that begins a list of attributes, which its bracket shows, and skip the list."""
    if on_new_line(here):
        return False
    closing = ATTRIBUTES.match(here.text, here.end, here.end + FAR)
    if closing is None or closing.end() > statement_at(here.text, here.start)[1]:
        return False
    error(here, "expected '[', not '{'", fix="write [ … ]", put="[")
    move_to(here, closing.end())
    return True


def resync(here: Cursor) -> None:
    """Continue at the next statement: after a ``;``, at a brace, or at a line that begins with a name."""
    here.listing = False
    mark_lost(here, here.start)
    while True:
        try:
            if here.kind == "end" or is_mark(here, "{}"):
                return
            if is_mark(here, ";"):
                if here.text.find("\n", *here.lost) < 0:
                    here.lost = 0, 0
                advance(here)
                return
            if on_new_line(here) and here.kind in ("id", "string") and not in_list(here):
                return
            advance(here)
        except Resync:
            continue


def in_list(here: Cursor) -> bool:
    """Whether the current line is the rest of a broken attribute list rather than a statement."""
    following = peek(here)
    line = here.text[here.start : line_end(here, here.start)]
    return following == "," or (following == "=" and "]" in line and "[" not in line)
