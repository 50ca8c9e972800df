"""How a graph begins and ends, and what begins no statement (L1, L11)."""

from __future__ import annotations

import re

from orchestra.errors import Source
from orchestra.graph.attributes import nearest
from orchestra.graph.draft import Scope
from orchestra.graph.layout import ATTRIBUTES, FAR, statement_at
from orchestra.graph.names import NameReader
from orchestra.graph.reader import Resync, Stop


class FrameReader(NameReader):
    """Reads the frame of a pipeline; ``root`` is the scope of the graph's own braces."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.root = Scope(parent=None, opened=0)
        self.fenced = False

    def header(self) -> str:
        """``digraph NAME {`` and the graph's name."""
        self.fenced = self.fence()
        if self.kind == "id" and self.word == "strict":
            edits = [(self.start, self.next_at(), "")]
            self.error("'strict' is not supported", fix="remove it: digraph NAME { … }", edits=edits)
            self.advance()
        if self.kind == "id" and self.word == "graph":
            self.error(
                "this graph is undirected; a pipeline is directed",
                fix="write digraph, and -> for its edges",
                put="digraph",
                edits=[(match.start(), match.end(), "->") for match in self.undirected_edges()],
            )
            self.undirected = True
        elif not (self.kind == "id" and self.word == "digraph"):
            self.no_digraph()
        self.advance()
        name = "pipeline"
        if self.is_mark("{") or self.kind == "end":
            insertion = (self.start, self.start, f"{name} ")
            self.error("the graph has no name", fix=f"write digraph {name} {{", edits=[insertion])
        else:
            name = self.identifier("the graph's name") or name
        self.root.opened = self.start
        if self.is_mark("{"):
            self.advance()
            return name
        insertion = (self.before, self.before, " {")
        message = f"expected '{{' after the graph's name, not {self.shown()}"
        self.error(message, fix=f"write digraph {name} {{", edits=[insertion] if self.kind == "id" else [])
        if self.kind != "id":
            raise Stop
        return name

    def undirected_edges(self) -> list[re.Match[str]]:
        """The ``--`` of a text, outside of quoted texts and comments."""
        pieces = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/|(?P<edge>--)', re.DOTALL)
        return [match for match in pieces.finditer(self.text) if match["edge"]]

    def fence(self) -> bool:
        """Note a Markdown fence around the pipeline, and skip the opening one."""
        if not self.text.startswith("```", self.start):
            return False
        line = min(self.line_end(self.start) + 1, len(self.text))
        closing = self.text.rfind("\n```")
        edits = [(self.start, line, ""), *([(closing + 1, len(self.text), "")] if closing >= line - 1 else [])]
        message = "a Markdown fence around the pipeline"
        self.error(message, fix="remove the lines with ```", end=self.start + 3, edits=edits)
        self.go(line)
        return True

    def no_digraph(self) -> None:
        """Something else stands where the graph should begin; go on at the graph where there is one."""
        near = self.kind == "id" and (nearest(self.word.lower(), ["digraph"]) or self.word.lower() == "digraph")
        fix = "write digraph pipeline { … }"
        self.error(
            f"a pipeline starts with digraph NAME {{, not {self.shown()}",
            fix="write digraph" if near else fix,
            put="digraph" if near else None,
        )
        if near:
            return
        match = re.compile(r"\bdigraph\b").search(self.text, self.end)
        if match is None:
            raise Stop
        self.go(match.start())
        if self.word != "digraph":
            raise Stop

    def ends(self) -> bool:
        """The graph's closing brace is at hand: whether it ends the graph, or rather is one too many."""
        start, end = self.start, self.end
        self.advance()
        if self.kind == "end" or not self.text.rstrip().endswith("}"):
            return True
        if self.is_mark("}"):
            self.error("unmatched '}': the graph has already ended", fix="remove it", put="")
            while self.is_mark("}"):
                self.advance()
            return self.kind == "end"
        if self.word in ("digraph", "graph", "strict"):
            return True
        self.error("this '}' ends the graph, but more follows", fix="remove it", start=start, end=end, put="")
        if self.kind in ("arrow", "dash") or self.is_mark("["):
            raise Resync
        self.separator()
        return False

    def after(self) -> None:
        """What stands behind the graph."""
        if self.kind == "end" or (self.fenced and self.text.startswith("```", self.start)):
            return
        if self.text.startswith("```", self.start):
            edits = [(self.start, len(self.text), "")]
            self.error("a Markdown fence after the pipeline", fix="remove it", end=self.start + 3, edits=edits)
        elif self.kind == "id" and self.word in ("digraph", "graph", "strict", "subgraph"):
            self.error("a second graph; a file has one pipeline", fix="move it to another file")
        else:
            self.error(f"unexpected {self.shown()} after the end of the graph", fix="move it inside the braces")

    # --- what begins no statement -----------------------------------------------------------------

    def separator(self) -> None:
        """A statement may end with ``;``."""
        if self.is_mark(";"):
            self.advance()

    def misplaced(self) -> None:
        """No statement begins like this; go on where it is plain what was meant."""
        if self.is_mark("["):
            self.error("attributes without a node or an edge", fix="write the id before the bracket")
            self.blocks(None)
        elif self.is_mark("]"):
            self.error("unmatched ']'", fix="remove it, or add the missing [ before it", put="")
            self.advance()
            self.blocks(None)
        elif self.is_mark(","):
            self.comma()
        elif self.is_mark(";"):
            self.error("unexpected ';'", fix="remove it", put="")
            self.advance()
        elif self.round_list():
            return
        elif self.word in ("&", "+", "|"):
            self.error(f"{self.word!r} does not connect nodes", fix="write a set as {a b}")
            self.advance()
        else:
            self.hopeless()
            raise Resync
        self.separator()

    def round_list(self) -> bool:
        """Note a list of attributes in round brackets, and skip it."""
        match = None
        if self.word == "(":
            match = re.compile(r'\((?:\s*[\w.]+\s*=\s*(?:"(?:[^"\\]|\\.)*"|[\w.]+)[,;]?)+\s*\)').match(
                self.text, self.start
            )
        if match is None:
            return False
        start, end = match.span()
        self.error(
            "attributes stand in square brackets",
            fix="write [ … ]",
            edits=[(start, start + 1, "["), (end - 1, end, "]")],
        )
        self.go(end)
        return True

    def comma(self) -> None:
        """A comma between statements, or between attributes whose bracket is missing."""
        last = min(statement_at(self.text, self.start)[1], self.end + FAR)
        closing = ATTRIBUTES.match(self.text, self.end, last)
        if closing is None:
            self.error(
                "a comma between statements",
                fix="write a set as {a b}, or end each statement with ;",
                astray=True,
            )
            self.advance()
        else:
            self.error("a list of attributes without its '['", fix="write NODE [key=value, …]")
            self.go(closing.end())

    def hopeless(self) -> None:
        """Something begins no statement, and it is not plain what was meant."""
        if self.kind in ("arrow", "dash"):
            self.error("an edge without a source", fix="write the id before the arrow")
        elif self.word == "#":
            self.error("'#' starts a comment only at the start of a line", fix="write //", put="//")
            self.end = self.line_end(self.start)
            self.advance()
        elif not self.no_quote():
            wanted = "write a node, an edge a -> b, or key = value"
            self.error(
                f"{self.shown()} is not the start of a statement", fix="write [ … ]" if self.word == "(" else wanted
            )

    def no_target(self) -> None:
        """An edge leads nowhere; go on where its target follows a list of attributes."""
        if self.is_mark("["):
            self.error("an edge needs a target, not a list", fix="write a set as {a b}")
            if re.compile(r"\[\s*[\w.]+\s*=").match(self.text, self.start):
                self.blocks(None)
            else:
                self.skip_to("]}")
                self.advance()
        elif not self.no_quote():
            fix = "write a set as {a b}" if self.word == "(" else "write a node's id after the arrow"
            self.error(f"an edge needs a target, not {self.shown()}", fix=fix)
        raise Resync
