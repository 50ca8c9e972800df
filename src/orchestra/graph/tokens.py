"""The words of a DOT text: one regular expression, read on demand (L5, L7)."""

from __future__ import annotations

import re

TRIVIA = re.compile(r"(?:[^\S\n]+|\n(?:[^\S\n]*\#[^\n]*)?|//[^\n]*|/\*[\s\S]*?\*/)+", re.VERBOSE)
"""What stands between words: white space, comments, lines that begin with ``#``."""

FIRST_LINE = re.compile(r"[^\S\n]*#[^\n]*")
"""A ``#`` line at the very start of the text."""

WORD = re.compile(
    r"""(?P<id>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<string>"(?:[^"\\]|\\[\s\S])*")
      | (?P<arrow>->)
      | (?P<mark>[{}\[\];,=])
      | (?P<number>-?(?:\d+(?:\.\d*)?|\.\d+)[A-Za-z_0-9.]*)
      | (?P<dash>--)
      | (?P<point>[.:+])
      | (?P<open_string>")
      | (?P<open_comment>/\*)
      | (?P<html><)
      | (?P<end>\Z)
      | (?P<bad>[\s\S])""",
    re.VERBOSE,
)
"""The next word after the trivia."""

BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]*")
"""A bare value (L5); its parts touch, as no white space is in it."""

ATTRIBUTE = re.compile(
    r"""(?P<key>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*) [^\S\n]* = [^\S\n]*
        (?: "(?P<string>[^"\\]*)"
          | (?P<number>-?\d+(?:ms|[smhd])?)(?![\w.])
          | (?P<word>[A-Za-z_][A-Za-z0-9_.:]*)(?![-\w.:]) )
        (?= [^\S\n]*[,\];\n] )""",
    re.VERBOSE,
)
"""An attribute in its everyday form, read in one step; anything else is read word by word."""

INTEGER = re.compile(r"[+-]?\d+")
FLOAT = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
DURATION = re.compile(r"(-?\d+)(ms|s|m|h|d)")
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_ESCAPE = re.compile(r'\\(?:(["\\nt])|\r?(\n))')
_PLAIN = {'"': '"', "\\": "\\", "n": "\n", "t": "\t"}


def unescape(raw: str) -> str:
    """The text of a quoted string's inside: four escapes, joined lines, anything else as written (L5)."""
    if "\\" not in raw:
        return raw
    return _ESCAPE.sub(lambda match: _PLAIN[match[1]] if match[1] else "", raw)


def offsets(raw: str, base: int) -> list[int]:
    """For every character of ``unescape(raw)``, and for its end, its offset; ``raw`` begins at ``base``."""
    found: list[int] = []
    at = 0
    for match in _ESCAPE.finditer(raw):
        found.extend(range(base + at, base + match.start()))
        if match[1]:
            found.append(base + match.start())
        at = match.end()
    found.extend(range(base + at, base + len(raw) + 1))
    return found
