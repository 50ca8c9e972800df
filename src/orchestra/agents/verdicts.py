"""An agent's conversation as an outcome: ``report_outcome``, a JSON object, or plain text (A4).

A line of prose never routes: only the tool, or an answer that is a JSON object, names a status or a label.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from orchestra.agents.bounds import warn
from orchestra.agents.models import MOST_CORRECTIONS
from orchestra.agents.tools.reporting import NAME, labels_of
from orchestra.graph.model import Graph, Node
from orchestra.ports import AgentTask
from orchestra.run.conversation import Message
from orchestra.run.outcome import GOOD, Outcome, Status, failed_outcome, legal_words, read_status
from orchestra.run.secrets import plain_json

ASK_AGAIN = (
    "You have not reported the outcome. Call the tool report_outcome now: with status success only where the task "
    "is done and you have made sure of it, else with status fail and the reason in notes."
)
"""What a goal gate's agent is asked once, where it did not report (A4)."""

CORRECT = "Your answer does not fit the schema that was asked for: "

_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)\n```\s*\Z", re.DOTALL)


def newest_report(messages: Sequence[Message]) -> Mapping[str, Any] | None:
    """The arguments of the ``report_outcome`` that the newest answer made and that was accepted.

    Of several reports the last failure counts, else the last report: a gate fails closed.
    """
    good: set[str] = set()
    for message in reversed(messages):
        if message.role == "tool" and not message.is_error:
            good.add(message.tool_call_id)
        if message.role == "assistant":
            calls = [call for call in message.tool_calls if call.name == NAME and call.id in good]
            reports = [call.arguments for call in calls]
            counted = [one for one in reports if _is_failure(one)] or reports
            return counted[-1] if counted else None
    return None


def _is_failure(report: Mapping[str, Any]) -> bool:
    status, _word, problem = read_status(str(report.get("status", "")), frozenset())
    return not problem and status not in GOOD


def outcome_of(graph: Graph, node: Node, report: Mapping[str, Any]) -> Outcome:
    """Return the outcome of an agent's report; a malformed one is a failure that says so."""
    try:
        return _outcome(graph, node, report)
    except ValueError as error:
        return failed_outcome(f"the agent's report cannot be read: {error}")


def _outcome(graph: Graph, node: Node, report: Mapping[str, Any]) -> Outcome:
    status, word, problem = read_status(str(report.get("status", "")), legal_words(graph, node.id))
    if problem:
        return failed_outcome(problem)
    updates = report.get("context_updates") or {}
    if not isinstance(updates, Mapping):
        raise ValueError("context_updates is not an object")
    notes = str(report.get("notes") or "")
    suggested = report.get("suggested_next_ids") or []
    if not isinstance(suggested, list) or not all(isinstance(each, str) for each in suggested):
        raise ValueError("suggested_next_ids is not a list of node ids")
    bad = status in (Status.FAIL, Status.RETRY)
    return Outcome(
        status=status,
        word=word,
        preferred_label=str(report.get("preferred_label") or ""),
        suggested_next_ids=tuple(suggested),
        context_updates={str(key): plain_json(value) for key, value in updates.items()},
        notes=notes,
        failure_reason=str(report.get("failure_reason") or notes or f"the agent reported {status}") if bad else "",
    )


def object_in(text: str) -> Mapping[str, Any] | None:
    """The report that an answer is: a JSON object with a status, alone or in a code block at its end."""
    fenced = _FENCED.search(text)
    for candidate in (text.strip(), fenced.group(1) if fenced else ""):
        if not (candidate.startswith("{") and candidate.endswith("}")):
            continue
        try:
            found = json.loads(candidate)
        except ValueError:
            continue
        if isinstance(found, dict) and isinstance(found.get("status"), str):
            return found
    return None


def tool_instructions(graph: Graph, node: Node) -> str:
    """Return the instructions for reporting in the system message."""
    labels = labels_of(graph, node.id)
    ways = f" Its preferred_label chooses the way to continue: {', '.join(labels)}." if labels else ""
    return f"When the task is done, or cannot be done, call the tool report_outcome once.{ways}"


def answer_problem(schema: Mapping[str, Any], text: str) -> tuple[Any, str]:
    """An answer as the JSON value that ``output_schema`` asks for, or what is wrong with it (A4)."""
    from jsonschema import Draft202012Validator  # only a node with a schema pays for it

    fenced = _FENCED.search(text)
    try:
        value = json.loads(fenced.group(1) if fenced else text)
    except ValueError as error:
        return None, f"it is not JSON: {error}"
    first = next(iter(Draft202012Validator(schema).iter_errors(value)), None)
    if first is None:
        return value, ""
    where = ".".join(map(str, first.absolute_path))
    return None, f"{where + ': ' if where else ''}{first.message[:500]}"


class Ask(Struct, frozen=True, kw_only=True):
    """What an agent is told before its node has an outcome; ``otherwise`` is the outcome if it cannot be told."""

    text: str
    otherwise: Outcome


def fit_schema(task: AgentTask, outcome: Outcome, text: str) -> Outcome | Ask:
    """Return the outcome with the structured answer; or the correction for the agent and the failure."""
    value, problem = answer_problem(task.output_schema, text)
    if not problem:
        return replace(outcome, context_updates={**outcome.context_updates, f"outputs.{task.node.id}": value})
    return Ask(
        text=f"{CORRECT}{problem}. Answer again, with nothing but JSON that fits it.",
        otherwise=failed_outcome(f"the answer does not fit output_schema: {problem}"),
    )


def conclude(
    task: AgentTask, report: Mapping[str, Any] | None, text: str, told: Sequence[str], again: str
) -> str | Outcome | Ask:
    """Return what an agent's report and last words mean for its node; or what to tell it first (A4).

    ``told`` is what it was told so far, its prompt included. ``again`` asks for a report, and is empty for an agent
    that cannot make one.
    """
    if report is None and again and task.node.flag("goal_gate"):
        return _gate_without_report(task, told, again)
    reported = report is not None or bool(task.output_schema)
    report = report or (None if reported else object_in(text))
    outcome = Outcome(status=Status.SUCCESS) if report is None else outcome_of(task.graph, task.node, report)
    if task.output_schema and outcome.status in GOOD:
        found = fit_schema(task, outcome, text)
        corrected = sum(words.startswith(CORRECT) for words in told)
        return found.otherwise if isinstance(found, Ask) and corrected >= MOST_CORRECTIONS else found
    if not reported and outcome.status in GOOD and not outcome.preferred_label:
        _tell_unchosen(task)
    return text if report is None else outcome


def _gate_without_report(task: AgentTask, told: Sequence[str], again: str) -> Outcome | Ask:
    if task.node.flag("auto_status"):
        final = Outcome(status=Status.SUCCESS, notes="auto_status: the agent did not report an outcome")
    else:
        final = failed_outcome("the goal gate's agent did not report an outcome, also after it was asked for it")
    return final if again in told else Ask(text=again, otherwise=final)


def _tell_unchosen(task: AgentTask) -> None:
    """Warn that an agent chose none of the labels between which its node's edges leave the choice to it."""
    edges = [
        edge for edge in task.graph.outgoing(task.node.id) if not edge.text("condition") and edge.text("label")
    ]
    if len(edges) > 1:
        labels = ", ".join(edge.text("label") for edge in edges)
        warn(task, f"{task.node.id} chose none of {labels}; the edge is taken by weight and name", "no_label")
