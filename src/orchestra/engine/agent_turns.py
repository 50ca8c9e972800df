"""An agent's work in its node's record: its turns, their cost, their changes (A9, W3)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NoReturn

from orchestra.engine.control import Control, Instruction
from orchestra.engine.journal import Journal
from orchestra.engine.talks import conversation, past
from orchestra.errors import BackendError
from orchestra.graph.model import Graph
from orchestra.ports import Clock, CommitResult, MessageWriter, NewCommit, Suspended, Workspace
from orchestra.run.conversation import (
    AgentTurn,
    CompactedConversation,
    Conversation,
    Message,
    Response,
    ToolEnded,
    Usage,
    plain_messages,
)
from orchestra.run.events import (
    AgentResponded,
    AgentToolEnded,
    AgentTurnCompleted,
    CommitMessageWritten,
    ConversationCompacted,
    SteeringTaken,
    WarningRaised,
)
from orchestra.run.fidelity import BUDGET, Earlier, incoming, mode_of, preamble, thread_of
from orchestra.run.limits import LimitUsage, UsageTotals
from orchestra.run.secrets import clean, plain_json
from orchestra.run.state import Context, Spent
from orchestra.run.steps import Execute
from orchestra.run.turns import Paid


class AgentTurns:
    """The part of a stage that only agents need: the ``Turns`` port, and commits."""

    journal: Journal
    step: Execute
    clock: Clock
    control: Control
    workspace: Workspace | None
    spent: Spent
    steered: tuple[Instruction, ...]

    @cached_property
    def recorder(self) -> TurnRecorder:
        """The turns of the node's agent, from its first one on."""
        return TurnRecorder(self.step)

    async def earlier(self, graph: Graph, mode: str = "") -> Earlier:
        """What earlier work the node's model sees."""
        state, node = self.journal.state, graph.nodes[self.step.node]
        edge = incoming(graph, state)
        mode = mode or mode_of(graph, node, edge)
        until = self.step.node, self.step.visit
        before = await past(self.journal.store, self.journal.context_id, until) if mode in BUDGET else []
        return Earlier(
            mode=mode,
            thread=thread_of(graph, node, edge, state.arrived_from),
            preamble=preamble(mode, graph, state, Context(graph, state), before),
        )

    async def conversation(self, thread: str) -> Conversation:
        """A conversation as it is recorded."""
        return await conversation(self.journal.store, self.journal.context_id, thread)

    async def on_response(self, response: Response) -> None:
        """Record a model's answer with the instructions that it had, durably."""
        self.record_steered()
        self.record_payment(self.recorder.response_event(response))
        await self.journal.flush()

    async def on_tool(self, ended: ToolEnded) -> None:
        """Record a tool's result durably."""
        self.journal.record(self.recorder.tool_ended(ended))
        await self.journal.flush()

    async def on_turn(self, turn: AgentTurn) -> None:
        """Commit what the turn wrote, and record its end durably (W3)."""
        made = await self._commit_turn(turn) if turn.files_written else ()
        self.record_steered()
        ended = self.recorder.turn_ended(
            turn, git_sha=made[0].commit if made else "", commit_message=made[0].subject if made else ""
        )
        self.record_payment(ended)
        await self.journal.flush()

    async def on_compacted(self, compacted: CompactedConversation) -> None:
        """Record a conversation that was made shorter, durably (E40)."""
        self.record_payment(self.recorder.compaction_event(compacted))
        await self.journal.flush()

    def record_payment(self, event: Paid) -> None:
        """Record what a model was paid for, and count it for the whole run (A5)."""
        before = self.journal.state.spent
        self.control.session.meter.began(before)
        self.journal.record(event)
        self.control.session.meter.add(self.journal.state.spent - before)

    async def _commit_turn(self, turn: AgentTurn) -> tuple[CommitResult, ...]:
        said = next((one.text for one in turn.messages if one.role == "assistant" and one.text.strip()), "")
        return await self.commit(
            files=turn.files_written, turn=turn.turn, intent=said, model=turn.model, provider=turn.provider
        )

    def proceed(self) -> None:
        """Raise ``Suspended`` where the run pauses (A12)."""
        if self.control.pausing:
            raise Suspended

    async def rest(self, seconds: float) -> None:
        """Wait; a pause ends the wait and the node's work."""
        if seconds > 0:
            await self.control.pausing_during(self.clock.sleep(seconds))
        self.proceed()

    def halt(self, reason: str, limit: str = "quota") -> NoReturn:
        """Pause the run for a limit (A5)."""
        self.control.halt(reason, limit)
        raise Suspended

    def jitter(self) -> float:
        """A uniform draw between 0.5 and 1.5 (E21)."""
        return self.clock.jitter()

    def standing(self) -> UsageTotals:
        """What the node's visit and the run have used so far (A5)."""
        state, running, now = self.journal.state, self.journal.running, self.clock.now_ms()
        self.control.session.meter.began(state.spent)
        return UsageTotals(
            node=_usage(running.visit_spent, self.spent, now - running.entered_ms),
            run=_usage(self.control.session.meter.total, self.spent, now - state.started_ms - state.idle_ms),
        )

    def record_steered(self) -> None:
        """Record the instructions that the agents had: until then they stay due (S15)."""
        for instruction in self.steered:
            self.journal.record(
                SteeringTaken(node=self.step.node, text=instruction.text, request=instruction.request)
            )
        self.steered = ()

    async def commit(
        self,
        *,
        files: Sequence[str] | None = None,
        turn: int = 0,
        intent: str = "",
        message: str = "",
        model: str = "",
        provider: str = "",
        by: str = "tool",
    ) -> tuple[CommitResult, ...]:
        """Commit what the node changed so far (W3, W4)."""
        if self.workspace is None:
            return ()
        redactor, writer = self.journal.redactor, self.workspace.writer

        async def write(repo: str, diff: str) -> str:
            if writer is None:
                return ""
            return await self._written_message(writer, repo, redactor.text(intent), diff)

        def secret(text: str) -> tuple[str, int]:
            found = next(iter(redactor.find(text)), None)
            return ("", 0) if found is None else (found[2], text.count("\n", 0, found[0]) + 1)

        number = f".{turn}" if turn else ""
        return await self.workspace.commit(
            NewCommit(
                node=self.step.node,
                turn=f"{self.step.node}.{self.step.visit}.{self.step.attempt}{number}",
                files=None if files is None else tuple(files),
                intent=redactor.text(intent),
                message=redactor.text(message),
                model=model,
                provider=provider,
                by=by,
                secret=secret,
                write=None if writer is None else write,
            )
        )

    async def _written_message(self, writer: MessageWriter, repo: str, intent: str, diff: str) -> str:
        """Return the recorded message of a change, else one that the model writes now, charged to the node (W3).

        Where the model fails, the text is empty and a Warning says why: the template makes the message then.
        """
        journal, node = self.journal, self.step.node
        key = hashlib.sha256(f"{repo}\0{node}\0{diff}".encode("utf-8", "replace")).hexdigest()[:32]
        if journal.running.message_for == key:
            return journal.running.message
        try:
            written = await writer(intent, journal.redactor.text(diff))
        except BackendError as error:
            message = f"no commit message from the model, so the template is used: {error}"
            journal.record(WarningRaised(message=message, rule="commit_message", node=node))
            return ""
        if written is None:
            return ""
        text = journal.redactor.text(clean(written.text))
        self.record_payment(
            CommitMessageWritten(
                repo=repo,
                node=node,
                text=text,
                change=key,
                model=written.model,
                provider=written.provider,
                tokens_in=written.tokens_in,
                tokens_out=written.tokens_out,
                cost_micros=written.cost_micros,
                unpriced=written.unpriced,
                duration_ms=written.duration_ms,
            )
        )
        await journal.flush()
        return text


def _usage(recorded: Spent, more: Spent, milliseconds: int) -> LimitUsage:
    return LimitUsage(
        turns=recorded.turns,
        tool_calls=recorded.tool_calls,
        tokens=recorded.tokens + more.tokens,
        cost_micros=recorded.cost_micros + more.cost_micros,
        seconds=max(0, milliseconds) / 1000,
    )


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

    def compaction_event(self, compacted: CompactedConversation) -> ConversationCompacted:
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
