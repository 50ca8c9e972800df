"""One call of a model: repeated where it failed for the moment, shown as it is written (A3, A13)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from orchestra.agents.answers import LENGTH, REFUSAL, Model, ModelAnswer, OutOfQuota, TooLong
from orchestra.agents.bounds import Rules, warn
from orchestra.agents.pricing import price_of
from orchestra.errors import Transient
from orchestra.ports import AgentTask, Turns
from orchestra.run.conversation import Message
from orchestra.run.events import ToolOutput
from orchestra.run.judging import PRESETS

LONGEST_WAIT = 300.0
"""Seconds; a provider that wants a longer pause fails the attempt instead (A3)."""

LINE = 200
"""Characters after which a line of streamed text is shown although it has not ended."""

MOST_EMPTY = 2

QUIET = 0.4
"""The share of the time that a model may be silent after which a warning says so."""


class ModelRequests:
    """The model calls of one attempt."""

    def __init__(self, task: AgentTask, turns: Turns, model: Model, rules: Rules) -> None:
        self._task = task
        self._turns = turns
        self._model = model
        self._rules = rules
        self._line = ""

    async def answer(
        self, system: str, messages: Callable[[], Sequence[Message]], shorten: Callable[[], Awaitable[bool]]
    ) -> ModelAnswer:
        """The model's answer; failures of the moment are waited out and recorded, using no attempt (A3).

        Where the conversation is too long, ``shorten`` tries to change what ``messages`` returns.
        """
        repeats = empty = 0
        while True:
            try:
                answer = await self._ask(system, messages())
                if answer.message.text.strip() or answer.message.tool_calls or answer.stop in (LENGTH, REFUSAL):
                    return answer
                self._count_lost(answer)
                empty += 1
                problem = Transient("the model gave an empty answer")
                if empty > MOST_EMPTY:
                    raise problem
            except OutOfQuota as failure:
                if self._task.more_models:
                    raise
                self._turns.halt(str(failure))
            except TooLong:
                if not await shorten():
                    raise
                continue
            except Transient as failure:
                repeats += 1
                if repeats > self._rules.repeats or empty > MOST_EMPTY:
                    raise
                problem = failure
            await self._wait(problem, repeats, empty)

    async def _ask(self, system: str, messages: Sequence[Message]) -> ModelAnswer:
        """One call, shown as it is written; a long silence is a warning."""
        after, limit = QUIET * self._rules.silence, self._rules.silence

        async def tell() -> None:
            silence = f"has written nothing for {after:g} s; the call fails after {limit:g} s of silence"
            warn(self._task, f"{self._model.name} {silence}", "silent_model")
            await self._task.scope.settle()

        silence = _SilenceTimer(after, tell)

        def heard(text: str) -> None:
            silence.end()
            self._show_text(text)

        try:
            return await self._model.ask(system, messages, heard)
        finally:
            self._show_rest()
            await silence.close()

    def cost(self, answer: ModelAnswer) -> int | None:
        """Millionths of a dollar; None for a model without a price."""
        price = price_of(self._model.name, self._rules.prices, self._model.provider)
        return None if price is None else price.cost_micros(answer.usage)

    def _count_lost(self, answer: ModelAnswer) -> None:
        """Count what an answer cost that no turn holds."""
        usage = answer.usage
        self._task.scope.spend(tokens_in=usage.input, tokens_out=usage.output, cost_micros=self.cost(answer) or 0)

    async def _wait(self, problem: Transient, repeats: int, empty: int) -> None:
        if problem.retry_after > LONGEST_WAIT:
            asked = f"it asks to wait {problem.retry_after:.0f} s, longer than {LONGEST_WAIT:.0f} s"
            raise Transient(f"{problem} ({asked})", retry_after=problem.retry_after) from problem
        seconds = 0.0
        if repeats and not empty:
            patient = PRESETS["patient"]
            assert patient is not None
            seconds = patient.delay_ms(repeats, self._turns.jitter(), problem.retry_after) / 1000
        number = f"{repeats or empty} of {self._rules.repeats if repeats else MOST_EMPTY}"
        warn(self._task, f"{problem}; repeating the model call in {seconds:.1f} s ({number})", "model_repeat")
        await self._task.scope.settle()
        await self._turns.rest(seconds)

    def _show_text(self, text: str) -> None:
        """Show what the model writes, line by line."""
        whole, newline, self._line = (self._line + text).rpartition("\n")
        if len(self._line) > LINE:
            cut = self._line.rfind(" ", 0, LINE) + 1 or LINE
            whole, newline, self._line = f"{whole}{newline}{self._line[:cut]}", "\n", self._line[cut:]
        if newline:
            self._turns.show(ToolOutput(node=self._task.node.id, stream="agent", text=whole + newline))

    def _show_rest(self) -> None:
        if self._line:
            self._show_text("\n")


class _SilenceTimer:
    """Notices the first silence of a call that is longer than some seconds."""

    def __init__(self, seconds: float, tell: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._seconds = seconds
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._told: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(seconds, self._pass)

    def end(self) -> None:
        """Something was heard."""
        self._timer.cancel()
        if self._told is None:
            self._timer = self._loop.call_later(self._seconds, self._pass)

    async def close(self) -> None:
        """The call has ended. Raises what telling of it did."""
        self._timer.cancel()
        if self._told is not None:
            await self._told

    def _pass(self) -> None:
        self._told = self._loop.create_task(self._tell())
