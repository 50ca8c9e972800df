"""Write a graph as a pipeline that reads back the same, as a drawing, or as data (L12, L13)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

from orchestra.errors import Span
from orchestra.graph.attributes import Duration, Value
from orchestra.graph.model import Attribute, Edge, Graph, Node, Subgraph
from orchestra.graph.stylesheet import PROPERTIES
from orchestra.graph.tokens import IDENTIFIER, KEYWORDS

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_DRAWN_GRAPH = (
    "rankdir",
    "label",
    "bgcolor",
    "fontname",
    "fontsize",
    "nodesep",
    "ranksep",
    "splines",
    "ratio",
    "size",
)
_DRAWN = ("color", "fillcolor", "fontcolor", "fontname", "fontsize", "penwidth", "style", "tooltip")
_DRAWN_EDGE = (*_DRAWN, "arrowhead", "arrowtail", "constraint", "dir", "minlen")

INDENT = "    "

_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_EXPONENT = re.compile(r"(-?)([0-9])(?:\.([0-9]+))?e([+-][0-9]+)")


def quote(text: str) -> str:
    """A quoted string whose parse is the text."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


def name(text: str) -> str:
    """An id or a key: bare where it may be; Graphviz reads its keywords in any case."""
    return text if IDENTIFIER.fullmatch(text) and text.lower() not in KEYWORDS else quote(text)


def literal(value: Value) -> str:
    """A value: numbers and booleans bare, everything else as a text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return _decimal(value) if isinstance(value, float) else quote(str(value))


def _decimal(value: float) -> str:
    """A float without an exponent, which DOT does not know."""
    text = repr(value)
    match = _EXPONENT.fullmatch(text)
    if match is None:
        return text if _NUMBER.fullmatch(text) else quote(text)
    sign, whole, rest, exponent = match[1], match[2], match[3] or "", int(match[4])
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{whole}{rest}"
    return f"{sign}{whole}{rest.ljust(exponent, '0')}."


def block(attributes: Mapping[str, Attribute]) -> str:
    """Return ``[key=value, …]`` after a space; empty without attributes."""
    inner = ", ".join(f"{name(key)}={literal(attribute.value)}" for key, attribute in attributes.items())
    return f" [{inner}]" if inner else ""


def to_dot(graph: Graph) -> str:
    """The pipeline as text: parsing it gives an equal graph, and Graphviz reads it (L12, L13)."""
    lines = [f"digraph {name(graph.name)} {{"]
    if graph.attributes:
        lines.append(f"{INDENT}graph{block(graph.attributes)}")
    lines += node_lines(graph)
    lines += [f"{INDENT}{name(e.source)} -> {name(e.target)}{block(e.attributes)}" for e in graph.edges]
    return "\n".join([*lines, "}", ""])


def to_drawing(graph: Graph) -> str:
    """Return DOT with drawing attributes only, for ``dot -Tsvg``; node ids are ``node-X``, class ``node``."""
    own = {key: _text(graph.attributes[key].value) for key in _DRAWN_GRAPH if key in graph.attributes}
    lines = [f"digraph {name(graph.name)} {{"]
    if own:
        lines.append(f"    graph{_plain(own)}")
    lines.extend(f"    {name(node.id)}{_plain(_node_drawing(node))}" for node in graph.nodes.values())
    lines.extend(f"    {name(e.source)} -> {name(e.target)}{_plain(_edge_drawing(e))}" for e in graph.edges)
    return "\n".join([*lines, "}", ""])


def _node_drawing(node: Node) -> dict[str, str]:
    drawn = {"id": f"node-{node.id}", "class": "node", "label": node.label, "shape": node.shape}
    return drawn | {key: _text(node.attributes[key].value) for key in _DRAWN if key in node.attributes}


def _edge_drawing(edge: Edge) -> dict[str, str]:
    words = [text for text in (edge.label, edge.condition.text) if text]
    drawn = {"class": "edge"} | ({"label": "\n".join(words)} if words else {})
    return drawn | {key: _text(edge.attributes[key].value) for key in _DRAWN_EDGE if key in edge.attributes}


def _plain(values: Mapping[str, str]) -> str:
    inner = ", ".join(f"{name(key)}={_literal(value)}" for key, value in values.items())
    return f" [{inner}]" if inner else ""


def _literal(text: str) -> str:
    """A quoted text that Graphviz shows as it is written: its own escapes and entities kept literal."""
    return quote(text.replace("&", "&amp;").replace("\t", " "))


def _text(value: Value) -> str:
    return str(value) if isinstance(value, str | Duration) else literal(value)


def to_json(graph: Graph) -> dict[str, Json]:
    """The graph as plain data; places are line and column from 1."""
    return {
        "name": graph.name,
        "attributes": _data(graph.attributes),
        "start": graph.start,
        "exit": graph.exit,
        "nodes": [
            {
                "id": node.id,
                "type": graph.type_of(node.id),
                "declared": node.declared,
                "classes": list(node.classes),
                "subgraphs": [{"name": s.name, "label": s.label} for s in node.subgraphs],
                "attributes": _data(node.attributes),
                "at": _place(node.span),
            }
            for node in graph.nodes.values()
        ],
        "edges": [
            {
                "source": edge.source,
                "target": edge.target,
                "attributes": _data(edge.attributes),
                "at": _place(edge.span),
            }
            for edge in graph.edges
        ],
    }


def _data(attributes: Mapping[str, Attribute]) -> dict[str, Json]:
    return {
        key: str(attribute.value) if isinstance(attribute.value, Duration) else attribute.value
        for key, attribute in attributes.items()
    }


def _place(span: Span) -> Json:
    line, column = span.source.position(span.start)
    return {"line": line, "column": column}


def dumps(graph: Graph) -> str:
    """The same as JSON text."""
    return json.dumps(to_json(graph), ensure_ascii=False, indent=2)


def node_lines(graph: Graph) -> list[str]:
    """All nodes in order, each inside its subgraphs; neighbours in the same subgraph share it.

    Defaults stand on the nodes that they applied to. Two kinds have to stay defaults: the attributes of a node that
    is only mentioned (``a -> {}`` mentions ``a`` and makes no edge), and a model that a stylesheet may overrule.
    """
    writer = _DotWriter(graph)
    for node in _to_write(graph):
        writer.write(node)
    writer.leave(0)
    return writer.lines


def _to_write(graph: Graph) -> list[Node]:
    """All nodes but those last ones that the edges bring in by themselves, in this order and plain."""
    nodes = list(graph.nodes.values())
    if all(node.declared for node in nodes[-1:]):
        return nodes
    mentioned = dict.fromkeys(end for edge in graph.edges for end in (edge.source, edge.target))
    order = [end for end in mentioned if _is_plain(graph.nodes.get(end))]
    while nodes and order and nodes[-1].id == order[-1]:
        nodes.pop()
        order.pop()
    return nodes


def _is_plain(node: Node | None) -> bool:
    return node is not None and not (node.declared or node.attributes or node.subgraphs)


class _Level(NamedTuple):
    """An open pair of braces and the defaults in force inside it."""

    subgraph: Subgraph | None
    defaults: Mapping[str, Value]


class _DotWriter:
    def __init__(self, graph: Graph) -> None:
        self.nodes = list(graph.nodes.values())
        self.styled = "model_stylesheet" in graph.attributes
        self.lines: list[str] = []
        self.open = [_Level(None, {})]
        self.places: dict[str, int] = {}
        self.lacking: dict[str, int] = {}

    def write(self, node: Node) -> None:
        """One node, and before it the braces and the defaults that it needs."""
        self.enter(tuple(reversed(node.subgraphs)), node.attributes.keys())
        kept = self.own_attributes(node)
        subgraph, defaults = self.open[-1]
        new = {key: kept[key] for key in kept if not _same(defaults.get(key), kept[key].value)}
        if subgraph is None and any(self.last_without(key) > self.place(node) for key in new):
            self.statement(node.id, node.attributes, declared=True)
            return
        if new:
            self.lines.append(f"{INDENT * len(self.open)}node{block(new)}")
            self.open[-1] = _Level(subgraph, {**defaults, **{key: new[key].value for key in new}})
        own = {key: attribute for key, attribute in node.attributes.items() if key not in kept}
        self.statement(node.id, own, declared=node.declared)

    def statement(self, node: str, attributes: Mapping[str, Attribute], *, declared: bool) -> None:
        self.lines.append(f"{INDENT * len(self.open)}{name(node)}{block(attributes) if declared else ' -> {}'}")

    def own_attributes(self, node: Node) -> Mapping[str, Attribute]:
        """The attributes that have to reach the node as defaults."""
        if not node.declared:
            return node.attributes
        if not self.styled:
            return {}
        found = {key: node.attributes[key] for key in PROPERTIES if key in node.attributes}
        return {key: attribute for key, attribute in found.items() if attribute.origin == "default"}

    def enter(self, wanted: tuple[Subgraph, ...], keys: Iterable[str]) -> None:
        """Open the wanted subgraphs; an open one is left, and entered again, when its defaults say too much."""
        shared = 0
        for level, subgraph in zip(self.open[1:], wanted, strict=False):
            if level.subgraph != subgraph or level.defaults.keys() - keys:
                break
            shared += 1
        self.leave(shared)
        for subgraph in wanted[shared:]:
            indent = INDENT * len(self.open)
            self.lines.append(
                f"{indent}subgraph{' ' if subgraph.name else ''}{subgraph.name and name(subgraph.name)} {{"
            )
            if subgraph.label:
                self.lines.append(f"{indent}{INDENT}label={quote(subgraph.label)}")
            self.open.append(_Level(subgraph, self.open[-1].defaults))

    def leave(self, depth: int) -> None:
        """Close subgraphs until so many are open."""
        while len(self.open) > depth + 1:
            self.open.pop()
            self.lines.append(f"{INDENT * len(self.open)}}}")

    def place(self, node: Node) -> int:
        if not self.places:
            self.places = {one.id: at for at, one in enumerate(self.nodes)}
        return self.places[node.id]

    def last_without(self, key: str) -> int:
        """The place of the last node that lacks a key: before it, a default for all would say too much."""
        found = self.lacking.get(key)
        if found is None:
            at = len(self.nodes) - 1
            while at >= 0 and key in self.nodes[at].attributes:
                at -= 1
            found = self.lacking[key] = at
        return found


def _same(a: Value | None, b: Value) -> bool:
    return type(a) is type(b) and a == b
