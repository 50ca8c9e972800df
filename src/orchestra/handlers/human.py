"""Human gates: a person picks the edge by which the run continues (humans.md H3-H6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from msgspec.structs import replace

from orchestra.graph.choices import Choice, accelerator, choices
from orchestra.graph.conditions import resolve
from orchestra.graph.model import Edge, Graph, Node
from orchestra.ports import Scope
from orchestra.run.codec import preview_of
from orchestra.run.declare import BlobRef
from orchestra.run.outcome import FailureClass, Json, Outcome, Status, failed_outcome
from orchestra.run.questions import (
    FREEFORM_TARGET,
    SKIPPED,
    TIMEOUT,
    Answer,
    Option,
    Question,
    QuestionType,
    default_option,
)
from orchestra.run.routing import edge_keys
from orchestra.run.state import Context


class Way(NamedTuple):
    """An edge that is offered: its key for the router, and the choice that it is; None for free text."""

    key: str
    edge: Edge
    choice: Choice | None


class Gate:
    """The handler of ``wait.human``."""

    keeps_time = True
    """Its ``timeout`` is the person's, and runs only while the question is shown (H5)."""

    async def __call__(self, node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        """Ask, and take the chosen edge (rule 0); a timeout without a default retries, a skip fails."""
        ways = await _open(node, context, graph, scope)
        if not ways:
            return failed_outcome(
                f"{node.id} has no choice to offer: no edge has a true condition", FailureClass.TERMINAL
            )
        question = await _question(node, context, scope, ways)
        return _outcome(await scope.ask(question), ways)


async def _open(node: Node, context: Context, graph: Graph, scope: Scope) -> list[Way]:
    """The edges that can be chosen: their conditions would hold, and their ``max_visits`` are not used up."""
    found = []
    for edge, key in zip(graph.outgoing(node.id), edge_keys(graph, node.id), strict=True):
        bound = edge.integer("max_visits")
        if (not bound or scope.times_taken(key) < bound) and await _holds(edge, context, scope):
            found.append((key, edge))
    offered = {id(choice.edge): choice for choice in choices([edge for _key, edge in found])}
    ways = [Way(key, edge, offered.get(id(edge))) for key, edge in found]
    free = next((way for way in ways if way.choice is None), None)
    return [way for way in ways if way.choice is not None or way is free]


async def _holds(edge: Edge, context: Context, scope: Scope) -> bool:
    """Whether the edge's condition would hold if it were chosen, as the router will see it."""
    if not edge.condition:
        return True
    label = accelerator(edge.label or edge.target)[1]
    context = await context.reading(edge.condition.keys, scope.resolve)
    known = context.with_values({"human.gate.label": label})
    return edge.condition.holds(lambda key: resolve(key, Status.SUCCESS.value, label, known))


def _gate_keys(choice: Choice | None, text: str) -> dict[str, Json]:
    return {
        "human.gate.selected": choice.key if choice is not None else "",
        "human.gate.label": choice.label if choice is not None else "",
        "human.gate.text": text,
    }


async def _question(node: Node, context: Context, scope: Scope, ways: list[Way]) -> Question:
    options = tuple(
        Option(key=way.choice.key, label=way.choice.label, target=way.edge.target) for way in ways if way.choice
    )
    limit = node.duration("human.timeout") or node.duration("timeout")
    free = [way.edge.target for way in ways if way.choice is None]
    question = Question(
        text=node.label,
        type=QuestionType.MULTIPLE_CHOICE if options else QuestionType.FREEFORM,
        options=options,
        freeform=bool(free),
        metadata={FREEFORM_TARGET: free[0]} if free else {},
        timeout_ms=limit.milliseconds if limit is not None else 0,
        about="\n\n".join(part for part in (await _about(context, scope), await _changes(scope)) if part),
    )
    default = default_option(question, node.text("human.default_choice"))
    return replace(question, default=default.key) if default is not None else question


async def _changes(scope: Scope) -> str:
    """What the run has changed in its repositories: a gate shows the diff."""
    return await scope.workspace.changes() if scope.workspace is not None else ""


async def _about(context: Context, scope: Scope) -> str:
    """Return the whole last response: the text to decide on."""
    shown = context.get("last_response")
    if not isinstance(shown, str) or not shown:
        return ""
    latest = f"responses.{context.get('last_stage', '')}"
    for key in (latest, *(key for key in context if key.startswith("responses."))):
        value = context.get(key)
        if isinstance(value, str | BlobRef) and preview_of(value) == shown:
            return str(await scope.resolve(value))
    return shown


def _outcome(answer: Answer, ways: list[Way]) -> Outcome:
    if answer.value == TIMEOUT and answer.option is None:
        return Outcome(status=Status.RETRY, failure_reason="no answer in time, and the gate has no default")
    if answer.value == SKIPPED and answer.option is None:
        return failed_outcome(
            "the question was skipped" + (f": {answer.text}" if answer.text else ""), FailureClass.TERMINAL
        )
    key = answer.option.key if answer.option is not None else ""
    way = next(way for way in ways if (way.choice.key if way.choice is not None else "") == key)
    keys: Mapping[str, Json] = _gate_keys(way.choice, answer.text)
    how = "automatic, " if answer.automatic else ""
    return Outcome(
        status=Status.SUCCESS,
        edge=way.key,
        preferred_label=way.choice.label if way.choice is not None else way.edge.label,
        suggested_next_ids=(way.edge.target,),
        context_updates=keys,
        notes=f"{answer.label}, {how}by {answer.who}",
    )
