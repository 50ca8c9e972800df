"""The graph: nodes and edges with typed attributes and their spans.

Everything here is a value. The parser makes it, transforms replace parts of it, the linter, the
engine and the drawing code read it. No attribute past this door is a string with a grammar: a
duration is a ``Duration``, a condition is a ``Condition``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, TypeAlias

from orchestra.errors import Span
from orchestra.graph.attributes import EDGE, GRAPH, NODE, SHAPES, AttributeScope, Duration, Value
from orchestra.graph.conditions import UNCONDITIONAL, Condition

Origin: TypeAlias = str
"""Where an attribute's value came from: ``explicit``, ``default`` (a ``node [...]`` or ``edge [...]``
block), ``stylesheet`` or ``transform``."""


class Attribute(NamedTuple):
    """One attribute as written: the canonical key, the typed value, and where both stand (L10).

    ``data`` are the stretches of a text that were put in for a variable: nothing in them is an expression (A22).
    Two are equal if key and value are. A large pipeline has many, and named tuples are the quickest to make.
    """

    key: str
    value: Value
    key_span: Span
    span: Span
    origin: Origin = "explicit"
    data: tuple[tuple[int, int], ...] = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Attribute) and self[:2] == other[:2]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self[:2])


class Attributed:
    """What a graph, a node and an edge share: typed reading of their attributes.

    A getter returns the written value, else the default of the attribute table, else the type's
    empty value. Values were checked against the table when they were parsed (L6).
    """

    __slots__ = ()
    attributes: Mapping[str, Attribute]
    scope: ClassVar[AttributeScope]
    """The attribute table."""

    def get(self, key: str) -> Value | None:
        """The written value or the table's default; None where neither exists."""
        attribute = self.attributes.get(key)
        if attribute is not None:
            return attribute.value
        entry = self.scope.entries.get(key)
        return None if entry is None else entry.default

    def text(self, key: str) -> str:
        """A string attribute."""
        value = self.get(key)
        return value if isinstance(value, str) else ""

    def integer(self, key: str) -> int:
        """A whole number."""
        value = self.get(key)
        return value if isinstance(value, int) else 0

    def number(self, key: str) -> float:
        """A number with a fraction."""
        value = self.get(key)
        return value if isinstance(value, float) else 0.0

    def flag(self, key: str) -> bool:
        """A boolean."""
        value = self.get(key)
        return value if isinstance(value, bool) else False

    def duration(self, key: str) -> Duration | None:
        """A duration, or None where there is none."""
        value = self.get(key)
        return value if isinstance(value, Duration) else None

    def has(self, key: str) -> bool:
        """Whether the author (or a transform) gave this attribute."""
        return key in self.attributes

    def span_of(self, key: str, whole: Span) -> Span:
        """The span of an attribute's value, else ``whole``."""
        attribute = self.attributes.get(key)
        return whole if attribute is None else attribute.span


@dataclass(frozen=True, slots=True, kw_only=True)
class Subgraph:
    """A subgraph that encloses nodes: its name (may be empty), its label and the class it gives (L9)."""

    name: str = ""
    label: str = ""
    css_class: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node(Attributed):
    """A task. ``classes`` are its own and those of its subgraphs; ``subgraphs`` go from the inside out.

    ``declared`` is false for a node that only an edge mentions (L8).
    """

    id: str
    attributes: Mapping[str, Attribute]
    span: Span = field(compare=False)
    classes: tuple[str, ...] = ()
    subgraphs: tuple[Subgraph, ...] = ()
    declared: bool = True
    scope: ClassVar[AttributeScope] = NODE

    @property
    def label(self) -> str:
        """The label, else the id."""
        return self.text("label") or self.id

    @property
    def shape(self) -> str:
        """The shape; ``box`` where none is given."""
        return self.text("shape")


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge(Attributed):
    """A transition. ``index`` is its place among all edges of the file, from 0."""

    source: str
    target: str
    index: int
    attributes: Mapping[str, Attribute]
    span: Span = field(compare=False)
    target_span: Span = field(compare=False)
    condition: Condition = UNCONDITIONAL
    scope: ClassVar[AttributeScope] = EDGE

    @property
    def label(self) -> str:
        """The label, empty where none is given."""
        return self.text("label")

    @property
    def weight(self) -> int:
        """Priority among edges that apply; more wins."""
        return self.integer("weight")


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph(Attributed):
    """A pipeline. Nodes stand in the order of their first mention, edges in the order of the file.

    ``start`` and ``exit`` are ids, empty unless there is exactly one of each (language.md#shapes-and-handlers).
    """

    name: str
    attributes: Mapping[str, Attribute]
    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]
    span: Span = field(compare=False)
    _outgoing: dict[str, tuple[Edge, ...]] = field(init=False, compare=False, repr=False)
    _incoming: dict[str, tuple[Edge, ...]] = field(init=False, compare=False, repr=False)
    _types: dict[str, str] = field(init=False, compare=False, repr=False)
    starts: tuple[str, ...] = field(init=False, compare=False, repr=False)
    exits: tuple[str, ...] = field(init=False, compare=False, repr=False)
    scope: ClassVar[AttributeScope] = GRAPH

    def __post_init__(self) -> None:
        outgoing: dict[str, list[Edge]] = {}
        incoming: dict[str, list[Edge]] = {}
        for edge in self.edges:
            outgoing.setdefault(edge.source, []).append(edge)
            incoming.setdefault(edge.target, []).append(edge)
        put = object.__setattr__
        put(self, "_outgoing", {k: tuple(v) for k, v in outgoing.items()})
        put(self, "_incoming", {k: tuple(v) for k, v in incoming.items()})
        types = {name: node.text("type") or SHAPES.get(node.shape, "codergen") for name, node in self.nodes.items()}
        starts = _terminals(types, "start", ("start", "Start"))
        exits = _terminals(types, "exit", ("exit", "Exit", "end", "End"))
        put(self, "starts", starts)
        put(self, "exits", exits)
        put(self, "_types", {**types, **dict.fromkeys(exits, "exit"), **dict.fromkeys(starts, "start")})

    @property
    def start(self) -> str:
        """The start node's id, empty unless there is exactly one."""
        return self.starts[0] if len(self.starts) == 1 else ""

    @property
    def exit(self) -> str:
        """The exit node's id, empty unless there is exactly one."""
        return self.exits[0] if len(self.exits) == 1 else ""

    @property
    def goal(self) -> str:
        """What the pipeline is for; ``$goal`` in prompts."""
        return self.text("goal")

    @property
    def label(self) -> str:
        """The display name: the label, else the graph's name."""
        return self.text("label") or self.name

    def outgoing(self, node: str) -> tuple[Edge, ...]:
        """The edges that leave a node, in file order."""
        return self._outgoing.get(node, ())

    def incoming(self, node: str) -> tuple[Edge, ...]:
        """The edges that enter a node, in file order."""
        return self._incoming.get(node, ())

    @property
    def types(self) -> Mapping[str, str]:
        """The handler type of every node, in the order of the nodes."""
        return self._types

    def type_of(self, node: str) -> str:
        """The handler type of a node: start or exit, else its explicit ``type``, else its shape's (E2)."""
        return self._types[node]


def _terminals(types: Mapping[str, str], kind: str, names: tuple[str, ...]) -> tuple[str, ...]:
    typed = tuple(name for name, found in types.items() if found == kind)
    return typed or tuple(name for name in names if name in types)
