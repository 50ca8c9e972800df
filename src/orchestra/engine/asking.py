"""Questions to people: recorded before they are shown, answered by the first answer (humans.md).

A question is a state of its node, not of a process: the process that runs the session shows it if a person can be
asked, and listens to the mailbox in any case. Every answer is a message there first, the runner's own included, so
that one order decides who was first (S15).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from msgspec.structs import replace

from orchestra.engine.control import Control
from orchestra.engine.journal import Journal
from orchestra.engine.mailbox import ANSWER, send
from orchestra.engine.shared import Inbox, Interviews
from orchestra.errors import ConfigError
from orchestra.ports import Clock, Store, Suspended, Unanswered
from orchestra.run.declare import BlobRef
from orchestra.run.events import InterviewTimeout, WarningRaised
from orchestra.run.interviews import completion_event, start_event
from orchestra.run.questions import (
    SKIPPED,
    TIMEOUT,
    Answer,
    AskedQuestion,
    Question,
    SentAnswer,
    choices_in_words,
    question_id,
    short_id,
    takes_commands,
    to_answer,
)
from orchestra.run.secrets import Redactor

LOOK_SECONDS = 1.0
"""How often a deadline is checked: a machine that slept has to notice (H5)."""


class Waiting(Suspended):
    """The walk waits for an answer from elsewhere."""

    def __init__(self, question: str) -> None:
        super().__init__(question)
        self.question = question


Send: TypeAlias = Callable[[str, Answer, str], Awaitable[int]]
"""Puts an answer to a question into the session's mailbox, with who gave it; its turn, once that is durable."""


def sender(store: Store, mailbox: int, session: str, clock: Clock, redactor: Redactor) -> Send:
    """How the answers to a session's questions get into its mailbox, secrets removed."""

    async def put(question: str, answer: Answer, who: str) -> int:
        request = await send(
            store,
            mailbox,
            session,
            ANSWER,
            text=redactor.text(answer.text),
            who=who,
            now_ms=clock.now_ms(),
            question=question,
            value=answer.value,
            label=answer.option.label if answer.option is not None else "",
            automatic=answer.automatic,
        )
        return request.turn_id

    return put


class Questions:
    """The questions of one session: how its walks ask."""

    def __init__(self, *, interviews: Interviews, answers: Inbox, clock: Clock, send: Send, who: str) -> None:
        self._interviews = interviews
        self._answers = answers
        self._clock = clock
        self._send = send
        self._who = who
        self._talks: set[str] = set()
        """The conversations of which this process has shown something."""

    async def ask(self, journal: Journal, question: Question, control: Control) -> Answer:
        """The answer to a question of a node, recorded (H7). Raises ``Waiting``."""
        question = self._interviews.with_deadline(_name_question(journal, question))
        known = journal.running.asked.get(question.id)
        if known is not None and known.answer is not None:
            return replace(known.answer, text=str(await journal.resolve(known.said)))
        if known is None:
            journal.record(start_event(question))
        elif known.question.same_as(question):
            question = replace(question, after=known.question.after)
        else:  # what was answered so far was an answer to something else
            await self._read(question, control)
            if (void := self._answers.first(known.question)) is not None:
                journal.record(_void_answer_warning(question, void))
            newest = self._answers.newest(question.id)
            question = replace(question, after=max(newest, known.question.after))
            journal.record(start_event(question))
        await journal.flush()
        if takes_commands(question):
            question = replace(question, earlier=await self._earlier(journal, question))
        question = _without_secrets(question, journal.redactor)
        answer = await self._answer(question, control)
        if answer.automatic and answer.who == DEADLINE:
            journal.record(
                InterviewTimeout(
                    question=question.id,
                    node=question.stage,
                    choice=question.default,
                    timeout_ms=question.timeout_ms,
                )
            )
        journal.record(completion_event(question, answer, answer.at - journal.running.asked[question.id].at))
        await journal.flush()
        return answer

    async def _earlier(self, journal: Journal, question: Question) -> tuple[tuple[str, str], ...]:
        """Return what was said in a conversation that another process began, to be shown here (H9)."""
        talk = question.id.removesuffix(f".{question.part}")
        known = journal.running.asked
        if talk in self._talks:
            return ()
        self._talks.add(talk)
        return tuple(
            [
                (str(await journal.resolve(one.question.about)), str(await journal.resolve(one.said)))
                for one in known.values()
                if one.answer is not None and takes_commands(one.question)
            ]
        )

    async def _answer(self, question: Question, control: Control) -> Answer:
        """Return the first answer in the mailbox; meanwhile ask the person here, until the deadline."""
        await self._read(question, control)
        found = self._answers.first(question)
        if found is not None:
            return found
        return await _QuestionInFlight(self, question, control).answer()

    async def _read(self, question: Question, control: Control) -> None:
        """Wait until the mailbox was read once. Raises ``Waiting`` where a pause is requested before."""
        await control.pausing_during(self._answers.complete())
        if not self._answers.is_complete:
            raise Waiting(question.id)


DEADLINE = "timeout"
"""Who answers when time is up."""


class _QuestionInFlight:
    """One open question: from when it is shown to its answer."""

    def __init__(self, asking: Questions, question: Question, control: Control) -> None:
        self._asking = asking
        self._control = control
        self._question = question
        self._shown = asyncio.Event()
        self._sent = 0

    async def answer(self) -> Answer:
        """Return the answer; raise ``Waiting`` if nobody can be asked here or the run pauses."""
        asking, question = self._asking, self._question
        won = asyncio.ensure_future(asking._answers.wait(question))
        paused = asyncio.ensure_future(self._control.wait_for_pause())
        here = asyncio.ensure_future(self._here())
        clock = asyncio.ensure_future(self._deadline())
        everything = {won, paused, here, clock}
        try:
            running = everything
            while running:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                if won in done:
                    break
                if paused in done:
                    raise Waiting(question.id)
                for task in done & {here, clock}:
                    task.result()
            found = won.result()
        finally:
            await _end(*everything)
        if found.request != self._sent:
            await asking._interviews.inform(_rejected_answer_message(question, found), question.stage)
        return found

    async def _here(self) -> None:
        """Ask here and send the answer. Raises ``Waiting`` if no person is here and none is waited for."""
        asking, question = self._asking, self._question
        try:
            answer = await asking._interviews.ask(question, self._shown)
        except Unanswered:
            if not (asking._interviews.always or question.waits):
                raise Waiting(question.id) from None
            self._shown.set()  # in the mailbox it counts as shown
            return
        fits(question, answer)
        self._sent = await asking._send(question.id, answer, answer.who or asking._who)

    async def _deadline(self) -> None:
        """Answer with the default when time is up: it runs only while the question is shown (H5)."""
        clock, question = self._asking._clock, self._question
        if not question.timeout_ms:
            return
        await self._shown.wait()
        until = clock.boot_seconds() + question.timeout_ms / 1000
        while (left := until - clock.boot_seconds()) > 0:
            await clock.sleep(min(left, LOOK_SECONDS))
        option = question.option(question.default) if question.default else None
        answer = Answer(value=question.default or TIMEOUT, option=option, automatic=True)
        await self._asking._send(question.id, answer, DEADLINE)


def _rejected_answer_message(question: Question, answer: Answer) -> str:
    """Return the message for a person whose answer did not count."""
    if answer.who == DEADLINE and answer.automatic:
        return "time is up" + (f": {answer.label} is taken, the default" if answer.option is not None else "")
    return f"answered elsewhere: {answer.label}, by {answer.who}"


def _void_answer_warning(question: Question, answer: Answer) -> WarningRaised:
    """Return the warning of an answer to what a question was before the pipeline was changed (H7)."""
    message = (
        f"the answer {answer.label!r} of {answer.who} to {short_id(question.id)} does not count:"
        " the question or its choices were changed after it"
    )
    return WarningRaised(message=message, rule="answer_void", node=question.stage)


def fits(question: Question, answer: Answer) -> None:
    """Raise ``ConfigError`` if an interviewer's answer does not fit the question: nothing is guessed (H4)."""
    sent = SentAnswer(
        turn_id=question.after + 1,
        question=question.id,
        value=answer.value,
        text=answer.text,
        who="",
        at=0,
    )
    if answer.value != SKIPPED and to_answer(question, sent) is None:
        raise ConfigError(
            f"{short_id(question.id)} was answered with {(answer.value or answer.text)[:80]!r}, not one of "
            f"its answers: {choices_in_words(question)}"
        )


async def _end(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks and wait until they have ended; what they raise then is of no interest."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()


def _without_secrets(question: Question, redactor: Redactor) -> Question:
    """Return the question as recorded, to be shown: an agent's text may hold a secret (S18)."""
    about = question.about if isinstance(question.about, BlobRef) else redactor.text(question.about)
    details = {
        key: redactor.text(value) if isinstance(value, str) else value for key, value in question.metadata.items()
    }
    return replace(question, text=redactor.text(question.text), about=about, metadata=details)


def has_unanswered(journal: Journal, part: str) -> bool:
    """Whether a question of the running node was asked and has no recorded answer."""
    asked = _asked_question(journal, part)
    return asked is not None and asked.answer is None


def has_answered(journal: Journal, part: str) -> bool:
    """Whether a question of the running node was asked and its answer is recorded."""
    asked = _asked_question(journal, part)
    return asked is not None and asked.answer is not None


def _asked_question(journal: Journal, part: str) -> AskedQuestion | None:
    return journal.running.asked.get(_id(journal, part))


def _name_question(journal: Journal, question: Question) -> Question:
    """The question with its id and its node (H2)."""
    return replace(question, id=_id(journal, question.part), stage=journal.running.node)


def _id(journal: Journal, part: str) -> str:
    state, running = journal.state, journal.running
    branch = state.branch.path if state.branch is not None else ""
    return question_id(state.session, branch, running.node, running.visit, running.attempt, part)
