"""Statements: from words to drafts of nodes, edges and subgraphs (language.md 1).

Braces are kept on a list of our own, so that no nesting can exhaust the stack. After an error the parser goes on:
inside the statement where it is plain what was meant, else at the next one (L11).
"""

from __future__ import annotations

import re
from itertools import pairwise

from orchestra.errors import Source, Span
from orchestra.graph.attributes import EDGE, GRAPH, NODE, nearest
from orchestra.graph.braces import unclosed_brace
from orchestra.graph.draft import Attributes, EdgeDraft, Ends, NodeDraft, Scope, as_defaults, finish
from orchestra.graph.model import Graph
from orchestra.graph.names import NameReader
from orchestra.graph.reader import Resync, Stop
from orchestra.graph.tokens import KEY, TRIVIA

MAX_DEPTH = 200
"""Subgraphs inside one another."""

MAX_DEFAULTS = 100
"""Keys in one scope's defaults; each of its nodes gets them all."""

MAX_SET_EDGES = 100_000
"""Edges that sets and subgraphs as endpoints may make in one file."""

_DIGRAPH = re.compile(r"\bdigraph\b")


class Parser(NameReader):
    """Reads one text. ``found`` holds what is wrong with it."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.nodes: dict[str, NodeDraft] = {}
        self.edges: list[EdgeDraft] = []
        self.set_edges = 0
        self.root = self.scope = Scope(parent=None, opened=0)

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
        return finish(
            name=name,
            span=Span(self.source, 0, len(self.text)),
            attributes=self.root.attributes,
            nodes=self.nodes.values(),
            edges=self.edges,
            report=self.found,
        )

    def header(self) -> str:
        """``digraph NAME {`` and the graph's name."""
        if self.kind == "id" and self.word == "strict":
            self.error("'strict' is not in the language", fix="leave it out: digraph NAME { … }")
            self.advance()
        if self.kind == "id" and self.word == "graph":
            self.error("an undirected graph; a pipeline is directed", fix="write digraph, and -> for its edges")
            self.undirected = True
        elif not (self.kind == "id" and self.word == "digraph"):
            self.no_digraph()
        self.advance()
        name = "pipeline"
        if self.is_mark("{") or self.kind == "end":
            self.error("the graph has no name", fix=f"write digraph {name} {{")
        else:
            name = self.identifier("the graph's name") or name
        self.root.opened = self.start
        if self.is_mark("{"):
            self.advance()
            return name
        self.error(f"'{{' is wanted after the graph's name, not {self.shown()}", fix=f"write digraph {name} {{")
        if self.kind != "id":
            raise Stop
        return name

    def no_digraph(self) -> None:
        """Something else stands where the graph should begin; go on at the graph where there is one."""
        near = self.kind == "id" and (nearest(self.word.lower(), ["digraph"]) or self.word.lower() == "digraph")
        fix = "write digraph pipeline { … }"
        self.error(
            f"a pipeline begins with digraph NAME {{, not {self.shown()}", fix="write digraph" if near else fix
        )
        if near:
            return
        match = _DIGRAPH.search(self.text, self.end)
        if match is None:
            raise Stop
        self.go(match.start())
        if self.word != "digraph":
            raise Stop

    def body(self) -> None:
        """Statements until the graph's own brace closes. Every turn reads at least one word."""
        at = -1
        while True:
            try:
                if self.start == at:
                    self.advance()
                at = self.start
                if self.is_mark("}"):
                    if self.scope.parent is None:
                        if self.ends():
                            return
                    else:
                        self.close()
                elif self.kind == "end":
                    brace = unclosed_brace(self.text, self.root.opened)
                    brace = self.scope.opened if brace is None else brace
                    self.error("this brace is never closed", fix="end it with }", start=brace, end=brace + 1)
                    raise Stop
                else:
                    self.statement()
            except Resync:
                self.resync()

    def ends(self) -> bool:
        """The graph's closing brace is at hand: whether it ends the graph, or rather is one too many."""
        start, end = self.start, self.end
        self.advance()
        if self.kind in ("end", "arrow", "dash") or not self.text.rstrip().endswith("}"):
            return True
        if self.is_mark("}"):
            self.error("this '}' closes nothing: the graph has ended already", fix="take it out")
            while self.is_mark("}"):
                self.advance()
            return self.kind == "end"
        if self.word in ("digraph", "graph", "strict"):
            return True
        self.error("this '}' ends the graph, but more follows", fix="take it out", start=start, end=end)
        return False

    def after(self) -> None:
        """What stands behind the graph."""
        if self.kind == "end":
            return
        if self.kind == "id" and self.word in ("digraph", "graph", "strict", "subgraph"):
            self.error("a second graph; a file holds one pipeline", fix="put it into a file of its own")
        else:
            self.error(f"{self.shown()} stands after the end of the graph", fix="move it inside the braces")

    def resync(self) -> None:
        """Go on at the next statement: after a ``;``, at a brace, or at a line that begins with a name."""
        while True:
            try:
                if self.kind == "end" or self.is_mark("{}"):
                    return
                if self.is_mark(";"):
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

    def separator(self) -> None:
        """A statement may end with ``;``."""
        if self.is_mark(";"):
            self.advance()

    def misplaced(self) -> None:
        """No statement begins like this."""
        if self.is_mark(","):
            self.error("a comma between statements", fix="write a set as {a b}, else end each statement with ;")
        elif self.is_mark(";"):
            self.error("this ';' ends nothing", fix="take it out")
        elif self.is_mark("]"):
            self.error("this ']' closes nothing", fix="take it out")
        elif self.word in ("&", "+", "|"):
            self.error(f"{self.word!r} joins no nodes", fix="write a set as {a b}")
        elif self.is_mark("["):
            self.error("attributes without a node or an edge", fix="write the id before the bracket")
            self.blocks(None)
            return
        else:
            self.hopeless()
            raise Resync
        self.advance()
        self.separator()

    def hopeless(self) -> None:
        """Something begins no statement, and it is not plain what was meant."""
        if self.kind in ("arrow", "dash"):
            self.error("an edge without a source", fix="write the id before the arrow")
        elif self.word == "#":
            self.error("'#' begins a comment only at the start of a line", fix="write //")
            self.end = self.line_end(self.start)
            self.advance()
        elif not self.no_quote():
            wanted = "write a node, an edge a -> b, or key = value"
            self.error(f"{self.shown()} begins no statement", fix="write [ … ]" if self.word == "(" else wanted)

    def defaults(self, word: str) -> None:
        """``graph [ … ]``, ``node [ … ]`` or ``edge [ … ]``."""
        if self.peek() != "[":
            self.error(f"{word!r} is a keyword", fix=f'write {word} [ … ] for defaults, or "{word}" for the name')
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
                f"more than {MAX_DEFAULTS} defaults", fix="give each only where it is used", start=start, end=end
            )
        elif word == "node":
            scope.node_defaults = new
        else:
            scope.edge_defaults = new

    def named(self) -> None:
        """A statement that begins with a name: ``key = value``, an edge, or a node."""
        start = self.start
        if self.kind == "id" and self.word in ("digraph", "strict"):
            self.error("a graph inside the graph; a file holds one pipeline", fix="is a } missing before it?")
            raise Stop
        if self.assigns():
            self.assignment()
            self.separator()
            return
        name = self.identifier("a node's id")
        span = Span(self.source, start, self.before)
        if self.at_arrow():
            self.mention(name, span)
            self.chain([((name, span),)])
            return
        attributes: Attributes = {}
        try:
            if self.is_mark("["):
                attributes = self.blocks(NODE)
        finally:
            self.declare(name, span, attributes)
        self.ends_here(name)

    def ends_here(self, name: str) -> None:
        """The end of a node or an edge, or what an author put there by mistake."""
        if self.kind == "arrow" and not self.on_new_line():
            self.error("an edge goes on after attributes", fix="write the attributes at the end of the edge")
            raise Resync
        if self.is_mark("="):
            if self.illegal_end != self.before:
                self.error("'=' gives a value to a key, not to a node or an edge", fix="write [key=value]")
            self.value({}, name, self.span(), None)
        self.separator()

    # --- assignments and subgraphs ----------------------------------------------------------------

    def assigns(self) -> bool:
        """Whether ``key =`` stands here, or what looks much like it."""
        if self.kind not in ("id", "string"):
            return False
        match = None if self.kind != "id" else KEY.match(self.text, self.start)
        end = self.end if match is None else match.end()
        trivia = TRIVIA.match(self.text, end)
        at = end if trivia is None else trivia.end()
        if self.text.startswith(":", at):
            return self.kind == "id" and re.compile(r':[ \t]*(?:"|[ \t]\S)').match(self.text, at) is not None
        return self.text.startswith("=", at) and re.compile(r"=+[ \t]?>").match(self.text, at) is None

    def assignment(self) -> None:
        """``key = value``, an attribute of the graph or the subgraph."""
        start = self.start
        key = self.key()
        key_span = Span(self.source, start, self.before)
        if self.kind == "point":
            self.error(f"':' after {key!r}", fix=f"write {key} =")
        elif re.compile(r"[ \t]*\n\s*[A-Za-z_]\w*\s*(?:->|[\[={])").match(self.text, self.end):
            self.error(f"{key!r} has no value", fix=f"write {key} = …", start=start, end=key_span.end)
            self.advance()
            return
        self.value(self.scope.attributes, key, key_span, GRAPH if self.scope.parent is None else None)

    def subgraph(self, chain: list[Ends] | None) -> None:
        """``subgraph NAME? {``."""
        self.advance()
        name = ""
        if self.kind == "string" or self.names():
            name = self.identifier("a subgraph's name")
        if not self.is_mark("{"):
            self.error(f"'{{' is wanted after subgraph, not {self.shown()}", fix="write subgraph NAME { … }")
            brace = self.text.find("{", self.start, self.line_end(self.start))
            if brace < 0:
                raise Resync
            self.go(brace)
        self.open(name, plain=False, chain=chain)

    def open(self, name: str, *, plain: bool, chain: list[Ends] | None) -> None:
        """A brace opens a scope; ``chain`` holds the ends of the edge that it is an end of."""
        if self.scope.depth >= MAX_DEPTH:
            self.error(f"subgraphs are nested more than {MAX_DEPTH} deep", fix="flatten them")
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

    def declare(self, name: str, span: Span, attributes: Attributes) -> None:
        """A node statement (L8)."""
        node = self.mention(name, span)
        if not node.declared:
            node.declared, node.span = True, span
        if attributes:
            node.add(attributes)

    def mention(self, name: str, span: Span) -> NodeDraft:
        """A node is named; where it is new, it gets the defaults of its scope (L8)."""
        scope = self.scope
        scope.members.setdefault(name, span)
        node = self.nodes.get(name)
        if node is None:
            node = self.nodes[name] = NodeDraft(name, scope, span, scope.node_defaults, False, False, True)
        return node

    def chain(self, ends: list[Ends]) -> None:
        """The rest of an edge chain; ``ends`` are the endpoints read so far."""
        while self.at_arrow():
            self.advance()
            if self.is_mark("{"):
                self.open("", plain=True, chain=ends)
                return
            if self.kind == "id" and self.word == "subgraph":
                self.subgraph(ends)
                return
            if self.kind != "string" and not self.names():
                self.connect(ends, self.scope.edge_defaults)
                self.no_target()
            start = self.start
            name = self.identifier("a node's id")
            span = Span(self.source, start, self.before)
            self.mention(name, span)
            ends.append(((name, span),))
        attributes: Attributes = {}
        try:
            if self.is_mark("["):
                attributes = self.blocks(EDGE)
        finally:
            self.connect(ends, self.scope.edge_defaults | attributes if attributes else self.scope.edge_defaults)
        self.ends_here(ends[-1][0][0] if ends[-1] else "")

    def no_target(self) -> None:
        """An edge leads nowhere."""
        if not self.no_quote():
            fix = "write a set as {a b}" if self.word == "(" else "write a node's id after the arrow"
            self.error(f"an edge needs a target, not {self.shown()}", fix=fix)
        raise Resync

    def connect(self, ends: list[Ends], attributes: Attributes) -> None:
        """One edge per pair of neighbours, or of their members (L2)."""
        for sources, targets in pairwise(ends):
            made = len(sources) * len(targets)
            self.set_edges += made if made > 1 else 0
            if self.set_edges > MAX_SET_EDGES:
                first, last = sources[0][1], targets[-1][1]
                self.set_edges -= made
                self.error(
                    f"these sets make {made} edges; sets may make {MAX_SET_EDGES} in one pipeline",
                    fix="put a node between the sets",
                    start=min(first.start, last.start),
                    end=max(first.end, last.end),
                )
                continue
            for source, there in sources:
                for target, here in targets:
                    span = Span(self.source, min(there.start, here.start), max(there.end, here.end))
                    self.edges.append(EdgeDraft(source, target, attributes, span, here))
