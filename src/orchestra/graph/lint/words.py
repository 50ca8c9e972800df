"""Rules about words that must mean something: types, shapes, fidelity modes, ids, attribute names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

from orchestra.errors import Diagnostic, Edit, Span
from orchestra.graph.attributes import DRAWN_SHAPES, FIDELITIES, SHAPES
from orchestra.graph.edits import inside
from orchestra.graph.lint.outcomes import arriving, required_outcomes
from orchestra.graph.lint.survey import Survey, error, quote, warning
from orchestra.graph.model import Attribute, Edge, Node
from orchestra.graph.nearest import edit_distance, nearest


def type_known(survey: Survey) -> Iterator[Diagnostic]:
    """Check that every type and shape has a handler (language.md#shapes-and-handlers)."""
    known = sorted(survey.known_types)
    for node, attribute in survey.node_places("type"):
        kind = str(attribute.value)
        if not kind or kind in survey.known_types:
            continue
        meant = nearest(kind, known) or SHAPES.get(kind, "") or _type_of(kind)
        yield warning(
            f"no handler is registered for type {quote(kind)}:"
            f" {quote(node.id)} would run as {survey.type_of[node.id]}",
            attribute.span,
            of=node,
            meant=meant,
            fix=f"use one of {', '.join(known)}",
        )
    yield from _shapes(survey)


_CALLED = {
    "agent": "codergen",
    "ai": "codergen",
    "llm": "codergen",
    "prompt": "codergen",
    "task": "codergen",
    "bash": "tool",
    "cmd": "tool",
    "command": "tool",
    "exec": "tool",
    "script": "tool",
    "shell": "tool",
    "approval": "wait.human",
    "gate": "wait.human",
    "human": "wait.human",
    "human_gate": "wait.human",
    "manual": "wait.human",
    "branch": "conditional",
    "condition": "conditional",
    "decision": "conditional",
    "if": "conditional",
    "router": "conditional",
    "switch": "conditional",
    "fanout": "parallel",
    "fan_out": "parallel",
    "fork": "parallel",
    "map": "parallel",
    "fanin": "parallel.fan_in",
    "parallel_fan_in": "parallel.fan_in",
    "parallel_fanin": "parallel.fan_in",
    "fan_in": "parallel.fan_in",
    "join": "parallel.fan_in",
    "merge": "parallel.fan_in",
    "loop": "stack.manager_loop",
    "manager": "stack.manager_loop",
    "supervisor": "stack.manager_loop",
    "child": "pipeline",
    "sub_pipeline": "pipeline",
    "subgraph": "pipeline",
    "subpipeline": "pipeline",
    "begin": "start",
    "done": "exit",
    "end": "exit",
    "finish": "exit",
    "terminal": "exit",
}
"""What other tools, and people, call the handler types."""

_SHAPE_OF = {kind: shape for shape, kind in SHAPES.items()}


def _plain(word: str) -> str:
    return re.sub(r"[-. ]", "_", word.lower())


def _type_of(word: str) -> str:
    """The handler type that a word is another name of."""
    return word if word in _SHAPE_OF else _CALLED.get(_plain(word), "")


def _shapes(survey: Survey) -> Iterator[Diagnostic]:
    for node, attribute in survey.node_places("shape"):
        shape = str(attribute.value)
        if shape in SHAPES:
            continue
        terminal = node.id in survey.starts or node.id in survey.exits
        meant = nearest(shape, SHAPES) or ("" if shape in DRAWN_SHAPES else _SHAPE_OF.get(_type_of(shape), ""))
        if terminal and not meant:
            continue
        if node.text("type") in survey.known_types and node.text("type"):
            continue
        yield warning(
            f"shape {quote(shape)} has no handler: {quote(node.id)} "
            + ("is a terminal node only because of its name" if terminal else "would run as an LLM node"),
            attribute.span,
            of=node,
            meant=meant,
            fix=f"use one of {', '.join(SHAPES)}; or set `type`",
        )


def fidelity_valid(survey: Survey) -> Iterator[Diagnostic]:
    """Every fidelity is a mode that there is (language.md#of-a-node)."""
    for key in ("fidelity", "default_fidelity"):
        for owner, attribute in survey.written(key):
            mode = str(attribute.value)
            if not mode or mode in FIDELITIES:
                continue
            yield warning(
                f"{quote(mode)} is not a fidelity mode, so it would be ignored",
                attribute.span,
                of=owner,
                meant=nearest(mode, FIDELITIES),
                fix=f"use one of {', '.join(FIDELITIES)}",
            )


STATUSES = ("success", "partial_success", "retry", "fail", "skipped")
_SAID_SO = {
    "failed": "fail",
    "fails": "fail",
    "failure": "fail",
    "succeed": "success",
    "succeeded": "success",
    "successful": "success",
    "partial": "partial_success",
    "skip": "skipped",
}
"""Words that are taken for a status, and are none."""

_OUTCOME = re.compile(r'outcome\s*!?=\s*"?')


def outcome_known(survey: Survey) -> Iterator[Diagnostic]:
    """No condition asks for an outcome that is nearly a status (L31)."""
    for condition, places in survey.conditions:
        slips = [(word, meant) for word in condition.outcome_words if (meant := status_meant(word))]
        for (word, meant), (edge, attribute) in product(slips, places):
            if _never_comes(survey, edge):
                continue
            yield warning(
                f"{quote(word)} is not the status {quote(meant)}:"
                " the condition is true only if an agent reports exactly that word",
                word_in(attribute, word),
                of=edge,
                fix=f"did you mean {quote(meant)}?",
                edits=(Edit(word_in(attribute, word), meant),),
            )


def status_meant(word: str) -> str:
    """The status that a word is written for; empty where it is one, or a word of its own."""
    lowered = word.lower()
    if word in STATUSES:
        return ""
    if lowered in STATUSES:
        return lowered
    if lowered in _SAID_SO:
        return _SAID_SO[lowered]
    near = (status for status in STATUSES if len(status) > 4 and edit_distance(lowered, status, 2) <= 1)
    return next(near, "")


_GOOD = frozenset("approved complete completed done good green ok okay pass passed passes true yes".split())
_BAD = frozenset("bad broken err error errored errors failing false no red rejected".split())


def called_status(word: str) -> str:
    """The status that is meant by a word where no word of its own can come; empty for a status, or none."""
    lowered = word.lower()
    return status_meant(word) or ("success" if lowered in _GOOD else "fail" if lowered in _BAD else "")


def _never_comes(survey: Survey, edge: Edge) -> bool:
    """Whether ``dead_edge`` says already that the outcome cannot be."""
    possible = arriving(survey).get(survey.index[edge.source])
    return possible is not None and not required_outcomes(edge.condition.expr).meets(possible)


def word_in(attribute: Attribute, word: str) -> Span:
    """Where a condition compares the outcome with a word; the whole condition where that is not found."""
    text = str(attribute.value)
    for match in _OUTCOME.finditer(text):
        if text.startswith(word, match.end()):
            return inside(attribute.span, match.end(), match.end() + len(word))
    return attribute.span


def retry_target_exists(survey: Survey) -> Iterator[Diagnostic]:
    """Every retry target names a node."""
    for key, called in (("retry_target", "retry target"), ("fallback_retry_target", "fallback")):
        for owner, attribute in survey.written(key):
            target = str(attribute.value)
            if target and target == survey.graph.exit:
                yield error(
                    f"{key} names the exit {quote(target)}: a failure would end the run as a success",
                    attribute.span,
                    of=owner,
                    fix="name the node at which the work is repeated",
                )
            elif target and target not in survey.index:
                whose = quote(owner.id) if isinstance(owner, Node) else "an unmet goal gate"
                yield warning(
                    f"{key} names {quote(target)}, which is not a node of this pipeline:"
                    f" {whose} would have no {called}",
                    attribute.span,
                    of=owner,
                    meant=survey.declared.nearest(target),
                    fix="name a node of this pipeline",
                )
