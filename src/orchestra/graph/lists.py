"""Reading attributes: lists in brackets, and keys (L4)."""

from __future__ import annotations

import re

from orchestra.errors import Diagnostic, Edit, Severity, Span
from orchestra.graph.attributes import Scope as Table
from orchestra.graph.draft import Attributes
from orchestra.graph.model import Attribute
from orchestra.graph.reader import Resync, quoted
from orchestra.graph.texts import ValueReader
from orchestra.graph.tokens import ATTRIBUTE, KEY, KEYWORDS, TRIVIA, in_quotes, unescape
from orchestra.graph.values import legal_id


class ListReader(ValueReader):
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
        self.listing = True
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
                    self.error("nothing before this separator", fix="remove it", put="")
                fresh = True
                self.advance()
            elif self.kind in ("id", "string") and not self.begins_statement():
                self.attribute(table, found)
                fresh = False
            elif self.mended(opened):
                fresh = False
            else:
                self.listing = False
                raise Resync
        self.listing = False
        self.advance()

    def begins_statement(self) -> bool:
        """Whether the word at hand rather begins the next statement: an arrow or a bracket follows, or it is a
        name alone on its line, and the list does not go on after it."""
        if self.kind != "id":
            return False
        following = self.peek(2)
        if following[:1] in ("[", "{") or following in ("->", "--"):
            return True
        if not self.on_new_line() or following[:1] in ("=", "]", ",", ":"):
            return False
        if re.compile(r"[\w \t\r;]*").fullmatch(self.text, self.end, self.line_end(self.end)) is None:
            return False
        match = re.compile(r"[\[\]{}]|->").search(self.text, self.end)
        return match is None or match[0] != "]"

    def mended(self, opened: int) -> bool:
        """Say what is wrong inside a list; true when the list goes on at the word at hand."""
        if self.kind in ("end", "id", "arrow") or (self.is_mark("}") and self.closes_more(opened)):
            edits = [(self.before, self.before, "]")]
            self.error(
                "this bracket is never closed", fix="end it with ]", start=opened, end=opened + 1, edits=edits
            )
            return False
        if self.is_mark("}") or self.word == ")":
            self.error(f"']' is wanted here, not {self.shown()}", fix="write ]", put="]")
            self.word, self.kind = "]", "mark"
        elif self.is_mark("="):
            self.error("expected a key before '='", fix="write key=value")
            self.value("", None)
        elif self.is_mark("["):
            self.error("'[' inside a list", fix="remove it", put="")
            self.advance()
        elif self.no_quote():
            if self.is_mark("="):
                self.value("", None)
        else:
            self.error(f"expected an attribute key=value or ']', not {self.shown()}", fix="write key=value")
            return self.skip_list()
        return True

    def closes_more(self, opened: int) -> bool:
        """Whether a closing brace rather ends the graph or a subgraph than the list that began at ``opened``."""
        if not self.peek():
            return True
        return self.on_new_line() and self.indent(self.start) != self.indent(opened)

    def skip_list(self) -> bool:
        """After an error inside a list: up to its end where that is on this line; true when it was found."""
        return self.skip_to("]")

    def skip_to(self, marks: str) -> bool:
        """Go to the first of these marks on this line that is not in a text; true when it was found."""
        line = self.line_end(self.start)
        marks = re.escape(marks)
        pieces = re.compile(rf'"(?:[^"\\\n]|\\.)*"|[^{marks}"\n]+|([{marks}])|(")')
        found = next((match for match in pieces.finditer(self.text, self.start, line) if match.lastindex), None)
        if found is None:
            return False
        at = found.start() if found[1] else self.text.rfind("]", self.start, line)
        if at >= 0:
            self.go(at)
        return at >= 0

    # --- keys -------------------------------------------------------------------------------------

    def attribute(self, table: Table | None, found: Attributes) -> None:
        """Take one ``key=value``."""
        start, bare = self.start, self.kind == "id"
        key = self.hyphened(table) or self.key()
        key_span = Span(self.source, start, self.before)
        if self.kind == "point" and self.word == ":":
            doubled = self.peek() == "="
            self.error(f"':' after {quoted(key)}", fix=f"write {key}=", put="" if doubled else "=")
            if doubled:
                self.advance()
        elif not self.is_mark("="):
            self.no_equals(key, key_span, bare)
            return
        self.legal_key(key, key_span)
        taken = self.value(key, table)
        if taken is not None:
            self.take(found, key, key_span, *taken, table)

    def hyphened(self, table: Table | None) -> str:
        """Note a key with hyphens, and read it as the key that was meant; empty where none stands here."""
        match = re.compile(r"\w[\w.]*(?:-[\w.]+)+(?=[ \t]*=)").match(self.text, self.start)
        if match is None or self.kind != "id":
            return ""
        plain = match[0].replace("-", "_")
        dotted = plain.replace("_", ".", 1)
        key = dotted if table is not None and not table.known(plain) and table.known(dotted) else plain
        message = f"a key may have only letters, digits, _ and dots, not {quoted(match[0])}"
        self.error(message, fix=f"write {key}", end=match.end(), put=key)
        self.go(match.end())
        return key

    def legal_key(self, key: str, span: Span) -> None:
        """Note a quoted key that is none (L4)."""
        if not KEY.fullmatch(key):
            message = f"a key is a name, or names separated by dots, not {quoted(span.text)}"
            legal = legal_id(key)
            self.error(message, fix=f"write {legal}", start=span.start, end=span.end, put=legal)

    def no_equals(self, key: str, key_span: Span, bare: bool) -> None:
        """A key without ``=``: a text that its own quote ended, words without quotes, or a key alone."""
        begin = key_span.start
        if bare and self.words(begin):
            return
        several = 'put a text of several words in "quotes"'
        if begin and self.text[begin - 1] == '"':
            fix = 'write \\" for a quote inside a text' if bare else 'use a single " at each end'
            self.error("the text ends at this quote", fix=fix, start=begin - 1, end=begin)
        elif self.kind in ("string", "number"):
            fix = f"write {key[:40]}={self.word if len(self.word) <= 40 else '…'}"
            edits = [(key_span.end, self.start, "=")]
            self.error(f"missing '=' after {quoted(key)}", fix=fix, edits=edits)
            self.advance()
            return
        elif self.is_mark(",;]") or self.kind == "id":
            self.error(
                f"{quoted(key)} has no value",
                fix=f"write {key[:40]}=…; {several}",
                start=begin,
                end=key_span.end,
                astray=True,
            )
            while self.kind == "id" and self.peek() not in ("=", "."):
                self.advance()
            return
        else:
            self.error(
                f"expected '=' after {quoted(key)}, not {self.shown()}", fix=f"write {key[:40]}=…; {several}"
            )
        if not self.skip_list():
            raise Resync

    def words(self, begin: int) -> bool:
        """Note a text of several words without quotes, of which the second is at ``begin``, and skip it."""
        first = self.last_word
        if first.end <= first.start or self.text[first.end : begin].strip(" \t"):
            return False
        match = re.compile(r'(?:[^\n,\]"]|,(?![ \t]*[\w.]+[ \t]*=))*').match(self.text, first.start)
        end = begin if match is None else match.end()
        text = self.text[first.start : end].rstrip()
        shown = text if len(text) <= 40 else text[:39] + "…"
        self.error(
            "a text of several words must be quoted",
            fix=f'write "{shown}"',
            start=first.start,
            end=first.start + len(text),
            astray=not self.ends_value(end),
            put=in_quotes(text),
        )
        self.go(max(end, begin))
        return True

    def key(self) -> str:
        """A key: an id, a dotted id, or either in quotes (L4)."""
        start = self.start
        if self.kind == "string":
            key = unescape(self.word[1:-1])
            self.advance()
            return key
        key = self.word
        if key.lower() in KEYWORDS:
            message = f"{key!r} is a keyword and cannot be a key"
            self.error(message, fix=f'write "{key}" in quotes', put=f'"{key}"')
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
            message = "a dot in a key must be between two names"
            self.error(message, fix=f"write {key}", start=start, end=self.before, put=key)
        return key

    # --- attributes -------------------------------------------------------------------------------

    def twice(self, earlier: Attribute, key_span: Span) -> None:
        """Note that a list gives an attribute once more: the later value counts."""
        line = self.source.position(earlier.key_span.start)[0]
        after = re.compile(r"[ \t]*[,;]?\s*").match(self.text, earlier.span.end)
        end = earlier.span.end if after is None else after.end()
        self.found.append(
            Diagnostic(
                rule="duplicate_attribute",
                severity=Severity.WARNING,
                message=f"{quoted(earlier.key)} is given twice: the value in line {line} is ignored",
                span=key_span,
                fix="remove one of them",
                edits=(Edit(Span(self.source, earlier.key_span.start, end), ""),),
            )
        )

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
                message = f"{key!r} is deprecated; its name is {name!r}"
                self.remark("old_attribute", message, key_span, f"write {name}", name)
        fitting = self.fitting(entry, key, text, quotes, span)
        if fitting is None:
            return
        value, remark, fix = fitting
        if remark:
            put = fix.split()[1]
            self.remark("duration_unit", remark, span, fix, in_quotes(put) if quotes else put)
        name = name if entry is None else entry.key
        earlier = found.get(name)
        if earlier is not None and self.listing:
            self.twice(earlier, key_span)
        found[name] = Attribute(key=name, value=value, key_span=key_span, span=span)
