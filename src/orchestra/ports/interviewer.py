"""Who answers questions of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from orchestra.run.questions import Answer, Question


class Unanswered(Exception):
    """No person can answer here: no terminal, its input ended, or a file of answers is used up.

    The question stays open, to be answered from elsewhere.
    """


class Interviewer(Protocol):
    """Who answers questions of a run (H1): a terminal, a file of answers, a callback, nobody."""

    @property
    def several(self) -> bool:
        """Whether it can be asked several questions at a time; else each waits for the previous one (H10)."""

    async def ask(self, question: Question) -> Answer:
        """The answer to one question. Cancelled when it is answered elsewhere, or the run stops.

        Raises ``Unanswered`` where nobody answers here. It never guesses: an answer that picks an option was given
        as its key, its label, the beginning of one label alone, or its number (H4).
        """

    async def ask_multiple(self, questions: Sequence[Question]) -> list[Answer]:
        """Ask one question after the other; return the answers in the order of the questions."""
        return [await self.ask(question) for question in questions]

    async def inform(self, message: str, stage: str) -> None:
        """Tell a person something that needs no answer; ``stage`` is the node it is about."""
