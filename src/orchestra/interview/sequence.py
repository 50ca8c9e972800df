"""Several interviewers, each for what the ones before it do not answer."""

from __future__ import annotations

from collections.abc import Sequence

from orchestra.interview.several import one_by_one
from orchestra.ports import Interviewer, Unanswered
from orchestra.run.questions import Answer, Question


class InTurn:
    """Asks the first; what that does not answer, the next: a file of answers, then the terminal."""

    def __init__(self, interviewers: Sequence[Interviewer]) -> None:
        self._interviewers = tuple(interviewers)

    @property
    def several(self) -> bool:
        """Whether all of them can be asked several questions at a time."""
        return all(one.several for one in self._interviewers)

    async def ask(self, question: Question) -> Answer:
        """The first answer that one of them has. Raises ``Unanswered`` where none has one."""
        for one in self._interviewers:
            try:
                return await one.ask(question)
            except Unanswered:
                continue
        raise Unanswered

    async def ask_multiple(self, questions: Sequence[Question]) -> list[Answer]:
        """One after the other."""
        return await one_by_one(self, questions)

    async def inform(self, message: str, stage: str) -> None:
        """Tell all of them."""
        for one in self._interviewers:
            await one.inform(message, stage)
