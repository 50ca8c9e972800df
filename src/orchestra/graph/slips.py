"""Slips of the pen around nodes and edges: what was meant is noted, read, and offered as an edit (L11)."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

from orchestra.errors import Edit, Source, Span
from orchestra.graph.attributes import GRAPH
from orchestra.graph.attributes import Scope as Table
from orchestra.graph.draft import Attributes, EdgeDraft, Ends, NodeDraft
from orchestra.graph.frame import FrameReader
from orchestra.graph.layout import ATTRIBUTES, FAR, statement_at
from orchestra.graph.tokens import KEY, TRIVIA, unescape

MAX_SET_EDGES = 100_000
"""Edges that sets and subgraphs as endpoints may make in one file."""


class SlipReader(FrameReader):
    """Keeps the nodes and edges so far. ``last`` is the name that the statement before ended with, ``pairs`` are
    names side by side, with where the first ends and where the second stands."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.nodes: dict[str, NodeDraft] = {}
        self.edges: list[EdgeDraft] = []
        self.set_edges = 0
        self.scope = self.root
        self.last: tuple[str, Span] | None = None
        self.pairs: list[tuple[str, str, int, Span]] = []

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

    def connect(self, ends: list[Ends], attributes: Attributes) -> None:
        """One edge per pair of neighbours, or of their members (L2)."""
        for sources, targets in pairwise(ends):
            made = len(sources) * len(targets)
            self.set_edges += made if made > 1 else 0
            if self.set_edges > MAX_SET_EDGES:
                first, last = sources[0][1], targets[-1][1]
                self.set_edges -= made
                self.error(
                    f"these sets make {made} edges; at most {MAX_SET_EDGES} per pipeline are allowed",
                    fix="put a node between the sets",
                    start=min(first.start, last.start),
                    end=max(first.end, last.end),
                )
                continue
            for source, there in sources:
                for target, here in targets:
                    span = Span(self.source, min(there.start, here.start), max(there.end, here.end))
                    self.edges.append(EdgeDraft(source, target, attributes, span, here))

    # --- slips ------------------------------------------------------------------------------------

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

    def pair(self, name: str, span: Span, known: bool) -> None:
        """Remember two names side by side: an arrow may be missing between them."""
        last = self.last
        if last is None or not last[0] or self.scope.parent is not None or not known:
            return
        if self.text[last[1].end : span.start].strip(" \t") == "":
            self.pairs.append((last[0], name, last[1].end, span))

    def missing_arrows(self) -> None:
        """Note names side by side of which the first leads nowhere, or nothing leads to the second."""
        sources = {edge.source for edge in self.edges}
        targets = {edge.target for edge in self.edges}
        for source, target, after, span in self.pairs:
            if source == target or (source in sources and target in targets):
                continue
            self.ended = False
            self.error(
                f"missing arrow between {source!r} and {target!r}",
                fix=f"write {source} -> {target}",
                start=span.start,
                end=span.end,
                edits=[(after, span.start, " -> ")],
            )

    def backwards(self, name: str, span: Span) -> list[Ends]:
        """Note ``a <- b``, and read it as ``b -> a``: its ends, none where nothing of the kind stands here."""
        match = re.compile(r"<-+[ \t]*([A-Za-z_]\w*)").match(self.text, self.start)
        if match is None or self.kind != "html":
            return []
        other = Span(self.source, *match.span(1))
        self.error(
            "'<-' is not an arrow",
            fix=f"write {match[1]} -> {name}",
            end=self.start + match[0].rindex("-") + 1,
            edits=[(span.start, match.end(), f"{match[1]} -> {span.text}")],
        )
        self.mention(name, span)
        self.mention(match[1], other)
        self.go(match.end())
        return [((match[1], other),), ((name, span),)]

    def text_after(self, name: str, span: Span) -> bool:
        """Note ``goal "Ship it"``: a text after a name, with nothing between them."""
        if self.kind != "string" or self.on_new_line() or self.word[1:-1].isidentifier():
            return False
        setting = self.scope.parent is not None or GRAPH.known(name) or name not in self.nodes
        shown = self.word if len(self.word) <= 40 else '"…"'
        if setting and (GRAPH.known(name) or GRAPH.nearest(name)):
            self.error(
                f"missing '=' between {name!r} and its text",
                fix=f"write {name} = {shown}",
                edits=[(span.end, self.start, " = ")],
            )
            text, place = unescape(self.word[1:-1]), self.span()
            self.take(self.scope.attributes, name, span, text, True, place, GRAPH)
        else:
            self.error("a text after a node's id", fix=f"write {name} [label={shown}]", put=f"[label={self.word}]")
            self.declare(name, span, {})
        self.advance()
        return True

    def unbracketed(self, table: Table, found: Attributes) -> None:
        """Note attributes that stand behind a node or an edge without brackets, and take them."""
        start, noted = self.start, len(self.found)
        if self.kind == "id" and not self.on_new_line() and self.assigns() and self.is_listed():
            self.error("a list of attributes without its '['", fix="write [ … ]", edits=[(start, start, "[")])
            self.rest(table, found, start, False)
            return
        while self.kind == "id" and not self.on_new_line() and self.assigns():
            match = KEY.match(self.text, self.start)
            if match is None or table.entry(table.canonical(match[0])) is None:
                break
            if self.start == start:
                self.error("attributes must be in brackets", fix=f"write [{match[0]}=…]", end=match.end())
            self.attribute(table, found)
            end = self.before
            if len(self.found) > noted:
                edits = (Edit(Span(self.source, start, start), "["), Edit(Span(self.source, end, end), "]"))
                self.found[noted] = replace(self.found[noted], edits=edits)
            if self.is_mark(","):
                self.advance()

    def is_listed(self) -> bool:
        """Whether the bracket that would close a list follows in the same statement."""
        closing = ATTRIBUTES.match(self.text, self.start, self.end + FAR)
        return closing is not None and closing.end() <= statement_at(self.text, self.start)[1]

    def early_list(self) -> tuple[int, int, int] | None:
        """Note the attributes of ``a -> [label=x] b``, which come too early, and skip them; where they stand, and
        how many findings there were."""
        if not self.is_mark("["):
            return None
        closing = ATTRIBUTES.match(self.text, self.end, self.line_end(self.end))
        if closing is None or not re.compile(r"[ \t]*[A-Za-z_]").match(self.text, closing.end()):
            return None
        if not re.compile(r"\[\s*[\w.]+\s*=").match(self.text, self.start):
            return None
        start, noted = self.start, len(self.found)
        self.error("the attributes of an edge come after its target", fix="write a -> b [ … ]", end=closing.end())
        self.go(closing.end())
        return start, closing.end(), noted

    def moved(self, start: int, end: int, noted: int, target: Span) -> None:
        """Give the finding about an early list its edit: the list stands behind the target."""
        if len(self.found) == noted:
            return
        more = f"; {target.text}" if self.kind == "arrow" else ""
        put = f" {self.text[start:end]}{more}"
        edits = (
            Edit(Span(self.source, start, target.start), ""),
            Edit(Span(self.source, target.end, target.end), put),
        )
        fix = f"write -> {target.text} {self.text[start:end]}"
        self.found[noted] = replace(self.found[noted], fix=fix, edits=edits)

    def text_after_edge(self) -> None:
        """Note ``a -> b "yes"``: a text behind an edge, which is its condition or its label."""
        if self.kind != "string" or self.on_new_line() or self.word[1:-1].isidentifier():
            return
        key = "condition" if re.search("[=<>]", self.word) else "label"
        fix = f"write [{key}={self.word if len(self.word) <= 40 else '…'}]"
        self.error("a text after an edge", fix=fix, put=f"[{key}={self.word}]")
        self.advance()
