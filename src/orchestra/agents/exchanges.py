"""How a conversation between a person and an agent ends (H9)."""

from __future__ import annotations

from orchestra.run.outcome import FailureClass, Outcome, Status, failed_outcome
from orchestra.run.questions import ACCEPT, DONE, REJECT, SKIPPED, Answer


def ending(answer: Answer, text: str) -> Outcome | None:
    """The node's outcome where an answer ends the conversation, whose last words are ``text``; else None."""
    if answer.value in (DONE, ACCEPT):
        word = "approved" if answer.value == ACCEPT else "ended"
        how = f", {answer.text}" if answer.text else ""
        return Outcome(status=Status.SUCCESS, notes=f"{word} by {answer.who}{how}: {text[:200]}")
    if answer.value == REJECT:
        return failed_outcome(answer.text or "rejected", FailureClass.TERMINAL)
    if answer.value == SKIPPED:
        return failed_outcome("the conversation was skipped", FailureClass.TERMINAL)
    return None
