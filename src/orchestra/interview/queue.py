"""Answers that were written down before (H1): by node, or in the order in which is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from orchestra.errors import ConfigError, Span
from orchestra.interview.several import one_by_one
from orchestra.ports import Unanswered
from orchestra.run.questions import SKIPPED, Answer, Question, choices_in_words, pick_option, read


class PreparedAnswer(Struct, frozen=True, kw_only=True):
    """One written answer: a choice, words, or both, its place, and the name for the record."""

    choice: str = ""
    text: str = ""
    skip: bool = False
    who: str = "answers"
    span: Span | None = None


class Queue:
    """Each question takes the next answer of its node, else the next of those for any node.

    Every answer is used once. A question for which none is left is not answered: ``Unanswered``. One that does not
    fit raises ``ConfigError`` with its place: nothing is guessed (H4).
    """

    several = True

    def __init__(
        self, answers: Sequence[PreparedAnswer] = (), by_node: Mapping[str, Sequence[PreparedAnswer]] | None = None
    ) -> None:
        self._any = list(answers)
        self._by_node = {node: list(mine) for node, mine in (by_node or {}).items()}

    async def ask(self, question: Question) -> Answer:
        """The next answer."""
        mine = self._by_node.get(question.stage) or self._any
        if not mine:
            raise Unanswered
        prepared = mine.pop(0)
        answer = fitting(question, prepared)
        if answer is None:
            said = (prepared.choice or prepared.text)[:80]
            raise ConfigError(
                f"{prepared.who}: {said!r} is not an answer to {question.stage}: {choices_in_words(question)}",
                span=prepared.span,
            )
        return replace(answer, who=prepared.who, automatic=True)

    async def ask_multiple(self, questions: Sequence[Question]) -> list[Answer]:
        """One after the other, in their order."""
        return await one_by_one(self, questions)

    async def inform(self, message: str, stage: str) -> None:
        """Do nothing: no person is asked."""


def fitting(question: Question, prepared: PreparedAnswer) -> Answer | None:
    """The answer that a written one is to a question, or None."""
    if prepared.skip:
        return Answer(value=SKIPPED, text=prepared.text)
    if not prepared.choice:
        return Answer(value="", text=prepared.text) if question.freeform and prepared.text.strip() else None
    if prepared.text and pick_option(question, prepared.choice) is None:
        return None
    answer = read(question, prepared.choice)
    return replace(answer, text=prepared.text) if answer is not None and prepared.text else answer
