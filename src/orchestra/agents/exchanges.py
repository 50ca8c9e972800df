"""A conversation between a person and an agent: what is asked, and how it ends (H9)."""

from __future__ import annotations

from orchestra.ports import AgentTask
from orchestra.run.outcome import FailureClass, Outcome, Status, failed_outcome
from orchestra.run.questions import ACCEPT, DONE, REJECT, SKIPPED, Answer, exchange


async def answer_of_person(task: AgentTask, text: str, number: int) -> Outcome | str:
    """Return a person's words for the agent that said ``text``; the node's outcome where they end the conversation.

    ``number`` counts what the agent said.
    """
    task.scope.response(text)
    answer = await task.scope.ask(exchange(task.node.label, text, number))
    return _ending(answer, text) or answer.text


def _ending(answer: Answer, text: str) -> Outcome | None:
    if answer.value in (DONE, ACCEPT):
        word = "approved" if answer.value == ACCEPT else "ended"
        how = f", {answer.text}" if answer.text else ""
        return Outcome(status=Status.SUCCESS, notes=f"{word} by {answer.who}{how}: {text[:200]}")
    if answer.value == REJECT:
        return failed_outcome(answer.text or "rejected", FailureClass.TERMINAL)
    if answer.value == SKIPPED:
        return failed_outcome("the conversation was skipped", FailureClass.TERMINAL)
    return None
