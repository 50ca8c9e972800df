"""The outcomes possible at a node: those of its handler, or those that reach a diamond (E13)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from orchestra.graph.conditions import All, Compare, Expr, Not, Some
from orchestra.graph.lint.survey import Survey, quote
from orchestra.graph.model import Edge


class Outcomes(NamedTuple):
    """A set of outcome words: these, or all but these."""

    words: frozenset[str]
    but: bool = False

    def __bool__(self) -> bool:
        return self.but or bool(self.words)

    def __and__(self, other: Outcomes) -> Outcomes:
        if self.but and other.but:
            return Outcomes(self.words | other.words, True)
        if self.but:
            return Outcomes(other.words - self.words)
        return Outcomes(self.words - other.words if other.but else self.words & other.words)

    def __or__(self, other: Outcomes) -> Outcomes:
        return ~(~self & ~other)

    def __invert__(self) -> Outcomes:
        return Outcomes(self.words, not self.but)

    def __str__(self) -> str:
        names = " or ".join(map(quote, sorted(self.words)))
        return f"never {names}" if self.but else names if len(self.words) > 1 else f"always {names}"

    def meets(self, other: Outcomes) -> bool:
        """Whether some word is in both."""
        return bool(self & other)


ANY = Outcomes(frozenset(), True)
NONE = Outcomes(frozenset())
SUCCESS = Outcomes(frozenset({"success"}))
FAIL = Outcomes(frozenset({"fail"}))

_GIVEN = {"start": SUCCESS, "tool": SUCCESS | FAIL}
"""Handlers whose outcomes are few (engine.md#handlers)."""


def exact(expr: Expr | None) -> Outcomes | None:
    """The outcomes for which a condition holds; None when it asks for anything else too, or for nothing."""
    match expr:
        case Compare(key="outcome", op="=", literal=word):
            return Outcomes(frozenset({word}))
        case Compare(key="outcome", op="!=", literal=word):
            return Outcomes(frozenset({word}), True)
        case Not(inner):
            found = exact(inner)
            return None if found is None else ~found
        case All(parts) | Some(parts):
            return _combine([exact(part) for part in parts], every=isinstance(expr, All))
        case _:
            return None


def _combine(parts: Iterable[Outcomes | None], *, every: bool) -> Outcomes | None:
    found = ANY if every else NONE
    for part in parts:
        if part is None:
            return None
        found = found & part if every else found | part
    return found


def required_outcomes(expr: Expr | None) -> Outcomes:
    """Outcomes outside of which a condition surely does not hold."""
    match expr:
        case All(parts):
            found = ANY
            for part in parts:
                found &= required_outcomes(part)
            return found
        case _:
            known = exact(expr)
            return ANY if known is None else known


def arriving(survey: Survey) -> dict[int, Outcomes]:
    """The nodes, by number, whose outgoing conditions can only see certain outcomes, and which.

    The sets of diamonds grow from nothing until they agree with one another. A tangle that takes too long
    is left unanswered.
    """
    types = survey.types
    found = {n: _GIVEN[kind] for n, kind in enumerate(types) if kind in _GIVEN}
    diamonds = [n for n, kind in enumerate(types) if kind == "conditional"]
    found.update((n, NONE) for n in diamonds)
    anything = _retry_targets(survey)
    found.update((n, ANY) for n in diamonds if n in anything)
    waiting = deque(n for n in diamonds if n not in anything)
    queued = set(waiting)
    left = 20 * len(diamonds) + 100
    while waiting:
        left -= 1
        if left < 0:
            return {}
        number = waiting.popleft()
        queued.discard(number)
        now = _coming_in(survey, number, found)
        if now == found[number]:
            continue
        found[number] = now
        for target in survey.successors[number]:
            if types[target] == "conditional" and target not in anything and target not in queued:
                queued.add(target)
                waiting.append(target)
    return {n: outcomes for n, outcomes in found.items() if outcomes and outcomes != ANY}


def _retry_targets(survey: Survey) -> set[int]:
    """The retry targets: a run can come there without an edge."""
    names = {survey.graph.text("retry_target"), survey.graph.text("fallback_retry_target")}
    for key in ("retry_target", "fallback_retry_target"):
        names.update(str(attribute.value) for _, attribute in survey.on_nodes.get(key, ()))
    return {survey.index[name] for name in names if name in survey.index}


def _coming_in(survey: Survey, number: int, found: dict[int, Outcomes]) -> Outcomes:
    edges = survey.graph.incoming(survey.ids[number])
    if not edges:
        return ANY
    arriving = NONE
    for edge in edges:
        arriving |= _over(survey, edge, found)
        if arriving == ANY:
            break
    return arriving


def _over(survey: Survey, edge: Edge, found: dict[int, Outcomes]) -> Outcomes:
    """The outcomes that come over an edge."""
    source = survey.index[edge.source]
    possible = found.get(source, ANY)
    kind = survey.types[source]
    if kind in {"parallel", "wait.human"}:
        return ANY
    if edge.condition:
        return possible & required_outcomes(edge.condition.expr)
    for other in survey.graph.outgoing(edge.source):
        if other.condition and other.integer("max_visits") == 0:
            handled = exact(other.condition.expr)
            if handled is not None:
                possible &= ~handled
    if kind != "conditional" and _goes_back(survey, source):
        possible &= ~FAIL
    return possible


def _goes_back(survey: Survey, number: int) -> bool:
    """Whether a failure jumps to a retry target instead of following an edge without condition (rule 4)."""
    node = survey.nodes[number]
    return any(
        str(node.attributes[key].value) in survey.index
        for key in ("retry_target", "fallback_retry_target")
        if key in node.attributes
    )
