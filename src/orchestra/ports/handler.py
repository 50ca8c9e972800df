"""What a node's handler is, and what it gets of its session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NoReturn, Protocol, TypeAlias

from orchestra.graph.model import Graph, Node
from orchestra.ports.workspace import CommitResult, Workspace
from orchestra.run.conversation import (
    AgentConversation,
    AgentTurn,
    CompactedConversation,
    Conversation,
    Response,
    ToolEnded,
)
from orchestra.run.declare import BlobRef
from orchestra.run.events import ContextValue, Event, ToolOutput
from orchestra.run.fidelity import Earlier
from orchestra.run.limits import UsageTotals
from orchestra.run.outcome import Json, Outcome
from orchestra.run.parallel import Branch, BranchPlan, BranchResult, Fan
from orchestra.run.questions import Answer, Question
from orchestra.run.state import Context


class Suspended(Exception):
    """The run pauses while the node is not done; it is executed again when the run continues.

    Raised by the engine through a handler: handlers, backends and tools let it pass.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """What a parent sees of its child.

    ``status`` is running, paused, success, fail or canceled; ``outcome`` is that of the last ended node, ``node``
    the current one; ``reason`` says why it failed or stopped.
    """

    session: str
    status: str
    outcome: str
    node: str
    completed: int
    retries: int
    last_response: str
    reason: str

    @property
    def ended(self) -> bool:
        """Whether it has ended, for its parent."""
        return self.status in ("success", "fail", "canceled")


class Child(Protocol):
    """A child session as the node that runs it sees it."""

    def telemetry(self) -> Telemetry:
        """Return what is seen of it now."""

    async def wait_for_change(self, seconds: float) -> None:
        """Wait until it pauses, continues or ends, at most so long."""

    async def context(self) -> Mapping[str, Json]:
        """Its context as its nodes left it."""

    async def steer(self, text: str) -> None:
        """Put an instruction for its next agent into its mailbox (S15)."""

    async def stop(self, reason: str) -> None:
        """Cancel it, and wait until it has stopped."""


class Turns(Protocol):
    """Where a backend tells the turns of its agent, and what it learns of those before (agents.md)."""

    async def conversation(self, thread: str) -> Conversation:
        """The conversation ``thread`` as it is recorded; empty where nothing was said in it (A9)."""

    async def on_response(self, response: Response) -> None:
        """Record a model's answer, and the instructions that it had; durable when this returns (A9)."""

    async def on_tool(self, ended: ToolEnded) -> None:
        """Record the result of a tool that may have changed something; durable when this returns (A9)."""

    async def on_compacted(self, compacted: CompactedConversation) -> None:
        """Record a conversation that was made shorter; durable when this returns (E40)."""

    async def on_turn(self, turn: AgentTurn) -> None:
        """Record the end of a turn; durable, and committed where there is a workspace, when this returns."""

    def proceed(self) -> None:
        """Raise what ends the node's work here where the run is pausing (A12)."""

    async def rest(self, seconds: float) -> None:
        """Wait as ``sleep`` does; a pause ends the wait, as in ``proceed``."""

    def halt(self, reason: str, limit: str = "quota") -> NoReturn:
        """Pause the run for a limit, and end the node's work here (A3, A5)."""

    def jitter(self) -> float:
        """A uniform draw between 0.5 and 1.5 (E21)."""

    def standing(self) -> UsageTotals:
        """What the node's visit and the run have used so far (A5)."""

    def steering(self) -> tuple[str, ...]:
        """Instructions from outside that no agent has had yet; recorded as taken with the next answer (A12)."""

    def show(self, output: ToolOutput) -> None:
        """Show watchers what an agent writes and does, piece by piece (A13)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FanPlan:
    """What a parallel node starts: its branches in order, at most ``limit`` at once."""

    branches: tuple[BranchPlan, ...]
    fan_in: str
    upstream: tuple[str, ...]
    join_policy: str
    error_policy: str
    limit: int


Decided: TypeAlias = Callable[[Sequence[BranchResult], int], bool]
"""Whether the branches that still run are not needed any more, by the results so far and the number of branches."""


class Scope(Turns, Protocol):
    """What a handler gets of its session, besides the node, the context and the graph."""

    @property
    def session(self) -> str:
        """The session's display id (S14)."""

    @property
    def visit(self) -> int:
        """How often the node has been entered, this time included."""

    @property
    def attempt(self) -> int:
        """Which attempt of this visit, from 1."""

    @property
    def execution(self) -> int:
        """How often the node has been executed in the session, retries included, from 1."""

    @property
    def previous(self) -> Outcome:
        """The last outcome that a conditional node passes on (E13)."""

    async def earlier(self, graph: Graph, mode: str = "") -> Earlier:
        """Return the earlier work that the node's model sees, by the graph's mode or ``mode`` (E40, E41)."""

    @property
    def talk(self) -> AgentConversation:
        """The conversation of the node's agent, so far as it is recorded (A9)."""

    @property
    def variables(self) -> Mapping[str, Json]:
        """The variables given when the run was started."""

    def prompt(self, text: str) -> None:
        """Record the agent's prompt; it is part of the turn of the node's end."""

    @property
    def responded(self) -> str:
        """The answer that was recorded last; empty before."""

    def response(self, text: str) -> None:
        """Record the agent's whole answer; it becomes ``last_response`` and ``responses.<node>``."""

    def spend(self, *, tokens_in: int = 0, tokens_out: int = 0, cost_micros: int = 0) -> None:
        """Count what a model read and wrote, in tokens, and what it cost, in millionths of a dollar (E35)."""

    async def resolve(self, value: ContextValue) -> Json:
        """A context value, its reference resolved (engine.md#handlers)."""

    async def ask(self, question: Question) -> Answer:
        """Return the first answer to a question, from any terminal or machine (H7).

        The engine gives the question its id.

        Where it has to be waited for, the walk waits: this raises the engine's own signal, and the node is executed
        again once there is an answer, up to this call, which then returns it.
        """

    def has_unanswered(self, part: str) -> bool:
        """Whether this execution has asked the question of this part before, and no answer is recorded."""

    def has_answered(self, part: str) -> bool:
        """Whether this execution has asked the question of this part before, and its answer is recorded."""

    def is_approved(self, alike: str) -> bool:
        """Whether a person has approved all calls of this kind for the run (H11)."""

    def times_taken(self, edge: str) -> int:
        """How often an edge has been taken, by its key (``run.routing.edge_keys``)."""

    def child(self, session: str = "") -> AbstractAsyncContextManager[Child]:
        """The node's child session: it runs while this is open, and is stopped where it has not ended then.

        ``session`` names one that another process runs, which continues when this is closed.
        """

    async def fan_out(self, plan: FanPlan, decided: Decided) -> Fan:
        """Walk the node's branches, each over a fork of the chain; the fan-out with their results.

        What an earlier runner has recorded of this execution is continued: finished branches keep their results,
        and its plan is the one that counts (E34). As soon as ``decided`` says so the rest are canceled.
        """

    @property
    def branch(self) -> Branch | None:
        """The parallel branch in which the node runs; None in the main walk."""

    @property
    def joined(self) -> Fan | None:
        """The fan-out whose branches meet at this node; None where it was entered in another way (E30)."""

    async def sleep(self, seconds: float) -> None:
        """Wait; pausing at once or cancelling interrupts it."""

    def now_ms(self) -> int:
        """UTC, in milliseconds."""

    def record(self, event: Event) -> None:
        """Record an event of the handler's own, durable at the latest with the node's end."""

    async def settle(self) -> None:
        """Make what is recorded durable now, before the handler acts on it (E4)."""

    async def keep(self, data: bytes) -> BlobRef:
        """Store bytes that are too many for an event, secrets removed (S18)."""

    async def read_bytes(self, ref: BlobRef) -> bytes:
        """Return the bytes of a reference."""

    @property
    def workspace(self) -> Workspace | None:
        """The worktrees of this walk; None where no repository is configured."""

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
        """Commit ``files``, or all that the node changed; nothing without a workspace (W3, W4).

        ``turn`` is the number of the agent's turn in this attempt, from 1; ``by`` is the author where no
        model is. The commits are recorded, and durable
        with the next batch: record the turn, then settle. Raises ``WorkspaceError``.
        """

    def seam(self, data: bytes, at: int) -> int:
        """Where bytes may be cut, at ``at`` or before, so that no secret is in two parts (S18)."""


class Handler(Protocol):
    """One node type: an async function, or a callable object where it needs something.

    It holds no state of a run. An exception it raises becomes a failure (engine.md#handlers).
    """

    async def __call__(self, node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome | None:
        """Do the node's work. None means that it reports nothing (``auto_status``)."""
