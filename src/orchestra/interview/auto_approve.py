"""Approves everything, and says so in the record (H8)."""

from __future__ import annotations

from collections.abc import Sequence

from orchestra.interview.several import one_by_one
from orchestra.ports import Unanswered
from orchestra.run.questions import APPROVAL, Answer, Question, choose, offered_options

WHO = "auto-approve"
TEXT = "auto-approved"
"""What it says where words are wanted."""


class AutoApprove:
    """Answers with yes, the first option, or ``auto-approved``; marked as automatic.

    It answers questions about tool calls (H11) only where ``tools`` is true, all others where ``others`` is.
    """

    several = True

    def __init__(self, *, tools: bool = False, others: bool = True) -> None:
        self._tools = tools
        self._others = others

    async def ask(self, question: Question) -> Answer:
        """Yes, the first option, or words."""
        if not (self._tools if question.metadata.get(APPROVAL) else self._others):
            raise Unanswered
        options = offered_options(question)
        found = choose(question, options[0]) if options else Answer(value="", text=TEXT)
        return Answer(value=found.value, option=found.option, text=found.text, who=WHO, automatic=True)

    async def ask_multiple(self, questions: Sequence[Question]) -> list[Answer]:
        """The same for each."""
        return await one_by_one(self, questions)

    async def inform(self, message: str, stage: str) -> None:
        """Do nothing: no person is asked."""
