"""Transforms between parsing and running: variables, stylesheet, the user's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from orchestra.errors import ConfigError
from orchestra.graph.model import Attribute, Graph, Node
from orchestra.graph.stylesheet import apply

Transform: TypeAlias = Callable[[Graph], Graph]
"""A registered transform: a graph in, a graph out."""

_NAME = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")


def transform(graph: Graph, variables: Mapping[str, str], registered: Sequence[Transform] = ()) -> Graph:
    """Expand variables, apply the stylesheet, then the registered transforms in their order.

    What a registered transform raises passes through; ``ConfigError`` when it gives back something else.
    """
    graph = apply(expand(graph, variables))
    for step in registered:
        changed: object = step(graph)
        if not isinstance(changed, Graph):
            name = getattr(step, "__qualname__", type(step).__qualname__)
            raise ConfigError(f"the transform {name} must return a graph, not {type(changed).__name__}")
        graph = changed
    return graph


def expand(graph: Graph, variables: Mapping[str, str]) -> Graph:
    """Replace ``$name`` of variables, and ``$goal``, in the goal, prompts and labels (A22)."""
    goal = graph.attributes.get("goal")
    if goal is not None and "$" in graph.goal:
        text = expand_text(graph.goal, variables)
        graph = replace(graph, attributes={**graph.attributes, "goal": goal._replace(value=text)})
    known = {"goal": graph.goal, **variables}
    changed = {node.id: after for node in graph.nodes.values() if (after := _expand_node(node, known)) is not node}
    return replace(graph, nodes={**graph.nodes, **changed}) if changed else graph


def _expand_node(node: Node, known: Mapping[str, str]) -> Node:
    """Return the node with names replaced in its prompt and label, which is the prompt without one."""
    changed: dict[str, Attribute] = {}
    for key in ("prompt", "label"):
        attribute = node.attributes.get(key)
        if attribute is not None and isinstance(attribute.value, str) and "$" in attribute.value:
            text, data = expand_names(attribute.value, known)
            if data:
                changed[key] = attribute._replace(value=text, data=data)
    return replace(node, attributes={**node.attributes, **changed}) if changed else node


def expand_text(text: str, known: Mapping[str, str]) -> str:
    """The text with ``$name`` of known names replaced, once: what is put in is not read again (A22)."""
    return expand_names(text, known)[0]


def expand_names(text: str, known: Mapping[str, str]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The text with ``$name`` of known names replaced, and where the values are in it."""
    parts: list[str] = []
    data: list[tuple[int, int]] = []
    at = size = 0
    for match in _NAME.finditer(text):
        value = known.get(match[1])
        if value is None:
            continue
        before = text[at : match.start()]
        size += len(before)
        data.append((size, size + len(value)))
        size += len(value)
        parts += (before, value)
        at = match.end()
    return "".join((*parts, text[at:])), tuple(data)
