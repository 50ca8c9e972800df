"""What is known of a run: everything that the fold of its events keeps (E3), and the context made of it.

The state's size is bounded by the graph and the context, never by how long the run has lasted (S17). In it, only
what handlers write of the context is stored; ``Context`` adds what follows from it (engine.md#the-context).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from msgspec import Struct, field

from orchestra.graph.attributes import Duration
from orchestra.graph.model import Graph
from orchestra.graph.paths import keys_of
from orchestra.run.declare import BlobRef, Text
from orchestra.run.events import ContextValue
from orchestra.run.parallel import Branch, Fan
from orchestra.run.questions import AskedQuestion


class NodeRecord(Struct, frozen=True, kw_only=True):
    """What is known of one node: visits, executions in all, retries of the last visit, the last outcome.

    Visits and executions count from the first session of a chain of restarts on; ``carried`` are the visits of the
    sessions before this one, ``carried_executions`` their executions (E35). ``failing`` are the newest visits in a
    row that failed.
    """

    visits: int = 0
    executions: int = 0
    retries: int = 0
    status: str = ""
    reason: str = ""
    failure_class: str = ""
    first_step: int = 0
    ended_ms: int = 0
    duration_ms: int = 0
    carried: int = 0
    carried_executions: int = 0
    failing: int = 0

    @property
    def here(self) -> bool:
        """Whether it was entered in this session."""
        return self.visits > self.carried


class Spent(Struct, frozen=True, kw_only=True):
    """What models used: tokens, cost in millionths of a dollar, turns and tool calls of agents."""

    tokens_in: int = 0
    tokens_out: int = 0
    cost_micros: int = 0
    turns: int = 0
    tool_calls: int = 0

    @property
    def tokens(self) -> int:
        """Tokens read and written."""
        return self.tokens_in + self.tokens_out

    def __add__(self, more: Spent) -> Spent:
        """Both together."""
        return self if more == NO_EXPENSE else self._with(1, more)

    def __sub__(self, known: Spent) -> Spent:
        """What is spent that is not known; at least nothing."""
        return self._with(-1, known)

    def _with(self, sign: int, other: Spent) -> Spent:
        return Spent(
            tokens_in=max(0, self.tokens_in + sign * other.tokens_in),
            tokens_out=max(0, self.tokens_out + sign * other.tokens_out),
            cost_micros=max(0, self.cost_micros + sign * other.cost_micros),
            turns=max(0, self.turns + sign * other.turns),
            tool_calls=max(0, self.tool_calls + sign * other.tool_calls),
        )


NO_EXPENSE = Spent()


def spent_of(event: Any) -> Spent:
    """What an event says that models were paid for: its tokens and its cost."""
    return Spent(tokens_in=event.tokens_in, tokens_out=event.tokens_out, cost_micros=event.cost_micros)


class RunningNode(Struct, frozen=True, kw_only=True):
    """The node that was entered and has not ended.

    While it waits for its next attempt, ``due`` (UTC ms) and ``delay_ms`` say until when and how long. ``again``
    counts how often the attempt was restarted, ``recoveries`` how often because its runner died; ``refused``
    says why it fails instead of running again (E4). ``tool`` is the marker of the command that was started and of
    whose end nothing is known, ``tool_host`` its machine. ``elsewhere``: a session that this one is forked from was
    at it, and here nobody has begun it yet. ``asked`` are its questions to people by id,
    those that are pending and those whose answers it may not have acted on (H7).

    ``visit_spent`` is what its agent spent in this visit as far as it is recorded turn by turn, ``counted`` this
    attempt's part of that, ``open_turn`` that of a turn that has not ended (``turn_open``). ``failed_before`` and
    ``failed_class`` say how the attempt before this one ended. ``talk`` is the attempt with which the agent's
    conversation began: one that follows a failure of the moment continues it; ``talked``, that something was said
    in it. ``message`` is the last commit message that a model wrote, ``message_for`` the change that it is for.
    """

    node: str
    handler: str
    visit: int
    attempt: int
    of: int
    entered_ms: int
    due: int = 0
    delay_ms: int = 0
    reason: str = ""
    again: int = 0
    recoveries: int = 0
    refused: str = ""
    tool: str = ""
    tool_host: str = ""
    elsewhere: bool = False
    visit_spent: Spent = Spent()
    counted: Spent = Spent()
    turn_open: bool = False
    open_turn: Spent = Spent()
    failed_before: str = ""
    failed_class: str = ""
    asked: Mapping[str, AskedQuestion] = field(default_factory=dict)
    talk: int = 1
    talked: bool = False
    message: str = ""
    message_for: str = ""


class NodeEnd(Struct, frozen=True, kw_only=True):
    """A node's outcome, from its end until the next edge is chosen.

    ``passing``: a conditional node passes on what came before it (E13); one that was refused does not.
    ``changes``: what the checkpoint shows of its context changes.
    """

    node: str
    status: str
    word: str = ""
    preferred_label: str = ""
    suggested_next_ids: tuple[str, ...] = ()
    edge: str = ""
    failure_reason: str = ""
    failure_class: str = ""
    passing: bool = False
    changes: Mapping[str, Any] = field(default_factory=dict)


class PassedOutcome(Struct, frozen=True, kw_only=True):
    """The last outcome that a conditional node passes on (E13)."""

    status: str = "success"
    word: str = ""
    preferred_label: str = ""
    failure_reason: str = ""


class Successor(Struct, frozen=True, kw_only=True):
    """The session in which a restarted one continues (E14): its display id, its context, its mailbox."""

    session: str
    context_id: int
    mailbox: int
    target: str


class ChildRecord(Struct, frozen=True, kw_only=True):
    """The child session of a node: run at which visit and attempt, and how it ended, where it has.

    Where ``seen`` is not 0 it belongs to a session that this one is forked from, and counts as it stood at that
    turn. Where ``until`` is not 0 it was made as a fork of such a child, as that stood at turn ``until``. Where
    ``again`` is not 0 it continues after a failure, up to which it had run so many nodes. ``counted`` is what it
    spent that its parent has counted.
    """

    session: str
    context_id: int
    mailbox: int
    visit: int
    attempt: int
    status: str = ""
    seen: int = 0
    until: int = 0
    again: int = 0
    counted: Spent = Spent()


class RepoRecord(Struct, frozen=True, kw_only=True):
    """A repository as the chain knows it: this walk's branch, worktree and commit (W2, W7).

    ``base`` is the commit that the session branch began at, ``base_branch`` what was checked out then. ``owner`` is
    the session whose branch it is; ``path`` is where the repository is.
    """

    branch: str
    commit: str
    base: str
    owner: str
    path: str
    base_branch: str = ""
    folder: str = ""
    unmerged: tuple[str, ...] = ()
    """Parallel branches in conflict with it."""
    left: tuple[str, ...] | None = None
    """At its end: all branches with commits that it does not have. None before that."""
    not_pushed: str = ""
    """Why the branch could not be pushed when that was last tried; empty where it was pushed, or never tried."""


class Result(Struct, frozen=True, kw_only=True):
    """How a session ended: success, fail, restarted or canceled; why, at which node, when (UTC ms)."""

    status: str
    text: str
    node: str
    ended_ms: int

    @property
    def good(self) -> bool:
        """Whether the run reached its goal."""
        return self.status == "success"


class RunState(Struct, frozen=True, kw_only=True):
    """Everything that the fold keeps.

    ``nodes``, ``edges`` and ``gates`` are counters by node id, edge key and gate; ``context`` holds what handlers
    wrote; ``next_node`` is chosen and not yet entered; ``paused`` says why while a pause is the last event,
    ``waiting`` that it is for people to answer, ``limit`` which limit it was, if it was one. The current or next
    node was reached from ``arrived_from``, by the edge ``arrived_by`` (empty for a jump). ``granted`` are visits
    that ``max_visits`` does not refuse and ``steps_before`` the steps that ``max_steps`` does not count, both given
    to a failed run that is resumed. ``idle_ms`` is how long it had no runner. ``parent`` is the session it comes
    from and ``why`` the reason; ``restarts`` and ``steps_carried`` count those of the chain before this session
    (E35), ``spent`` is that of the whole chain so far, ``following`` is where a restarted one continues; one that
    took a ``loop_restart`` edge at ``restarting`` has yet to end. ``children`` are the newest child sessions by
    node, ``dotfiles`` the texts of child pipelines by path, ``workdir`` where a child works if not in its file's
    folder. ``heard`` is the turn of the mailbox that stopped it last, ``steered`` that of the newest instruction an
    agent had, ``steered_apart`` newer ones that agents in branches had; pauses and cancels up to turn
    ``void_until`` no longer count (S15). ``fans`` are the newest executions of parallel nodes, ``joining`` the
    parallel node whose fan-in comes next or is the current node, ``branch`` the branch that this chain belongs to.
    ``jumps`` counts the jumps to a ``retry_target`` by the node that failed (E15). ``workspace`` says per
    repository where the code is (W7).

    It is a ``Struct``, as the records in it are, because four changed copies are made for every node.
    """

    session: str = ""
    epoch: int = 0
    sequence: int = 0
    mailbox: int = 0
    pipeline: str = ""
    goal: str = ""
    label: str = ""
    file: str = ""
    graph_hash: str = ""
    dot: Text = ""
    simulation: Text = ""
    backend: str = ""
    variables: Mapping[str, Any] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    started_ms: int = 0
    idle_ms: int = 0
    at: int = 0
    steps: int = 0
    warnings: int = 0
    current_node: str = ""
    next_node: str = ""
    stage: RunningNode | None = None
    ended: NodeEnd | None = None
    passed: PassedOutcome = PassedOutcome()
    nodes: Mapping[str, NodeRecord] = field(default_factory=dict)
    edges: Mapping[str, int] = field(default_factory=dict)
    gates: Mapping[str, int] = field(default_factory=dict)
    granted: Mapping[str, int] = field(default_factory=dict)
    steps_before: int = 0
    steps_carried: int = 0
    restarts: int = 0
    spent: Spent = Spent()
    parent: str = ""
    parent_context: int = 0
    why: str = ""
    following: Successor | None = None
    restarting: str = ""
    children: Mapping[str, ChildRecord] = field(default_factory=dict)
    fans: Mapping[str, Fan] = field(default_factory=dict)
    joining: str = ""
    branch: Branch | None = None
    jumps: Mapping[str, int] = field(default_factory=dict)
    dotfiles: Mapping[str, Any] = field(default_factory=dict)
    workdir: str = ""
    workspace: Mapping[str, RepoRecord] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    paused: str = ""
    waiting: bool = False
    approved: tuple[str, ...] = ()
    limit: str = ""
    arrived_by: str = ""
    arrived_from: str = ""
    max_cost_micros: int = 0
    heard: int = 0
    steered: int = 0
    steered_apart: tuple[int, ...] = ()
    void_until: int = 0
    result: Result | None = None

    @property
    def pending(self) -> tuple[AskedQuestion, ...]:
        """The questions that nobody has answered yet, oldest first; those of its own walk."""
        asked = self.stage.asked.values() if self.stage is not None and self.result is None else ()
        return tuple(one for one in asked if one.answer is None)

    @property
    def node(self) -> str:
        """The current node: where the walk ended, else the running node, the next one, or the last that ran."""
        if self.result is not None:
            return self.result.node
        return self.stage.node if self.stage is not None else self.next_node or self.current_node

    @property
    def simulated(self) -> bool:
        """Whether all its agents are simulated, so that no model was asked."""
        return self.backend == "simulation"

    @property
    def failed(self) -> bool:
        """Whether the run ended in failure; a canceled one only stopped."""
        return self.result is not None and self.result.status == "fail"


NEW = RunState()


END_KEYS = frozenset({"outcome", "preferred_label", "last_stage", "last_response"})
"""What the engine writes into the context when a node ends; empty before the first one."""

ENGINE_KEYS = END_KEYS | {"current_node"}
"""The keys that only the engine writes, beside those of its own roots."""

Resolving: TypeAlias = Callable[[Any], Awaitable[Any]]
"""Returns a value; a reference is read."""


class Context(Mapping[str, ContextValue]):
    """The context as a handler and a condition see it: read only, always current for one state.

    ``current_node``, ``graph.*``, ``run.*`` and ``internal.*`` are read off the graph and the state, so they can
    never disagree with them.
    """

    __slots__ = ("_graph", "_resolved", "_state")

    def __init__(self, graph: Graph, state: RunState, resolved: Mapping[str, ContextValue] | None = None) -> None:
        self._graph = graph
        self._state = state
        self._resolved = resolved or {}

    def __getitem__(self, key: str) -> ContextValue:
        if key in self._resolved:
            return self._resolved[key]
        stored: Mapping[str, ContextValue] = self._state.context
        if key in stored:
            return stored[key]
        return _derive(self._graph, self._state, key)

    def __iter__(self) -> Iterator[str]:
        yield from self._state.context
        for key in _derived_keys(self._graph, self._state):
            if key not in self._state.context:
                yield key

    def __len__(self) -> int:
        return sum(1 for _ in self)

    async def reading(self, paths: Iterable[str], resolve: Resolving) -> Context:
        """The same context in which the references that some paths lead to are replaced by what they stand for."""
        keys = (key for path in paths for key in keys_of(path))
        values = {key: await resolve(value) for key in keys if isinstance(value := self.get(key), BlobRef)}
        return self.with_values(values) if values else self

    def with_values(self, values: Mapping[str, ContextValue]) -> Context:
        """The same context in which some keys have other values."""
        return Context(self._graph, self._state, {**self._resolved, **values})


async def routing_context(graph: Graph, state: RunState, resolve: Resolving) -> Context:
    """The context, in which the references that the conditions after the ended node read are resolved."""
    context = Context(graph, state)
    if state.ended is None or state.ended.node not in graph.nodes:
        return context
    edges = graph.outgoing(state.ended.node)
    return await context.reading((path for edge in edges for path in edge.condition.keys), resolve)


def _derive(graph: Graph, state: RunState, key: str) -> ContextValue:
    if key == "current_node":
        return state.current_node
    root, _, rest = key.partition(".")
    match root:
        case "graph" if (value := graph.get(rest)) is not None:
            return str(value) if isinstance(value, Duration) else value
        case "run" if rest == "id":
            return state.session
        case "run" if rest.startswith("vars.") and rest[5:] in state.variables:
            given: ContextValue = state.variables[rest[5:]]
            return given
        case "internal" if rest.startswith("visits."):
            return state.nodes[rest[7:]].visits
        case "internal" if rest.startswith("retry_count."):
            return state.nodes[rest[12:]].retries
    raise KeyError(key)


def _derived_keys(graph: Graph, state: RunState) -> Iterator[str]:
    yield "current_node"
    yield "run.id"
    yield from (f"run.vars.{name}" for name in state.variables)
    yield from (f"graph.{key}" for key in graph.attributes)
    for node in state.nodes:
        yield f"internal.visits.{node}"
        yield f"internal.retry_count.{node}"
