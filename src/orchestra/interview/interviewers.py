"""Interviewers that need no terminal: approval, written answers, a function, the mailbox (H1)."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

from msgspec.structs import replace

from orchestra.config.answers import WrittenAnswer
from orchestra.errors import ConfigError
from orchestra.ports import Interviewer, Unanswered
from orchestra.run.questions import (
    APPROVAL,
    SKIPPED,
    Answer,
    Question,
    choices_in_words,
    choose,
    offered_options,
    pick_option,
    read,
)

WHO = "auto-approve"
TEXT = "auto-approved"
"""What it says where words are wanted."""


class AutoApprove(Interviewer):
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

    async def inform(self, message: str, stage: str) -> None:
        """Do nothing: no person is asked."""


Reply: TypeAlias = "Answer | str | None"
"""An answer; a text that is read as if typed; or None for no answer."""


class Callback(Interviewer):
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

    async def inform(self, message: str, stage: str) -> None:
        """Do nothing: no person is asked."""


class Queue(Interviewer):
    """Each question takes the next answer of its node, else the next of those for any node.

    Every answer is used once. A question for which none is left is not answered: ``Unanswered``. One that does not
    fit raises ``ConfigError`` with its place: nothing is guessed (H4).
    """

    several = True

    def __init__(
        self, answers: Sequence[WrittenAnswer] = (), by_node: Mapping[str, Sequence[WrittenAnswer]] | None = None
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

    async def inform(self, message: str, stage: str) -> None:
        """Do nothing: no person is asked."""


def fitting(question: Question, prepared: WrittenAnswer) -> Answer | None:
    """The answer that a written one is to a question, or None."""
    if prepared.skip:
        return Answer(value=SKIPPED, text=prepared.text)
    if not prepared.choice:
        return Answer(value="", text=prepared.text) if question.freeform and prepared.text.strip() else None
    if prepared.text and pick_option(question, prepared.choice) is None:
        return None
    answer = read(question, prepared.choice)
    return replace(answer, text=prepared.text) if answer is not None and prepared.text else answer


class MailboxInterviewer(Interviewer):
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

    async def inform(self, message: str, stage: str) -> None:
        """Do nothing: no person is here."""


class RecordingInterviewer(Interviewer):
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

    async def inform(self, message: str, stage: str) -> None:
        """Passed on and kept."""
        self.informed.append((message, stage))
        await self._inner.inform(message, stage)


class InTurn(Interviewer):
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

    async def inform(self, message: str, stage: str) -> None:
        """Tell all of them."""
        for one in self._interviewers:
            await one.inform(message, stage)
