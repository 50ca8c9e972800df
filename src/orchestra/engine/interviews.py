"""Who is asked in the sessions that a process runs (H1, H5, H10)."""

from __future__ import annotations

import asyncio

from orchestra.ports import Interviewer, Unanswered
from orchestra.run.questions import Answer, Question

GATHER_SECONDS = 0.1
"""How long other questions are waited for before one is shown, so that their number is right."""


class Interviews:
    """Who is asked in the sessions that this process runs.

    ``always`` says that answers from elsewhere are waited for also where nobody can be asked here (H5).
    """

    def __init__(self, interviewer: Interviewer | None = None, *, always: bool = False) -> None:
        self.interviewer = interviewer
        self.always = always
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def ask(self, question: Question, shown: asyncio.Event) -> Answer:
        """Ask here, one question at a time unless the interviewer takes several. Raises ``Unanswered``."""
        interviewer = self.interviewer
        if interviewer is None:
            raise Unanswered
        if interviewer.several:
            shown.set()
            return await interviewer.ask(question)
        self._waiting += 1
        try:
            async with self._turn:
                await asyncio.sleep(GATHER_SECONDS)
                if others := self._waiting - 1:
                    waits = "1 more question waits" if others == 1 else f"{others} more questions wait"
                    await interviewer.inform(waits, "")
                shown.set()
                return await interviewer.ask(question)
        finally:
            self._waiting -= 1

    async def inform(self, message: str, stage: str) -> None:
        """Tell whoever is asked here."""
        if self.interviewer is not None:
            await self.interviewer.inform(message, stage)
