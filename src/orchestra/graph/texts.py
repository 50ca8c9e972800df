"""Reading values: quoted texts, bare words and numbers, and what stands where one should (L5, L6)."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TypeAlias

from orchestra.errors import Edit, Source, Span
from orchestra.graph.attributes import Entry, Value
from orchestra.graph.attributes import Scope as Table
from orchestra.graph.reader import Reader, Resync, Stop, quoted
from orchestra.graph.tokens import BARE, KEYWORDS, NUMBER, in_quotes, touching, unescape
from orchestra.graph.values import Misfit, typed

Taken: TypeAlias = tuple[str, bool, Span]
"""A value's text, whether it was quoted, and where it stands."""

_LONGEST_UNOPENED = 1000
_UNOPENED = r"""(?: [^"\n=,] | =(?![ \t]*") | ,(?![ \t]*[\w.]+[ \t]*=) ){1,1000} "(?=[ \t\r]*(?:[,;\]\n]|\Z))"""


class ValueReader(Reader):
    """Reads values. ``last_word`` is where the last one stands that was a bare word."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.last_word = Span(source, 0, 0)

    def value(self, key: str, table: Table | None) -> Taken | None:
        """The value after ``=`` (or after what stood for it); None where there is none that can be used."""
        self.advance()
        if self.is_mark("=") or (self.word == ">" and self.touches()):
            self.error(f"'={self.word}' is not an assignment", fix="write =", put="")
            self.advance()
        start = self.start
        if self.kind == "string":
            text = self.texts()
            return text, True, Span(self.source, start, self.before)
        if self.unopened() or self.absent(key):
            return None
        if self.kind in ("id", "number", "bad", "point", "dash"):
            return self.bare(key, table)
        self.no_value(key)
        return None

    def unopened(self) -> bool:
        """Note a text whose opening quote is missing: only its closing one stands on the line."""
        if self.kind == "html" or self.text.find('"', self.start, self.start + _LONGEST_UNOPENED) < 0:
            return False
        match = re.compile(_UNOPENED, re.VERBOSE).match(self.text, self.start)
        if match is None:
            return False
        text = match[0] if len(match[0]) <= 40 else match[0][:39] + '…"'
        insertion = (self.start, self.start, '"')
        self.error("missing quote before this text", fix=f'write "{text}', end=match.end(), edits=[insertion])
        self.go(match.end())
        return True

    def absent(self, key: str) -> bool:
        """Note a value that is missing where the next attribute begins."""
        if self.kind != "id" or self.peek() != "=":
            return False
        if not self.on_new_line() and not re.compile(r'[ \t]*=[ \t]*"').match(self.text, self.end):
            return False
        self.error(
            f"{key!r} has no value", fix=f"write {key}=…", start=self.before - 1, end=self.before, astray=True
        )
        return True

    def texts(self) -> str:
        """A quoted text, or several joined by ``+`` (L5)."""
        parts = [unescape(self.word[1:-1])]
        self.advance()
        while self.kind == "point" and self.word == "+":
            self.advance()
            if self.kind != "string":
                put = f'"{self.word}"' if self.kind == "id" else None
                message = f"expected a quoted text after '+', not {self.shown()}"
                self.error(message, fix='write it in "quotes"', put=put)
                if self.kind == "id":
                    self.advance()
                break
            parts.append(unescape(self.word[1:-1]))
            self.advance()
        return "".join(parts)

    def bare(self, key: str, table: Table | None) -> Taken | None:
        """A value without quotes; None where it needs them (L5)."""
        if self.no_quote():
            return None
        begin = self.start
        match = (BARE if self.kind == "id" else NUMBER).match(self.text, begin)
        stop = begin if match is None else match.end()
        whole = max(touching(self.text, begin), stop)
        ends = [at for mark in ("->", "//", "/*") if (at := self.text.find(mark, stop, whole)) >= 0]
        whole = min(ends, default=whole)
        text = self.text[begin:whole]
        if text.endswith(")") and "(" not in text:
            whole, text = whole - 1, text[:-1]
        span = Span(self.source, begin, max(whole, begin + 1))
        if not (begin < stop == whole and text.lower() not in KEYWORDS):
            self.unquoted(key, text, span, table)
            text = ""
        self.last_word = span if match is not None and match.re is BARE else Span(self.source, 0, 0)
        self.go(span.end)
        return (text, False, span) if text else None

    def unquoted(self, key: str, text: str, span: Span, table: Table | None) -> None:
        """Note a value that needs quotes; or that would not fit in quotes either."""
        entry = None if table is None else table.entry(table.canonical(key))
        if self.fitting(entry, key, text, False, span) is None:
            return
        shown = quoted(text) if text and text.isprintable() else self.shown()
        what = "is a keyword" if text.lower() in KEYWORDS else "must be quoted"
        fix = f'write {key}="{text if len(text) <= 40 else "…"}"' if key else ""
        astray = not self.ends_value(span.end)
        put = in_quotes(text) if text and not astray else None
        self.error(f"{shown} {what}", fix=fix, start=span.start, end=span.end, astray=astray, put=put)

    def no_value(self, key: str) -> None:
        """Something that is no value stands after ``=``."""
        if self.kind == "html":
            start = self.start
            at = len(self.found)
            self.error("HTML labels are not supported", fix='write the text in quotes: label="…"', astray=True)
            self.skip_html()
            if len(self.found) > at:
                self.found[at] = replace(self.found[at], edits=(self.without_tags(start, self.before),))
            return
        if self.kind == "end" or (not key and self.is_mark(",;]")):
            return
        self.error(f"{quoted(key)} has no value, but {self.shown()}", fix=f"write {key}=…")
        if not self.is_mark(",;]"):
            raise Resync

    def without_tags(self, start: int, end: int) -> Edit:
        """Write an HTML text as a quoted one."""
        text = re.sub(r"<br\s*/?>", " ", self.text[start:end], flags=re.IGNORECASE)
        return Edit(
            Span(self.source, start, end), in_quotes(re.sub("[<>]", "", re.sub("<[^<>]*>", "", text)).strip())
        )

    def skip_html(self) -> None:
        """Go on after an HTML text: after the bracket that closes it, and what touches that."""
        line = self.line_end(self.start)
        closing = self.text.find("]", self.start, line)
        nested = self.text.startswith("<<", self.start)
        depth = 0
        for match in re.compile("[<>]").finditer(self.text, self.start):
            depth += 1 if match[0] == "<" else -1
            if nested and match.start() > line and closing >= 0:
                break
            if depth == 0 and (nested or closing < 0):
                self.go(match.end())
                return
        if closing >= 0:
            last = self.text.rfind(">", self.start, closing)
            self.go(closing if nested else last + 1 if last >= 0 else closing)
            return
        raise Stop

    def fitting(
        self, entry: Entry | None, key: str, text: str, quotes: bool, span: Span
    ) -> tuple[Value, str, str] | None:
        """The typed value with a remark and its fix; None where it does not fit, which is reported."""
        try:
            return typed(entry, text, quotes)
        except Misfit as misfit:
            self.error(
                f"{key} must be {misfit.wanted}, not {quoted(text)}",
                fix=misfit.fix,
                start=span.start,
                end=span.end,
                rule="attribute_type",
                put=None if misfit.put is None else in_quotes(misfit.put) if quotes else misfit.put,
            )
            return None
