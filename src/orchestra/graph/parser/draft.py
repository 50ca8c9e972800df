"""What the parser collects before it builds a graph: scopes, draft nodes and edges (L8, L9)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from orchestra.errors import ConditionError, Diagnostic, Severity, Span
from orchestra.graph.conditions import UNCONDITIONAL, Condition
from orchestra.graph.edits import error_edit, inside
from orchestra.graph.model import Attribute, Edge, Graph, Node, Subgraph
from orchestra.graph.parser.conditions import parse_condition

_CLASS_OUT = re.compile(r"[^a-z0-9-]")

Attributes = dict[str, Attribute]


def css_class(label: str) -> str:
    """The class that a subgraph's label gives its nodes (L9)."""
    return _CLASS_OUT.sub("", label.lower().replace(" ", "-"))


Ends = tuple[tuple[str, Span], ...]
"""The nodes at one end of an edge, and where each is named."""


@dataclass(slots=True)
class BraceScope:
    """A pair of braces: its defaults, its attributes, and the nodes named inside.

    The defaults are shared with what stands inside, so they are replaced, never changed. ``chain`` holds the ends
    of the edge that these braces are an end of.
    """

    parent: BraceScope | None
    opened: int
    name: str = ""
    plain: bool = False
    node_defaults: Attributes = field(default_factory=dict)
    edge_defaults: Attributes = field(default_factory=dict)
    attributes: Attributes = field(default_factory=dict)
    members: dict[str, Span] = field(default_factory=dict)
    chain: list[Ends] | None = None
    depth: int = 0

    def inner(self, opened: int, name: str, plain: bool, chain: list[Ends] | None) -> BraceScope:
        """A subgraph of this scope, which begins with its defaults; a plain one has braces only."""
        return BraceScope(
            parent=self,
            opened=opened,
            name=name,
            plain=plain,
            node_defaults=self.node_defaults,
            edge_defaults=self.edge_defaults,
            chain=chain,
            depth=self.depth + 1,
        )

    def subgraph(self) -> Subgraph:
        """The subgraph as its nodes remember it."""
        label = self.attributes.get("label")
        text = label.value if label is not None and isinstance(label.value, str) else ""
        return Subgraph(name=self.name, label=text, css_class=css_class(text))


@dataclass(slots=True)
class NodeDraft:
    """A node so far.

    ``own`` says that its attributes are not shared with a scope's defaults; ``bare`` that it was only named.
    """

    id: str
    scope: BraceScope
    span: Span
    attributes: Attributes
    own: bool
    declared: bool
    bare: bool

    def add(self, attributes: Attributes) -> None:
        """Add attributes; later ones win (L8)."""
        self.bare = False
        if self.own:
            self.attributes.update(attributes)
        else:
            self.attributes, self.own = self.attributes | attributes, True


@dataclass(slots=True)
class EdgeDraft:
    """An edge so far."""

    source: str
    target: str
    attributes: Attributes
    span: Span
    target_span: Span


def finish(
    *,
    name: str,
    span: Span,
    attributes: Attributes,
    nodes: Iterable[NodeDraft],
    edges: Iterable[EdgeDraft],
    report: list[Diagnostic],
) -> Graph:
    """Build the graph from the drafts; conditions are parsed here, their faults go to ``report``."""
    chains: dict[int, tuple[Subgraph, ...]] = {}
    conditions = _Conditions(report)
    made = {draft.id: _node(draft, chains) for draft in nodes}
    for node in made.values():
        stop = node.attributes.get("manager.stop_condition")
        if stop is not None:
            conditions.read(stop, node=node.id)
    numbered = tuple(
        Edge(
            source=draft.source,
            target=draft.target,
            index=index,
            attributes=draft.attributes,
            span=draft.span,
            target_span=draft.target_span,
            condition=conditions.of_edge(draft),
        )
        for index, draft in enumerate(edges)
    )
    return Graph(name=name, attributes=attributes, nodes=made, edges=numbered, span=span)


def _node(draft: NodeDraft, chains: dict[int, tuple[Subgraph, ...]]) -> Node:
    subgraphs = _enclosing(draft.scope, chains)
    own = draft.attributes.get("class")
    classes = _split(own.value) if own is not None and isinstance(own.value, str) else ()
    derived = [sub.css_class for sub in subgraphs if sub.css_class and sub.css_class not in classes]
    return Node(
        id=draft.id,
        attributes=draft.attributes,
        span=draft.span,
        classes=(*classes, *dict.fromkeys(derived)),
        subgraphs=subgraphs,
        declared=draft.declared,
    )


def _split(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text.replace(",", " ").split()))


def _enclosing(scope: BraceScope, chains: dict[int, tuple[Subgraph, ...]]) -> tuple[Subgraph, ...]:
    """Yield the subgraphs around a scope from the inside out, without the graph itself."""
    if scope.parent is None:
        return ()
    known = chains.get(id(scope))
    if known is None:
        known = chains[id(scope)] = (scope.subgraph(), *_enclosing(scope.parent, chains))
    return known


class _Conditions:
    """Reads conditions; a faulty one is reported once, however many edges or nodes share it."""

    def __init__(self, report: list[Diagnostic]) -> None:
        self.report = report
        self.told: set[int] = set()

    def of_edge(self, draft: EdgeDraft) -> Condition:
        attribute = draft.attributes.get("condition")
        return UNCONDITIONAL if attribute is None else self.read(attribute, edge=(draft.source, draft.target))

    def read(
        self, attribute: Attribute, *, node: str | None = None, edge: tuple[str, str] | None = None
    ) -> Condition:
        try:
            return parse_condition(str(attribute.value))
        except ConditionError as error:
            if attribute.span.start not in self.told:
                self.told.add(attribute.span.start)
                self.report.append(
                    Diagnostic(
                        rule="condition_syntax",
                        severity=Severity.ERROR,
                        message=error.message,
                        span=inside(attribute.span, error.start, error.end),
                        node=node,
                        edge=edge,
                        fix=error.fix,
                        edits=error_edit(attribute.span, error),
                    )
                )
            return UNCONDITIONAL


def as_defaults(attributes: Attributes) -> Attributes:
    """The same attributes, marked as defaults."""
    return {key: attribute._replace(origin="default") for key, attribute in attributes.items()}
