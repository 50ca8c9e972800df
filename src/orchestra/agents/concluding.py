"""From a conversation to the node's outcome: the loop that every model backend shares (A4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestra.agents.exchanges import answer_of_person
from orchestra.agents.talk import Driving, Talk, report_in
from orchestra.agents.tools.reporting import NAME
from orchestra.agents.verdicts import ASK_AGAIN, CORRECT, Ask, conclude, newest_report
from orchestra.run.conversation import Message
from orchestra.run.outcome import Outcome


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
        if talk.task.interactive:
            said = await answer_of_person(talk.task, _text(talk), talk.turn)
            if isinstance(said, Outcome):
                return said
            talk.say(said)
            continue
        found = _verdict(talk)
        if not isinstance(found, Ask):
            return found
        talk.say(found.text)


def _verdict(talk: Talk) -> str | Outcome | Ask:
    """Return the outcome, or what the agent is told first."""
    task, said, text = talk.task, own(talk), _text(talk)
    report = report_in(talk) or _standing_report(said)
    task.scope.response(text or str((report or {}).get("notes") or ""))
    again = ASK_AGAIN if NAME in talk.tools else ""
    return conclude(task, report, text, [one.text for one in said if one.role == "user"], again)


def _standing_report(said: Sequence[Message]) -> Mapping[str, Any] | None:
    """What the agent reported with an answer that it was asked to correct: the report holds meanwhile."""
    first = next((place for place, message in enumerate(said) if message.text.startswith(CORRECT)), None)
    return None if first is None else newest_report(said[:first])


def own(talk: Talk) -> list[Message]:
    """The messages since the node's own prompt."""
    name = talk.task.scope.talk.name
    places = [place for place, m in enumerate(talk.messages) if m.role == "user" and m.name == name]
    return talk.messages[places[-1] :] if places else talk.messages


def _text(talk: Talk) -> str:
    """The newest words of the agent."""
    texts = (m.text for m in reversed(own(talk)) if m.role == "assistant" and m.text.strip())
    return next(texts, "")
