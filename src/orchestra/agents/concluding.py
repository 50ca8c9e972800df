"""From a conversation to the node's outcome: the loop that every model backend shares (A4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestra.agents.bounds import warn
from orchestra.agents.exchanges import ending
from orchestra.agents.models import MOST_CORRECTIONS
from orchestra.agents.talk import Driving, Talk, report_in
from orchestra.agents.tools.reporting import NAME
from orchestra.agents.verdicts import ASK_AGAIN, CORRECT, fit_schema, newest_report, object_in, outcome_of
from orchestra.ports import AgentTask
from orchestra.run.conversation import Message
from orchestra.run.outcome import GOOD, Outcome, Status, failed_outcome
from orchestra.run.questions import exchange


async def converse(talk: Talk, driving: Driving) -> str | Outcome:
    """Open the conversation, let the agent work within its time, and return the node's outcome."""
    async with talk.bounds.in_time():
        await talk.open()
        return await _run_turns(talk, driving)


async def _run_turns(talk: Talk, driving: Driving) -> str | Outcome:
    while True:
        if talk.due:
            await driving(talk)
            if talk.due:
                continue
        found = await _exchange(talk) if talk.task.interactive else _verdict(talk)
        if found is not None:
            return found


def _verdict(talk: Talk) -> str | Outcome | None:
    """Return the outcome; None if the agent gets another message first."""
    task, report = talk.task, report_in(talk) or _standing_report(talk)
    text = _text(talk)
    task.scope.response(text or str((report or {}).get("notes") or ""))
    if report is not None:
        reported = outcome_of(task.graph, task.node, report)
        return _check(talk, reported, text) if task.output_schema and reported.status in GOOD else reported
    if task.node.flag("goal_gate") and NAME in talk.tools:
        return _gate(talk)
    if task.output_schema:
        return _check(talk, Outcome(status=Status.SUCCESS), text)
    found = object_in(text)
    outcome: str | Outcome = text if found is None else outcome_of(task.graph, task.node, found)
    if isinstance(outcome, str) or (outcome.status in GOOD and not outcome.preferred_label):
        _tell_unchosen(task)
    return outcome


def _standing_report(talk: Talk) -> Mapping[str, Any] | None:
    """What the agent reported with an answer that it was asked to correct: the report holds meanwhile."""
    said = own(talk)
    first = next((place for place, message in enumerate(said) if message.text.startswith(CORRECT)), None)
    return None if first is None else newest_report(said[:first])


def _tell_unchosen(task: AgentTask) -> None:
    """Warn that an agent chose none of the labels between which its node's edges leave the choice to it."""
    edges = [
        edge for edge in task.graph.outgoing(task.node.id) if not edge.text("condition") and edge.text("label")
    ]
    if len(edges) > 1:
        labels = ", ".join(edge.text("label") for edge in edges)
        warn(task, f"{task.node.id} chose none of {labels}; the edge is taken by weight and name", "no_label")


async def _exchange(talk: Talk) -> str | Outcome | None:
    """What a person says to the agent's words; the outcome where that ends the conversation (H9)."""
    text = _text(talk)
    talk.task.scope.response(text)
    answer = await talk.task.scope.ask(exchange(talk.task.node.label, text, talk.turn))
    ended = ending(answer, text)
    if ended is None:
        talk.say(answer.text)
    return ended


def _gate(talk: Talk) -> Outcome | None:
    if not any(message.text == ASK_AGAIN for message in own(talk)):
        talk.say(ASK_AGAIN)
        return None
    if talk.task.node.flag("auto_status"):
        return Outcome(status=Status.SUCCESS, notes="auto_status: the agent did not report an outcome")
    return failed_outcome("the goal gate's agent did not report an outcome, also after it was asked for it")


def _check(talk: Talk, outcome: Outcome, text: str) -> Outcome | None:
    """The outcome with the structured answer, once it fits."""
    found = fit_schema(talk.task, outcome, text)
    if isinstance(found, Outcome):
        return found
    told, final = found
    if sum(message.text.startswith(CORRECT) for message in own(talk)) >= MOST_CORRECTIONS:
        return final
    talk.say(told)
    return None


def own(talk: Talk) -> list[Message]:
    """The messages since the node's own prompt."""
    name = talk.task.scope.talk.name
    places = [place for place, m in enumerate(talk.messages) if m.role == "user" and m.name == name]
    return talk.messages[places[-1] :] if places else talk.messages


def _text(talk: Talk) -> str:
    """The newest words of the agent."""
    texts = (m.text for m in reversed(own(talk)) if m.role == "assistant" and m.text.strip())
    return next(texts, "")
