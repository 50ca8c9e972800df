"""The parser: from a DOT text to a graph with spans, with every error in one go (language.md 1).

Words are read on demand by one regular expression; braces are kept on a list of our own, so that no
nesting can exhaust the stack. After an error the parser goes on at the next statement.
"""

from __future__ import annotations

from itertools import pairwise

from orchestra.errors import Diagnostic, Severity, Source, Span, StylesheetError
from orchestra.graph.attributes import EDGE, GRAPH, NODE
from orchestra.graph.attributes import Scope as Table
from orchestra.graph.draft import Attributes, EdgeDraft, NodeDraft, Scope, added, as_defaults, finish, inside
from orchestra.graph.model import Attribute, Graph
from orchestra.graph.stylesheet import parse_stylesheet
from orchestra.graph.tokens import ATTRIBUTE, BARE, FIRST_LINE, IDENTIFIER, TRIVIA, WORD, unescape
from orchestra.graph.values import Misfit, legal_id, typed

MAX_ERRORS = 50
"""Errors after which the parser stops (L11)."""

MAX_DEPTH = 200
"""Subgraphs inside one another."""

_ENDPOINT_KEYWORDS = frozenset({"graph", "node", "edge", "digraph", "strict"})
_QUOTES = "'“”‘’„«»`"


class _Resync(Exception):
    """This statement cannot be read any further."""


class _Stop(Exception):
    """Nothing after this can be read."""


def decode(name: str, data: bytes) -> tuple[Source, tuple[Diagnostic, ...]]:
    """The text of a file (L1): UTF-8, a byte order mark skipped; what is no UTF-8 is an ERROR with its place."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _refused(name, "", 0, "the file is UTF-16; pipelines are UTF-8", "save it as UTF-8")
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        text = data.decode("utf-8", "replace")
        at = len(data[: error.start].decode("utf-8", "replace"))
        return _refused(
            name, text, at, f"byte {data[error.start]:#04x} is not UTF-8 text", "save the file as UTF-8"
        )
    at = text.find("\0")
    if at >= 0:
        return _refused(name, text, at, "a NUL byte: this is not a text file", "")
    return Source(name, text), ()


def _refused(name: str, text: str, at: int, message: str, fix: str) -> tuple[Source, tuple[Diagnostic, ...]]:
    source = Source(name, text)
    span = Span(source, at, at + 1)
    return source, (Diagnostic(rule="syntax", severity=Severity.ERROR, message=message, span=span, fix=fix),)


def parse(source: Source) -> tuple[Graph | None, tuple[Diagnostic, ...]]:
    """The graph in a text and every finding about the text, in source order; never raises.

    The graph is None where not even ``digraph NAME {`` could be read.
    """
    parser = _Parser(source)
    graph = parser.parse()
    found = sorted(parser.found, key=lambda d: d.span.start if d.span is not None else 0)
    errors = [d for d in found if d.severity is Severity.ERROR]
    if len(errors) > MAX_ERRORS:
        keep = set(map(id, errors[:MAX_ERRORS]))
        found = [d for d in found if d.severity is not Severity.ERROR or id(d) in keep]
    return graph, tuple(found)


class _Parser:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.text = source.text
        self.found: list[Diagnostic] = []
        self.errors = 0
        self.nodes: dict[str, NodeDraft] = {}
        self.edges: list[EdgeDraft] = []
        self.mentions: dict[str, Span] = {}
        self.kind = ""
        self.start = self.end = 0
        self.word = ""
        self.before = 0
        self.long_string: int | None = None
        match = FIRST_LINE.match(self.text)
        if match is not None:
            self.end = match.end()
        self.scope = Scope(parent=None, opened=0)

    # --- words ------------------------------------------------------------------------------------

    def advance(self) -> None:
        self.before = self.end
        trivia = TRIVIA.match(self.text, self.end)
        at = trivia.end() if trivia is not None else self.end
        match = WORD.match(self.text, at)
        if match is None or match.lastgroup is None:
            self.kind, self.word, self.start, self.end = "end", "", at, at
            return
        self.kind, self.word = match.lastgroup, match[0]
        self.start, self.end = match.span()
        if self.kind == "string" and "\n" in self.word:
            self.long_string = self.start
        elif self.kind == "open_string":
            self.error("this quote is never closed", fix='end the text with "')
            raise _Stop
        elif self.kind == "open_comment":
            self.error("this comment is never closed", fix="end it with */")
            raise _Stop

    def is_mark(self, mark: str) -> bool:
        return self.kind == "mark" and self.word == mark

    def peek(self) -> str:
        """The character that follows the current word, white space and comments skipped."""
        trivia = TRIVIA.match(self.text, self.end)
        at = trivia.end() if trivia is not None else self.end
        return self.text[at : at + 1]

    # --- findings ---------------------------------------------------------------------------------

    def span(self, start: int | None = None, end: int | None = None) -> Span:
        first = self.start if start is None else start
        last = max(self.end, self.start + 1) if end is None else end
        size = len(self.text)
        first = min(first, max(size - 1, 0))
        return Span(self.source, first, max(first + 1, min(last, max(size, 1))))

    def error(
        self, message: str, *, fix: str = "", start: int | None = None, end: int | None = None, rule: str = "syntax"
    ) -> None:
        self.errors += 1
        if self.long_string is not None and rule == "syntax" and start is None:
            line, column = self.source.position(self.long_string)
            fix = fix or f"is the text that begins at line {line}, column {column} closed where you meant it?"
        self.long_string = None
        span = self.span(start, end)
        self.found.append(Diagnostic(rule=rule, severity=Severity.ERROR, message=message, span=span, fix=fix))
        if self.errors > MAX_ERRORS:
            raise _Stop

    def remark(self, rule: str, message: str, span: Span, fix: str) -> None:
        self.found.append(Diagnostic(rule=rule, severity=Severity.INFO, message=message, span=span, fix=fix))

    def shown(self) -> str:
        if self.kind == "end":
            return "the end of the file"
        text = self.word if len(self.word) <= 30 else self.word[:29] + "…"
        return repr(text.replace("\n", " "))

    # --- the graph --------------------------------------------------------------------------------

    def parse(self) -> Graph | None:
        name, begun = "", False
        try:
            self.advance()
            name = self.header()
            begun = True
            self.body()
            self.after()
        except (_Stop, _Resync):
            pass
        if not begun:
            return None
        root = self.root()
        self.stylesheet(root.attributes)
        return finish(
            name=name,
            span=Span(self.source, 0, len(self.text)),
            attributes=root.attributes,
            nodes=self.nodes.values(),
            edges=self.edges,
            report=self.found,
        )

    def root(self) -> Scope:
        scope = self.scope
        while scope.parent is not None:
            scope = scope.parent
        return scope

    def header(self) -> str:
        if self.kind == "id" and self.word == "strict":
            self.error("'strict' is not in the language", fix="leave it out: digraph NAME { … }")
            self.advance()
        if self.kind == "id" and self.word == "graph":
            self.error("an undirected graph; a pipeline is directed", fix="write digraph, and -> for its edges")
        elif not (self.kind == "id" and self.word == "digraph"):
            found = f", not {self.shown()}"
            self.error(f"a pipeline begins with digraph NAME {{{found}", fix="write digraph pipeline { … }")
            raise _Stop
        self.advance()
        name = "pipeline"
        if self.kind in ("id", "string"):
            name = self.identifier("the graph's name")
        elif self.is_mark("{"):
            self.error("the graph has no name", fix="write digraph pipeline {")
        if not self.is_mark("{"):
            self.error(f"'{{' is wanted after the graph's name, not {self.shown()}")
            raise _Stop
        self.scope.opened = self.start
        self.advance()
        return name

    def body(self) -> None:
        """Statements until the graph's own brace closes."""
        while True:
            try:
                if self.is_mark("}"):
                    if self.scope.parent is None:
                        return
                    self.close()
                elif self.kind == "end":
                    self.error(
                        "this brace is never closed",
                        fix="end it with }",
                        start=self.scope.opened,
                        end=self.scope.opened + 1,
                    )
                    raise _Stop
                else:
                    self.statement()
            except _Resync:
                self.resync()

    def after(self) -> None:
        self.advance()
        if self.kind == "end":
            return
        if self.kind == "id" and self.word in ("digraph", "graph", "strict", "subgraph"):
            self.error("a second graph; a file holds one pipeline", fix="put it into a file of its own")
        elif self.is_mark("}"):
            self.error("this '}' closes nothing: the graph has ended already", fix="take it out")
        else:
            self.error(f"{self.shown()} stands after the end of the graph", fix="move it inside the braces")

    def resync(self) -> None:
        """Go on at the next statement: after a ``;``, at a brace, or at a line that begins with a name."""
        self.scope.chain = None if self.scope.parent is None else self.scope.chain
        while True:
            if self.kind == "end" or self.is_mark("}"):
                return
            if self.is_mark(";"):
                self.advance()
                return
            broken = "\n" in self.text[self.before : self.start]
            begins = broken and self.kind in ("id", "string") and self.peek() != ","
            if begins and not self.looks_like_attribute():
                return
            self.advance()

    def looks_like_attribute(self) -> bool:
        """Whether the line at hand is the rest of a broken attribute list rather than a statement."""
        line_end = self.text.find("\n", self.start)
        line = self.text[self.start : line_end if line_end >= 0 else len(self.text)]
        return self.peek() == "=" and ("]" in line and "[" not in line)

    # --- statements -------------------------------------------------------------------------------

    def statement(self) -> None:
        if self.is_mark(";"):
            self.advance()
        elif self.is_mark("{"):
            self.open("", None)
        elif self.kind == "id" and self.word == "subgraph":
            self.subgraph(None)
        elif self.kind == "id" and self.word in ("graph", "node", "edge"):
            self.defaults(self.word)
        elif self.kind in ("id", "string"):
            self.named()
        else:
            self.misplaced()

    def misplaced(self) -> None:
        if self.kind == "number":
            self.error(f"an id begins with a letter, not {self.shown()}", fix=f"write {legal_id(self.word)}")
        elif self.is_mark("["):
            self.error("attributes without a node or an edge", fix="write the id before the bracket")
        elif self.kind in ("arrow", "dash"):
            self.error("an edge without a source", fix="write the id before the arrow")
        elif self.word in _QUOTES and self.word:
            self.error(f"{self.word} is no quote in DOT", fix='use the plain "')
        else:
            self.error(
                f"{self.shown()} begins no statement", fix="a node, an edge a -> b, or key = value is wanted"
            )
        self.advance()
        raise _Resync

    def defaults(self, word: str) -> None:
        if self.peek() == "=":
            self.error(f"{word!r} is a keyword and cannot be a key", fix=f"write {word} [ … ]")
            raise _Resync
        if self.peek() != "[":
            self.error(
                f"{word!r} is a keyword and cannot be a node's id",
                fix=f"write {word}_ as the id and {word} as its label",
            )
            self.advance()
            raise _Resync
        self.advance()
        table = {"graph": GRAPH, "node": NODE, "edge": EDGE}[word]
        attributes = self.blocks(table if word != "graph" or self.scope.parent is None else None)
        if word == "graph":
            self.scope.attributes = added(self.scope.attributes, attributes)
        elif word == "node":
            self.scope.node_defaults = added(self.scope.node_defaults, as_defaults(attributes))
        else:
            self.scope.edge_defaults = added(self.scope.edge_defaults, as_defaults(attributes))

    def named(self) -> None:
        """A statement that begins with a name: ``key = value``, an edge, or a node."""
        start = self.start
        following = self.peek()
        if following == "=" or (following == "." and self.kind == "id"):
            self.assignment()
            return
        if self.kind == "id" and self.word == "digraph":
            self.error("a graph inside the graph; a file holds one pipeline", fix="is a } missing before it?")
            raise _Stop
        name = self.identifier("a node's id")
        end = self.before
        if self.kind in ("arrow", "dash"):
            self.mention(name, start, end)
            self.chain([(name,)])
            return
        attributes: Attributes = {}
        if self.is_mark("["):
            attributes = self.blocks(NODE)
        self.declare(name, start, end, attributes)

    def assignment(self) -> None:
        start = self.start
        key = self.key()
        if not self.is_mark("="):
            self.error(
                f"'=' is wanted after {key!r}, not {self.shown()}", fix="ids have letters, digits and _ only"
            )
            raise _Resync
        if self.text[self.end : self.end + 1] == ">":
            self.error("'=>' is no arrow", fix="write ->", end=self.end + 1)
            self.advance()
            self.advance()
            raise _Resync
        table = GRAPH if self.scope.parent is None else None
        attribute = self.value(key, Span(self.source, start, self.before), table)
        if attribute is not None:
            self.scope.attributes = added(self.scope.attributes, {attribute.key: attribute})

    def subgraph(self, chain: list[tuple[str, ...]] | None) -> None:
        self.advance()
        name = ""
        if self.kind in ("id", "string"):
            name = self.identifier("a subgraph's name")
        if not self.is_mark("{"):
            self.error(f"'{{' is wanted after subgraph, not {self.shown()}")
            raise _Resync
        self.open(name, chain)

    def open(self, name: str, chain: list[tuple[str, ...]] | None) -> None:
        if self.scope.depth >= MAX_DEPTH:
            self.error(f"subgraphs are nested more than {MAX_DEPTH} deep", fix="flatten them")
            raise _Stop
        self.scope = self.scope.inner(self.start, name, chain)
        self.advance()

    def close(self) -> None:
        """A subgraph ends; it may be an end of an edge."""
        scope = self.scope
        assert scope.parent is not None
        self.scope = scope.parent
        self.scope.members.update(scope.members)
        self.advance()
        chain = scope.chain
        if chain is None and self.kind not in ("arrow", "dash"):
            return
        self.chain([*(chain or ()), tuple(scope.members)])

    # --- nodes and edges --------------------------------------------------------------------------

    def declare(self, name: str, start: int, end: int, attributes: Attributes) -> None:
        self.scope.members[name] = None
        node = self.nodes.get(name)
        if node is None:
            span = Span(self.source, start, end)
            merged = added(self.scope.node_defaults, attributes) if attributes else self.scope.node_defaults
            self.nodes[name] = NodeDraft(name, self.scope, span, merged, True)
            return
        if not node.declared:
            node.declared, node.span = True, Span(self.source, start, end)
        if attributes:
            node.attributes = added(node.attributes, attributes)

    def mention(self, name: str, start: int, end: int) -> None:
        self.scope.members[name] = None
        if name not in self.nodes:
            span = Span(self.source, start, end)
            self.nodes[name] = NodeDraft(name, self.scope, span, self.scope.node_defaults, False)
        self.mentions[name] = Span(self.source, start, end)

    def chain(self, ends: list[tuple[str, ...]]) -> None:
        """The rest of an edge chain; ``ends`` are the endpoints read so far."""
        while self.kind in ("arrow", "dash"):
            if self.kind == "dash":
                self.error("'--' is an undirected edge; pipelines are directed", fix="write ->")
            self.advance()
            if self.is_mark("{"):
                self.open("", ends)
                return
            if self.kind == "id" and self.word == "subgraph":
                self.subgraph(ends)
                return
            if self.kind not in ("id", "string"):
                self.error(f"an edge needs a target, not {self.shown()}", fix="write a node's id after the arrow")
                raise _Resync
            if self.word in _ENDPOINT_KEYWORDS:
                self.error(f"{self.word!r} is a keyword and cannot be a node's id")
                raise _Resync
            start = self.start
            name = self.identifier("a node's id")
            self.mention(name, start, self.before)
            ends.append((name,))
        attributes = self.blocks(EDGE) if self.is_mark("[") else {}
        self.connect(ends, added(self.scope.edge_defaults, attributes))

    def connect(self, ends: list[tuple[str, ...]], attributes: Attributes) -> None:
        for sources, targets in pairwise(ends):
            for source in sources:
                for target in targets:
                    here = self.mentions.get(target) or self.nodes[target].span
                    first = self.mentions.get(source) or self.nodes[source].span
                    span = Span(self.source, min(first.start, here.start), max(first.end, here.end))
                    self.edges.append(EdgeDraft(source, target, attributes, span, here))

    def identifier(self, what: str) -> str:
        """The id at hand (L3); a quoted one has to be legal."""
        if self.kind == "id":
            name = self.word
            self.advance()
        else:
            name = unescape(self.word[1:-1])
            if not IDENTIFIER.fullmatch(name):
                self.error(
                    f"{what} has letters, digits and _ only: {self.shown()}",
                    fix=f"write {legal_id(name)} [label={self.word if len(self.word) < 60 else '…'}]",
                )
                name = legal_id(name)
            self.advance()
        self.unglued(name)
        return name

    def unglued(self, name: str) -> None:
        """Refuse a port, and what looks like the rest of an id."""
        if self.kind == "point" and self.word == ":":
            self.error("ports are not in the language", fix=f"write {name} alone", end=self.end)
            self.advance()
            if self.kind in ("id", "string", "number"):
                self.advance()
        elif self.start == self.before and self.word in ("-", "–") and self.text[self.end : self.end + 1].isalnum():
            tail = BARE.match(self.text, self.end)
            whole = f"{name}-{tail[0]}" if tail is not None else name
            begin = self.start - len(name)
            self.error("an id has letters, digits and _ only", fix=f"write {legal_id(whole)}", start=begin)
            raise _Resync
        elif self.kind == "point" and self.word == ".":
            self.error("an id has no point in it", fix=f"write {name}_… instead")
            raise _Resync

    # --- attributes -------------------------------------------------------------------------------

    def blocks(self, table: Table | None) -> Attributes:
        """One or more ``[ … ]``."""
        found: Attributes = {}
        while self.is_mark("["):
            self.block(table, found)
        return found

    def block(self, table: Table | None, found: Attributes) -> None:
        opened = self.start
        at = self.end
        while True:
            trivia = TRIVIA.match(self.text, at)
            at = trivia.end() if trivia is not None else at
            match = ATTRIBUTE.match(self.text, at)
            if match is None:
                break
            attribute = self.everyday(match, table)
            if attribute is not None:
                found[attribute.key] = attribute
            at = match.end()
            if self.text[at] in ",;":
                at += 1
        self.end = at
        self.advance()
        self.rest(table, found, opened)

    def rest(self, table: Table | None, found: Attributes, opened: int) -> None:
        """What the quick way could not read, word by word, up to the closing bracket."""
        while not self.is_mark("]"):
            if self.is_mark(",") or self.is_mark(";"):
                self.advance()
                continue
            if self.kind not in ("id", "string"):
                self.unclosed(opened)
            if self.kind == "id" and self.text.startswith(("->", "--", "[", "{"), self.next_at()):
                self.unclosed(opened)
            attribute = self.attribute(table)
            if attribute is not None:
                found[attribute.key] = attribute
        self.advance()

    def next_at(self) -> int:
        trivia = TRIVIA.match(self.text, self.end)
        return trivia.end() if trivia is not None else self.end

    def unclosed(self, opened: int) -> None:
        if self.kind == "end" or self.is_mark("}") or self.kind == "id" or self.kind == "arrow":
            self.error("this bracket is never closed", fix="end it with ]", start=opened, end=opened + 1)
        elif self.word and self.word in _QUOTES:
            self.error(f"{self.word} is no quote in DOT", fix='use the plain "')
        else:
            self.error(f"an attribute key=value or ']' is wanted here, not {self.shown()}")
        if not (self.kind == "end" or self.is_mark("}")):
            self.skip_list()
        raise _Resync

    def skip_list(self) -> None:
        """After an error inside brackets: up to their end where it is on this line, else stay."""
        line_end = self.text.find("\n", self.start)
        closing = self.text.find("]", self.start, line_end if line_end >= 0 else len(self.text))
        if closing >= 0:
            self.end = closing + 1
            self.advance()

    def attribute(self, table: Table | None) -> Attribute | None:
        start = self.start
        key = self.key()
        key_span = Span(self.source, start, self.before)
        if self.is_mark("="):
            return self.value(key, key_span, table)
        if self.kind == "point" and self.word == ":":
            self.error(f"':' after {key!r}", fix=f"write {key}=")
            return self.value(key, key_span, table)
        if self.is_mark(",") or self.is_mark("]") or self.is_mark(";"):
            self.error(f"{key!r} has no value", fix=f"write {key}=…", start=start, end=key_span.end)
            return None
        self.error(f"'=' is wanted after {key!r}, not {self.shown()}", fix=f"write {key}=…")
        if self.kind in ("string", "number"):
            self.advance()
            return None
        self.skip_list()
        raise _Resync

    def key(self) -> str:
        """A key: an id, a dotted id, or either in quotes (L4)."""
        if self.kind == "string":
            key = unescape(self.word[1:-1])
            self.advance()
            return key
        key = self.word
        self.advance()
        while self.kind == "point" and self.word == "." and self.start == self.before:
            self.advance()
            if self.kind != "id":
                self.error(f"a key ends with a word, not {self.shown()}")
                raise _Resync
            key += "." + self.word
            self.advance()
        return key

    def everyday(self, match, table: Table | None) -> Attribute | None:  # type: ignore[no-untyped-def]
        """An attribute that the quick expression read."""
        kind = match.lastgroup
        key_start, key_end = match.span("key")
        start, end = match.span(kind)
        if kind == "string":
            start, end = start - 1, end + 1
        return self.made(
            match["key"],
            Span(self.source, key_start, key_end),
            match[kind],
            kind == "string",
            Span(self.source, start, end),
            table,
        )

    def value(self, key: str, key_span: Span, table: Table | None) -> Attribute | None:
        """The value after ``=`` (or what stood for it), typed by the table."""
        self.advance_value()
        start = self.start
        if self.kind == "string":
            parts = [unescape(self.word[1:-1])]
            end = self.end
            self.advance()
            while self.kind == "point" and self.word == "+":
                self.advance()
                if self.kind != "string":
                    self.error(f"a quoted text is wanted after '+', not {self.shown()}")
                    raise _Resync
                parts.append(unescape(self.word[1:-1]))
                end = self.end
                self.advance()
            text, quoted = "".join(parts), True
        elif self.kind in ("id", "number"):
            text, quoted, end = self.word, False, self.end
            self.advance()
            if self.kind == "bad" and self.start == end:
                self.error(f"{self.shown()} cannot stand in a bare value", fix=f'write {key}="…"')
                self.skip_list()
                raise _Resync
        else:
            self.no_value(key)
            return None
        return self.made(key, key_span, text, quoted, Span(self.source, start, end), table)

    def advance_value(self) -> None:
        """The next word, a bare value as one (L5)."""
        self.advance()
        if self.kind == "id":
            match = BARE.match(self.text, self.start)
            if match is not None:
                stop = match.end()
                while stop > self.end and self.text[stop - 1] == "-" and self.text[stop : stop + 1] == ">":
                    stop -= 1
                self.word, self.end = self.text[self.start : stop], stop

    def no_value(self, key: str) -> None:
        if self.kind == "html":
            self.error("HTML labels are not in the language", fix='write the text in quotes: label="…"')
            self.skip_html()
            return
        if self.word and self.word in _QUOTES:
            self.error(f"{self.word} is no quote in DOT", fix='use the plain "')
        elif self.is_mark("="):
            self.error("'==' assigns nothing", fix="write one =")
        else:
            self.error(f"{key!r} has no value: {self.shown()} stands in its place", fix=f"write {key}=…")
            if self.is_mark("]") or self.is_mark(",") or self.is_mark(";"):
                return
        self.skip_list()
        raise _Resync

    def skip_html(self) -> None:
        depth = 0
        for at in range(self.start, len(self.text)):
            depth += {"<": 1, ">": -1}.get(self.text[at], 0)
            if depth == 0:
                self.end = at + 1
                self.advance()
                return
        raise _Stop

    def made(
        self, key: str, key_span: Span, text: str, quoted: bool, span: Span, table: Table | None
    ) -> Attribute | None:
        """The typed attribute; a value that does not fit is an ERROR and is left out (L6)."""
        if table is None:
            return Attribute(key=key, value=text, key_span=key_span, span=span)
        name = key
        entry = table.entries.get(key)
        if entry is None:
            name = table.canonical(key)
            entry = table.entries.get(name)
            if key in table.old_words:
                self.remark("old_attribute", f"{key!r} is an old word for {name!r}", key_span, f"write {name}")
        try:
            found = typed(entry, text, quoted)
        except Misfit as misfit:
            shown = text if len(text) <= 40 else text[:39] + "…"
            self.error(
                f"{key} is {misfit.wanted}, not {shown!r}",
                fix=misfit.fix,
                start=span.start,
                end=span.end,
                rule="attribute_type",
            )
            return None
        if found.remark:
            self.remark("duration_unit", found.remark, span, found.fix)
        return Attribute(key=name, value=found.value, key_span=key_span, span=span)

    def stylesheet(self, attributes: Attributes) -> None:
        attribute = attributes.get("model_stylesheet")
        if attribute is None or not isinstance(attribute.value, str):
            return
        try:
            parse_stylesheet(attribute.value)
        except StylesheetError as error:
            span = inside(attribute.span, error.start, error.end)
            self.found.append(
                Diagnostic(
                    rule="stylesheet_syntax",
                    severity=Severity.ERROR,
                    message=error.message,
                    span=span,
                    fix=error.fix,
                )
            )
