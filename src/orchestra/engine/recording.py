"""An agent's turns as events of its node: what ``Turns`` records (A9)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orchestra.run.conversation import AgentTurn, Compacted, Message, Response, ToolEnded, Usage, plain_messages
from orchestra.run.events import AgentResponded, AgentToolEnded, AgentTurnCompleted, ConversationCompacted
from orchestra.run.plain import plain_json
from orchestra.run.steps import Execute


class TurnRecorder:
    """The turns of one attempt as events, each message object in one of them only."""

    def __init__(self, step: Execute) -> None:
        self._where: dict[str, Any] = {"node": step.node, "visit": step.visit, "attempt": step.attempt}
        self._known: dict[int, Message] = {}

    def response_event(self, response: Response) -> AgentResponded:
        """The event of a model's answer."""
        return AgentResponded(
            **self._where,
            thread=response.thread,
            number=response.turn,
            model=response.model,
            provider=response.provider,
            messages=self._new((*response.sent, response.message)),
            fresh=response.fresh,
            **_usage_fields(response.usage, response.cost_micros),
            stop=response.stop,
            duration_ms=response.duration_ms,
        )

    def tool_ended(self, ended: ToolEnded) -> AgentToolEnded:
        """The event of a tool's result."""
        return AgentToolEnded(
            **self._where,
            thread=ended.thread,
            number=ended.turn,
            messages=self._new((ended.message,)),
            duration_ms=ended.duration_ms,
            tool=ended.call.name,
            call=ended.call.id,
            files_written=ended.files_written,
            is_error=ended.message.is_error,
        )

    def compaction_event(self, compacted: Compacted) -> ConversationCompacted:
        """The event of a conversation that was made shorter."""
        self._known.clear()
        return ConversationCompacted(
            **self._where,
            thread=compacted.thread,
            number=compacted.turn,
            model=compacted.model,
            provider=compacted.provider,
            messages=tuple(plain_json(message) for message in plain_messages(compacted.messages)),
            tokens_in=compacted.usage.input,
            tokens_out=compacted.usage.output,
            cost_micros=compacted.cost_micros or 0,
            unpriced=compacted.cost_micros is None,
            duration_ms=compacted.duration_ms,
            removed=compacted.removed,
            before=compacted.before,
        )

    def turn_ended(self, turn: AgentTurn, *, git_sha: str = "", commit_message: str = "") -> AgentTurnCompleted:
        """The event of a turn's end."""
        event = AgentTurnCompleted(
            **self._where,
            thread=turn.thread,
            number=turn.turn,
            model=turn.model,
            provider=turn.provider,
            messages=self._new(turn.messages),
            fresh=turn.fresh,
            **_usage_fields(turn.usage, turn.cost_micros),
            duration_ms=turn.duration_ms,
            files_written=turn.files_written,
            tool_calls=tuple(_call(ended) for ended in turn.tools),
            agent_state=turn.agent_state,
            git_sha=git_sha,
            commit_message=commit_message,
        )
        self._known.clear()
        return event

    def _new(self, messages: Iterable[Message]) -> tuple[Any, ...]:
        """The messages that no event of this turn holds yet, as plain data."""
        found = [message for message in messages if id(message) not in self._known]
        self._known.update({id(message): message for message in found})
        return tuple(plain_json(message) for message in plain_messages(found))


def _usage_fields(usage: Usage, cost_micros: int | None) -> dict[str, Any]:
    return {
        "tokens_in": usage.input,
        "tokens_out": usage.output,
        "cache_read": usage.cache_read,
        "cache_write": usage.cache_write,
        "reasoning": usage.reasoning,
        "cost_micros": cost_micros or 0,
        "unpriced": cost_micros is None,
    }


def _call(ended: ToolEnded) -> dict[str, Any]:
    told: dict[str, Any] = {"id": ended.call.id, "name": ended.call.name, "ms": ended.duration_ms}
    return {**told, "error": True} if ended.message.is_error else told
