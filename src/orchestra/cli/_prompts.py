"""Questions of a session that is watched, answered at the terminal that watches it (H7)."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

from orchestra.app.answering import give, look, wanted_question
from orchestra.app.asking import asker
from orchestra.app.stores import open_store
from orchestra.cli._people import console
from orchestra.cli._views import View
from orchestra.clock import SystemClock
from orchestra.config.settings import Settings
from orchestra.errors import OrchestraError
from orchestra.ports import Unanswered
from orchestra.run.events import InterviewCompleted, InterviewStarted, Live, PipelineForked, Recorded

SETTLE_SECONDS = 0.3
"""How long a question has to be open before it is asked: what is told at first may be long answered."""


class Prompts:
    """Asks the questions that are open, one at a time, and takes a prompt away when it is answered elsewhere."""

    def __init__(self, settings: Settings, view: View) -> None:
        self._settings = settings
        self._view = view
        self._console = console(view)
        self._open: dict[str, str] = {}
        self._stirred = asyncio.Event()
        self._asked = ""
        self._prompt: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.ensure_future(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def tell(self, recorded: Recorded | Live) -> None:
        """Show an event, and note what it asks or answers."""
        event = recorded.event
        if isinstance(event, InterviewStarted):
            self._open[event.question] = recorded.meta.session
            self._stirred.set()
        elif isinstance(event, InterviewCompleted):
            self._open.pop(event.question, None)
            if event.question == self._asked and self._prompt is not None:
                self._prompt.cancel()
        elif isinstance(event, PipelineForked):
            self._open.clear()
        self._view.tell(recorded)

    async def _run(self) -> None:
        passed: set[str] = set()
        while True:
            await self._stirred.wait()
            await asyncio.sleep(SETTLE_SECONDS)
            self._stirred.clear()
            while waiting := [name for name in self._open if name not in passed]:
                passed.add(waiting[0])
                await self._one(waiting[0])

    async def _one(self, question: str) -> None:
        self._asked = question
        self._prompt = asyncio.ensure_future(self._ask(question))
        try:
            await asyncio.wait({self._prompt})
        finally:
            self._prompt.cancel()
            with contextlib.suppress(asyncio.CancelledError, Unanswered, OrchestraError):
                await self._prompt
            self._asked = ""

    async def _ask(self, question: str) -> None:
        store, clock = open_store(self._settings), SystemClock()
        try:
            found = await look(store, self._open[question], clock)
            one = wanted_question(found, question)
            if one is None or one.answer is not None:
                return
            answer = await self._console.ask(one.question)
            done = await give(store, self._settings, found, one, answer, who=asker(), clock=clock)
            if not done.won:
                await self._console.inform(
                    f"already answered: {done.answer.label}, by {done.answer.who}", one.question.stage
                )
        finally:
            await store.close()
