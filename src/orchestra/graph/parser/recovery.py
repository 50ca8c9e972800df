"""Recover from unmatched braces: find what is not closed, continue at the next statement (L11)."""

from __future__ import annotations

from orchestra.graph.parser.file import (
    File,
    Resync,
    error,
    following,
    line_end,
    mark_lost,
    on_new_line,
    peek,
    token_at,
)
from orchestra.graph.parser.layout import ATTRIBUTES, FAR, statement_at
from orchestra.graph.parser.lists import skip_to
from orchestra.graph.tokens import TRIVIA, WORD, Token


def find_unclosed_brace(text: str, offset: int) -> int | None:
    """The innermost brace, from an offset on, whose line is indented otherwise than the line that closes it."""
    opened: list[tuple[int, int]] = []
    line = text[text.rfind("\n", 0, offset) + 1 : offset]
    indent, first = len(line) - len(line.lstrip()), False
    while offset < len(text):
        match = WORD.match(text, offset)
        assert match is not None
        if match[0] == "{":
            opened.append((offset, indent))
        elif match[0] == "}" and opened:
            begin, wanted = opened.pop()
            if first and indent != wanted:
                return begin
        trivia = TRIVIA.match(text, match.end())
        after = match.end() if trivia is None else trivia.end()
        newline = text.rfind("\n", offset, after)
        first = newline >= 0
        indent = after - newline - 1 if first else indent
        offset = after
    return None


def closing_brace(file: File, at: Token) -> Token | None:
    """The closing brace at hand, or a bracket in its place, which is reported: ``a {x=1, y=2]``."""
    if at.is_mark("}"):
        return at
    scope, opened = file.scope, file.scope.opened
    if not at.is_mark(",]") or file.text.startswith("]", at.start - 1):
        return None
    same_line = scope.parent is not None and file.text.find("\n", opened, at.start) < 0
    if scope.plain and same_line and "=" in file.text[opened : at.start]:
        error(file, at, "expected '[', not '{'", fix="write [ … ]", start=opened, end=opened + 1, put="[")
        if at.is_mark(","):
            at = skip_to(file, at, "]}") or at
    elif at.is_mark("]") and (same_line or (on_new_line(file, at) and (scope.parent or not peek(file, at)))):
        error(file, at, "expected '}', not ']'", fix="write }", put="}")
    else:
        return None
    return at._replace(text="}")


def skip_braced_list(file: File, at: Token) -> Token | None:
    """Note a brace that begins a list of attributes, which its bracket shows, and skip the list."""
    if on_new_line(file, at):
        return None
    closing = ATTRIBUTES.match(file.text, at.end, at.end + FAR)
    if closing is None or closing.end() > statement_at(file.text, at.start)[1]:
        return None
    error(file, at, "expected '[', not '{'", fix="write [ … ]", put="[")
    return token_at(file, closing.end())


def resync(file: File, at: Token) -> Token:
    """The next statement: after a ``;``, at a brace, or at a line that begins with a name."""
    file.listing = False
    mark_lost(file, at.start)
    while True:
        try:
            if at.kind == "end" or at.is_mark("{}"):
                return at
            if at.is_mark(";"):
                if file.text.find("\n", *file.lost) < 0:
                    file.lost = 0, 0
                return following(file, at)
            if on_new_line(file, at) and at.kind in ("id", "string") and not in_list(file, at):
                return at
            at = following(file, at)
        except Resync as lost:
            at = lost.at


def in_list(file: File, at: Token) -> bool:
    """Whether the current line is the rest of a broken attribute list rather than a statement."""
    after = peek(file, at)
    line = file.text[at.start : line_end(file.text, at.start)]
    return after == "," or (after == "=" and "]" in line and "[" not in line)
