"""Find the extent of a statement by its layout, for texts whose brackets cannot be trusted (L11).

A parser that has lost its way in a broken statement finds more errors in the rest of it; they are no mistakes of
the author's. Lines that are indented deeper than the previous one continue it, unless that one opens the graph
or a subgraph; a closing bracket on a line of its own ends what stands before.
"""

from __future__ import annotations

import re

_OPENS = re.compile(r"(?:\b(?:di|sub)graph\b[^\[=]*|->\s*|^\s*)\{\s*$")
"""A line that opens the graph, a subgraph or a set: what is indented below it are statements of their own."""

_CLOSES = re.compile(r"\s*\"?[\])]")
_BLANK = re.compile(r"\s*(?://.*|#.*)?$")

ATTRIBUTES = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^\[\]{}"])*\]', re.DOTALL)
"""Return the text between a missing or mistaken bracket and the one that closes the list."""

FAR = 64 * 1024
"""Characters after which no closing bracket is looked for."""

MOST = 400
"""Lines above or below that are read."""


def statement_at(text: str, at: int) -> tuple[int, int]:
    """The first and the last offset of the lines of the statement that an offset is in."""
    begin = text.rfind("\n", 0, at) + 1
    for _ in range(MOST):
        above = _goes_on(text, begin)
        if above is None:
            break
        begin = above
    end = _line_end(text, at)
    own = indent_of(text, begin)
    for _ in range(MOST):
        if end == len(text):
            break
        begins, ends = end + 1, _line_end(text, end + 1)
        line = text[begins:ends]
        if not (_BLANK.match(line) or indent_of(text, begins) > own or _CLOSES.match(line)):
            break
        if indent_of(text, begins) > own and _OPENS.search(text[begin : _line_end(text, begin)]):
            break
        end = ends
    return begin, end


def _goes_on(text: str, begin: int) -> int | None:
    """Return the line that the line at an offset continues; None if it is a statement's first."""
    line = text[begin : _line_end(text, begin)]
    deep, closes = indent_of(text, begin), _CLOSES.match(line) is not None
    above = begin
    for _ in range(MOST):
        if not above:
            break
        above = text.rfind("\n", 0, above - 1) + 1
        other = text[above : _line_end(text, above)]
        if _BLANK.match(other):
            continue
        indent = indent_of(text, above)
        if indent < deep:
            return None if _OPENS.search(other) else above
        if closes and indent == deep and not other.lstrip().startswith("}"):
            return above
    return None


def _line_end(text: str, at: int) -> int:
    found = text.find("\n", at)
    return found if found >= 0 else len(text)


def indent_of(text: str, offset: int) -> int:
    """How far the line is indented that an offset is in; a tab counts as one."""
    begin = text.rfind("\n", 0, offset) + 1
    line = text[begin : _line_end(text, begin)]
    return len(line) - len(line.lstrip(" \t"))
