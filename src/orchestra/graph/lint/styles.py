"""Rules about the model stylesheet, classes, and values that are nearly right."""

from __future__ import annotations

from collections.abc import Iterator

from orchestra.errors import Diagnostic, StylesheetError
from orchestra.graph.lint.survey import Survey, quote, swap_edit, warn_of_part, warning
from orchestra.graph.model import Attribute, Node
from orchestra.graph.nearest import nearest
from orchestra.graph.stylesheet import EFFORTS, StyleRule, parse_stylesheet


def selector_matches(survey: Survey) -> Iterator[Diagnostic]:
    """Every selector of the stylesheet matches a node; classes are written as it reads them."""
    rules, attribute = _rules(survey)
    selectors = {rule.selector for rule in rules}
    named: set[str] = set()
    for node, written in survey.node_places("class"):
        if not selectors and "." not in str(written.value):
            continue
        for found, meant in _classes(str(written.value), written, node, selectors):
            named.add(f".{meant}")
            yield found
    if attribute is None:
        return
    classes = {f".{name}" for node in survey.nodes for name in node.classes}
    known = classes | {f"#{name}" for name in survey.ids} | {node.shape for node in survey.nodes} | {"*"}
    for rule in rules:
        if rule.selector not in known | named:
            yield _unmatched_rule(rule, attribute, known)


def _rules(survey: Survey) -> tuple[tuple[StyleRule, ...], Attribute | None]:
    attribute = survey.graph.attributes.get("model_stylesheet")
    if attribute is None:
        return (), None
    try:
        return parse_stylesheet(str(attribute.value)), attribute
    except StylesheetError:  # has its own diagnostic
        return (), None


def _classes(text: str, written: Attribute, node: Node, selectors: set[str]) -> Iterator[tuple[Diagnostic, str]]:
    """What is wrong with a list of classes, each with the class that is meant."""
    names = text.replace(",", " ").split()
    for name in (name for name in names if name.startswith(".")):
        found = warning(
            f"class {quote(name)} is written with the dot of its selector, so no selector matches it",
            written.span,
            of=node,
            fix=f"write {name.lstrip('.')}",
            edits=swap_edit(written.span, " ".join(name.lstrip(".") for name in names)),
        )
        yield found, name.lstrip(".")
    wanted = [selector[1:] for selector in selectors if selector.startswith(".")]
    for name in names:
        near = "" if name in wanted or name.startswith(".") else nearest(name, wanted)
        if near:
            at = text.find(name)
            what = f"no selector of the stylesheet matches class {quote(name)}"
            yield warn_of_part(what, written, (at, at + len(name)), of=node, meant=near), near


def _unmatched_rule(rule: StyleRule, attribute: Attribute, known: set[str]) -> Diagnostic:
    selector = rule.selector
    near = nearest(selector, sorted(name for name in known if name[0] == selector[0]))
    if not near and selector[0] in ".#":
        other = ("#" if selector[0] == "." else ".") + selector[1:]
        near = other if other in known else ""
    what = {".": "no node has this class", "#": "no node has this id"}.get(selector[0], "no node has this shape")
    part = rule.start, rule.start + len(selector)
    message, fix = f"selector {quote(selector)} matches nothing: {what}", "remove the rule, or correct its selector"
    return warn_of_part(message, attribute, part, of=None, meant=near, fix=fix)


_EFFORT = {"hi": "high", "max": "xhigh", "maximum": "xhigh", "highest": "xhigh", "very_high": "xhigh"}
_EFFORT |= {"med": "medium", "mid": "medium", "moderate": "medium", "lo": "low", "min": "minimal", "off": "none"}


def value_known(survey: Survey) -> Iterator[Diagnostic]:
    """No reasoning effort is nearly one of those that models know; the stylesheet's own is an error there."""
    for owner, attribute in survey.written("reasoning_effort"):
        effort = str(attribute.value)
        near = nearest(effort, EFFORTS) or _EFFORT.get(effort.lower().replace("-", "_"), "")
        if near and effort not in EFFORTS:
            yield warning(
                f"{quote(effort)} is not a reasoning effort that models know",
                attribute.span,
                of=owner,
                meant=near,
            )
