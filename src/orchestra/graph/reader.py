"""Reading words one by one, and noting what is wrong with them (L7, L10, L11)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from orchestra.errors import Diagnostic, Edit, Severity, Source, Span
from orchestra.graph.layout import statement_at
from orchestra.graph.tokens import FIRST_LINE, QUOTES, TRIVIA, WORD, glued, in_quotes

MAX_ERRORS = 50
"""Errors after which the parser stops (L11)."""


class Resync(Exception):
    """This statement cannot be read any further."""


class Stop(Exception):
    """Nothing after this can be read."""


class Reader:
    """A text, the word at hand, and what was found so far.

    ``kind``, ``word``, ``start`` and ``end`` are of the word at hand; ``before`` is where the one before ended.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.text = source.text
        self.found: list[Diagnostic] = []
        self.errors = 0
        self.kind = ""
        self.word = ""
        self.start = self.end = self.before = 0
        self.long_string: int | None = None
        self.unseen: set[str] = set()
        self.ended = False
        self.listing = False
        self.lost = 0, 0
        self.untold = 0
        match = FIRST_LINE.match(self.text)
        if match is not None:
            self.end = match.end()

    # --- words ------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Read the next word. Raises ``Stop`` at a string or a comment that never ends."""
        self.before = self.end
        self.read()
        while self.kind == "bad" and not self.word.isprintable():
            self.invisible()
            self.read()
        if self.kind == "string":
            self.closed()
        elif self.kind in ("open_string", "open_comment"):
            self.open_ended()

    def read(self) -> None:
        """The next word as it stands."""
        trivia = TRIVIA.match(self.text, self.end)
        match = WORD.match(self.text, self.end if trivia is None else trivia.end())
        assert match is not None
        self.kind, self.word = str(match.lastgroup), match[0]
        self.start, self.end = match.span()

    def invisible(self) -> None:
        """Note a character that looks like white space, or like nothing, and is neither; each only once."""
        if self.word not in self.unseen:
            self.unseen.add(self.word)
            self.error(
                f"the invisible character U+{ord(self.word):04X} is not whitespace in DOT",
                fix="use a plain space, here and wherever else it occurs",
                edits=[(m.start(), m.end(), " ") for m in re.finditer(re.escape(self.word), self.text)],
            )

    def go(self, at: int) -> None:
        """Read on from an offset."""
        self.end = at
        self.advance()

    def next_at(self) -> int:
        """Where the next word begins."""
        trivia = TRIVIA.match(self.text, self.end)
        return self.end if trivia is None else trivia.end()

    def peek(self, length: int = 1) -> str:
        """The characters that follow the word at hand, white space and comments skipped."""
        at = self.next_at()
        return self.text[at : at + length]

    def is_mark(self, marks: str) -> bool:
        """Whether the word at hand is one of these marks."""
        return self.kind == "mark" and self.word in marks

    def touches(self) -> bool:
        """Whether nothing stands between the word at hand and the one before."""
        return self.start == self.before

    def on_new_line(self) -> bool:
        """Whether the word at hand is the first on its line."""
        return self.text.find("\n", self.before, self.start) >= 0

    def closed(self) -> None:
        """Look at the end of a quoted text: where its closing quote looks like an opening one, its own is missing,
        and the text is read as if it ended before (L7)."""
        touched = self.text[self.end : self.end + 1] not in " \t\r\n,;]}+"
        if not touched or not self.word[:-1].rstrip(" \t").endswith("="):
            if "\n" in self.word:
                self.long_string = self.start
            return
        inner = self.word[1:-1]
        match = re.search(r"\][ \t;]*\n|[,;\s]+[\w.]+[ \t]*=[ \t]*$|=[ \t]*$", inner)
        assert match is not None
        closing = self.start + 1 + match.start()
        self.error(
            "this quote is never closed",
            fix='end the text with "',
            end=self.start + 1,
            edits=[(closing, closing, '"')],
        )
        line = inner.rfind("\n") + 1
        if line and (match[0][0] == "=" or not self.listing):
            self.go(min(self.start + 1 + line, statement_at(self.text, self.start)[1]))
            raise Resync
        self.end = self.start + 1 + match.start()
        self.word = f'"{inner[: match.start()]}"'

    def open_ended(self) -> None:
        """A string or a comment that never ends is reported where it began (L7)."""
        if self.kind == "open_string":
            self.error("this quote is never closed", fix='end the text with "')
        else:
            self.error("this comment is never closed", fix="end it with */")
        raise Stop

    # --- findings ---------------------------------------------------------------------------------

    def span(self, start: int | None = None, end: int | None = None) -> Span:
        """A span inside the text, of the word at hand where nothing else is said."""
        first = self.start if start is None else start
        last = self.end if end is None else end
        first = min(first, max(len(self.text) - 1, 0))
        return Span(self.source, first, max(first + 1, min(last, len(self.text))))

    def error(
        self,
        message: str,
        *,
        fix: str = "",
        start: int | None = None,
        end: int | None = None,
        rule: str = "syntax",
        astray: bool = False,
        put: str | None = None,
        edits: Sequence[tuple[int, int, str]] = (),
    ) -> None:
        """Note an error; ``astray`` where what follows in the statement is read in a wrong way from here on: no
        more is told of that statement (L11). ``put`` is what to write in its place; ``edits`` are other changes
        that fix it, as offsets and texts.

        Raises ``Stop`` when there are too many, and after the first at the end of the file.
        """
        if self.ended:
            raise Stop
        self.ended = self.kind == "end" and rule == "syntax"
        if self.long_string is not None and rule == "syntax" and not fix:
            line, column = self.source.position(self.long_string)
            fix = f"check where the text that starts at line {line}, column {column} is closed"
        self.long_string = None
        span = self.span(start, end)
        known = rule == "syntax" and self.is_lost(span.start)
        if astray:
            self.stray(span.start)
        if known:
            self.untold += 1
            if self.untold > MAX_ERRORS:
                raise Stop
            return
        if put is not None:
            edits = [(self.start if start is None else start, self.end if end is None else end, put), *edits]
        changes = tuple(Edit(Span(self.source, first, last), text) for first, last, text in edits)
        self.found.append(
            Diagnostic(rule=rule, severity=Severity.ERROR, message=message, span=span, fix=fix, edits=changes)
        )
        self.errors += 1
        if self.errors > MAX_ERRORS:
            raise Stop

    def stray(self, at: int) -> None:
        """From here on the statement around an offset is read in a wrong way."""
        if not self.is_lost(at):
            self.lost = statement_at(self.text, at)

    def is_lost(self, at: int) -> bool:
        """Whether the statement around an offset is read in a wrong way."""
        return self.lost[0] <= at < self.lost[1]

    def remark(self, rule: str, message: str, span: Span, fix: str, put: str) -> None:
        """Note something that is understood, but should be written otherwise: as ``put``."""
        self.found.append(
            Diagnostic(
                rule=rule,
                severity=Severity.INFO,
                message=message,
                span=span,
                fix=fix,
                edits=(Edit(span, put),),
            )
        )

    def shown(self) -> str:
        """The word at hand as a message shows it."""
        if self.kind == "end":
            return "the end of the file"
        text = (
            self.word if self.kind != "bad" else self.text[self.start : glued(self.text, self.start)] or self.word
        )
        return quoted(text)

    def no_quote(self) -> bool:
        """Note a quote that is none, and skip to what closes it on this line."""
        if self.kind != "bad" or self.word not in QUOTES:
            return False
        start, closed = self.start, True
        noted = len(self.found)
        self.error(f"{self.word} is not a quote in DOT", fix='use the plain "')
        line, at = self.line_end(self.start), self.start
        while self.text[at : at + 1] in QUOTES:
            ends = [end for mark in QUOTES[self.text[at]] if (end := self.text.find(mark, at + 1, line)) >= 0]
            at = min(ends, default=at) + 1
            if not ends:
                closed = False
                break
        if not closed or not self.ends_value(at):
            self.stray(start)
        elif len(self.found) > noted:
            whole = self.text[start:at]
            inner = whole.strip("".join(QUOTES) + whole[-1])
            self.found[noted] = replace(self.found[noted], edits=(Edit(self.span(start, at), in_quotes(inner)),))
        self.go(at)
        return True

    def ends_value(self, at: int) -> bool:
        """Whether a list goes on or ends right after an offset."""
        return re.compile(r"\s*(?:[,\]}]|[\w.]+[ \t]*=)").match(self.text, at) is not None

    def indent(self, at: int) -> int:
        """How far the line is indented that an offset is in."""
        line = self.text[self.text.rfind("\n", 0, at) + 1 : at]
        return len(line) - len(line.lstrip(" \t"))

    def line_end(self, at: int) -> int:
        """Where the line ends that an offset is in."""
        found = self.text.find("\n", at)
        return found if found >= 0 else len(self.text)


def quoted(text: str) -> str:
    """A piece of the author's text, short and on one line."""
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= 30 else flat[:29] + "…")
