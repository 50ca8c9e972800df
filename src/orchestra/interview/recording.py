"""Keeps what another interviewer was asked and what it answered (H1)."""

from __future__ import annotations

from collections.abc import Sequence

from orchestra.interview.several import one_by_one
from orchestra.ports import Interviewer
from orchestra.run.questions import Answer, Question


class RecordingInterviewer:
    """Passes everything on to ``inner``; ``exchanges`` are the questions with their answers, in order."""

    def __init__(self, inner: Interviewer) -> None:
        self._inner = inner
        self.exchanges: list[tuple[Question, Answer]] = []
        self.informed: list[tuple[str, str]] = []

    @property
    def several(self) -> bool:
        """As the other one."""
        return self._inner.several

    async def ask(self, question: Question) -> Answer:
        """The other one's answer."""
        answer = await self._inner.ask(question)
        self.exchanges.append((question, answer))
        return answer

    async def ask_multiple(self, questions: Sequence[Question]) -> list[Answer]:
        """One after the other, each kept."""
        return await one_by_one(self, questions)

    async def inform(self, message: str, stage: str) -> None:
        """Passed on and kept."""
        self.informed.append((message, stage))
        await self._inner.inform(message, stage)
