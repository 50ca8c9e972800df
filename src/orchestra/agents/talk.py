"""A conversation with a model, turn by turn: the loop of every model backend (A2, A3, A9).

A turn is a request, the answer, and the tools that it asks for. The answer is recorded before any tool runs, each
result of a tool that may have changed something before the next such tool runs, the rest with the turn's end. So a
conversation that was cut off anywhere continues from what is recorded, and no answer is paid for twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from orchestra.agents.answers import LENGTH, REFUSAL, Model, ModelAnswer
from orchestra.agents.bounds import AttemptBounds, Rules, warn
from orchestra.agents.compaction import (
    AIM,
    FULL,
    KEPT,
    LETTERS,
    WORTH,
    CompactionSummary,
    boundary,
    replace_by_summary,
    tokens,
    without_results,
)
from orchestra.agents.requests import ModelRequests
from orchestra.agents.tools import Tool, ToolContext, ToolResult
from orchestra.agents.tools.calls import ToolCalls
from orchestra.agents.verdicts import newest_report
from orchestra.errors import BackendError, Terminal
from orchestra.ports import AgentTask, Turns
from orchestra.run.conversation import (
    EMPTY,
    AgentTurn,
    CompactedConversation,
    Conversation,
    Message,
    Response,
    ToolCall,
    ToolEnded,
)
from orchestra.run.limits import LoopDetector
from orchestra.run.prompts import INSTRUCTED

CUT_OFF = (
    "Your last answer was cut off at the limit of output tokens. Nothing of it was executed. "
    "Continue in smaller steps."
)
CIRCLES = (
    "You have made the same tool calls over and over. Stop, think about what is missing, and do something else; "
    "or report that the task cannot be done."
)
MOST_CUTS = 2


class Talk:
    """One attempt's part of a conversation."""

    def __init__(
        self,
        task: AgentTask,
        turns: Turns,
        model: Model,
        rules: Rules,
        tools: Mapping[str, Tool],
        context: ToolContext | None,
    ) -> None:
        self.task = task
        self.model = model
        self.tools = tools
        self.system = task.system
        self.messages: list[Message] = []
        self.bounds = AttemptBounds(task, turns, rules)
        self._turns = turns
        self._rules = rules
        self._requests = ModelRequests(task, turns, model, rules)
        self._calls = ToolCalls(task, turns, rules.guard, tools, context, self.bounds.calls_left)
        self._number = 0
        self._fresh = True
        self._unsent: list[Message] = []
        self._sent: list[Message] = []
        self._answer: ModelAnswer | None = None
        self._ids: set[str] = set()
        self._cuts = 0
        self._loops = LoopDetector()
        self._warned = False
        self._known = (0, 0)
        """The tokens that the provider counted last, and the number of messages in them."""

    async def open(self) -> None:
        """Continue what is recorded; begin with the task's prompt where nothing is."""
        known = EMPTY
        if self.task.begun or self.task.shared:
            known = await self._turns.conversation(self.task.thread)
        self.messages = [message for message in known.messages if message.role != "system"]
        self._ids = {call.id for message in self.messages for call in message.tool_calls}
        self._calls.remember(known)
        self._number, self._fresh = known.turns, known.turns == 0
        answered = [place for place, one in enumerate(self.messages) if one.role == "assistant"]
        if known.input_tokens and answered:
            self._known = known.input_tokens, answered[-1]
        self._tell_of_another_model()
        if known.open or known.pending:
            await self._close(known)
        if self.task.begun:
            self._remember_circles()
        if not self.task.begun or not self.messages:
            name = self.task.scope.talk.name
            self._unsent.append(Message(role="user", text=self.task.prompt, name=name, parts=self.task.parts))

    def _tell_of_another_model(self) -> None:
        """Warn that another model's own blocks (thinking, signatures) are left out of the conversation (E40)."""
        mine = (self.model.provider, self.model.name)
        if any(one.native and (one.provider, one.model) != mine for one in self.messages):
            message = f"{self.model.name} continues the conversation of another model, without its thinking"
            warn(self.task, message, "thread_model")

    async def _close(self, known: Conversation) -> None:
        """End a turn that was cut off."""
        last = next((m for m in reversed(known.messages) if m.role == "assistant"), Message(role="assistant"))
        ended = await self._calls.resume(known, last)
        self.messages += [one.message for one in ended]
        nothing = ToolResult(text="")
        await self._turns.on_turn(
            AgentTurn(
                thread=self.task.thread,
                turn=known.turns,
                messages=tuple(one.message for one in ended),
                tools=tuple(self._calls.end(known.turns, call, nothing) for call in last.tool_calls),
                model=self.model.name,
                provider=self.model.provider,
                cost_micros=0,
            )
        )

    @property
    def due(self) -> bool:
        """Whether the model is next."""
        last = self.messages[-1] if self.messages else None
        return bool(self._unsent) or last is None or (last.role != "assistant" and report_in(self) is None)

    @property
    def turn(self) -> int:
        """The number of the newest turn, which a resume and a shorter conversation leave as it is."""
        return self._number

    def say(self, text: str) -> None:
        """Say something to the agent, with the next request."""
        self._unsent.append(Message(role="user", text=text))

    async def ask(self) -> Message:
        """Ask the model, and record what it answers; the turn ends here where it asks for no tools.

        Raises what ``Turns.proceed`` does, ``Transient`` and ``Terminal``.
        """
        self._turns.proceed()
        for words in self.bounds.check():
            self.say(f"Note: {words}. Finish the task soon.")
        for text in self._turns.steering():
            self.say(INSTRUCTED + text)
        window = self.model.window
        if window and self._expected_tokens() > FULL * window:
            await self._shorten(window)
        answer = await self._requests.answer(
            self.system, self._messages, lambda: self._shorten(self._expected_tokens())
        )
        message = self._with_ids(answer)
        self._number += 1
        self._sent, self._unsent = self._unsent, []
        if self._fresh and self.system:
            self._sent.insert(0, Message(role="system", text=self.system))
        self._answer = replace(answer, message=message)
        await self._turns.on_response(self._response(message, answer))
        self._fresh = False
        self.messages += [one for one in self._sent if one.role != "system"]
        self.messages.append(message)
        self._known = answer.usage.total, len(self.messages)
        if not message.tool_calls:
            await self._end([])
            self._after(answer)
        return message

    async def run_tools(self) -> None:
        """Run the tools that the last answer asked for, and end the turn (A9)."""
        assert self._answer is not None
        ended = await self._calls.run(self._number, self._answer.message)
        self.messages += [one.message for one in ended]
        await self._end(ended)
        self._watch()

    async def _end(self, ended: Sequence[ToolEnded]) -> None:
        """Record the end of the turn."""
        answer = self._answer
        assert answer is not None
        written = dict.fromkeys(path for one in ended for path in one.files_written)
        await self._turns.on_turn(
            AgentTurn(
                thread=self.task.thread,
                turn=self._number,
                messages=(*self._sent, answer.message, *(one.message for one in ended)),
                tools=tuple(ended),
                files_written=tuple(written),
                usage=answer.usage,
                cost_micros=self._requests.cost(answer),
                model=self.model.name,
                provider=self.model.provider,
                duration_ms=answer.duration_ms + sum(one.duration_ms for one in ended),
            )
        )

    def _messages(self) -> list[Message]:
        return [*self.messages, *self._unsent]

    def _after(self, answer: ModelAnswer) -> None:
        """Prepare the next request after an answer without tool calls: a cut answer is asked for again."""
        if answer.stop == REFUSAL:
            raise Terminal(f"the model refused: {answer.message.text[:300] or 'without a word'}")
        if answer.stop == LENGTH:
            self._cuts += 1
            if self._cuts > MOST_CUTS or not self.tools:
                raise Terminal("the model's answer was cut off at the limit of output tokens; raise max_tokens")
            self.say(CUT_OFF)
        else:
            self._cuts = 0

    def _response(self, message: Message, answer: ModelAnswer) -> Response:
        return Response(
            thread=self.task.thread,
            turn=self._number,
            message=message,
            sent=tuple(self._sent),
            fresh=self._fresh,
            usage=answer.usage,
            cost_micros=self._requests.cost(answer),
            model=self.model.name,
            provider=self.model.provider,
            stop=answer.stop,
            duration_ms=answer.duration_ms,
        )

    def _with_ids(self, answer: ModelAnswer) -> Message:
        """The answer, cut off where it was, with ids that are unique in the conversation."""
        message = answer.message
        if answer.stop == LENGTH or answer.stop == REFUSAL:
            return replace(message, tool_calls=(), native=()) if message.tool_calls else message
        calls = []
        for place, call in enumerate(message.tool_calls):
            fits = call.id and call.id not in self._ids
            calls.append(call if fits else replace(call, id=f"call_{self._number + 1}_{place}"))
            self._ids.add(calls[-1].id)
        if calls == list(message.tool_calls):
            return message
        return replace(message, tool_calls=tuple(calls), native=())

    def _expected_tokens(self) -> int:
        """About how many tokens the next request has."""
        counted, place = self._known
        if not counted:
            return len(self.system) // LETTERS + tokens(self.messages) + tokens(self._unsent)
        return counted + tokens(self.messages[place:]) + tokens(self._unsent)

    async def _shorten(self, window: int) -> bool:
        """Summarize the older part of the conversation, else remove old results; return whether it helped."""
        before, summary = self._expected_tokens(), None
        kept = boundary(self.messages, round(window * KEPT))
        shorter = self.messages
        if tokens(self.messages[:kept]) > WORTH * window:
            summary = await self._summary(self.messages[:kept])
        if summary is not None:
            shorter = replace_by_summary(self.messages, kept, summary.text, self.task.scope.talk.name)
        if summary is None or tokens(shorter) > FULL * window:
            shorter = without_results(shorter, round(window * AIM))
        if tokens(shorter) >= tokens(self.messages):
            return False
        await self._turns.on_compacted(
            CompactedConversation(
                thread=self.task.thread,
                turn=self._number,
                messages=tuple(shorter),
                removed=sum(one not in shorter for one in self.messages),
                before=before,
                **({} if summary is None else _cost_fields(summary)),
            )
        )
        self.messages, self._known, self._fresh = list(shorter), (0, 0), False
        return True

    async def _summary(self, messages: Sequence[Message]) -> CompactionSummary | None:
        if self._rules.summarise is None:
            return None
        try:
            return await self._rules.summarise(messages)
        except BackendError as failure:
            message = f"no summary of the conversation: {failure}; old results of tools are removed instead"
            warn(self.task, message, "no_summary")
            return None

    def _remember_circles(self) -> None:
        """Take over the calls and warnings from before this process ran the session."""
        for message in self.messages:
            if message.text == CIRCLES:
                self._warned = True
                self._loops.clear()
            for call in message.tool_calls:
                self._loops.add(_pattern(call))

    def _watch(self) -> None:
        """Check whether the agent runs in circles: warn it once, then fail it (A5)."""
        last, warned = next(one for one in reversed(self.messages) if one.role == "assistant"), self._warned
        for call in last.tool_calls:
            self._loops.add(_pattern(call))
            if (
                not self._loops.is_circling() or self._warned != warned
            ):  # the agent gets the warning after this turn
                continue
            if warned:
                raise Terminal(f"{ENDLESS}{_refused(self.messages)}")
            self._warned = True
            self._loops.clear()
            warn(self.task, "the agent runs in circles", "agent_circles")
            self.say(CIRCLES)


ENDLESS = "the agent made the same tool calls over and over, also after it was told"


def _refused(messages: Sequence[Message]) -> str:
    """Why the last call was an error, for the message of the failure."""
    last = next((one for one in reversed(messages) if one.role == "tool"), None)
    return f"; the last was refused: {last.text[:200]}" if last is not None and last.is_error else ""


def _pattern(call: ToolCall) -> str:
    return f"{call.name} {json.dumps(call.arguments, sort_keys=True)}"


def report_in(talk: Talk) -> Mapping[str, Any] | None:
    """What the agent reported in its newest answer."""
    return newest_report(talk.messages)


def _cost_fields(summary: CompactionSummary) -> dict[str, Any]:
    return {
        "model": summary.model,
        "provider": summary.provider,
        "usage": summary.usage,
        "cost_micros": summary.cost_micros,
        "duration_ms": summary.duration_ms,
    }
