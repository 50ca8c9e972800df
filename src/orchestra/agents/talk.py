"""A conversation with a model, turn by turn: the one loop behind every backend that asks models (A2, A3, A9).

A turn is a request, the answer, and the tools that it asks for. The answer is recorded before any tool runs, each
result of a tool that may have changed something before the next such tool runs, the rest with the turn's end. So a
conversation that was cut off anywhere continues from what is recorded, and no answer is paid for twice.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from orchestra.agents.answers import LENGTH, REFUSAL, Model, ModelAnswer, OutOfQuota, TooLong
from orchestra.agents.compaction import (
    AIM,
    FULL,
    KEPT,
    LETTERS,
    WORTH,
    CompactionSummary,
    Summarising,
    boundary,
    replace_by_summary,
    tokens,
    without_results,
)
from orchestra.agents.pricing import Price, price_of
from orchestra.agents.tools import Tool, ToolContext, ToolResult
from orchestra.agents.tools.calling import error, perform
from orchestra.agents.tools.people import EXEMPT, PART, Guard, approval, needs_no_approval
from orchestra.agents.tools.reporting import NAME
from orchestra.agents.verdicts import newest_report
from orchestra.errors import BackendError, Terminal, Transient
from orchestra.ports import AgentTask, Turns
from orchestra.run.blobs import from_map, output_name
from orchestra.run.conversation import (
    EMPTY,
    AgentTurn,
    Compacted,
    Conversation,
    Message,
    Response,
    ToolCall,
    ToolEnded,
)
from orchestra.run.events import ToolOutput, WarningRaised
from orchestra.run.limits import NO_LIMITS, Circles, Limits, crossed_limits, nearing
from orchestra.run.prompts import INSTRUCTED
from orchestra.run.retry import PRESETS

INTERRUPTED = "interrupted: it may or may not have happened; check before repeating it"
"""The result of a call that was cut off, for a tool that may change something (A9)."""

CUT_OFF = (
    "Your last answer was cut off at the limit of output tokens. Nothing of it was executed. "
    "Continue in smaller steps."
)
CIRCLES = (
    "You have made the same tool calls over and over. Stop, think about what is missing, and do something else; "
    "or report that the task cannot be done."
)
LONGEST_WAIT = 300.0
"""Seconds; a provider that wants a longer pause fails the attempt instead (A3)."""

LINE = 200
"""Characters after which a line of streamed text is shown although it has not ended."""

MOST_CUTS = 2
MOST_EMPTY = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What bounds a conversation, and what it costs."""

    repeats: int = 5
    node: Limits = NO_LIMITS
    run: Limits = NO_LIMITS
    near_node: Limits = NO_LIMITS
    near_run: Limits = NO_LIMITS
    """Soft limits, from which the agent is told; where one is not set, it is a share of the hard one."""
    prices: Mapping[str, Price] = field(default_factory=dict)
    summarise: Summarising | None = None
    """Asks the ``cheap`` model for a summary of a long conversation; None where there is none (E40)."""
    guard: Guard = needs_no_approval
    """Which tool calls a person has to approve (H11)."""


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
        self.calls: tuple[ToolCall, ...] = ()
        self.stop = ""
        self._turns = turns
        self._rules = rules
        self._context = context
        self._number = 0
        self._fresh = True
        self._unsent: list[Message] = []
        self._sent: list[Message] = []
        self._answer: ModelAnswer | None = None
        self._ids: set[str] = set()
        self._cuts = 0
        self._told: set[str] = set()
        self._circles = Circles()
        self._warned = False
        self._line = ""
        self._known = (0, 0)
        """Tokens that the provider counted, and how many messages they were."""

    # --- before the first request -----------------------------------------------------------------

    async def open(self) -> None:
        """Continue what is recorded; begin with the task's prompt where nothing is."""
        known = EMPTY
        if self.task.begun or self.task.shared:
            known = await self._turns.conversation(self.task.thread)
        self.messages = [message for message in known.messages if message.role != "system"]
        self._ids = {call.id for message in self.messages for call in message.tool_calls}
        self._remember(known)
        self._number, self._fresh = known.turns, known.turns == 0
        answered = [place for place, one in enumerate(self.messages) if one.role == "assistant"]
        if known.input_tokens and answered:
            self._known = known.input_tokens, answered[-1]
        self._tell_of_another_model()
        if known.open or known.pending:
            await self._close(known)
        if not self.task.begun or not self.messages:
            name = self.task.scope.talk.name
            self._unsent.append(Message(role="user", text=self.task.prompt, name=name, parts=self.task.parts))

    def _remember(self, known: Conversation) -> None:
        """Know what the tools knew: the whole outputs behind results that were cut, the files that were read
        (A32)."""
        if self._context is None:
            return
        for message in known.messages:
            if message.whole:
                parts = tuple(from_map(part) for part in message.whole)
                self._context.outputs[output_name(parts)] = parts
            for name, facts in message.seen.items():
                repo, _, path = name.partition(":")
                self._context.read[repo, path] = facts

    def _tell_of_another_model(self) -> None:
        """Say that another model's own blocks (thinking, signatures) are left out of the conversation (E40)."""
        mine = (self.model.provider, self.model.name)
        if any(one.native and (one.provider, one.model) != mine for one in self.messages):
            message = f"{self.model.name} continues the conversation of another model, without its thinking"
            self.task.scope.record(WarningRaised(message=message, rule="thread_model", node=self.task.node.id))

    async def _close(self, known: Conversation) -> None:
        """End a turn that was cut off: what only reads is done again, the rest is answered as interrupted.

        A call that waited for a person has not been made, and neither have those after it.
        """
        ended, waited = [], False
        for call in known.pending:
            waited = waited or self.task.scope.has_unanswered(self._part(call))
            one = await (self._call(call) if waited else self._again(call))
            if waited and not self._repeatable(call):
                await self._turns.on_tool(one)
            ended.append(one)
        self.messages += [one.message for one in ended]
        last = next((m for m in reversed(known.messages) if m.role == "assistant"), None)
        await self._turns.on_turn(
            AgentTurn(
                thread=self.task.thread,
                turn=known.turns,
                messages=tuple(one.message for one in ended),
                tools=tuple(self._end_tool(call, None) for call in (last.tool_calls if last else ())),
                model=self.model.name,
                provider=self.model.provider,
                cost_micros=0,
            )
        )

    async def _again(self, call: ToolCall) -> ToolEnded:
        if call.invalid or self._repeatable(call) or self._idempotent(call):
            return await self._call(call)
        return self._end_tool(call, error(INTERRUPTED))

    def _idempotent(self, call: ToolCall) -> bool:
        """Whether a call does no more when it is made twice; an approval is for one call in any case (H11)."""
        repeatable = getattr(self.tools[call.name], "idempotent", False)
        return bool(repeatable) and not self._rules.guard(call.name, call.arguments)

    def _repeatable(self, call: ToolCall) -> bool:
        """Whether a call that may have been made can be made again."""
        tool = self.tools.get(call.name)
        return call.name == NAME or tool is None or tool.read_only

    # --- a request and its answer -----------------------------------------------------------------

    @property
    def due(self) -> bool:
        """Whether it is for the model to speak."""
        last = self.messages[-1] if self.messages else None
        return bool(self._unsent) or last is None or (last.role != "assistant" and report_in(self) is None)

    def say(self, text: str) -> None:
        """Say something to the agent, with the next request."""
        self._unsent.append(Message(role="user", text=text))

    async def ask(self) -> Message:
        """Ask the model, and record what it answers; the turn ends here where it asks for no tools.

        Raises what ``Turns.proceed`` does, ``Transient`` and ``Terminal``.
        """
        self._turns.proceed()
        self._check_limits()
        for text in self._turns.steering():
            self.say(INSTRUCTED + text)
        window = self.model.window
        if window and self._expected_tokens() > FULL * window:
            await self._shorten(window)
        answer = await self._ask_model()
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
        self.calls, self.stop = message.tool_calls, answer.stop
        if not self.calls:
            await self._end([])
            self._after(answer)
        return message

    def _after(self, answer: ModelAnswer) -> None:
        """What an answer without tool calls means for the next request."""
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
            cost_micros=self._cost(answer),
            model=self.model.name,
            provider=self.model.provider,
            stop=answer.stop,
            duration_ms=answer.duration_ms,
        )

    def _cost(self, answer: ModelAnswer) -> int | None:
        price = price_of(self.model.name, self._rules.prices, self.model.provider)
        return None if price is None else price.cost_micros(answer.usage)

    def _with_ids(self, answer: ModelAnswer) -> Message:
        """The answer, cut off where it was, with ids that are unique in the conversation."""
        message = answer.message
        if answer.stop == LENGTH or answer.stop == REFUSAL:
            return replace(message, tool_calls=(), native=()) if message.tool_calls else message
        if all(call.id and call.id not in self._ids for call in message.tool_calls) and len(
            {call.id for call in message.tool_calls}
        ) == len(message.tool_calls):
            self._ids.update(call.id for call in message.tool_calls)
            return message
        calls = []
        for place, call in enumerate(message.tool_calls):
            fits = call.id and call.id not in self._ids
            own = call.id if fits else f"call_{self._number + 1}_{place}"
            self._ids.add(own)
            calls.append(replace(call, id=own))
        return replace(message, tool_calls=tuple(calls), native=())

    async def _ask_model(self) -> ModelAnswer:
        """The model's answer; failures of the moment are waited out and recorded, using no attempt (A3)."""
        repeats = empty = 0
        while True:
            try:
                try:
                    answer = await self.model.ask(self.system, [*self.messages, *self._unsent], self._show_text)
                finally:
                    self._show_rest()
                if answer.message.text.strip() or answer.message.tool_calls or answer.stop in (LENGTH, REFUSAL):
                    return answer
                self._count_lost(answer)
                empty += 1
                problem = Transient("the model gave an empty answer")
                if empty > MOST_EMPTY:
                    raise problem
            except OutOfQuota as failure:
                if self.task.more_models:
                    raise
                self._turns.halt(str(failure))
            except TooLong:
                if not await self._shorten(self._expected_tokens()):
                    raise
                continue
            except Transient as failure:
                repeats += 1
                if repeats > self._rules.repeats or empty > MOST_EMPTY or failure.retry_after > LONGEST_WAIT:
                    raise
                problem = failure
            await self._wait(problem, repeats, empty)

    # --- room in the model's window (E40) ---------------------------------------------------------

    def _expected_tokens(self) -> int:
        """About how many tokens the next request has."""
        counted, place = self._known
        if not counted:
            return len(self.system) // LETTERS + tokens(self.messages) + tokens(self._unsent)
        return counted + tokens(self.messages[place:]) + tokens(self._unsent)

    async def _shorten(self, window: int) -> bool:
        """Replace the older part of the conversation by a summary, else remove old results; whether that helped."""
        before, summary = self._expected_tokens(), None
        kept = boundary(self.messages, round(window * KEPT))
        shorter = self.messages
        if tokens(self.messages[:kept]) > WORTH * window and not self.task.interactive:
            summary = await self._summary(self.messages[:kept])
        if summary is not None:
            shorter = replace_by_summary(self.messages, kept, summary.text, self.task.scope.talk.name)
        if summary is None or tokens(shorter) > FULL * window:
            shorter = without_results(shorter, round(window * AIM))
        if tokens(shorter) >= tokens(self.messages):
            return False
        await self._turns.on_compacted(
            Compacted(
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
            self.task.scope.record(WarningRaised(message=message, rule="no_summary", node=self.task.node.id))
            return None

    def _count_lost(self, answer: ModelAnswer) -> None:
        """Count what an answer cost that no turn holds."""
        self.task.scope.spend(
            tokens_in=answer.usage.input,
            tokens_out=answer.usage.output,
            cost_micros=self._cost(answer) or 0,
        )

    async def _wait(self, problem: Transient, repeats: int, empty: int) -> None:
        seconds = 0.0
        if repeats and not empty:
            patient = PRESETS["patient"]
            assert patient is not None
            seconds = patient.delay_ms(repeats, self._turns.jitter(), problem.retry_after) / 1000
        number = f"{repeats or empty} of {self._rules.repeats if repeats else MOST_EMPTY}"
        self.task.scope.record(
            WarningRaised(
                message=f"{problem}; repeating the model call in {seconds:.1f} s ({number})",
                rule="model_repeat",
                node=self.task.node.id,
            )
        )
        await self.task.scope.settle()
        await self._turns.rest(seconds)

    def _show_text(self, text: str) -> None:
        """Show what the model writes, line by line (A13)."""
        whole, newline, self._line = (self._line + text).rpartition("\n")
        if len(self._line) > LINE:
            cut = self._line.rfind(" ", 0, LINE) + 1 or LINE
            whole, newline, self._line = f"{whole}{newline}{self._line[:cut]}", "\n", self._line[cut:]
        if newline:
            self._turns.show(ToolOutput(node=self.task.node.id, stream="agent", text=whole + newline))

    def _show_rest(self) -> None:
        if self._line:
            self._show_text("\n")

    # --- tools ------------------------------------------------------------------------------------

    async def run_tools(self) -> dict[str, Message]:
        """Run the tools that the last answer asked for, and end the turn; the results by call.

        Neighbouring calls that only read run together; any other runs alone, in its place (A9).
        """
        ended: list[ToolEnded] = []
        group: list[ToolCall] = []
        for call in self.calls:
            if self._repeatable(call):
                group.append(call)
                continue
            ended += await self._together(group)
            group = []
            one = await self._call(call)
            await self._turns.on_tool(one)
            ended.append(one)
        ended += await self._together(group)
        self.messages += [one.message for one in ended]
        await self._end(ended)
        self._watch()
        return {one.call.id: one.message for one in ended}

    async def _together(self, calls: Sequence[ToolCall]) -> list[ToolEnded]:
        if len(calls) < 2:
            return [await self._call(call) for call in calls]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._call(call)) for call in calls]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _call(self, call: ToolCall) -> ToolEnded:
        self._turns.show(
            ToolOutput(node=self.task.node.id, stream="tool", text=f"{call.name} {_brief(call.arguments)}\n")
        )
        if call.invalid:
            return self._end_tool(call, error(f"the arguments could not be read: {call.invalid}"))
        assert self._context is not None
        part = self._part(call)
        PART.set(part)
        alike = "" if call.name in EXEMPT else self._rules.guard(call.name, call.arguments)
        if alike and call.name in self.tools:
            refused = await approval(self._context, call.name, call.arguments, alike, part)
            if refused is not None:
                return self._end_tool(call, refused)
        before = dict(self._context.read)
        result = await perform(self.tools, call.name, call.arguments, self._context)
        seen = {
            f"{repo}:{path}": facts
            for (repo, path), facts in self._context.read.items()
            if before.get((repo, path)) != facts
        }
        return self._end_tool(call, result, seen)

    def _part(self, call: ToolCall) -> str:
        """How a question about a call is named: the turn, and which of its calls it is (H2)."""
        last = next((m for m in reversed(self.messages) if m.role == "assistant"), None)
        ids = [one.id for one in last.tool_calls] if last is not None else []
        return f"{self._number}.{ids.index(call.id) + 1 if call.id in ids else 0}"

    def _end_tool(
        self, call: ToolCall, result: ToolResult | None, seen: Mapping[str, tuple[int, ...]] | None = None
    ) -> ToolEnded:
        result = result or ToolResult(text="")
        message = Message(
            role="tool",
            tool_call_id=call.id,
            name=call.name,
            text=result.text,
            is_error=result.is_error,
            whole=tuple(part.as_map() for part in result.parts),
            whole_bytes=result.size if result.parts else 0,
            seen=seen or {},
        )
        return ToolEnded(
            thread=self.task.thread,
            turn=self._number,
            call=call,
            message=message,
            files_written=result.files_written,
            duration_ms=result.duration_ms,
        )

    async def _end(self, ended: Sequence[ToolEnded]) -> None:
        """Record the end of the turn."""
        answer, self.calls = self._answer, ()
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
                cost_micros=self._cost(answer),
                model=self.model.name,
                provider=self.model.provider,
                duration_ms=answer.duration_ms + sum(one.duration_ms for one in ended),
            )
        )

    # --- limits -----------------------------------------------------------------------------------

    def _check_limits(self) -> None:
        """Pause the run where a limit is reached; tell the agent where one is near (A5)."""
        standing = self._turns.standing()
        rules = self._rules
        for whose, limits, near, used in (
            (f"node {self.task.node.id}", rules.node, rules.near_node, standing.node),
            ("the run", rules.run, rules.near_run, standing.run),
        ):
            for name, words in crossed_limits(limits, used):
                self._turns.halt(f"{whose} reached its limit: {words}", limit=name)
            for name, words in crossed_limits(nearing(limits, near), used, limits):
                self._soft(f"{whose} {name}", f"{whose} has used {words}")

    def _soft(self, key: str, words: str) -> None:
        if key in self._told:
            return
        self._told.add(key)
        self.task.scope.record(
            WarningRaised(message=f"near a limit: {words}", rule="soft_limit", node=self.task.node.id)
        )
        self.say(f"Note: {words}. Finish the task soon.")

    def _watch(self) -> None:
        """See whether the agent runs in circles: it is told once, then it has failed (A5)."""
        last = next(message for message in reversed(self.messages) if message.role == "assistant")
        for call in last.tool_calls:
            self._circles.add(f"{call.name} {json.dumps(call.arguments, sort_keys=True)}")
            if not self._circles.found():
                continue
            if self._warned:
                raise BackendError("the agent made the same tool calls over and over, also after it was told")
            self._warned = True
            self._circles.clear()
            self.task.scope.record(
                WarningRaised(message="the agent runs in circles", rule="agent_circles", node=self.task.node.id)
            )
            self.say(CIRCLES)


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


def _brief(arguments: Mapping[str, Any]) -> str:
    text = " ".join(f"{key}={value!r}" if not isinstance(value, str) else value for key, value in arguments.items())
    return " ".join(text.split())[:200]


Driving = Callable[[Talk], Awaitable[None]]
"""Lets the model and its tools take turns until it is for us to speak."""
