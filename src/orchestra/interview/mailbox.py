"""Asks nobody here; the answer comes from another terminal, machine or the web page (H1, H7)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from orchestra.interview.several import one_by_one
from orchestra.run.questions import Answer, Question


class MailboxInterviewer:
    """Waits for an answer from elsewhere.

    A run takes answers from its mailbox with any interviewer, so for a run this one only waits. ``arrival``
    is for other uses: it waits for the answer to a question, wherever that comes from.
    """

    several = True

    def __init__(self, arrival: Callable[[Question], Awaitable[Answer]] | None = None) -> None:
        self._arrival = arrival

    async def ask(self, question: Question) -> Answer:
        """Wait for the answer; without ``arrival`` wait until canceled."""
        if self._arrival is not None:
            return await self._arrival(question)
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def ask_multiple(self, questions: Sequence[Question]) -> list[Answer]:
        """The answers in the order of the questions."""
        return await one_by_one(self, questions)

    async def inform(self, message: str, stage: str) -> None:
        """Do nothing: no person is here."""
