"""The model stylesheet: rules that select models for nodes (language.md#model-stylesheet)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from orchestra.errors import Span, StylesheetError
from orchestra.graph.attributes import DRAWN_SHAPES, SHAPES
from orchestra.graph.edits import places, within
from orchestra.graph.model import Attribute, Graph, Node
from orchestra.graph.nearest import nearest
from orchestra.graph.tokens import unescape

PROPERTIES = ("llm_model", "llm_provider", "reasoning_effort")
"""What a rule can set."""

EFFORTS = ("low", "medium", "high", "none", "minimal", "xhigh")
"""What a reasoning effort can be."""

_TRIVIA = re.compile(r"(?:\s+|/\*[\s\S]*?\*/)+")
_SELECTOR = re.compile(r"\*|#[A-Za-z_][A-Za-z0-9_]*|\.[A-Za-z0-9_-]+|[A-Za-z_][A-Za-z0-9_]*")
_PROPERTY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\[\s\S])*)"')
_BARE = re.compile(r'(?:[^;{}"/]|/(?!\*))+')
_MISSED = re.compile(r"(?:\s(?:llm_model|llm_provider|reasoning_effort)|\n\s*[A-Za-z_-]+)\s*:")


@dataclass(frozen=True, slots=True)
class StyleDeclaration:
    """One property that a rule sets, and where its value stands in the stylesheet."""

    key: str
    value: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class StyleRule:
    """One rule: its selector, the selector's specificity (0 to 3), what it declares, and where it starts."""

    selector: str
    specificity: int
    declarations: tuple[StyleDeclaration, ...]
    start: int = 0


def parse_stylesheet(text: str) -> tuple[StyleRule, ...]:
    """The rules in order. Raises ``StylesheetError`` with offsets into the text."""
    rules = []
    at = _skip(text, 0)
    while at < len(text):
        rule, at = _rule(text, at)
        rules.append(rule)
        at = _skip(text, at)
    return tuple(rules)


def apply(graph: Graph) -> Graph:
    """The graph with the stylesheet's values on its nodes.

    What a node says itself always wins; what it has from a ``node [...]`` block does not. A stylesheet that cannot
    be read changes nothing: it was reported when the text was parsed.
    """
    attribute = graph.attributes.get("model_stylesheet")
    if attribute is None or not isinstance(attribute.value, str):
        return graph
    try:
        rules = parse_stylesheet(attribute.value)
    except StylesheetError:
        return graph
    if not rules:
        return graph
    styled = _by_selector(rules, attribute.span)
    return replace(graph, nodes={node.id: _apply_styles(node, styled) for node in graph.nodes.values()})


_Order = tuple[int, int]
"""Specificity, then place: the greatest wins."""


def _by_selector(rules: Iterable[StyleRule], span: Span) -> dict[str, list[tuple[_Order, Attribute]]]:
    """What each selector sets, as attributes that say where in the file they come from."""
    known = places(span)
    found: dict[str, list[tuple[_Order, Attribute]]] = {}
    for number, rule in enumerate(rules):
        for one in rule.declarations:
            place = within(span, known, one.start, one.end)
            attribute = Attribute(key=one.key, value=one.value, key_span=place, span=place, origin="stylesheet")
            found.setdefault(rule.selector, []).append(((rule.specificity, number), attribute))
    return found


def _apply_styles(node: Node, styled: dict[str, list[tuple[_Order, Attribute]]]) -> Node:
    chosen: dict[str, tuple[_Order, Attribute]] = {}
    for selector in ("*", node.shape, *(f".{name}" for name in node.classes), f"#{node.id}"):
        for order, attribute in styled.get(selector, ()):
            own = node.attributes.get(attribute.key)
            if own is not None and own.origin != "default":
                continue
            before = chosen.get(attribute.key)
            if before is None or order >= before[0]:
                chosen[attribute.key] = (order, attribute)
    if not chosen:
        return node
    return replace(node, attributes={**node.attributes, **{key: found for key, (_order, found) in chosen.items()}})


def _skip(text: str, at: int) -> int:
    match = _TRIVIA.match(text, at)
    at = match.end() if match is not None else at
    if text.startswith("/*", at):
        raise StylesheetError("this comment is never closed", start=at, end=at + 2, fix="end it with */")
    if text.startswith("//", at):
        raise StylesheetError("'//' is not a comment in a stylesheet", start=at, end=at + 2, fix="write /* … */")
    return at


def _rule(text: str, at: int) -> tuple[StyleRule, int]:
    match = _SELECTOR.match(text, at)
    apart = re.compile(r"([#.])\s+([A-Za-z_][\w-]*)").match(text, at)
    if match is None and apart is not None:
        put = apart[1] + apart[2]
        message = f"a space after {apart[1]!r}"
        raise StylesheetError(message, start=at, end=at + 1, fix=f"write {put}", put=None)
    if match is None:
        raise StylesheetError(
            f"expected a selector, not {text[at]!r}", start=at, fix="write *, a shape, .class or #id"
        )
    selector, start = match[0], at
    specificity = {"*": 0, ".": 2, "#": 3}.get(selector[0], 1)
    if specificity == 1 and selector not in SHAPES and selector not in DRAWN_SHAPES:
        raise _no_shape(selector, at)
    opened = _skip(text, match.end())
    if text[opened : opened + 1] != "{":
        raise _no_brace(text, opened, selector)
    declarations: list[StyleDeclaration] = []
    at = _skip(text, opened + 1)
    while text[at : at + 1] != "}":
        if at >= len(text):
            raise StylesheetError("this rule is never closed", start=opened, end=opened + 1, fix="end it with }")
        declaration, at = _declaration(text, at)
        declarations.append(declaration)
    if not declarations:
        raise StylesheetError(f"the rule for {selector} sets nothing", start=opened, end=at + 1, fix="remove it")
    return StyleRule(selector, specificity, tuple(declarations), start), at + 1


def _no_shape(selector: str, at: int) -> StylesheetError:
    near = nearest(selector, SHAPES)
    fix = f"did you mean {near!r}?" if near else f"write .{selector} for a class, #{selector} for a node"
    return StylesheetError(
        f"{selector!r} is not a shape", start=at, end=at + len(selector), fix=fix, put=near or None
    )


def _no_brace(text: str, at: int, selector: str) -> StylesheetError:
    fix = "write one rule per selector" if text[at : at + 1] in {",", ".", "#"} else f"write {selector} {{ … }}"
    word = _PROPERTY.match(text, at)
    return StylesheetError(f"expected '{{' after {selector}", start=at, end=word and word.end(), fix=fix)


def _declaration(text: str, at: int) -> tuple[StyleDeclaration, int]:
    match = _PROPERTY.match(text, at)
    if match is None:
        stray = text[at] == ";"
        fix = "remove it" if stray else f"properties are {', '.join(PROPERTIES)}"
        raise StylesheetError(
            f"expected a property, not {text[at]!r}", start=at, fix=fix, put="" if stray else None
        )
    name = match[0]
    if name not in PROPERTIES:
        near = _suggestion(name)
        fix = f"did you mean {near!r}?" if near else f"properties are {', '.join(PROPERTIES)}"
        message = f"{name!r} is not a stylesheet property"
        raise StylesheetError(message, start=at, end=match.end(), fix=fix, put=near or None)
    colon = _skip(text, match.end())
    if text[colon : colon + 1] != ":":
        put = ":" if text[colon : colon + 1] == "=" else None
        raise StylesheetError(f"expected ':' after {name}", start=colon, fix=f"write {name}: …;", put=put)
    value, start, end = _value(text, _skip(text, colon + 1), name)
    if name == "reasoning_effort" and value not in EFFORTS:
        near = nearest(value.lower(), EFFORTS, within=1 if len(value) < 5 else 2)
        fix = f"did you mean {near!r}?" if near else f"write one of {', '.join(EFFORTS)}"
        raise StylesheetError(
            f"{value!r} is not a reasoning effort", start=start, end=end, fix=fix, put=near or None
        )
    return StyleDeclaration(name, value, start, end), _skip_separator(text, end)


def _suggestion(name: str) -> str | None:
    """Return the property that was probably meant: ``llm_modle`` is ``llm_model``."""
    folded = name.replace("-", "_").lower()
    for whole in (folded, f"llm_{folded}", f"reasoning_{folded}"):
        if whole in PROPERTIES:
            return whole
    return nearest(folded, PROPERTIES)


def _value(text: str, at: int, name: str) -> tuple[str, int, int]:
    """The value at ``at`` and where it stands."""
    quoted = _QUOTED.match(text, at)
    if quoted is not None:
        value, end = unescape(quoted[1]), quoted.end()
    else:
        if text.startswith('"', at):
            raise StylesheetError("this quote is never closed", start=at, end=at + 1, fix='end the text with "')
        bare = _BARE.match(text, at)
        value = "" if bare is None else bare[0].rstrip()
        end = at + len(value)
        missed = _MISSED.search(value)
        if missed is not None:
            before = value[: missed.start()].rstrip()
            place = at + len(before) - before.endswith(",")
            message = f"expected ';' after the value of {name}"
            if before.endswith(","):
                message += ", not ','"
                raise StylesheetError(message, start=place, end=place + 1, fix="write ;", put=";")
            raise StylesheetError(message, start=place, fix="write ;", put=f";{text[place]}")
    if not value.strip():
        raise StylesheetError(f"{name} has no value", start=at, end=max(end, at + 1), fix=f"write {name}: …;")
    return value, at, end


def _skip_separator(text: str, at: int) -> int:
    at = _skip(text, at)
    if text[at : at + 1] == ";":
        return _skip(text, at + 1)
    if text[at : at + 1] not in ("}", ""):
        raise StylesheetError("expected ';' between declarations", start=at, fix="write ;", put=f";{text[at]}")
    return at
