"""Write a graph as a pipeline, as a drawing, or as data (L12, L13)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeAlias

from orchestra.errors import Span
from orchestra.graph.attributes import Duration, Value
from orchestra.graph.model import Attribute, Edge, Graph, Node
from orchestra.graph.writing import INDENT, block, literal, name, node_lines, quote

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
