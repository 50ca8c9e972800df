"""Statements: from words to drafts of nodes, edges and subgraphs (language.md#syntax).

Braces are kept on a list of our own, so that no nesting can exhaust the stack. After an error the parser goes on:
inside the statement where it is plain what was meant, else at the next one (L11).
"""

from __future__ import annotations

import re
from dataclasses import replace

from orchestra.errors import Edit, Span
from orchestra.graph.attributes import EDGE, GRAPH, NODE
from orchestra.graph.braces import unclosed_brace
from orchestra.graph.draft import Attributes, Ends, Scope, as_defaults, finish
from orchestra.graph.layout import ATTRIBUTES, FAR, statement_at
from orchestra.graph.model import Graph
from orchestra.graph.reader import Resync, Stop
from orchestra.graph.slips import SlipReader

MAX_DEPTH = 200
"""Subgraphs inside one another."""

MAX_DEFAULTS = 100
"""Keys in one scope's defaults; each of its nodes gets them all."""


class Parser(SlipReader):
    """Reads one text. ``found`` holds what is wrong with it."""

    # --- the graph --------------------------------------------------------------------------------

    def parse(self) -> Graph | None:
        """The graph, as far as it can be read; None where not even its beginning can."""
        name = ""
        try:
            self.advance()
            name = self.header()
            self.body()
            self.after()
        except (Stop, Resync):
            if not name:
                return None
        if not self.errors:
            self.missing_arrows()
        return finish(
            name=name,
            span=Span(self.source, 0, len(self.text)),
            attributes=self.root.attributes,
            nodes=self.nodes.values(),
            edges=self.edges,
            report=self.found,
        )

    def body(self) -> None:
        """Statements until the graph's own brace closes. Every turn reads at least one word."""
        at = -1
        while True:
            try:
                if self.start == at:
                    self.advance()
                at = self.start
                if self.is_mark("}") or self.bracket_for_brace():
                    if self.scope.parent is not None:
                        self.close()
                    elif self.ends():
                        return
                elif self.kind == "end":
                    brace = unclosed_brace(self.text, self.root.opened)
                    brace = self.scope.opened if brace is None else brace
                    edits = [(len(self.text), len(self.text), "}\n")]
                    self.error(
                        "this brace is never closed", fix="end it with }", start=brace, end=brace + 1, edits=edits
                    )
                    raise Stop
                else:
                    self.statement()
            except Resync:
                self.resync()

    def bracket_for_brace(self) -> bool:
        """Note a bracket where a brace is wanted, or the other way round: ``a {x=1, y=2]``."""
        scope, opened = self.scope, self.scope.opened
        if not self.is_mark(",]") or self.text.startswith("]", self.start - 1):
            return False
        same_line = scope.parent is not None and self.text.find("\n", opened, self.start) < 0
        if scope.plain and same_line and "=" in self.text[opened : self.start]:
            self.error("expected '[', not '{'", fix="write [ … ]", start=opened, end=opened + 1, put="[")
            if self.is_mark(","):
                self.skip_to("]}")
        elif self.is_mark("]") and (same_line or (self.on_new_line() and (scope.parent or not self.peek()))):
            self.error("expected '}', not ']'", fix="write }", put="}")
        else:
            return False
        self.word = "}"
        return True

    def brace_for_bracket(self) -> bool:
        """Note a brace that begins a list of attributes, which its bracket shows, and skip the list."""
        if self.on_new_line():
            return False
        closing = ATTRIBUTES.match(self.text, self.end, self.end + FAR)
        if closing is None or closing.end() > statement_at(self.text, self.start)[1]:
            return False
        self.error("expected '[', not '{'", fix="write [ … ]", put="[")
        self.go(closing.end())
        return True

    def resync(self) -> None:
        """Go on at the next statement: after a ``;``, at a brace, or at a line that begins with a name."""
        self.listing = False
        self.stray(self.start)
        while True:
            try:
                if self.kind == "end" or self.is_mark("{}"):
                    return
                if self.is_mark(";"):
                    if self.text.find("\n", *self.lost) < 0:
                        self.lost = 0, 0
                    self.advance()
                    return
                if self.on_new_line() and self.kind in ("id", "string") and not self.in_list():
                    return
                self.advance()
            except Resync:
                continue

    def in_list(self) -> bool:
        """Whether the line at hand is the rest of a broken attribute list rather than a statement."""
        following = self.peek()
        line = self.text[self.start : self.line_end(self.start)]
        return following == "," or (following == "=" and "]" in line and "[" not in line)

    # --- statements -------------------------------------------------------------------------------

    def statement(self) -> None:
        """One statement (L2)."""
        if self.is_mark("{"):
            if not self.brace_for_bracket():
                self.open("", plain=True, chain=None)
        elif self.kind == "id" and self.word == "subgraph":
            self.subgraph(None)
        elif self.kind == "id" and self.word in ("graph", "node", "edge"):
            self.defaults(self.word)
            self.separator()
        elif self.kind in ("id", "string") or self.names():
            self.named()
        else:
            self.misplaced()

    def defaults(self, word: str) -> None:
        """``graph [ … ]``, ``node [ … ]`` or ``edge [ … ]``."""
        if self.peek() == "{":
            self.advance()
            if self.brace_for_bracket():
                return
            opened, noted = self.start, len(self.found)
            self.error("expected '[', not '{'", fix="write [ … ]")
            self.go(self.end)
            if self.skip_to("]}") and len(self.found) > noted:
                edits = tuple(Edit(self.span(at, at + 1), put) for at, put in ((opened, "["), (self.start, "]")))
                self.found[noted] = replace(self.found[noted], edits=edits)
            self.advance()
            return
        if self.peek() != "[":
            self.error(
                f"{word!r} is a keyword",
                fix=f'write {word} [ … ] for defaults, or "{word}" for a node of that name',
            )
            self.advance()
            raise Resync
        start, end = self.start, self.end
        self.advance()
        scope = self.scope
        if word == "graph":
            scope.attributes.update(self.blocks(GRAPH if scope.parent is None else None))
            return
        old = scope.node_defaults if word == "node" else scope.edge_defaults
        new = old | as_defaults(self.blocks(NODE if word == "node" else EDGE))
        if len(new) > MAX_DEFAULTS:
            self.error(
                f"more than {MAX_DEFAULTS} defaults", fix="set each only where it is used", start=start, end=end
            )
        elif word == "node":
            scope.node_defaults = new
        else:
            scope.edge_defaults = new

    def named(self) -> None:
        """A statement that begins with a name: ``key = value``, an edge, or a node."""
        start = self.start
        if self.kind == "id" and self.word in ("digraph", "strict"):
            self.error("a graph inside the graph; a file has one pipeline", fix="check for a missing } before it")
            raise Stop
        if self.assigns():
            self.assignment()
            self.separator()
            return
        glued = re.compile(r"[\w.]+(?:-[\w.]+)+[ \t]*=(?!>)").match(self.text, start)
        if glued is not None and self.kind == "id":
            self.attribute(GRAPH if self.scope.parent is None else None, self.scope.attributes)
            self.separator()
            return
        known = self.word.strip('"') in self.nodes
        name = self.identifier("a node's id")
        span = Span(self.source, start, self.before)
        if self.at_arrow():
            self.mention(name, span)
            self.chain([((name, span),)])
            return
        turned = self.backwards(name, span)
        if turned:
            self.finish_chain(turned)
            return
        if self.text_after(name, span):
            self.ends_here(name, span)
            return
        attributes: Attributes = {}
        try:
            if self.is_mark("["):
                attributes = self.blocks(NODE)
            self.unbracketed(NODE, attributes)
        finally:
            self.declare(name, span, attributes)
        if not attributes:
            self.pair(name, span, known)
        self.last = None if self.is_mark(";") else (name, span)
        self.ends_here(name, span)

    def ends_here(self, name: str, span: Span) -> None:
        """The end of a node or an edge, or what an author put there by mistake; ``span`` is of its last node."""
        if self.kind == "arrow" and not self.on_new_line():
            self.error(
                "an edge continues after its attributes",
                fix="write the attributes at the end of the edge, or two edges",
                edits=[(self.before, self.start, f"; {span.text} ")],
            )
            self.chain([((name, span),)])
            return
        if self.is_mark("="):
            if self.illegal_end != self.before:
                self.error("'=' sets a key, not a node or an edge", fix="write [key=value]")
            self.value(name, None)
        self.separator()

    # --- assignments and subgraphs ----------------------------------------------------------------

    def assignment(self) -> None:
        """``key = value``, an attribute of the graph or the subgraph."""
        start = self.start
        key = self.key()
        key_span = Span(self.source, start, self.before)
        if self.kind == "point":
            put = "" if self.peek() == "=" else " ="
            self.error(f"':' after {key!r}", fix=f"write {key} =", put=put)
        elif re.compile(r"[ \t]*\n\s*[A-Za-z_]\w*\s*(?:->|[\[={])").match(self.text, self.end):
            self.error(f"{key!r} has no value", fix=f"write {key} = …", start=start, end=key_span.end)
            self.advance()
            return
        self.legal_key(key, key_span)
        table = GRAPH if self.scope.parent is None else None
        taken = self.value(key, table)
        if taken is not None:
            self.take(self.scope.attributes, key, key_span, *taken, table)

    def subgraph(self, chain: list[Ends] | None) -> None:
        """``subgraph NAME? {``."""
        self.advance()
        name = ""
        if self.kind == "string" or self.names():
            name = self.identifier("a subgraph's name")
        if not self.is_mark("{"):
            self.error(f"expected '{{' after subgraph, not {self.shown()}", fix="write subgraph NAME { … }")
            brace = self.text.find("{", self.start, self.line_end(self.start))
            meant = self.word in ("[", "(") and not self.text[self.end : self.line_end(self.end)].strip()
            if brace >= 0:
                self.go(brace)
            elif not meant:
                if self.text.count("}", self.start) - self.text.count("{", self.start) <= self.scope.depth + 1:
                    raise Resync
                self.end = self.before
        self.open(name, plain=False, chain=chain)

    def open(self, name: str, *, plain: bool, chain: list[Ends] | None) -> None:
        """A brace opens a scope; ``chain`` holds the ends of the edge that it is an end of."""
        if self.scope.depth >= MAX_DEPTH:
            self.error(f"subgraphs are nested more than {MAX_DEPTH} levels deep", fix="flatten them")
            raise Stop
        self.scope = self.scope.inner(self.start, name, plain, chain)
        self.advance()

    def close(self) -> None:
        """A subgraph ends; it may be an end of an edge."""
        scope = self.scope
        assert scope.parent is not None
        self.scope = scope.parent
        self.scope.members.update(scope.members)
        self.advance()
        if scope.chain is None and not self.at_arrow():
            self.separator()
            return
        if scope.plain:
            self.only_named(scope)
        self.chain([*(scope.chain or ()), tuple(scope.members.items())])

    def only_named(self, scope: Scope) -> None:
        """In a set ``{a b}`` at an end of an edge nodes are mentioned, not declared (L8)."""
        for name in scope.members:
            node = self.nodes[name]
            around: Scope | None = node.scope
            while around is not scope and around is not None and around.plain:
                around = around.parent
            if around is scope and node.bare:
                node.declared = False

    # --- nodes and edges --------------------------------------------------------------------------

    def chain(self, ends: list[Ends]) -> None:
        """The rest of an edge chain; ``ends`` are the endpoints read so far."""
        while self.at_arrow():
            self.advance()
            if self.kind == "arrow":
                self.error("an arrow after an arrow", fix="remove it", put="")
                self.advance()
            if self.is_mark("{"):
                self.open("", plain=True, chain=ends)
                return
            if self.kind == "id" and self.word == "subgraph":
                self.subgraph(ends)
                return
            early = self.early_list()
            if self.kind != "string" and not self.names():
                self.connect(ends, self.scope.edge_defaults)
                self.no_target()
            start = self.start
            name = self.identifier("a node's id")
            span = Span(self.source, start, self.before)
            self.mention(name, span)
            ends.append(((name, span),))
            if early is not None:
                self.moved(*early, span)
        self.finish_chain(ends)

    def finish_chain(self, ends: list[Ends]) -> None:
        """The attributes of a chain, and its end."""
        attributes: Attributes = {}
        try:
            if self.is_mark("["):
                attributes = self.blocks(EDGE)
            self.unbracketed(EDGE, attributes)
            self.text_after_edge()
        finally:
            self.connect(ends, self.scope.edge_defaults | attributes if attributes else self.scope.edge_defaults)
        name, span = ends[-1][-1] if ends[-1] else ("", self.span())
        self.last = None if attributes or self.is_mark(";") else (name, span)
        self.ends_here(name, span)
