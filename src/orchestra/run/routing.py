"""Where a run goes after a node: the six rules of engine.md#routing, in one pure function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import TypeAlias

from msgspec import Struct

from orchestra.graph.conditions import normalize_label, resolve, text_of
from orchestra.graph.model import Edge, Graph
from orchestra.run.declare import BlobRef
from orchestra.run.outcome import Json
from orchestra.run.state import NodeEnd

SHOWN_VALUE = 120
"""Characters of a value that a routing record shows."""


class RoutingRule(IntEnum):
    """What decides where a run goes; its number is recorded."""

    CHOICE = 0
    CONDITION = 1
    LABEL = 2
    SUGGESTION = 3
    FAILURE = 4
    NO_CONDITION = 5
    NO_EDGE = 6
    MEETING = 7


RULES: Mapping[int, str] = {
    RoutingRule.CHOICE: "chosen by the node",
    RoutingRule.CONDITION: "condition is true",
    RoutingRule.LABEL: "preferred label",
    RoutingRule.SUGGESTION: "suggested next node",
    RoutingRule.FAILURE: "failure",
    RoutingRule.NO_CONDITION: "no condition",
    RoutingRule.NO_EDGE: "no edge",
    RoutingRule.MEETING: "branches meet",
}
"""The rules in words, by number."""


class Follow(Struct, frozen=True, kw_only=True):
    """Take an edge."""

    edge: Edge
    key: str
    rule: RoutingRule
    reason: str


class Jump(Struct, frozen=True, kw_only=True):
    """Go to a retry target without an edge, by rule ``FAILURE``."""

    target: str
    reason: str


class End(Struct, frozen=True, kw_only=True):
    """The node has no edge at all: the run ends here, well (rule 6)."""


class Fail(Struct, frozen=True, kw_only=True):
    """The run fails here."""

    rule: RoutingRule
    reason: str


Decision: TypeAlias = Follow | Jump | End | Fail


class Candidate(Struct, frozen=True, kw_only=True):
    """An outgoing edge as routing saw it: times taken, condition held or not, on which values."""

    edge: Edge
    key: str
    holds: bool
    values: tuple[tuple[str, str], ...] = ()
    taken: int = 0

    @property
    def bound(self) -> int:
        """How often the edge may be taken; 0 is without bound."""
        return self.edge.integer("max_visits")

    @property
    def open(self) -> bool:
        """Whether it may be taken once more."""
        return not self.bound or self.taken < self.bound

    def as_map(self) -> dict[str, Json]:
        """The form it has in the record of a decision."""
        plain: dict[str, Json] = {"edge": self.key}
        if self.edge.condition:
            plain["condition"] = self.edge.condition.text
            plain["holds"] = self.holds
            plain["values"] = dict(self.values)
        if self.edge.label:
            plain["label"] = self.edge.label
        if self.edge.weight:
            plain["weight"] = self.edge.weight
        if self.bound:
            plain["taken"] = self.taken
            plain["max_visits"] = self.bound
        return plain


def edge_keys(graph: Graph, node_id: str) -> list[str]:
    """Return stable names of a node's edges: ``a->b``, ``a->b#2`` for the second."""
    seen: dict[str, int] = {}
    found = []
    for edge in graph.outgoing(node_id):
        seen[edge.target] = number = seen.get(edge.target, 0) + 1
        found.append(f"{node_id}->{edge.target}" if number == 1 else f"{node_id}->{edge.target}#{number}")
    return found


def survey(
    graph: Graph, ended: NodeEnd, context: Mapping[str, object], edge_visits: Mapping[str, int]
) -> tuple[Candidate, ...]:
    """The outgoing edges of the node that ended, with what decides about them."""
    shown = ended.word or ended.status

    def lookup(key: str) -> object:
        return resolve(key, shown, ended.preferred_label, context)

    found = []
    for edge, key in zip(graph.outgoing(ended.node), edge_keys(graph, ended.node), strict=True):
        condition = edge.condition
        found.append(
            Candidate(
                edge=edge,
                key=key,
                holds=not condition or condition.holds(lookup),
                values=_values(condition.keys, lookup) if condition else (),
                taken=edge_visits.get(key, 0),
            )
        )
    return tuple(found)


def _values(keys: Sequence[str], lookup: Callable[[str], object]) -> tuple[tuple[str, str], ...]:
    return tuple((key, _show(lookup(key))) for key in keys)


def _show(value: object) -> str:
    text = value.preview if isinstance(value, BlobRef) else text_of(value)
    return text if len(text) <= SHOWN_VALUE else text[: SHOWN_VALUE - 1] + "…"


def route(graph: Graph, ended: NodeEnd, candidates: Sequence[Candidate]) -> Decision:
    """The first rule that decides, deterministically."""
    if ended.edge:
        return _by_choice(ended, candidates)
    if not candidates and ended.status != "fail":
        return End()
    usable = [c for c in candidates if c.open]
    plain = [c for c in usable if not c.edge.condition]
    chosen = _conditional(usable) or _by_label(ended, plain) or _by_suggestion(ended, plain)
    if chosen is not None:
        return chosen
    if ended.status == "fail" and not ended.passing:
        return _failure(graph, ended, candidates, plain)
    if plain:
        best = _best(plain)
        return _follow(best, RoutingRule.NO_CONDITION, f"the edge without a condition{_over(best, plain)}")
    reason = _nothing_applies(ended, candidates) if candidates else failure_of(ended)
    return Fail(rule=RoutingRule.NO_EDGE, reason=reason)


def failure_of(ended: NodeEnd) -> str:
    """Why a node failed, in any case in words."""
    return ended.failure_reason or f"{ended.node} failed"


def _follow(candidate: Candidate, rule: RoutingRule, reason: str) -> Follow:
    return Follow(edge=candidate.edge, key=candidate.key, rule=rule, reason=reason)


def _best(candidates: Sequence[Candidate]) -> Candidate:
    return min(candidates, key=lambda c: (-c.edge.weight, c.edge.target))


def _over(best: Candidate, rivals: Sequence[Candidate]) -> str:
    """Why the best of several was taken; empty where it had no rival."""
    if len(rivals) == 1:
        return ""
    level = [c for c in rivals if c.edge.weight == best.edge.weight]
    return ", highest weight" if len(level) == 1 else ", highest weight, then alphabetical"


def _by_choice(ended: NodeEnd, candidates: Sequence[Candidate]) -> Follow | Fail:
    """The edge that the handler chose, and nothing else: neither a closed one nor another in its place."""
    chosen = f"{ended.node} chose the edge {ended.edge}"
    for candidate in candidates:
        if candidate.key != ended.edge:
            continue
        if not candidate.open:
            return Fail(rule=RoutingRule.CHOICE, reason=f"{chosen}, which reached its max_visits")
        if not candidate.holds:
            return Fail(rule=RoutingRule.CHOICE, reason=f"{chosen}, whose condition is false")
        label = candidate.edge.label
        reason = f"{label!r} was chosen" if label else f"{ended.node} chose it"
        return _follow(candidate, RoutingRule.CHOICE, reason)
    return Fail(rule=RoutingRule.CHOICE, reason=f"{chosen}, which does not exist")


def _conditional(usable: Sequence[Candidate]) -> Follow | None:
    held = [c for c in usable if c.edge.condition and c.holds]
    if not held:
        return None
    best = _best(held)
    return _follow(best, RoutingRule.CONDITION, f"{best.edge.condition.text} is true{_over(best, held)}")


def _by_label(ended: NodeEnd, plain: Sequence[Candidate]) -> Follow | None:
    wanted = normalize_label(ended.preferred_label)
    if not wanted:
        return None
    for candidate in plain:
        if normalize_label(candidate.edge.label) == wanted:
            return _follow(candidate, RoutingRule.LABEL, f"preferred label '{ended.preferred_label}'")
    return None


def _by_suggestion(ended: NodeEnd, plain: Sequence[Candidate]) -> Follow | None:
    for wanted in ended.suggested_next_ids:
        for candidate in plain:
            if candidate.edge.target == wanted:
                return _follow(candidate, RoutingRule.SUGGESTION, f"the node suggested {wanted}")
    return None


def _failure(
    graph: Graph, ended: NodeEnd, candidates: Sequence[Candidate], plain: Sequence[Candidate]
) -> Follow | Jump | Fail:
    node = graph.nodes[ended.node]
    for key in ("retry_target", "fallback_retry_target"):
        target = node.text(key)
        if target in graph.nodes:
            return Jump(target=target, reason=f"{ended.node} failed; its {key} is {target}")
    judges = [c for c in plain if graph.type_of(c.edge.target) == "conditional"]
    if judges:
        best = _best(judges)
        return _follow(best, RoutingRule.FAILURE, f"{best.edge.target} handles the failure")
    closed = [f"{c.key} was taken {c.taken} of {c.bound} times" for c in candidates if c.edge.condition and c.holds]
    return Fail(rule=RoutingRule.FAILURE, reason=": ".join([*closed, failure_of(ended)]))


def _nothing_applies(ended: NodeEnd, candidates: Sequence[Candidate]) -> str:
    parts = []
    for candidate in candidates:
        if not candidate.open:
            parts.append(f"{candidate.key} reached its max_visits")
            continue
        seen = ", ".join(f"{key}='{value}'" for key, value in candidate.values)
        parts.append(f"{candidate.key} wants {candidate.edge.condition.text} (saw {seen})")
    return f"no edge applies after {ended.node}: " + "; ".join(parts)
