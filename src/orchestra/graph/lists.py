"""Reading attributes: lists in brackets, keys, and values by the attribute table (L4 to L6)."""

from __future__ import annotations

import re

from orchestra.errors import Span
from orchestra.graph.attributes import Entry, Value
from orchestra.graph.attributes import Scope as Table
from orchestra.graph.draft import Attributes
from orchestra.graph.model import Attribute
from orchestra.graph.reader import Reader, Resync, Stop, quoted
from orchestra.graph.tokens import ATTRIBUTE, BARE, KEY, KEYWORDS, NUMBER, TRIVIA, touching, unescape
from orchestra.graph.values import Misfit, legal_id, typed


class ListReader(Reader):
    """Reads attributes. A table types their values; without one they stay text."""

    def blocks(self, table: Table | None) -> Attributes:
        """One or more ``[ … ]``."""
        found: Attributes = {}
        while self.is_mark("["):
            self.block(table, found)
        return found

    def block(self, table: Table | None, found: Attributes) -> None:
        """One list: in its everyday form attribute by attribute, else word by word."""
        opened, at, text = self.start, self.end, self.text
        fresh = True
        while True:
            trivia = TRIVIA.match(text, at)
            match = ATTRIBUTE.match(text, at if trivia is None else trivia.end())
            if match is None or match["key"].lower() in KEYWORDS or (match["word"] or "").lower() in KEYWORDS:
                break
            self.everyday(match, table, found)
            at = match.end()
            fresh = text[at] in ",;"
            at += fresh
        self.go(at)
        self.rest(table, found, opened, fresh)

    def everyday(self, match: re.Match[str], table: Table | None, found: Attributes) -> None:
        """Take an attribute that the quick expression read."""
        kind = str(match.lastgroup)
        (start, end), text = match.span(kind), match[kind]
        key_span = Span(self.source, *match.span("key"))
        if kind == "string":
            self.take(
                found, match["key"], key_span, unescape(text), True, Span(self.source, start - 1, end + 1), table
            )
        else:
            self.take(found, match["key"], key_span, text, False, Span(self.source, start, end), table)

    def rest(self, table: Table | None, found: Attributes, opened: int, fresh: bool) -> None:
        """What the quick way could not read, word by word, up to the closing bracket; ``fresh`` where no attribute
        stands before."""
        while not self.is_mark("]"):
            if self.is_mark(",;"):
                if fresh:
                    self.error("nothing stands before this separator", fix="take it out")
                fresh = True
                self.advance()
            elif self.kind in ("id", "string") and not self.begins_statement():
                self.attribute(table, found)
                fresh = False
            elif not self.mended(opened):
                raise Resync
        self.advance()

    def begins_statement(self) -> bool:
        """Whether the word at hand rather begins the next statement: an arrow or a bracket follows, or it is a
        name alone on its line."""
        if self.kind != "id":
            return False
        following = self.peek(2)
        if following[:1] in ("[", "{") or following in ("->", "--"):
            return True
        if not self.on_new_line() or following[:1] in ("=", "]", ",", ":"):
            return False
        return self.text[self.end : self.line_end(self.end)].strip(" \t\r;") == ""

    def mended(self, opened: int) -> bool:
        """Say what is wrong inside a list; true when the list goes on at the word at hand."""
        if self.kind in ("end", "id", "arrow") or (self.is_mark("}") and self.closes_more()):
            self.error("this bracket is never closed", fix="end it with ]", start=opened, end=opened + 1)
            return False
        if self.is_mark("}") or self.word == ")":
            self.error(f"']' is wanted here, not {self.shown()}", fix="write ]")
            self.word, self.kind = "]", "mark"
            return True
        if self.no_quote():
            if self.is_mark("="):
                self.value({}, "", self.span(), None)
            return True
        self.error(f"an attribute key=value or ']' is wanted here, not {self.shown()}", fix="write key=value")
        return self.skip_list()

    def closes_more(self) -> bool:
        """Whether a closing brace rather ends the graph or a subgraph than the list."""
        return self.on_new_line() or not self.peek()

    def skip_list(self) -> bool:
        """After an error inside a list: up to its end where that is on this line; true when it was found."""
        closing = self.text.find("]", self.start, self.line_end(self.start))
        if closing < 0:
            return False
        self.go(closing)
        return True

    # --- keys -------------------------------------------------------------------------------------

    def attribute(self, table: Table | None, found: Attributes) -> None:
        """Take one ``key=value``."""
        start, bare = self.start, self.kind == "id"
        key = self.key()
        key_span = Span(self.source, start, self.before)
        if self.is_mark("="):
            self.value(found, key, key_span, table)
        elif self.kind == "point" and self.word == ":":
            self.error(f"':' after {key!r}", fix=f"write {key}=")
            if self.peek() == "=":
                self.advance()
            self.value(found, key, key_span, table)
        else:
            self.no_equals(key, key_span, bare)

    def no_equals(self, key: str, key_span: Span, bare: bool) -> None:
        """A key without ``=``: a text that its own quote ended, words without quotes, or a key alone."""
        begin = key_span.start
        several = 'a text of several words needs "quotes"'
        if begin and self.text[begin - 1] == '"':
            fix = 'write \\" for a quote inside a text' if bare else 'one " at each end is enough'
            self.error("a quote ends the text here", fix=fix, start=begin - 1, end=begin)
        elif self.is_mark(",;]") or self.kind == "id":
            self.error(f"{key!r} has no value", fix=f"write {key}=…; {several}", start=begin, end=key_span.end)
            while self.kind == "id" and self.peek() not in ("=", "."):
                self.advance()
            return
        else:
            self.error(f"'=' is wanted after {key!r}, not {self.shown()}", fix=f"write {key}=…; {several}")
            if self.kind in ("string", "number"):
                self.advance()
                return
        if not self.skip_list():
            raise Resync

    def key(self) -> str:
        """A key: an id, a dotted id, or either in quotes (L4)."""
        start = self.start
        if self.kind == "string":
            key = unescape(self.word[1:-1])
            if not KEY.fullmatch(key):
                self.error(
                    f"a key is a name, or names with points between: not {quoted(key)}",
                    fix=f"write {legal_id(key)}",
                )
            self.advance()
            return key
        key = self.word
        if key.lower() in KEYWORDS:
            self.error(f"{key!r} is a keyword and cannot be a key", fix=f'write "{key}" in quotes')
        self.advance()
        ends_well = True
        while self.kind == "point" and self.word == ".":
            ends_well = ends_well and self.touches()
            self.advance()
            if self.kind == "id":
                ends_well = ends_well and self.touches()
                key += "." + self.word
                self.advance()
            else:
                ends_well = False
        if not ends_well:
            self.error(
                "a point in a key stands between two names", fix=f"write {key}", start=start, end=self.before
            )
        return key

    # --- values -----------------------------------------------------------------------------------

    def value(self, found: Attributes, key: str, key_span: Span, table: Table | None) -> None:
        """Take the value after ``=`` (or what stood for it)."""
        self.advance()
        if self.is_mark("=") or (self.word == ">" and self.touches()):
            self.error(f"'={self.word}' assigns nothing", fix="write =")
            self.advance()
        start = self.start
        if self.kind == "string":
            text = self.texts()
            self.take(found, key, key_span, text, True, Span(self.source, start, self.before), table)
        elif self.kind in ("id", "number", "bad", "point", "dash"):
            bare = self.bare(key, table)
            if bare is not None:
                self.take(found, key, key_span, bare, False, Span(self.source, start, self.before), table)
        else:
            self.no_value(key)

    def texts(self) -> str:
        """A quoted text, or several joined by ``+`` (L5)."""
        parts = [unescape(self.word[1:-1])]
        self.advance()
        while self.kind == "point" and self.word == "+":
            self.advance()
            if self.kind != "string":
                self.error(f"a quoted text is wanted after '+', not {self.shown()}", fix='write it in "quotes"')
                if self.kind == "id":
                    self.advance()
                break
            parts.append(unescape(self.word[1:-1]))
            self.advance()
        return "".join(parts)

    def bare(self, key: str, table: Table | None) -> str | None:
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
        if begin < stop == whole and text.lower() not in KEYWORDS:
            self.go(whole)
            return text
        whole = max(whole, begin + 1)
        entry = None if table is None else table.entry(table.canonical(key))
        if self.fitting(entry, key, text, False, Span(self.source, begin, whole)) is not None:
            shown = quoted(text) if text and text.isprintable() else self.shown()
            what = "is a keyword" if text.lower() in KEYWORDS else "cannot stand without quotes"
            self.error(f"{shown} {what}", fix=f'write {key}="{text if len(text) <= 40 else "…"}"', end=whole)
        self.go(whole)
        return None

    def no_value(self, key: str) -> None:
        """Something that is no value stands after ``=``."""
        if self.kind == "html":
            self.error("HTML labels are not in the language", fix='write the text in quotes: label="…"')
            self.skip_html()
            return
        if self.kind == "end":
            return
        self.error(f"{key!r} has no value: {self.shown()} stands in its place", fix=f"write {key}=…")
        if not self.is_mark(",;]"):
            raise Resync

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

    def take(
        self,
        found: Attributes,
        key: str,
        key_span: Span,
        text: str,
        quotes: bool,
        span: Span,
        table: Table | None,
    ) -> None:
        """Put the typed attribute into ``found``; a value that does not fit is an ERROR and is left out (L6)."""
        if table is None:
            found[key] = Attribute(key=key, value=text, key_span=key_span, span=span)
            return
        name = key
        entry = table.entries.get(key)
        if entry is None:
            name = table.canonical(key)
            entry = table.entries.get(name)
            if key in table.old_words:
                self.remark("old_attribute", f"{key!r} is an old word for {name!r}", key_span, f"write {name}")
        fitting = self.fitting(entry, key, text, quotes, span)
        if fitting is None:
            return
        value, remark, fix = fitting
        if remark:
            self.remark("duration_unit", remark, span, fix)
        found[name] = Attribute(key=name, value=value, key_span=key_span, span=span)

    def fitting(
        self, entry: Entry | None, key: str, text: str, quotes: bool, span: Span
    ) -> tuple[Value, str, str] | None:
        """The typed value with a remark and its fix; None where it does not fit, which is reported."""
        try:
            return typed(entry, text, quotes)
        except Misfit as misfit:
            self.error(
                f"{key} is {misfit.wanted}, not {quoted(text)}",
                fix=misfit.fix,
                start=span.start,
                end=span.end,
                rule="attribute_type",
            )
            return None
