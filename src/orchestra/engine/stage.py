"""One execution of one node: what its handler gets, and how its errors are contained (engine.md#handlers)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec.structs import replace

from orchestra.engine.agent_turns import AgentTurns
from orchestra.engine.asking import has_answered, has_unanswered
from orchestra.engine.control import Control, Instruction
from orchestra.engine.journal import Journal
from orchestra.engine.slots import BranchSlots
from orchestra.errors import (
    BackendError,
    ConfigError,
    InvalidPipeline,
    SourceError,
    StoreError,
    Terminal,
    Transient,
)
from orchestra.graph.attributes import Duration
from orchestra.graph.model import Graph, Node
from orchestra.ports import Child, Clock, Decided, FanPlan, Handler, Suspended, Workspace
from orchestra.run.conversation import AgentConversation
from orchestra.run.declare import BlobRef
from orchestra.run.events import (
    ContextValue,
    Event,
    ToolOutput,
)
from orchestra.run.judging import check_report
from orchestra.run.outcome import FailureClass, Json, Outcome, Status, failed_outcome
from orchestra.run.parallel import Branch, Fan
from orchestra.run.questions import Answer, Question
from orchestra.run.state import Context, Spent
from orchestra.run.steps import Execute


class StageRun(Protocol):
    """A stage's run: the children and branches that it can start, and what its walks share."""

    @property
    def places(self) -> BranchSlots:
        """The places for nodes of branches that work at once."""

    def child(self, stage: Stage, session: str) -> AbstractAsyncContextManager[Child]:
        """Open the stage's child session, or the one that is named (``Scope.child``)."""

    async def fan_out(self, stage: Stage, plan: FanPlan, decided: Decided) -> Fan:
        """Walk the branches of the stage's node (``Scope.fan_out``)."""

    async def ask(self, stage: Stage, question: Question) -> Answer:
        """Ask people a question of the stage's node (``Scope.ask``)."""


class Stage(AgentTurns):
    """What a handler gets of its session (the ``Scope`` port), and what it left at its end."""

    def __init__(
        self,
        journal: Journal,
        step: Execute,
        clock: Clock,
        control: Control,
        spawning: StageRun,
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
        due = self.control.session.take()
        self.steered += due
        return tuple(one.text for one in due)

    def prompt(self, text: str) -> None:
        """Record what the agent is asked."""
        self.prompted = text

    def response(self, text: str) -> None:
        """Record the agent's whole answer."""
        self.responded = text

    def spend(self, *, tokens_in: int = 0, tokens_out: int = 0, cost_micros: int = 0) -> None:
        """Count what a model read, wrote and cost."""
        self.spent += Spent(tokens_in=tokens_in, tokens_out=tokens_out, cost_micros=cost_micros)

    @property
    def talk(self) -> AgentConversation:
        """The conversation of the node's agent, so far as it is recorded."""
        running = self.journal.running
        transient = running.failed_class == "transient"
        return AgentConversation(
            name=f"{running.node}#{running.visit}.{running.talk}",
            begun=running.talked,
            failed_before="" if transient else running.failed_before,
            transient=transient,
        )

    async def resolve(self, value: ContextValue) -> Json:
        """A context value, its reference resolved."""
        return await self.journal.resolve(value)

    async def ask(self, question: Question) -> Answer:
        """The answer to a question. Raises ``Waiting``."""
        return await self._spawning.ask(self, question)

    def has_unanswered(self, part: str) -> bool:
        """Whether the question of this part was asked before, and no answer is recorded."""
        return has_unanswered(self.journal, part)

    def has_answered(self, part: str) -> bool:
        """Whether the question of this part was asked before, and its answer is recorded."""
        return has_answered(self.journal, part)

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
        """Return the bytes of a reference."""
        return await self.journal.read_bytes(ref)

    def seam(self, data: bytes, at: int) -> int:
        """Where bytes may be cut so that no secret is in two parts."""
        return self.journal.redactor.seam(data, at)


_TERMINAL = (
    FileNotFoundError,
    NotImplementedError,
    PermissionError,
    ConfigError,
    InvalidPipeline,
    SourceError,
    Terminal,
)
"""Exceptions that another attempt would meet again: a missing file or command, configuration (E20)."""


async def attempt(handler: Handler, node: Node, context: Context, graph: Graph, stage: Stage) -> Outcome:
    """One attempt: the handler's outcome, its exception or its timeout as a failure.

    A lost store is ours and passes through, also out of an exception group. A handler with ``keeps_time`` sees to
    the node's ``timeout`` itself (H5).
    """
    limit = None if getattr(handler, "keeps_time", False) else node.duration("timeout")
    try:
        if limit is None:
            outcome = await handler(node, context, graph, stage)
        else:
            outcome = await _within(limit, handler, node, context, graph, stage)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return _outcome_of(error)  # nobody cancelled us: the handler waited for something that was
    except BaseExceptionGroup as group:
        if not isinstance(group, Exception):
            raise
        _pass_through(group)
        return _outcome_of(_first(group))
    except Exception as error:  # noqa: BLE001  error boundary: a handler's exception is the node's failure
        _pass_through(error)
        return _outcome_of(error)
    return check_report(node, outcome)


async def _within(
    limit: Duration, handler: Handler, node: Node, context: Context, graph: Graph, stage: Stage
) -> Outcome | None:
    """Return the handler's outcome, or its timeout, however the handler reacted to that."""
    try:
        async with asyncio.timeout(limit.seconds) as timer:
            outcome = await handler(node, context, graph, stage)
    except Exception as error:
        _pass_through(error)
        if not timer.expired():
            raise
    if timer.expired():
        shown = limit if limit.milliseconds % 1000 else f"{limit.milliseconds // 1000}s"
        return failed_outcome(f"timeout after {shown}", FailureClass.TRANSIENT)
    return outcome


_PASS_THROUGH = (StoreError, Suspended)


def _pass_through(error: Exception) -> None:
    """Raise the lost store that the exception is, or holds; and what only says that the run pauses."""
    if isinstance(error, _PASS_THROUGH):
        raise error
    lost = error.subgroup(_PASS_THROUGH) if isinstance(error, ExceptionGroup) else None
    if lost is not None:
        raise _first(lost) from error


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _outcome_of(error: BaseException) -> Outcome:
    try:
        words = str(error)
    except Exception:  # noqa: BLE001  an exception that cannot even be shown still fails only its node
        words = ""
    ours = isinstance(error, ConfigError | BackendError)  # its message is written for the operator
    text = words if words and ours else f"{type(error).__name__}: {words}" if words else type(error).__name__
    if isinstance(error, _TERMINAL):
        return failed_outcome(text, FailureClass.TERMINAL)
    if isinstance(error, Transient):
        return replace(failed_outcome(text, FailureClass.TRANSIENT), retry_after=error.retry_after)
    return failed_outcome(text)
