"""Write nodes and attributes so that the parser and Graphviz read back the same (L12, L13)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from orchestra.graph.attributes import Value
from orchestra.graph.model import Attribute, Graph, Node, Subgraph
from orchestra.graph.stylesheet import PROPERTIES
from orchestra.graph.tokens import IDENTIFIER, KEYWORDS

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
    order = [end for end in mentioned if _plain(graph.nodes.get(end))]
    while nodes and order and nodes[-1].id == order[-1]:
        nodes.pop()
        order.pop()
    return nodes


def _plain(node: Node | None) -> bool:
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
