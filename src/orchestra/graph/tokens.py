"""The words of a DOT text: one regular expression, read on demand (L5, L7).

White space is what Graphviz takes for it; anything else that looks empty, such as a no-break space, is not.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple


class Token(NamedTuple):
    """A token of the text, which is where the parser is. ``before`` is where the previous token ended."""

    kind: str
    text: str
    start: int
    end: int
    before: int

    def is_mark(self, marks: str) -> bool:
        """Whether it is one of these marks."""
        return self.kind == "mark" and self.text in marks

    @property
    def touches(self) -> bool:
        """Whether nothing stands between it and the previous token."""
        return self.start == self.before


TRIVIA = re.compile(
    r"(?: [\ \t\r]+ | \n (?:[\ \t]* \#[^\n]*)? | //[^\n]* | /\*[\s\S]*?\*/ )+",
    re.VERBOSE,
)
"""What stands between words: white space, comments, lines that begin with ``#``."""

FIRST_LINE = re.compile(r"[ \t]*#[^\n]*")
"""A ``#`` line at the very start of the text."""

WORD = re.compile(
    r"""(?P<id>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<string>"[^"\\]*(?:\\[\s\S][^"\\]*)*")
      | (?P<arrow>->)
      | (?P<mark>[{}\[\];,=])
      | (?P<number>-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[A-Za-z_0-9.]*)
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

BARE = re.compile(r"[A-Za-z_](?:[A-Za-z0-9_.:]|-(?!>))*")
"""A bare value (L5); its parts touch, as no white space is in it. An arrow ends it."""

NUMBER = re.compile(r"-?(?:[0-9]+(?:\.[0-9]*|ms|[smhd])?|\.[0-9]+)")
"""A bare integer, float or duration (L5)."""

_GLUED = r"""(?: [^\s\[\]{}();,=<>"'`“”„‘’«»:+#&|/\\-] | -(?![->]) )+"""
_TOUCHING = r"""[^\s\[\]{};,"]*"""

ATTRIBUTE = re.compile(
    r"""(?P<key>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*) [\ \t]* = [\ \t]*
        (?: "(?P<string>[^"\\]*(?:\\[\s\S][^"\\]*)*)"
          | (?P<number>-?[0-9]+(?:ms|[smhd])?)(?![\w.])
          | (?P<word>[A-Za-z_][A-Za-z0-9_.:]*)(?![-\w.:]) )
        (?= [\ \t\r]* [,\];\n] )""",
    re.VERBOSE,
)
"""An attribute in its everyday form, read in one step; anything else is read word by word."""

KEYWORDS = frozenset({"graph", "digraph", "subgraph", "node", "edge", "strict"})
"""Words that, in upper or lower case, name nothing unless they stand in quotes: so it is in Graphviz (L13)."""

QUOTES = {"'": "'", "`": "`", "“": "”", "”": "”", "„": "“”", "‘": "’", "’": "’", "«": "»", "»": "«"}
"""What is no quote in DOT, and what would close it."""

INTEGER = re.compile(r"[+-]?[0-9]+")
FLOAT = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
DURATION = re.compile(r"(-?[0-9]+)(ms|s|m|h|d)")
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")

_ESCAPE = re.compile(r'\\(?:(["\\nt])|\r?\n)|\r(?=\n)')
_PLAIN = {'"': '"', "\\": "\\", "n": "\n", "t": "\t"}


@cache
def _compile(pattern: str) -> re.Pattern[str]:
    """A pattern that most files do not need."""
    return re.compile(pattern, re.VERBOSE)


def end_of_glued(text: str, at: int) -> int:
    """Where a name ends that an author meant as one, though it is none: ``my-work``, ``2nd``, ``naïve``."""
    match = _compile(_GLUED).match(text, at)
    return at if match is None else match.end()


def touching_end(text: str, at: int) -> int:
    """Where that ends which touches a bare value, though it cannot be one: ``a/b``, ``5%``, ``$x``."""
    match = _compile(_TOUCHING).match(text, at)
    return at if match is None else match.end()


def unescape(raw: str) -> str:
    """The text of a quoted string's inside: four escapes, joined lines, anything else as written (L5).

    A line ends with a line feed, whatever the file ends its lines with.
    """
    if "\\" not in raw and "\r" not in raw:
        return raw
    return _ESCAPE.sub(lambda match: _PLAIN[match[1]] if match[1] else "", raw)


def in_quotes(text: str) -> str:
    """A text as it is written in quotes; the opposite of ``unescape``."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


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
