"""Asks a function of the program that runs the pipeline (H1)."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from msgspec.structs import replace

from orchestra.errors import ConfigError
from orchestra.interview.several import one_by_one
from orchestra.ports import Unanswered
from orchestra.run.questions import Answer, Question, choices_in_words, read

Reply: TypeAlias = "Answer | str | None"
"""An answer; a text that is read as if typed; or None for no answer."""


class Callback:
    """Sends every question to a function, which returns an ``Answer``, a text as if typed, or None.

    The function may be async.

    ``who`` is the name in the record. A text that is no answer raises ``ConfigError``: nothing is guessed (H4).
    """

    several = True

    def __init__(self, function: Callable[[Question], Reply | Awaitable[Reply]], *, who: str = "callback") -> None:
        self._function = function
        self._who = who

    async def ask(self, question: Question) -> Answer:
        """What the function answers. Raises ``Unanswered`` for None, and what the function raises."""
        found = self._function(question)
        reply = await found if inspect.isawaitable(found) else found
        if reply is None:
            raise Unanswered
        if isinstance(reply, Answer):
            return reply if reply.who else replace(reply, who=self._who)
        answer = read(question, reply)
        if answer is None:
            raise ConfigError(
                f"the callback answered {question.id} with {reply[:80]!r}: it can be {choices_in_words(question)}"
            )
        return replace(answer, who=self._who)

    async def ask_multiple(self, questions: Sequence[Question]) -> list[Answer]:
        """One after the other."""
        return await one_by_one(self, questions)

    async def inform(self, message: str, stage: str) -> None:
        """Nothing."""
