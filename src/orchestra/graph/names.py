"""Reading names, and the arrows between them; and what was meant as one (L1, L3)."""

from __future__ import annotations

import re

from orchestra.errors import Source
from orchestra.graph.lists import ListReader
from orchestra.graph.reader import quoted
from orchestra.graph.tokens import IDENTIFIER, KEYWORDS, glued, unescape
from orchestra.graph.values import legal_id

_ARROWISH = r"<-+>|--+>?|-[ \t]?>+|-(?=[ \t])|->>+|=+[ \t]?>|>|[–—−]>?|[→⟶⇒➔➜]|~>"
_APART = frozenset(" \t\r\n;[{}")
"""What may follow an id without being taken for a part of it."""


class NameReader(ListReader):
    """Reads ids and arrows. ``illegal_end`` is where the last id ended that was none."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.undirected = False
        self.illegal_end = -1

    def names(self) -> bool:
        """Whether something stands here that was meant as a name: also ``2nd``, ``naïve``, ``@work``."""
        if self.kind == "id":
            return True
        end = glued(self.text, self.start)
        return any(c.isalnum() for c in self.text[self.start : end])

    def at_arrow(self) -> bool:
        """Whether an arrow is at hand, or what was meant as one."""
        if self.kind == "arrow" and (self.end - self.start > 2 or self.text[self.end : self.end + 1] != ">"):
            return True
        if self.kind in ("id", "string", "end") or (self.kind == "mark" and self.word != "="):
            return False
        match = re.compile(_ARROWISH).match(self.text, self.start)
        if match is None:
            return False
        if not (self.undirected and match[0] == "--"):
            what = "is an undirected edge; pipelines are directed" if match[0] == "--" else "is not an arrow"
            self.error(f"{match[0]!r} {what}", fix="write ->", end=match.end(), astray="=" in match[0], put="->")
        self.kind, self.word, self.end = "arrow", "->", match.end()
        return True

    def identifier(self, what: str) -> str:
        """The id at hand (L3). What is none is reported, and read as the legal id that the message proposes."""
        if self.kind == "string":
            name = unescape(self.word[1:-1])
            if not IDENTIFIER.fullmatch(name):
                self.illegal(name, what)
                name = legal_id(name)
            self.advance()
        else:
            name = self.bare_id(what)
        if self.kind == "point" and self.word == ":":
            self.port(name)
        return name

    def bare_id(self, what: str) -> str:
        """An id without quotes, or what was meant as one."""
        name = self.word
        if self.kind == "id" and name.lower() not in KEYWORDS and self.text[self.end : self.end + 1] in _APART:
            self.advance()
            return name
        end = max(glued(self.text, self.start), self.end)
        name = self.text[self.start : end]
        if not IDENTIFIER.fullmatch(name):
            legal = legal_id(name)
            message = f"{what} may have only letters, digits and _, not {quoted(name)}"
            self.error(message, fix=f"write {legal}", end=end, put=legal)
            self.illegal_end, name = end, legal
        elif name.lower() in KEYWORDS:
            self.error(
                f"{name!r} is a keyword and cannot be {what}", fix=f'write "{name}" in quotes', put=f'"{name}"'
            )
        self.go(end)
        return name

    def illegal(self, name: str, what: str) -> None:
        """Note a quoted id that is none (L3)."""
        legal, label = legal_id(name), self.word if len(self.word) <= 60 else '"…"'
        fix = f"write {legal} [label={label}]"
        if what != "a node's id":
            fix = f"write {legal}, with label={label} inside the braces"
        self.error(f"{what} may have only letters, digits and _, not {quoted(name)}", fix=fix, put=legal)

    def port(self, name: str) -> None:
        """Note a port (L1) and skip it."""
        start = self.start
        while self.kind == "point" and self.word == ":":
            self.advance()
            if self.kind in ("id", "string", "number"):
                self.advance()
        self.error(
            "ports are not supported",
            fix=f"write {name} alone",
            start=start,
            end=self.before,
            astray=True,
            put="",
        )
