"""What ``orchestra answer`` does."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import to_builtins

from orchestra.app.answering import Answered, Found, answer_to, give, look, matching, too_late, wanted_question
from orchestra.app.asking import asker
from orchestra.app.stores import open_store
from orchestra.cli._errors import FAILED
from orchestra.cli._json import say_json
from orchestra.cli._people import console, terminal
from orchestra.cli._stores import aimed, hint, settings_for, there
from orchestra.cli._terminal import lasted, one_line, say
from orchestra.cli._views import Plain
from orchestra.clock import SystemClock
from orchestra.config.settings import Settings
from orchestra.engine.pending import Open
from orchestra.errors import ConfigError, StoreError
from orchestra.ports import Store, Unanswered
from orchestra.run.questions import Answer, picked, short_id
from orchestra.run.views import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What was said on the command line: a question, a value, or both."""

    words: tuple[str, ...]
    text: str
    skip: bool


def answer_session(session: str, given: Given, *, store: str | None, config: Path | None, as_json: bool) -> int:
    """Answer, and say which answer counts; the exit code."""
    settings = settings_for(store, config)
    there(settings, session)
    try:
        return asyncio.run(_answered(settings, session, given, hint(settings, store), as_json))
    except StoreError as error:
        error.fix = aimed(error.fix, hint(settings, store))
        raise


async def _answered(settings: Settings, session: str, given: Given, aim: str, as_json: bool) -> int:
    store, clock = open_store(settings), SystemClock()
    try:
        found = await look(store, session, clock)
        wanted, value = _parted(found, given)
        one = wanted_question(found, wanted)
        if one is None:
            return await _not_open(store, found, wanted, as_json)
        answer = await _answer(one, value, given)
        if answer is None:
            return FAILED
        done = await give(store, settings, found, one, answer, who=asker(), clock=clock)
    finally:
        await store.close()
    say_answered(done, aim, as_json)
    return 0 if done.won else FAILED


def _parted(found: Found, given: Given) -> tuple[str, str]:
    """The question and the value that were given. One word alone is the value, unless it only names a question."""
    if len(given.words) == 2:
        return given.words[0], given.words[1]
    if not given.words:
        return "", ""
    word = given.words[0]
    if given.text or given.skip:
        named = matching(found, word)
        return (word, "") if named and not any(picked(one.question, word) for one in found.open) else ("", word)
    if len(found.open) == 1 and picked(found.open[0].question, word) is not None:
        return "", word
    exact = [one for one in found.open if word in (one.question.id, short_id(one.question.id), one.question.stage)]
    return (word, "") if exact or "#" in word else ("", word)


async def _answer(one: Open, value: str, given: Given) -> Answer | None:
    """The answer that was given, or typed now; None where it was not."""
    if value or given.text or given.skip:
        return answer_to(one.question, value, given.text, skip=given.skip)
    if not terminal():
        raise ConfigError(
            f"{short_id(one.question.id)} needs a value",
            fix="give it one: orchestra answer SESSION VALUE; orchestra status SESSION shows the choices",
        )
    try:
        return await console(Plain(colour=False, quiet=False, verbose=False)).ask(one.question)
    except Unanswered:
        return None


async def _not_open(store: Store, found: Found, wanted: str, as_json: bool) -> int:
    before = await too_late(store, found, wanted)
    name = found.row.session
    if before is not None:
        say_answered(before, "", as_json)
        return FAILED
    asks = f"no question {wanted!r}" if wanted else "no question"
    message = f"session {name} ({found.summary.phase}) has {one_line(asks, 100)} that waits for an answer"
    if as_json:
        say_json({"session": name, "won": False, "error": message}, indent=2)
    else:
        say(message, stream=sys.stderr)
    return FAILED


def as_data(done: Answered) -> dict[str, Any]:
    """What became of an answer, as plain data."""
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


def say_answered(done: Answered, aim: str, as_json: bool) -> None:
    """Say which answer counts, and what comes next."""
    if as_json:
        say_json(as_data(done), indent=2)
        return
    name = one_line(short_id(done.question.id), 100)
    label = one_line(done.answer.label, 200)
    if not done.won:
        ago = lasted(max(0, time.time_ns() // 1_000_000 - done.answer.at))
        how = "automatically, " if done.answer.automatic else ""
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(done.answer.at / 1000))
        say(
            f"{name} was already answered: {label}, {how}by {one_line(done.answer.who, 80)}, {ago} ago ({when} UTC)"
        )
        return
    say(f"{name} answered: {label}")
    waiting = sum(not one.answered for one in done.summary.questions)
    if waiting:
        say(f"  {waiting} more: orchestra answer{aim} {done.summary.session}")
    if not done.summary.alive and done.summary.phase is not Phase.WAITING:
        say(f"  continue: orchestra resume{aim} {done.summary.session}")
