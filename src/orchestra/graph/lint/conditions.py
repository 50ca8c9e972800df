"""Rules about which edge a run takes: equal edges, conditions that cannot hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from orchestra.errors import Diagnostic, Edit
from orchestra.graph.conditions import Compare, Expr, Truth, clauses
from orchestra.graph.edits import inside, rewritten
from orchestra.graph.lint.holds import contradiction, repeated_clause
from orchestra.graph.lint.outcomes import arriving, required_outcomes
from orchestra.graph.lint.survey import Survey, has_condition, info, list_words, quote, warning
from orchestra.graph.lint.words import STATUSES, called_status, status_meant, word_in
from orchestra.graph.model import Attribute, Edge, Node
from orchestra.graph.nearest import is_near


def ambiguous_edges(survey: Survey) -> Iterator[Diagnostic]:
    """Of two unconditional edges of equal weight, the smallest target id wins (rule 5)."""
    for node, edges in survey.forks:
        tied = _ties([edge for edge in edges if not has_condition(edge)])
        if tied:
            yield _ambiguity(node, tied)


def _ties(plain: Sequence[Edge]) -> list[Edge]:
    """The first edges of equal weight that lead to different nodes and can come to be compared."""
    by_weight: dict[int, list[Edge]] = {}
    for edge in plain:
        by_weight.setdefault(edge.weight, []).append(edge)
    for weight in sorted(by_weight, reverse=True):
        group = by_weight[weight]
        if len({edge.target for edge in group}) > 1:
            return group
        if any(edge.integer("max_visits") == 0 for edge in group):
            break
    return []


def _ambiguity(node: Node, tied: Sequence[Edge]) -> Diagnostic:
    winner = min(tied, key=lambda edge: (edge.target, edge.index))
    loser = next(edge for edge in tied if edge.target != winner.target)
    targets = list(dict.fromkeys(edge.target for edge in tied))
    labelled = all(edge.label for edge in tied)
    unless = ", unless the node prefers another label" if labelled else ""
    return info(
        f"{quote(node.id)} has edges with equal weight and no condition to {list_words(targets)}:"
        f" {quote(winner.target)} is taken, the first in alphabetical order{unless}",
        loser.target_span,
        of=node,
        edge=loser,
        fix="give one of them a `condition` or a higher `weight`",
    )


def dead_edge(survey: Survey) -> Iterator[Diagnostic]:
    """Every condition can hold, says nothing twice, and is not always beaten by a twin."""
    yield from _misnamed_keys(survey)
    yield from _self_refuting(survey)
    yield from _beaten(survey)
    yield from _never_arriving(survey)


_OUTCOMES = frozenset({"outcome", "status", "result", "state", "outcome.status", "status.outcome"})
_OF_COMMANDS = {"exit_code": "exit_code", "returncode": "exit_code", "status_code": "exit_code", "stdout": "output"}
_OF_COMMANDS |= {"output": "output", "stderr": "stderr"}
_ALWAYS = frozenset({"always", "default", "else", "otherwise", "true"})
_OTHER = "remove the condition: an edge without one is taken when no condition holds"


def _misnamed_keys(survey: Survey) -> Iterator[Diagnostic]:
    """Yield conditions on a context key that is never set, such as ``success`` or ``else``."""
    for condition, places in survey.conditions:
        doubtful = [clause for clause in clauses(condition.expr) if not _is_sure(clause, survey)]
        for edge, attribute in places if doubtful else ():
            for clause in doubtful:
                yield from _misnamed_key(survey, clause, edge, attribute)


def _is_sure(clause: Compare | Truth, survey: Survey) -> bool:
    """Whether a clause's key is one that a run sets, or may be one of the author's own."""
    key = clause.key
    if key == "outcome":
        return isinstance(clause, Compare)
    return key == "preferred_label" or key in survey.variables or key.startswith("context.")


def _misnamed_key(
    survey: Survey, clause: Compare | Truth, edge: Edge, attribute: Attribute
) -> Iterator[Diagnostic]:
    text = edge.condition.text
    meant, why = _suggestion(clause, survey, edge)
    match = why and re.search(rf"(?<![\w.]){re.escape(clause.key)}(?![\w.])", text)
    if match:
        better = text[: match.start()] + meant + text[match.end() :]
        swapped = isinstance(clause, Compare) and clause.literal == "outcome"
        better = f"outcome={clause.key}" if swapped else better
        yield warning(
            f"condition {quote(text)} {why}",
            inside(attribute.span, match.start(), match.end()),
            of=edge,
            fix=f"did you mean {quote(better)}?" if meant else _OTHER,
            edits=(rewritten(attribute.span, match.start(), match.end(), meant),) if meant and not swapped else (),
        )


def _suggestion(clause: Compare | Truth, survey: Survey, edge: Edge) -> tuple[str, str]:
    """Return what to write for a clause's key, and the fault; empty if the key may be right."""
    key = clause.key
    if key == "outcome":
        return "outcome=success", "is true for every outcome: it compares it with nothing"
    why = f"reads the context key {quote(key)}, which is not "
    root, dot, rest = key.partition(".")
    if dot and (root == "ctx" or is_near(root, "context")):
        return f"context.{rest}", f"reads the context key {quote(key)}: the prefix is 'context.'"
    kind = survey.type_of[edge.source]
    if key in _OF_COMMANDS and kind in ("tool", "conditional"):
        command = edge.source if kind == "tool" else "NODE"
        return f"tools.{command}.{_OF_COMMANDS[key]}", f"reads the context key {quote(key)}, which no command sets"
    if is_near(key, "preferred_label"):
        return "preferred_label", why + "the preferred label"
    if isinstance(clause, Truth):
        word = key if key in STATUSES else status_meant(key)
        if key in _ALWAYS:
            return "", f"reads the context key {quote(key)}, which nothing sets"
        return f"outcome={word}" if word else "", (why + "the outcome") if word else ""
    if clause.literal == "outcome" and (key in STATUSES or status_meant(key)):
        return "outcome", f"compares the value {quote(key)} with the word 'outcome'; a key comes first"
    if clause.literal in STATUSES or status_meant(clause.literal):
        word = "outcome" if key.lower() in _OUTCOMES or is_near(key, "outcome") else ""
        return word, (why + "the outcome") if word else ""
    return "", ""


def _self_refuting(survey: Survey) -> Iterator[Diagnostic]:
    for condition, places in survey.conditions:
        expr = condition.expr
        against = "" if expr is None else contradiction(expr)
        twice = "" if expr is None or against else repeated_clause(expr)
        for edge, attribute in places if against or twice else ():
            yield warning(
                f"condition {quote(condition.text)} is never true: {against}"
                if against
                else f"condition {quote(condition.text)} repeats {quote(twice)}",
                attribute.span,
                of=edge,
                fix="write a number"
                if against.endswith("is not a number")
                else "join alternatives with `||`"
                if against
                else "remove one, or write the intended condition",
            )


def _beaten(survey: Survey) -> Iterator[Diagnostic]:
    """Edges of a node with the same condition as another that always comes first (rule 1)."""
    for _node, leaving in survey.forks:
        winners: dict[Expr | None, Edge] = {}
        edges = [edge for edge in leaving if edge.condition]
        for edge in sorted(edges, key=lambda edge: (-edge.weight, edge.target, edge.index)):
            winner = winners.get(edge.condition.expr)
            if winner is not None:
                yield _twin(edge, winner)
            elif edge.integer("max_visits") == 0:
                winners[edge.condition.expr] = edge


def _twin(edge: Edge, winner: Edge) -> Diagnostic:
    why = "a higher weight" if winner.weight > edge.weight else "comes first in alphabetical order"
    if winner.target == edge.target:
        why = "comes first"
    return warning(
        f"the edge from {quote(edge.source)} to {quote(edge.target)} is never taken: the edge to"
        f" {quote(winner.target)} has the same condition, and {why}",
        edge.span_of("condition", edge.target_span),
        of=edge,
        fix="change one of the conditions, or delete the edge",
    )


def _never_arriving(survey: Survey) -> Iterator[Diagnostic]:
    """Conditions on an outcome that the node cannot have, or that cannot arrive at a diamond (E13)."""
    for number, possible in arriving(survey).items():
        node = survey.nodes[number]
        passes = survey.types[number] == "conditional"
        for edge in survey.graph.outgoing(node.id):
            wanted = required_outcomes(edge.condition.expr)
            if wanted.meets(possible) or not wanted:
                continue
            what = (
                f"{quote(node.id)} passes on the previous outcome, which is {possible}"
                if passes
                else f"the outcome of {quote(node.id)} is {possible}"
            )
            fix = "route that outcome there, or delete the edge"
            if not passes:
                fix = "compare with an outcome that it can have, or delete the edge"
            word = next((word for word in edge.condition.outcome_words if called_status(word)), "")
            written = edge.attributes["condition"]
            span = word_in(written, word) if word else written.span
            yield warning(
                f"condition {quote(edge.condition.text)} is never true: {what}",
                span,
                of=edge,
                fix=f"did you mean {quote(called_status(word))}?" if word else fix,
                edits=(Edit(span, called_status(word)),) if word else (),
            )
