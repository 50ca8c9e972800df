"""Who is asked in the sessions that a process runs (H1, H5, H10)."""

from __future__ import annotations

import asyncio

from orchestra.ports import Interviewer, Unanswered
from orchestra.run.questions import Answer, Question


class Interviews:
    """Who is asked in the sessions that this process runs.

    ``always`` says that answers from elsewhere are waited for also where nobody can be asked here (H5).
    """

    def __init__(self, interviewer: Interviewer | None = None, *, always: bool = False) -> None:
        self.interviewer = interviewer
        self.always = always
        self._turn = asyncio.Lock()

    async def ask(self, question: Question, shown: asyncio.Event) -> Answer:
        """Ask here, one question at a time unless the interviewer takes several. Raises ``Unanswered``."""
        interviewer = self.interviewer
        if interviewer is None:
            raise Unanswered
        if interviewer.several:
            shown.set()
            return await interviewer.ask(question)
        async with self._turn:
            shown.set()
            return await interviewer.ask(question)

    async def inform(self, message: str, stage: str) -> None:
        """Tell whoever is asked here."""
        if self.interviewer is not None:
            await self.interviewer.inform(message, stage)
