"""The model stylesheet: which models run which nodes, as rules with specificity (language.md 4)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from orchestra.errors import Span, StylesheetError
from orchestra.graph.attributes import SHAPES, nearest
from orchestra.graph.model import Attribute, Graph, Node

PROPERTIES = ("llm_model", "llm_provider", "reasoning_effort")
"""What a rule can set."""

EFFORTS = ("low", "medium", "high", "none", "minimal", "xhigh")

_TRIVIA = re.compile(r"(?:\s+|/\*[\s\S]*?\*/)+")
_SELECTOR = re.compile(r"\*|[.#]?[A-Za-z_][A-Za-z0-9_-]*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_VALUE = re.compile(r'"((?:[^"\\]|\\[\s\S])*)"|([^;{}"]+)')


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its selector, the selector's specificity (0 to 3), what it declares."""

    selector: str
    specificity: int
    declarations: Mapping[str, str]

    def selects(self, node: Node) -> bool:
        """Whether the rule is about a node."""
        if self.selector == "*":
            return True
        if self.selector.startswith("."):
            return self.selector[1:] in node.classes
        if self.selector.startswith("#"):
            return self.selector[1:] == node.id
        return self.selector == node.shape


def parse_stylesheet(text: str) -> tuple[Rule, ...]:
    """The rules in order. Raises ``StylesheetError`` with offsets into the text."""
    rules = []
    at = _skip(text, 0)
    while at < len(text):
        rule, at = _rule(text, at)
        rules.append(rule)
        at = _skip(text, at)
    return tuple(rules)


def apply(graph: Graph) -> Graph:
    """The graph with the stylesheet's values on its nodes; what a node says itself always wins."""
    attribute = graph.attributes.get("model_stylesheet")
    if attribute is None or not isinstance(attribute.value, str):
        return graph
    try:
        rules = sorted(parse_stylesheet(attribute.value), key=lambda rule: rule.specificity)
    except StylesheetError:
        return graph
    if not rules:
        return graph
    nodes = {node.id: _styled(node, rules, attribute.span) for node in graph.nodes.values()}
    return replace(graph, nodes=nodes)


def _styled(node: Node, rules: list[Rule], span: Span) -> Node:
    chosen: dict[str, str] = {}
    for rule in rules:
        if rule.selects(node):
            chosen.update(rule.declarations)
    added = {
        key: Attribute(key=key, value=value, key_span=span, span=span, origin="stylesheet")
        for key, value in chosen.items()
        if key not in node.attributes or node.attributes[key].origin == "default"
    }
    return replace(node, attributes={**node.attributes, **added}) if added else node


# --- the parser ----------------------------------------------------------------------------------


def _skip(text: str, at: int) -> int:
    match = _TRIVIA.match(text, at)
    at = match.end() if match is not None else at
    if text.startswith("/*", at):
        raise StylesheetError("this comment is never closed", start=at, end=at + 2, fix="end it with */")
    return at


def _rule(text: str, at: int) -> tuple[Rule, int]:
    match = _SELECTOR.match(text, at)
    if match is None:
        raise StylesheetError(
            f"a selector is wanted here, not {text[at]!r}", start=at, fix="write *, a shape, .class or #id"
        )
    selector = match[0]
    specificity = {"*": 0, ".": 2, "#": 3}.get(selector[0], 1)
    if specificity == 1 and selector not in SHAPES:
        near = nearest(selector, SHAPES)
        fix = f"did you mean {near!r}?" if near else f"write .{selector} for a class, #{selector} for a node"
        raise StylesheetError(f"{selector!r} is no shape", start=at, end=match.end(), fix=fix)
    opened = _skip(text, match.end())
    if text[opened : opened + 1] != "{":
        raise StylesheetError(f"'{{' is wanted after {selector}", start=min(opened, len(text) - 1))
    declarations: dict[str, str] = {}
    at = _skip(text, opened + 1)
    while text[at : at + 1] != "}":
        if at >= len(text):
            raise StylesheetError("this rule is never closed", start=opened, fix="end it with }")
        at = _declaration(text, at, declarations)
    return Rule(selector, specificity, declarations), at + 1


def _declaration(text: str, at: int, declarations: dict[str, str]) -> int:
    match = _NAME.match(text, at)
    if match is None:
        raise StylesheetError(f"a property is wanted here, not {text[at]!r}", start=at, fix=", ".join(PROPERTIES))
    name = match[0]
    if name not in PROPERTIES:
        near = nearest(name, PROPERTIES)
        fix = f"did you mean {near!r}?" if near else f"known: {', '.join(PROPERTIES)}"
        raise StylesheetError(f"{name!r} is no property of a stylesheet", start=at, end=match.end(), fix=fix)
    colon = _skip(text, match.end())
    if text[colon : colon + 1] != ":":
        raise StylesheetError(f"':' is wanted after {name}", start=min(colon, len(text) - 1), fix=f"{name}: …;")
    start = _skip(text, colon + 1)
    found = _VALUE.match(text, start)
    value = "" if found is None else (found[1] if found[1] is not None else found[2].strip())
    if found is None or not value:
        raise StylesheetError(f"{name} has no value", start=at, end=match.end())
    if name == "reasoning_effort" and value not in EFFORTS:
        raise StylesheetError(
            f"{value!r} is no reasoning effort", start=start, end=found.end(), fix=", ".join(EFFORTS)
        )
    declarations[name] = value
    after = _skip(text, found.end())
    if text[after : after + 1] == ";":
        return _skip(text, after + 1)
    if text[after : after + 1] not in ("}", ""):
        raise StylesheetError("';' is wanted between declarations", start=after)
    return after
