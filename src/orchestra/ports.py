"""The places where the world comes in: the store, the handlers, the clock.

Each port is a small protocol. The engine gets implementations as required parameters; what is
shipped lives in one folder per port, and ``app`` is the only module that joins them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol, TypeAlias

from msgspec import Struct, field

from orchestra.graph.model import Graph, Node
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
from orchestra.run.state import Context, RepoRecord


class NewTurn(Struct, frozen=True, kw_only=True):
    """What is to be appended: a declared type and its payload (msgpack bytes, uncompressed).

    ``compression`` is how a client of the server sent it: 0 plain, 1 zstd; it says nothing of how it is stored.
    """

    type_id: str
    type_version: int
    payload: bytes
    compression: int = 0


class Turn(Struct, frozen=True, kw_only=True):
    """A turn as stored. ``depth`` is 0 for a chain's first; ``parent`` is 0 there too."""

    turn_id: int
    parent: int
    depth: int
    type_id: str
    type_version: int
    payload: bytes
    created_ms: int = 0
    """When it was appended, UTC milliseconds; 0 where the store does not tell."""
    compression: int = 0
    """The compression that its writer declared; 0 where the store does not tell."""


@dataclass(frozen=True, slots=True)
class Head:
    """A context's head: its newest turn (0: none yet) and that turn's depth."""

    context_id: int
    turn_id: int
    depth: int


class ContextRow(Struct, frozen=True, kw_only=True):
    """A context in a listing, with the metadata of its chain's first turn."""

    context_id: int
    head_turn: int
    head_depth: int
    created_ms: int
    appended_ms: int
    client_tag: str = ""
    title: str = ""
    labels: tuple[str, ...] = ()


class Hold(Protocol):
    """A lock on a session (S16), kept until released or until the process dies."""

    def release(self) -> None:
        """Give it back. A second call does nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What a store says of itself: its kind, where it is, and findings, each with a fix."""

    kind: str
    place: str
    findings: tuple[tuple[str, str], ...] = ()


class Store(Protocol):
    """CXDB as the engine sees it (S2).

    Contexts hold chains of turns; turns are immutable and their ids are global, dense and from 1.
    Every method raises ``StoreError`` or one of its kinds, and nothing else for what the world
    does to it: ``SessionNotFound`` for an unknown context, turn or blob, ``StoreFull`` when no more
    can be written, ``Damaged`` for bytes that fail their check sum, ``StoreUnreachable`` otherwise.
    """

    async def create(self, base_turn: int = 0) -> Head:
        """A new context whose head is ``base_turn`` (0: empty). Durable when it returns."""

    async def fork(self, turn: int) -> Head:
        """A new context that continues from an existing turn; no turn is copied."""

    async def head(self, context_id: int) -> Head:
        """Return a context's current head, other processes' appends included."""

    async def append(
        self, context_id: int, turns: Sequence[NewTurn], *, blobs: Sequence[bytes] = ()
    ) -> tuple[Turn, ...]:
        """Append ``turns`` in order, and store ``blobs``, as one durable batch: all or nothing."""

    async def turns(self, context_id: int, *, before: int | None = None, limit: int = 64) -> list[Turn]:
        """A page of a context's chain, oldest first: the newest ``limit`` turns, or those before a turn.

        ``before`` is a turn of the chain; at the chain's beginning the page is empty.
        """

    async def turn(self, turn_id: int) -> Turn:
        """One turn whole."""

    async def contexts(
        self, *, label: str | None = None, before: int | None = None, limit: int | None = None
    ) -> list[ContextRow]:
        """Contexts by descending id, below ``before``; only those that carry ``label`` where one is given."""

    async def put_blob(self, data: bytes) -> bytes:
        """Store bytes durably; returns their BLAKE3-256 hash (32 bytes)."""

    async def get_blob(self, digest: bytes) -> bytes:
        """The bytes with that hash."""

    async def attach_fs(self, turn_id: int, root: bytes) -> None:
        """Attach a file tree (the hash of its stored root blob) to a turn; the last one wins."""

    def watch(self, context_id: int | None = None) -> AsyncIterator[Head]:
        """Heads as they move, of one context or of all; the first is where it stands now.

        Moves that follow one another quickly may come as one.
        """

    async def publish_types(self, bundle_id: str, bundle: bytes) -> None:
        """Make a registry bundle (JSON) known; the same bytes twice are once."""

    @property
    def local(self) -> bool:
        """Whether all who reach the store by this way are on this machine, so that ``hold`` keeps them apart."""

    def hold(self, context_id: int, note: str) -> Hold:
        """Keep other runners of this machine away from a session.

        ``SessionTaken`` names the holder by its note.

        Freed by the process's death. On a server it keeps those of this process apart (S16).
        """

    def holder(self, context_id: int) -> str | None:
        """The note of the live process of this machine that holds a session, or None."""

    async def health(self) -> Health:
        """What works and what does not."""

    async def close(self) -> None:
        """Settle what is written and let go. A second call does nothing."""


class Clock(Protocol):
    """Time, chance and ids come in here and leave in events (house rule: the fold throws no dice)."""

    def now_ms(self) -> int:
        """UTC, in milliseconds."""

    def boot_seconds(self) -> float:
        """Seconds since the machine was started, those that it slept included; never set back."""

    def jitter(self) -> float:
        """A uniform draw between 0.5 and 1.5 (E21)."""

    def display_id(self) -> str:
        """A new session's display id (S14)."""

    async def sleep(self, seconds: float) -> None:
        """Wait; a cancellation interrupts it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCommit:
    """What to commit, and the commit's message (W3, W4).

    ``files`` are paths, absolute, ``repo:path``, or relative to the first repository's folder; None commits all
    changes that git sees. ``turn`` tells one commit of the session from another: node, visit, attempt and the
    agent's turn. ``by`` is the author where there is no model. An empty ``message`` is made of the node, the files
    and ``intent``; where there is ``write``, by that from the repository's name and the diff, unless it returns an
    empty text. ``secret`` names the secret in a text, empty where there is none, and its line.
    """

    node: str
    turn: str
    files: tuple[str, ...] | None = None
    intent: str = ""
    message: str = ""
    model: str = ""
    provider: str = ""
    by: str = "tool"
    secret: Callable[[str], tuple[str, int]] | None = None
    write: Callable[[str, str], Awaitable[str]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenMessage:
    """A commit message that a model wrote, empty where it had none, and what that took."""

    text: str
    model: str
    provider: str
    tokens_in: int = 0
    tokens_out: int = 0
    cost_micros: int = 0
    unpriced: bool = False
    duration_ms: int = 0


MessageWriter: TypeAlias = Callable[[str, str], Awaitable[WrittenMessage | None]]
"""Writes a commit message from the intent and the diff; None where it never will. Raises ``BackendError``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitResult:
    """A commit that was made; ``left_out`` are files that were named and that git ignores."""

    repo: str
    commit: str
    subject: str
    files: tuple[str, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """A branch that could not be merged: per file its conflict hunks as text, with markers (W6).

    ``ours`` and ``theirs`` are the subjects of the commits of each side.
    """

    repo: str
    branch: str
    folder: str
    files: Mapping[str, str]
    ours: tuple[str, ...] = ()
    theirs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeResult:
    """The merge result of a fan-out's branches: with commits, without changes, in conflict."""

    merged: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    conflicts: tuple[Conflict, ...] = ()


class Workspace(Protocol):
    """The worktrees of one walk, one per repository (W1).

    Every method records the events of what it did in the walk's chain; they are durable with its next batch. All
    raise ``WorkspaceError`` with what git said.
    """

    @property
    def repos(self) -> tuple[str, ...]:
        """The names of the repositories, as the settings order them."""

    @property
    def writer(self) -> MessageWriter | None:
        """Who writes the messages of its commits; None for the template alone."""

    def folder(self, repo: str = "") -> Path:
        """The worktree of a repository; of the first without a name."""

    async def commit(self, wanted: NewCommit) -> tuple[CommitResult, ...]:
        """Commit files, per repository that has changed ones; none where nothing changed."""

    async def snapshot(self, reason: str = "") -> Mapping[str, RepoRecord]:
        """Return each repository's current commit; recorded if the chain does not know it."""

    async def restore(self, known: Mapping[str, RepoRecord], *, keep: bool = False) -> None:
        """Put the worktrees at the recorded commits; what is uncommitted or unknown is rescued first (W7).

        ``keep`` leaves uncommitted changes where they are: the node continues in the middle of a turn.
        """

    async def lend(
        self, *, session: str, pipeline: str, known: Mapping[str, RepoRecord], record: Callable[[Event], None]
    ) -> Workspace:
        """The same worktrees for a child session, put where its own chain knows them."""

    async def branch(
        self,
        path: str,
        record: Callable[[Event], None],
        known: Mapping[str, RepoRecord] | None = None,
        *,
        keep: bool = False,
    ) -> Workspace:
        """Worktrees on branches of their own for a parallel branch, at this walk's commits (W5).

        ``path`` names the branch within this walk; ``known`` is what its chain knows of it; ``keep`` as in
        ``restore``.
        """

    async def changes(self) -> str:
        """What the session has changed so far, as Markdown with diffs, long ones cut; empty for nothing."""

    async def push_in_background(self) -> None:
        """Push what is pushed on checkpoints, until cancelled (W9)."""

    async def finish(self, *, completed: bool) -> None:
        """Push what the remotes lack, before the end of the session is recorded: all of it where it succeeded."""

    async def close(self) -> None:
        """Put a checkout that was worked in itself back on its own branch (``in_place``)."""

    async def merge(self, branches: Sequence[str]) -> MergeResult:
        """Merge branches of a fan-out into this walk's own, in this order, by their git branch (W6).

        A branch is in every repository under the name that follows the session's.
        """


class Workspaces(Protocol):
    """Makes the workspace of a session."""

    async def open(
        self,
        *,
        session: str,
        pipeline: str,
        known: Mapping[str, RepoRecord],
        keep: bool,
        record: Callable[[Event], None],
        settle: Callable[[], Awaitable[None]],
    ) -> Workspace:
        """The workspace of a session: its branches and worktrees made, or put back to what its chain knows.

        Branches that ``known`` gives to another session are left alone; the session gets its own from those commits
        (W8). ``settle`` makes durable what was recorded.
        """


class Unanswered(Exception):
    """No person can answer here: no terminal, its input ended, or a file of answers is used up.

    The question stays open, to be answered from elsewhere.
    """


class Suspended(Exception):
    """The run pauses while the node is not done; it is executed again when the run continues.

    Raised by the engine through a handler: handlers, backends and tools let it pass.
    """


class Interviewer(Protocol):
    """Who answers questions of a run (H1): a terminal, a file of answers, a callback, nobody."""

    @property
    def several(self) -> bool:
        """Whether it can be asked several questions at a time; else each waits for the previous one (H10)."""

    async def ask(self, question: Question) -> Answer:
        """The answer to one question. Cancelled when it is answered elsewhere, or the run stops.

        Raises ``Unanswered`` where nobody answers here. It never guesses: an answer that picks an option was given
        as its key, its label, the beginning of one label alone, or its number (H4).
        """

    async def ask_multiple(self, questions: Sequence[Question]) -> list[Answer]:
        """The answers to several questions, in their order."""

    async def inform(self, message: str, stage: str) -> None:
        """Tell a person something that needs no answer; ``stage`` is the node it is about."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """The model of a node (A10). ``provider`` is a name of the configuration; ``rule`` says what decided."""

    model: str = ""
    provider: str = ""
    rule: str = ""
    reasoning_effort: str = ""
    max_tokens: int = 0
    temperature: float | None = None


class AgentTask(Struct, frozen=True, kw_only=True):
    """What a backend is asked to do for a codergen node (agents.md).

    ``thread`` names the conversation that it continues or begins: ``begun`` says that this attempt's prompt is
    already said in it, ``shared`` that other nodes may have spoken in it. ``prompt`` is the user's message whole,
    the preamble in it, ``parts`` what is attached to it; ``system`` is the system message.
    """

    node: Node
    graph: Graph
    prompt: str
    context: Context
    scope: Scope
    before: int = 0
    """How often this execution of the node has asked before."""
    system: str = ""
    thread: str = ""
    begun: bool = False
    shared: bool = False
    parts: tuple[Json, ...] = ()
    output_schema: Mapping[str, Json] = field(default_factory=dict)
    model: ModelChoice = ModelChoice()
    interactive: bool = False
    """A person talks with the agent (H9)."""
    more_models: bool = False
    """Whether a further attempt would ask another model, where this one has no quota left (A15)."""
    agent: str = ""
    """The agent's name in the configuration, where the node names one."""


class CodergenBackend(Protocol):
    """How a codergen node's prompt becomes an answer: a model, a CLI agent, a script."""

    async def run(self, task: AgentTask, turns: Turns) -> str | Outcome | None:
        """Return the answer's text, which means success, or an outcome; None for nothing to report.

        Each turn of the agent goes to ``turns``, which is the task's scope (A2, A9).
        """


class NodeAgents(Protocol):
    """The agents of a pipeline's nodes."""

    async def task(self, node: Node, context: Context, graph: Graph, scope: Scope) -> AgentTask:
        """The task of a node's agent: its prompt composed, its thread named. What it raises fails the node."""

    async def ask(self, task: AgentTask) -> str | Outcome | None:
        """What the node's backend answers; the prompt and the answer's text are recorded."""
