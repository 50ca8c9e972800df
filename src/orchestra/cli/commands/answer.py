"""``orchestra answer`` and ``inbox``: the questions that people have to answer (H7)."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import sys
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer
from msgspec import to_builtins
from msgspec.structs import replace

from orchestra.app.answering import (
    AnswerResult,
    SessionQuestions,
    answer_to,
    find_question,
    give,
    look,
    matching,
    too_late,
)
from orchestra.app.requests import asker
from orchestra.cli.errors import FAILED
from orchestra.cli.people import console, terminal
from orchestra.cli.screen.ended import question_lines
from orchestra.cli.screen.summary import summary_of
from orchestra.cli.screen.views import Plain
from orchestra.cli.stores import OutputOptions, Session, StoreAccess, exists
from orchestra.cli.terminal import date_time, one_line, say, say_json, time_since
from orchestra.clock import SystemClock
from orchestra.engine.pending import OpenQuestion
from orchestra.engine.sessions import rows, topmost
from orchestra.errors import ConfigError, SessionNotFound
from orchestra.graph.report import plural
from orchestra.ports import Store, Unanswered
from orchestra.run.questions import Answer, choices_in_words, pick_option, short_id
from orchestra.run.views import ENDED, Pending, Phase, Summary


def answer(
    session: Session,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[QUESTION] [VALUE]",
            help="The answer: a key, a label, the beginning of one label, a number, or words. With several open"
            " questions, the question's id or node before it. Without a value you are asked here.",
            show_default=False,
        ),
    ] = None,
    text: Annotated[
        str,
        typer.Option("--text", metavar="TEXT", help="Words to go with the answer, or alone.", show_default=False),
    ] = "",
    skip: Annotated[bool, typer.Option("--skip", help="Skip the question: its node fails.")] = False,
    no_input: Annotated[bool, typer.Option("--no-input", help="Do not ask for a value that is missing.")] = False,
    *,
    options: OutputOptions,
) -> int:
    """Answer a question of a session, from any terminal or machine that can reach the store.

    The first answer counts; a later one is refused and shows the first.

    Exit codes: 0: the answer counts; 1: already answered, or no open question; 2: not an answer to it, or
    several questions are open.
    """
    given = list(words or ())
    if len(given) > 2:
        raise typer.BadParameter("put the answer in quotes: it is one argument")
    words_given = CommandAnswer(words=tuple(given), text=text, skip=skip, no_input=no_input)
    at = options.access()
    return at.write(lambda store: _send_answer(store, session, words_given, at, options.as_json), session)


def inbox(
    watch: Annotated[bool, typer.Option("--watch", help="Show new questions as they are asked.")] = False,
    no_input: Annotated[
        bool, typer.Option("--no-input", help="List the questions only; ask none of them.")
    ] = False,
    *,
    options: OutputOptions,
) -> int:
    """List the open questions of all sessions; on a terminal, answer them one by one.

    The exit code is 0 also if there are none.
    """
    at, as_json = options.access(), options.as_json
    if not exists(at.settings) and not watch:
        return _list([], at.aim, as_json)
    if as_json or no_input or not terminal():
        return at.read(lambda store: _list_questions(store, watch, at.aim, as_json))
    return at.write(lambda store: _ask_all(store, at, watch))


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandAnswer:
    """What the command line says: a question, a value, or both."""

    words: tuple[str, ...]
    text: str
    skip: bool
    no_input: bool = False


async def _send_answer(store: Store, session: str, given: CommandAnswer, at: StoreAccess, as_json: bool) -> int:
    """Answer, and say which answer counts. Return the exit code."""
    clock = SystemClock()
    found = await look(store, session, clock)
    wanted, value = _split_words(found, given)
    one = find_question(found, wanted)
    if one is None:
        return await _not_open(store, found, wanted, as_json)
    answer = await _answer(one, value, given, f"orchestra answer{at.aim} {found.row.session}")
    if answer is None:
        return FAILED
    done = await give(store, at.settings, found, one, answer, who=asker(), clock=clock)
    say_answered(done, at.aim, as_json, resume=(await topmost(store, found.row)).session)
    return 0 if done.won else FAILED


def _split_words(found: SessionQuestions, given: CommandAnswer) -> tuple[str, str]:
    """Split the words into question and value; a single word is the value unless it names a question."""
    if len(given.words) == 2:
        return given.words[0], given.words[1]
    if not given.words:
        return "", ""
    word = given.words[0]
    if given.text or given.skip:
        named = matching(found, word)
        return (
            (word, "") if named and not any(pick_option(one.question, word) for one in found.open) else ("", word)
        )
    if len(found.open) == 1 and pick_option(found.open[0].question, word) is not None:
        return "", word
    exact = [one for one in found.open if word in (one.question.id, short_id(one.question.id), one.question.stage)]
    return (word, "") if exact or "#" in word else ("", word)


async def _answer(one: OpenQuestion, value: str, given: CommandAnswer, command: str) -> Answer | None:
    """The answer that was given, or typed now; None where it was not."""
    if value or given.text or given.skip:
        return answer_to(one.question, value, given.text, skip=given.skip)
    if given.no_input or not terminal():
        choices = one_line(choices_in_words(one.question), 400)
        raise ConfigError(
            f"{short_id(one.question.id)} needs a value, {choices}: {one_line(one.question.text, 200)}",
            fix=f"{command} {shlex.quote(short_id(one.question.id))} VALUE",
        )
    try:
        return await console(Plain(colour=False, quiet=False, verbose=False)).ask(one.question)
    except Unanswered:
        return None


async def _not_open(store: Store, found: SessionQuestions, wanted: str, as_json: bool) -> int:
    before = await too_late(store, found, wanted)
    name = found.row.session
    if before is not None:
        say_answered(before, "", as_json)
        return FAILED
    asks = f"no open question {wanted!r}" if wanted else "no open question"
    message = f"session {name} ({found.summary.phase}) has {one_line(asks, 100)}"
    if found.open:
        message += f"; open: {one_line(', '.join(short_id(one.question.id) for one in found.open), 300)}"
    if as_json:
        say_json({"session": name, "won": False, "error": message}, indent=2)
    else:
        say(message, stream=sys.stderr)
    return FAILED


def as_data(done: AnswerResult) -> dict[str, Any]:
    """Return the result of an answer as plain data."""
    return {
        "session": done.session,
        "question": done.question.id,
        "won": done.won,
        "answer": {
            "value": done.answer.value,
            "label": done.answer.label,
            "text": done.answer.text,
            "who": done.answer.who,
            "at": done.answer.at,
            "automatic": done.answer.automatic,
            "request": done.answer.request,
            "option": to_builtins(done.answer.option),
        },
        "phase": str(done.summary.phase),
        "running": done.summary.alive,
    }


def say_answered(done: AnswerResult, aim: str, as_json: bool, *, resume: str = "") -> None:
    """Say which answer counts, and what comes next; ``resume`` is the session above a child that was named."""
    if as_json:
        say_json(as_data(done), indent=2)
        return
    name = one_line(short_id(done.question.id), 100)
    label = one_line(done.answer.label, 200)
    if not done.won:
        how = "automatically, " if done.answer.automatic else ""
        when = f"{time_since(done.answer.at)} ago ({date_time(done.answer.at)})"
        say(f"{name} was already answered: {label}, {how}by {one_line(done.answer.who, 80)}, {when}")
        return
    words = one_line(done.answer.text, 200) if done.answer.option is not None else ""
    say(f"{name} answered: {label}" + (f", “{words}”" if words else ""))
    waiting = sum(not one.answered for one in done.summary.questions)
    if waiting:
        say(f"  {plural(waiting, 'more question')}: orchestra answer{aim} {done.summary.session}")
    if not done.summary.alive and done.summary.phase is not Phase.WAITING:
        say(f"  continue: orchestra resume{aim} {resume or done.summary.session}")


WATCH_SECONDS = 1.0
"""How often the store is read, in seconds."""

_UNANSWERABLE = ENDED | {Phase.RESTARTED, Phase.MIRRORED}


async def waiting(store: Store) -> list[tuple[Summary, Pending]]:
    """Return every open question once, the oldest first, with its session."""
    found: dict[str, tuple[Summary, Pending]] = {}
    for row in await rows(store):
        summary = await summary_of(store, row, {})
        if summary.phase in _UNANSWERABLE:
            continue
        for question in summary.questions:
            if not question.answered and (question.question not in found or summary.session == question.session):
                found[question.question] = summary, question
    return sorted(found.values(), key=lambda each: each[1].asked_ms)


def _list(found: list[tuple[Summary, Pending]], aim: str, as_json: bool) -> int:
    if as_json:
        say_json({"questions": [_plain(*each) for each in found]}, indent=2)
        return 0
    if not found:
        say("no open questions")
    for summary, question in found:
        say(f"{question.session}  {one_line(summary.title, 200)}")
        for line in question_lines(question, aim):
            say(line)
    return 0


def _plain(summary: Summary, question: Pending) -> dict[str, object]:
    return {**asdict(question), "pipeline": summary.pipeline, "title": summary.title, "running": summary.alive}


async def _list_questions(store: Store, watch: bool, aim: str, as_json: bool) -> int:
    seen: set[str] = set()
    while True:
        found = await waiting(store)
        if not watch:
            return _list(found, aim, as_json)
        fresh = [each for each in found if each[1].question not in seen]
        seen = {each[1].question for each in found}
        if as_json:
            for each in fresh:
                say_json(_plain(*each))
        elif fresh:
            _list(fresh, aim, as_json)
        await asyncio.sleep(WATCH_SECONDS)


async def _ask_all(store: Store, at: StoreAccess, watch: bool) -> int:
    """Ask one question after the other; what is left open is not asked again."""
    passed: set[str] = set()
    while True:
        found = [each for each in await waiting(store) if each[1].question not in passed]
        if found:
            summary, pending = found[0]
            passed.add(pending.question)
            say(f"{pending.session}  {one_line(summary.title, 200)}  ({len(found)} waiting)")
            await _ask(store, at, pending)
        elif watch:
            await asyncio.sleep(WATCH_SECONDS)
        else:
            say("no more open questions" if passed else "no open questions")
            return 0


async def _ask(store: Store, at: StoreAccess, pending: Pending) -> None:
    clock = SystemClock()
    try:
        found = await look(store, pending.session, clock)
    except SessionNotFound:
        return
    one = find_question(found, pending.question)
    if one is None:
        return
    shown = one.question if found.summary.alive else replace(one.question, timeout_ms=0)  # nobody waits so long
    prompt = asyncio.ensure_future(
        console(Plain(colour=False, quiet=False, verbose=False), pending.session).ask(shown)
    )
    try:
        now = await _closed_meanwhile(store, found, one, prompt)
        answer = await prompt if now is None else None
    except Unanswered:
        return
    finally:
        prompt.cancel()
        with contextlib.suppress(asyncio.CancelledError, Unanswered):
            await prompt
    if now is not None:
        await _say_closed(store, now, one)
    elif answer is not None:
        done = await give(store, at.settings, found, one, answer, who=asker(), clock=clock)
        say_answered(done, at.aim, False)


async def _closed_meanwhile(
    store: Store, found: SessionQuestions, one: OpenQuestion, prompt: asyncio.Future[Answer]
) -> SessionQuestions | None:
    """Wait until a question is answered here, or elsewhere: then the session as it is."""
    while not (await asyncio.wait({prompt}, timeout=WATCH_SECONDS))[0]:
        now = await look(store, found.row.session, SystemClock())
        again = find_question(now, one.question.id)
        if again is None or again.answer is not None:
            return now
    return None


async def _say_closed(store: Store, now: SessionQuestions, one: OpenQuestion) -> None:
    """Say how a question was answered elsewhere, or why it is no longer open."""
    again = find_question(now, one.question.id)
    if again is not None and again.answer is not None:
        done: AnswerResult | None = AnswerResult(
            session=now.row.session, question=one.question, answer=again.answer, won=False, summary=now.summary
        )
    else:
        done = await too_late(store, now, one.question.id)
    if done is not None:
        say_answered(done, "", False)
    else:
        name = one_line(short_id(one.question.id), 100)
        say(f"{name} is no longer open: its session is {now.summary.phase}")
