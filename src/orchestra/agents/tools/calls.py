"""Tool calls: one call with its hooks and its cut output, and the calls of an answer (A9, A32)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import msgspec

from orchestra.agents.tools import Tool, ToolContext, ToolError, ToolResult
from orchestra.agents.tools.hooks import after, before
from orchestra.agents.tools.output import cut, limit_of, storage_note, store_text
from orchestra.agents.tools.people import EXEMPT, Guard, approval
from orchestra.agents.tools.reporting import NAME
from orchestra.errors import OrchestraError
from orchestra.ports import AgentTask, Suspended, Turns
from orchestra.run.codec import from_map, output_name
from orchestra.run.conversation import Conversation, Message, ToolCall, ToolEnded
from orchestra.run.events import ToolOutput
from orchestra.run.outcome import Json


async def perform(
    tools: Mapping[str, Tool], name: str, arguments: Mapping[str, Json], context: ToolContext
) -> ToolResult:
    """Call a tool by its name; whatever goes wrong with it is a result for the agent.

    Only our own errors (a lost store) and a cancellation are raised.
    """
    began = time.monotonic()
    tool = tools.get(name)
    if tool is None:
        result = error(f"unknown tool {name!r}; known: {', '.join(sorted(tools))}")
    else:
        result = await _run_hooks(tool, arguments, context)
    result = await _shorten(result, name, context)
    return replace(result, duration_ms=round((time.monotonic() - began) * 1000))


def error(message: str) -> ToolResult:
    """A failed call, for the agent."""
    return ToolResult(text=f"error: {message}", is_error=True)


async def _run_hooks(tool: Tool, arguments: Mapping[str, Json], context: ToolContext) -> ToolResult:
    problem = invalid(tool, arguments)
    if problem:
        return error(problem)
    denied = await before(tool.name, arguments, context)
    if denied is not None:
        return error(denied)
    result = await _call(tool, arguments, context)
    return await after(tool.name, arguments, result, context)


async def _call(tool: Tool, arguments: Mapping[str, Json], context: ToolContext) -> ToolResult:
    try:
        return await tool.call(arguments, context)
    except ToolError as failure:
        return error(str(failure))
    except (OrchestraError, Suspended):
        raise
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return error(f"{tool.name} was canceled")
    except Exception as failure:  # noqa: BLE001  error boundary: a tool's exception is an error for the agent
        return error(f"{tool.name} failed: {type(failure).__name__}: {failure}")


def invalid(tool: Tool, arguments: Mapping[str, Json]) -> str:
    """What is wrong with a call's arguments, empty where nothing is."""
    validator = _validator(msgspec.json.encode(tool.parameters))
    found = sorted(validator.iter_errors(dict(arguments)), key=lambda one: list(map(str, one.absolute_path)))
    if not found:
        return ""
    first = found[0]
    where = ".".join(str(step) for step in first.absolute_path)
    return f"{tool.name}: {where + ': ' if where else ''}{first.message[:500]}"


@lru_cache(maxsize=256)
def _validator(schema: bytes) -> Any:
    from jsonschema import Draft202012Validator  # only a run whose agent calls a tool pays for it

    return Draft202012Validator(msgspec.json.decode(schema))


async def _shorten(result: ToolResult, name: str, context: ToolContext) -> ToolResult:
    """The result without secrets, cut to what the model gets; what is cut is stored before."""
    text = context.redactor.text(result.text.encode("utf-8", "replace").decode())
    limit = limit_of(name, context)
    if result.parts:
        context.outputs[output_name(result.parts)] = result.parts
    if len(text) <= limit:
        return replace(result, text=text)
    parts = result.parts or await store_text(text, context)
    size = result.size if result.parts else len(text.encode())
    context.outputs[output_name(parts)] = parts
    return replace(result, text=cut(text, limit, storage_note(parts, size)), parts=parts, size=size)


INTERRUPTED = "interrupted: it may or may not have happened; check before repeating it"
"""The result of a call that was cut off, for a tool that may change something (A9)."""


OVER_LIMIT = "not made: the limit of tool calls is reached"
"""The result of a call that a limit does not allow any more (A5)."""


@dataclass(frozen=True, slots=True)
class ToolCalls:
    """Makes the calls of one attempt; ``context`` is None without tools. ``left`` is how many the limits allow."""

    task: AgentTask
    turns: Turns
    guard: Guard
    tools: Mapping[str, Tool]
    context: ToolContext | None
    left: Callable[[], int | None]

    async def run(self, turn: int, answer: Message) -> list[ToolEnded]:
        """Make the calls of an answer, in order of their results.

        Neighbouring calls that only read run together; any other runs alone, in its place, and is recorded. Calls
        beyond a limit are not made (A5).
        """
        ended: list[ToolEnded] = []
        group: list[ToolCall] = []
        left = self.left()
        for number, call in enumerate(answer.tool_calls):
            if left is not None and number >= left and call.name != NAME:
                ended += await self._together(turn, answer, group)
                group = []
                ended.append(self.end(turn, call, error(OVER_LIMIT)))
            elif self._repeatable(call):
                group.append(call)
            else:
                ended += await self._together(turn, answer, group)
                group = []
                one = await self._call(turn, answer, call)
                await self.turns.on_tool(one)
                ended.append(one)
        return ended + await self._together(turn, answer, group)

    async def resume(self, known: Conversation, answer: Message) -> list[ToolEnded]:
        """End the calls of an interrupted turn: run reads again, the rest is ``interrupted``.

        A call that waited for a person has not been made, and neither have those after it.
        """
        ended, waited = [], False
        for call in known.pending:
            waited = waited or self.task.scope.has_unanswered(_part(known.turns, answer, call))
            if waited or call.invalid or self._repeatable(call) or self._idempotent(call):
                one = await self._call(known.turns, answer, call)
            else:
                one = self.end(known.turns, call, error(INTERRUPTED))
            if waited and not self._repeatable(call):
                await self.turns.on_tool(one)
            ended.append(one)
        return ended

    def remember(self, known: Conversation) -> None:
        """Restore what the tools knew: the whole outputs of cut results, the files that were read
        (A32)."""
        if self.context is None:
            return
        for message in known.messages:
            if message.whole:
                parts = tuple(from_map(part) for part in message.whole)
                self.context.outputs[output_name(parts)] = parts
            for name, facts in message.seen.items():
                repo, _, path = name.partition(":")
                self.context.read[repo, path] = facts

    def _idempotent(self, call: ToolCall) -> bool:
        """Whether a call may run twice; an approval is for one call in any case (H11)."""
        repeatable = getattr(self.tools[call.name], "idempotent", False)
        return bool(repeatable) and not self.guard(call.name, call.arguments)

    def _repeatable(self, call: ToolCall) -> bool:
        """Whether a call that may have been made can be made again."""
        tool = self.tools.get(call.name)
        return call.name == NAME or tool is None or tool.read_only

    async def _together(self, turn: int, answer: Message, calls: Sequence[ToolCall]) -> list[ToolEnded]:
        if len(calls) < 2:
            return [await self._call(turn, answer, call) for call in calls]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._call(turn, answer, call)) for call in calls]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _call(self, turn: int, answer: Message, call: ToolCall) -> ToolEnded:
        shown = f"{call.name} {_brief(call.arguments)}\n"
        self.turns.show(ToolOutput(node=self.task.node.id, stream="tool", text=shown))
        if call.invalid:
            return self.end(turn, call, error(f"the arguments could not be read: {call.invalid}"))
        assert self.context is not None
        part = _part(turn, answer, call)
        alike = "" if call.name in EXEMPT else self.guard(call.name, call.arguments)
        if alike and call.name in self.tools:
            refused = await approval(self.context, call.name, call.arguments, alike, part)
            if refused is not None:
                return self.end(turn, call, refused)
        before = dict(self.context.read)
        result = await perform(self.tools, call.name, call.arguments, replace(self.context, part=part))
        seen = {
            f"{repo}:{path}": facts
            for (repo, path), facts in self.context.read.items()
            if before.get((repo, path)) != facts
        }
        return self.end(turn, call, result, seen)

    def end(
        self,
        turn: int,
        call: ToolCall,
        result: ToolResult,
        seen: Mapping[str, tuple[int, ...]] | None = None,
    ) -> ToolEnded:
        """A call with its result, as it is recorded."""
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
            turn=turn,
            call=call,
            message=message,
            files_written=result.files_written,
            duration_ms=result.duration_ms,
        )


def _part(turn: int, answer: Message, call: ToolCall) -> str:
    """How a question about a call is named: the turn, and which of its calls it is (H2)."""
    ids = [one.id for one in answer.tool_calls]
    return f"{turn}.{ids.index(call.id) + 1 if call.id in ids else 0}"


def _brief(arguments: Mapping[str, Any]) -> str:
    text = " ".join(f"{key}={value!r}" if not isinstance(value, str) else value for key, value in arguments.items())
    return " ".join(text.split())[:200]
