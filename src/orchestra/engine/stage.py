"""One execution of one node: what its handler gets, and the wall around the handler (engine.md#handlers)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NoReturn, Protocol

from orchestra.engine.asking import Waiting, has_answered, has_unanswered
from orchestra.engine.control import Control, Instruction
from orchestra.engine.journal import Journal
from orchestra.engine.messages import message_for
from orchestra.engine.recording import TurnRecorder
from orchestra.engine.shared import more_of
from orchestra.engine.slots import BranchSlots
from orchestra.graph.model import Graph
from orchestra.ports import Child, Clock, Committed, Decided, FanPlan, NewCommit, Suspended, Workspace
from orchestra.run.blobs import BlobRef
from orchestra.run.context import Context
from orchestra.run.conversation import AgentTurn, Compacted, Conversation, Response, Talking, ToolEnded
from orchestra.run.events import (
    ContextValue,
    Event,
    SteeringTaken,
    ToolOutput,
)
from orchestra.run.fidelity import BUDGET, Earlier, incoming, mode_of, preamble, thread_of
from orchestra.run.limits import Standing, Used
from orchestra.run.outcome import Json, Outcome, Status
from orchestra.run.parallel import Branch, Fan
from orchestra.run.plain import clean
from orchestra.run.questions import Answer, Question
from orchestra.run.state import Spent
from orchestra.run.steps import Execute
from orchestra.run.turns import Paid


class Spawning(Protocol):
    """The run of a stage: the child sessions and branches that it can start, and what the session's walks share."""

    @property
    def places(self) -> BranchSlots:
        """The places for nodes of branches that work at once."""

    def child(self, stage: Stage, session: str) -> AbstractAsyncContextManager[Child]:
        """Open the stage's child session, or the one that is named (``Scope.child``)."""

    async def fan_out(self, stage: Stage, plan: FanPlan, decided: Decided) -> Fan:
        """Walk the branches of the stage's node (``Scope.fan_out``)."""


class Stage:
    """What a handler gets of its session (the ``Scope`` port), and what it left behind when it ended."""

    __slots__ = (
        "_recording",
        "_spawning",
        "clock",
        "control",
        "journal",
        "prompted",
        "responded",
        "spent",
        "steered",
        "step",
        "workspace",
    )

    def __init__(
        self,
        journal: Journal,
        step: Execute,
        clock: Clock,
        control: Control,
        spawning: Spawning,
        workspace: Workspace | None = None,
    ) -> None:
        self.journal = journal
        self.step = step
        self.clock = clock
        self.control = control
        self._spawning = spawning
        self.workspace = workspace
        self.steered: tuple[Instruction, ...] = ()
        self.prompted = ""
        self.responded = ""
        self.spent = Spent()
        self._recording: TurnRecorder | None = None

    @property
    def session(self) -> str:
        """The session's display id."""
        return self.journal.owner.session

    @property
    def visit(self) -> int:
        """How often the node has been entered, this time included."""
        return self.step.visit

    @property
    def attempt(self) -> int:
        """Which attempt of this visit, from 1."""
        return self.step.attempt

    @property
    def execution(self) -> int:
        """How often the node has been executed in the session, retries included, from 1."""
        return self.journal.state.nodes[self.step.node].executions

    @property
    def previous(self) -> Outcome:
        """The last outcome that a conditional node passes on (E13)."""
        passed = self.journal.state.passed
        return Outcome(
            status=Status(passed.status),
            word=passed.word,
            preferred_label=passed.preferred_label,
            failure_reason=passed.failure_reason,
        )

    @property
    def variables(self) -> Mapping[str, Json]:
        """The variables given when the run was started."""
        return self.journal.state.variables

    def steering(self) -> tuple[str, ...]:
        """Instructions from outside that no agent has had yet; they count as had when the node ends."""
        due = self.control.take()
        self.steered += due
        return tuple(one.text for one in due)

    def prompt(self, text: str) -> None:
        """Record what the agent is asked."""
        self.prompted = clean(text)

    def response(self, text: str) -> None:
        """Record the agent's whole answer."""
        self.responded = clean(text)

    def spend(self, *, tokens_in: int = 0, tokens_out: int = 0, cost_micros: int = 0) -> None:
        """Count what a model read, wrote and cost."""
        self.spent = self.spent.plus(tokens_in, tokens_out, cost_micros)

    async def earlier(self, graph: Graph, mode: str = "") -> Earlier:
        """What earlier work the node's model sees."""
        state, node = self.journal.state, graph.nodes[self.step.node]
        edge = incoming(graph, state)
        mode = mode or mode_of(graph, node, edge)
        past = await self.journal.past((self.step.node, self.step.visit)) if mode in BUDGET else []
        return Earlier(
            mode=mode,
            thread=thread_of(graph, node, edge, state.arrived_from),
            preamble=preamble(mode, graph, state, Context(graph, state), past),
        )

    async def conversation(self, thread: str) -> Conversation:
        """A conversation as it is recorded."""
        return await self.journal.conversation(thread)

    @property
    def _recorded(self) -> TurnRecorder:
        """The turns of the node's agent, from its first one on."""
        if self._recording is None:
            self._recording = TurnRecorder(self.step)
        return self._recording

    async def on_response(self, response: Response) -> None:
        """Record a model's answer with the instructions that it had, durably."""
        self.record_steered()
        self.record_payment(self._recorded.response_event(response))
        await self.journal.flush()

    async def on_tool(self, ended: ToolEnded) -> None:
        """Record a tool's result durably."""
        self.journal.record(self._recorded.tool_ended(ended))
        await self.journal.flush()

    async def on_turn(self, turn: AgentTurn) -> None:
        """Commit what the turn wrote, and record its end durably (W3)."""
        made = await self._commit_turn(turn) if turn.files_written else ()
        self.record_steered()
        ended = self._recorded.turn_ended(
            turn, git_sha=made[0].commit if made else "", commit_message=made[0].subject if made else ""
        )
        self.record_payment(ended)
        await self.journal.flush()

    async def on_compacted(self, compacted: Compacted) -> None:
        """Record a conversation that was made shorter, durably (E40)."""
        self.record_payment(self._recorded.compaction_event(compacted))
        await self.journal.flush()

    def record_payment(self, event: Paid) -> None:
        """Record what a model was paid for, and count it for the whole run (A5)."""
        before = self.journal.state.spent
        self.control.meter.began(before)
        self.journal.record(event)
        self.control.meter.add(more_of(self.journal.state.spent, before))

    async def _commit_turn(self, turn: AgentTurn) -> tuple[Committed, ...]:
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

    def standing(self) -> Standing:
        """What the node's visit and the run have used so far (A5)."""
        state, now = self.journal.state, self.clock.now_ms()
        stage = state.stage
        visit = stage.visit_spent if stage is not None else Spent()
        entered = stage.entered_ms if stage is not None else now
        self.control.meter.began(state.spent)
        return Standing(
            node=_usage(visit, self.spent, now - entered),
            run=_usage(self.control.meter.total, self.spent, now - state.started_ms - state.idle_ms),
        )

    @property
    def talk(self) -> Talking:
        """The conversation of the node's agent, so far as it is recorded."""
        stage = self.journal.state.stage
        if stage is None:
            return Talking(name=f"{self.step.node}#{self.step.visit}.{self.step.attempt}")
        return Talking(
            name=f"{self.step.node}#{self.step.visit}.{stage.talk}",
            begun=stage.talked,
            failed_before=stage.failed_before if stage.failed_class != "transient" else "",
            transient=stage.failed_class == "transient",
        )

    def record_steered(self) -> None:
        """Record the instructions that the agents had: until then they stay due (S15)."""
        for instruction in self.steered:
            self.journal.record(
                SteeringTaken(node=self.step.node, text=instruction.text, request=instruction.request)
            )
        self.steered = ()

    async def resolve(self, value: ContextValue) -> Json:
        """A context value, its reference resolved."""
        return await self.journal.resolve(value)

    async def ask(self, question: Question) -> Answer:
        """The answer to a question. Raises ``Waiting``."""
        if self.control.asking is None:
            raise Waiting(question.text)
        async with self._spawning.places.release(self.control):
            return await self.control.asking.ask(self.journal, self.step, question, self.control)

    def has_unanswered(self, part: str) -> bool:
        """Whether the question of this part was asked before, and no answer is recorded."""
        return has_unanswered(self.journal, self.step, part)

    def has_answered(self, part: str) -> bool:
        """Whether the question of this part was asked before, and its answer is recorded."""
        return has_answered(self.journal, self.step, part)

    def is_approved(self, alike: str) -> bool:
        """Whether a person has approved all calls of this kind for the run."""
        return alike in self.journal.state.approved

    def times_taken(self, edge: str) -> int:
        """How often an edge has been taken."""
        return self.journal.state.edges.get(edge, 0)

    def child(self, session: str = "") -> AbstractAsyncContextManager[Child]:
        """The node's child session."""
        return self._spawning.child(self, session)

    async def fan_out(self, plan: FanPlan, decided: Decided) -> Fan:
        """Walk the branches of the node."""
        return await self._spawning.fan_out(self, plan, decided)

    @property
    def branch(self) -> Branch | None:
        """The parallel branch in which the node runs."""
        return self.journal.state.branch

    @property
    def joined(self) -> Fan | None:
        """The fan-out whose branches meet at this node."""
        return self.journal.state.fans.get(self.journal.state.joining)

    async def sleep(self, seconds: float) -> None:
        """Wait; a cancellation interrupts it."""
        await self.clock.sleep(seconds)

    def now_ms(self) -> int:
        """UTC, in milliseconds."""
        return self.clock.now_ms()

    def record(self, event: Event) -> None:
        """Record an event of the handler's own."""
        self.journal.record(event)

    def show(self, output: ToolOutput) -> None:
        """Show what is too much to be recorded piece by piece."""
        self.journal.show(output)

    async def settle(self) -> None:
        """Make what is recorded durable now."""
        await self.journal.flush()

    async def keep(self, data: bytes) -> BlobRef:
        """Store bytes, secrets removed."""
        return await self.journal.keep(data)

    async def read_bytes(self, ref: BlobRef) -> bytes:
        """The bytes that a reference stands for."""
        return await self.journal.read_bytes(ref)

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
    ) -> tuple[Committed, ...]:
        """Commit what the node changed so far (W3, W4)."""
        if self.workspace is None:
            return ()
        redactor, writer = self.journal.redactor, self.workspace.writer

        async def write(repo: str, diff: str) -> str:
            if writer is None:
                return ""
            why = redactor.text(intent)
            return await message_for(
                self.journal, writer, self.record_payment, node=self.step.node, repo=repo, intent=why, diff=diff
            )

        def secret(text: str) -> tuple[str, int]:
            found = next(iter(redactor.find(text)), None)
            return ("", 0) if found is None else (found[2], text.count("\n", 0, found[0]) + 1)

        number = f".{turn}" if turn else ""
        return await self.workspace.commit(
            NewCommit(
                node=self.step.node,
                turn=f"{self.step.node}.{self.visit}.{self.attempt}{number}",
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

    def seam(self, data: bytes, at: int) -> int:
        """Where bytes may be cut so that no secret is in two parts."""
        return self.journal.redactor.seam(data, at)


def _usage(recorded: Spent, more: Spent, milliseconds: int) -> Used:
    return Used(
        turns=recorded.turns,
        tool_calls=recorded.tool_calls,
        tokens=recorded.tokens + more.tokens,
        cost_micros=recorded.cost_micros + more.cost_micros,
        seconds=max(0, milliseconds) / 1000,
    )
