"""What ``orchestra inbox`` does."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path

from orchestra.app.answering import give, look, wanted_question
from orchestra.app.asking import asker
from orchestra.app.stores import open_store
from orchestra.cli._answer import say_answered
from orchestra.cli._detail import question_lines, summary_of
from orchestra.cli._json import say_json
from orchestra.cli._people import console, terminal
from orchestra.cli._stores import exists, hint, reading, settings_for
from orchestra.cli._terminal import one_line, say
from orchestra.cli._views import Plain
from orchestra.clock import SystemClock
from orchestra.config.settings import Settings
from orchestra.engine.sessions import rows
from orchestra.errors import SessionNotFound
from orchestra.ports import Store, Unanswered
from orchestra.run.views import Pending, Phase, Summary

WATCH_SECONDS = 1.0
"""How often the store is looked at."""

_ENDED = (Phase.COMPLETED, Phase.FAILED, Phase.CANCELED, Phase.RESTARTED, Phase.MIRRORED)


def show_inbox(*, watch: bool, ask: bool = True, store: str | None, config: Path | None, as_json: bool) -> int:
    """List the open questions; on a terminal with ``ask``, ask them one by one."""
    settings = settings_for(store, config)
    aim = hint(settings, store)
    if not exists(settings) and not watch:
        return _list([], aim, as_json)
    if as_json or not ask or not terminal():
        return asyncio.run(reading(settings, lambda opened: _listed(opened, watch, aim, as_json), flag=store))
    return asyncio.run(_asked(settings, watch, aim))


async def waiting(store: Store) -> list[tuple[Summary, Pending]]:
    """Every question that nobody has answered, the oldest first, once each."""
    found: dict[str, tuple[Summary, Pending]] = {}
    for row in await rows(store):
        summary = await summary_of(store, row, {})
        if summary.phase in _ENDED:
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


async def _listed(store: Store, watch: bool, aim: str, as_json: bool) -> int:
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


async def _asked(settings: Settings, watch: bool, aim: str) -> int:
    """Ask one question after the other; what is left open is not asked again."""
    store = open_store(settings)
    passed: set[str] = set()
    said = False
    try:
        while True:
            found = [each for each in await waiting(store) if each[1].question not in passed]
            if not found:
                if not watch:
                    say("no open questions" if not said else "no more open questions")
                    return 0
                await asyncio.sleep(WATCH_SECONDS)
                continue
            summary, pending = found[0]
            said = True
            passed.add(pending.question)
            say(f"{pending.session}  {one_line(summary.title, 200)}  ({len(found)} waiting)")
            await _ask(store, settings, pending, aim)
    finally:
        await store.close()


async def _ask(store: Store, settings: Settings, pending: Pending, aim: str) -> None:
    clock = SystemClock()
    try:
        found = await look(store, pending.session, clock)
    except SessionNotFound:
        return
    one = wanted_question(found, pending.question)
    if one is None:
        return
    try:
        answer = await console(Plain(colour=False, quiet=False, verbose=False)).ask(one.question)
    except Unanswered:
        return
    say_answered(await give(store, settings, found, one, answer, who=asker(), clock=clock), aim, False)
