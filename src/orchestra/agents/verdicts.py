"""An agent's conversation as an outcome: ``report_outcome``, a JSON object, or plain text (A4).

A line of prose never routes: only the tool, or an answer that is a JSON object, names a status or a label.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

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

    Of several the last counts, but one that is no success before one that is: a gate fails closed.
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
    bad = status in (Status.FAIL, Status.RETRY)
    return Outcome(
        status=status,
        word=word,
        preferred_label=str(report.get("preferred_label") or ""),
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


def report_instructions(graph: Graph, node: Node) -> str:
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


def fit_schema(task: AgentTask, outcome: Outcome, text: str) -> Outcome | tuple[str, Outcome]:
    """Return the outcome with the structured answer; or the correction for the agent and the failure."""
    value, problem = answer_problem(task.output_schema, text)
    if not problem:
        return replace(outcome, context_updates={**outcome.context_updates, f"outputs.{task.node.id}": value})
    told = f"{CORRECT}{problem}. Answer again, with nothing but JSON that fits it."
    return told, failed_outcome(f"the answer does not fit output_schema: {problem}")
