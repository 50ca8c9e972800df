"""Answers from anywhere go into the mailbox of the asking session; the first one wins (H7, S15)."""

from __future__ import annotations

from dataclasses import dataclass

from orchestra.config.settings import Settings
from orchestra.engine.mailbox import ANSWER, requests, send
from orchestra.engine.pending import OpenQuestion, answers_of, open_questions, since_checkpoint
from orchestra.engine.sessions import Row, find, newest_of_chain, own, summarize
from orchestra.errors import ConfigError
from orchestra.ports import Clock, Store
from orchestra.run.questions import (
    SKIPPED,
    Answer,
    Question,
    choices_in_words,
    choose,
    pick_option,
    read,
    short_id,
    winner,
)
from orchestra.run.secrets import Redactor
from orchestra.run.views import Summary


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerResult:
    """The result of an answer: the question, the answer that counts, and whether it is the one just given.

    ``session`` is the one that asks; ``summary`` describes the session that was named.
    """

    session: str
    question: Question
    answer: Answer
    won: bool
    summary: Summary


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionQuestions:
    """The session that was named, and the questions that it has open."""

    row: Row
    summary: Summary
    open: tuple[OpenQuestion, ...]


async def look(store: Store, name: str, clock: Clock) -> SessionQuestions:
    """A session and its questions; a restarted session means its successor.

    Raises ``SessionNotFound``, and ``SessionTaken`` for a mirror.
    """
    named = own(await find(store, name))
    place, _loaded = await newest_of_chain(store, named)
    row = named if place.context_id == named.context_id else await find(store, f"#{place.context_id}")
    summary = await summarize(store, row, clock.now_ms())
    asked: list[OpenQuestion] = []
    if summary.questions:
        events = await since_checkpoint(store, row.context_id)
        asked = await open_questions(store, row.session, row.mailbox, events)
    return SessionQuestions(row=row, summary=summary, open=tuple(asked))


def matching(found: SessionQuestions, wanted: str) -> list[OpenQuestion]:
    """Return the open questions with an id, short id or node, or a unique beginning of one."""
    asked = list(found.open)
    if not wanted:
        return asked
    for name in dict.fromkeys((wanted, wanted.rpartition("/")[2])):  # a run names a child's with the node above
        for names in (_ids, _nodes):
            exact = [one for one in asked if name in names(one.question)]
            if exact:
                return exact
    return [one for one in asked if any(name.startswith(wanted) for name in _ids(one.question))]


def _ids(question: Question) -> tuple[str, ...]:
    short = short_id(question.id)
    return question.id, short, short.rpartition("/")[2]


def _nodes(question: Question) -> tuple[str, ...]:
    return question.stage, short_id(question.id).partition("#")[0]


def find_question(found: SessionQuestions, wanted: str) -> OpenQuestion | None:
    """Return the open question that is meant; None if it is closed or never existed.

    Raises ``ConfigError`` where several are meant.
    """
    asked = matching(found, wanted)
    if len(asked) > 1:
        names = ", ".join(short_id(one.question.id) for one in asked[:8])
        raise ConfigError(
            f"session {found.row.session} asks {len(asked)} questions: {names}",
            fix=f"name one: orchestra answer {found.row.session} '{short_id(asked[0].question.id)}' VALUE",
        )
    return asked[0] if asked else None


async def too_late(store: Store, found: SessionQuestions, wanted: str) -> AnswerResult | None:
    """Return how a closed question was answered: the named one, else the newest; None if there is none."""
    for given in await answers_of(store, found.row.context_id):
        question = given.question
        if not wanted or wanted in (*_ids(question), *_nodes(question)):
            return AnswerResult(
                session=question.id.partition("/")[0],
                question=question,
                answer=given.answer,
                won=False,
                summary=found.summary,
            )
    return None


def answer_to(question: Question, value: str, text: str, *, skip: bool = False) -> Answer:
    """Return the answer that a value and a text stand for.

    Raises ``ConfigError`` if they are not an answer: nothing is guessed.
    """
    if skip:
        return Answer(value=SKIPPED, text=text)
    if not value:
        found = Answer(value="", text=text.strip()) if question.freeform and text.strip() else None
    elif text:
        option = pick_option(question, value)
        found = choose(question, option, text) if option is not None else None
    else:
        found = read(question, value)
    if found is None:
        said = repr(value[:60] or text[:60])
        raise ConfigError(
            f"{said} is not an answer to {short_id(question.id)}: {question.text}",
            fix=f"answer with {choices_in_words(question)}",
        )
    return found


async def give(
    store: Store,
    settings: Settings,
    found: SessionQuestions,
    one: OpenQuestion,
    answer: Answer,
    *,
    who: str,
    clock: Clock,
) -> AnswerResult:
    """Put an answer into the mailbox of the session that asks, and read there which one counts."""
    question = one.question
    if one.answer is not None:
        return AnswerResult(
            session=one.session, question=question, answer=one.answer, won=False, summary=found.summary
        )
    request = await send(
        store,
        one.mailbox,
        one.session,
        ANSWER,
        text=Redactor(settings.secrets).text(answer.text),
        who=who,
        now_ms=clock.now_ms(),
        question=question.id,
        value=answer.value,
        label=answer.option.label if answer.option is not None else "",
    )
    sent = await requests(store, one.mailbox, question.after)
    first = winner(question, [each.answer for each in sent if each.action == ANSWER])
    assert first is not None
    summary = await summarize(store, found.row, clock.now_ms())
    return AnswerResult(
        session=one.session,
        question=question,
        answer=first,
        won=first.request == request.turn_id,
        summary=summary,
    )
