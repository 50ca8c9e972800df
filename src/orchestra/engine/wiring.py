"""What the sessions of one process share, and what names a session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from orchestra.graph.attributes import BUILT_IN_TYPES, SHAPES
from orchestra.graph.model import Graph
from orchestra.ports import Clock, Handler, Store, Workspaces
from orchestra.run.declare import Text
from orchestra.run.events import ContextValue, LiveEvent, Recorded, WarningRaised
from orchestra.run.judging import is_reserved, root_of
from orchestra.run.secrets import Redactor
from orchestra.run.state import RunningNode, RunState

AT_ONCE = 16
"""Nodes of branches that run at once in a session, unless ``limits.run.parallel`` says otherwise."""

Listener: TypeAlias = Callable[[Recorded | LiveEvent], None]
"""Receives each event once it is durable, and what is only shown as it happens."""

Sweep: TypeAlias = Callable[[RunningNode], Awaitable[tuple[WarningRaised, ...]]]
"""Stops what a dead runner left running of a session, and returns what to record about it (E4)."""


async def no_sweep(stage: RunningNode) -> tuple[WarningRaised, ...]:
    """Stop nothing: for sessions that never ran a command."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerProcess:
    """The process that creates or runs a session, for its provenance.

    ``machine`` identifies the running system in which ``pid`` means something; empty where that is not known.
    """

    host: str
    pid: int
    version: str
    machine: str = ""

    @property
    def note(self) -> str:
        """The name of the session's owner as other processes see it (S16)."""
        return f"process {self.pid} on {self.host}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """What every session of this process is opened with.

    ``interrupted`` (``rerun``, ``fail`` or empty) is the operator's decision about attempts that were cut off;
    ``secrets`` are the names of the secrets declared now, None if nothing was declared again. At most ``at_once``
    nodes of a session's branches run at once (E31). ``max_cost_micros`` is the bound of the command line (A5).
    """

    store: Store
    clock: Clock
    redactor: Redactor
    listeners: tuple[Listener, ...]
    origin: RunnerProcess
    sweep: Sweep = no_sweep
    interrupted: str = ""
    secrets: tuple[str, ...] | None = None
    at_once: int = AT_ONCE
    workspaces: Workspaces | None = None
    max_cost_micros: int = 0

    async def end_command(self, state: RunState) -> tuple[WarningRaised, ...]:
        """Stop the command that a dead runner may have left running; return what to record about it (E4)."""
        stage = state.stage
        return await self.sweep(stage) if stage is not None and stage.tool else ()

    def on(self, workspaces: Workspaces | None) -> Wiring:
        """Return the same for sessions that work on these repositories."""
        return replace(self, workspaces=workspaces)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPlace:
    """Where a session is in a store: its display id, the context of its chain, and its mailbox's."""

    session: str
    context_id: int
    mailbox: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Handlers:
    """The registry: handlers by type, and the roots of keys that only that type writes.

    ``readers`` are the nodes that change no file, whatever their type may do (W5).
    """

    by_type: Mapping[str, Handler]
    own_keys: Mapping[str, frozenset[str]]
    readers: frozenset[str] = frozenset()

    def owns(self, key: str) -> bool:
        """Whether a key belongs to the handlers of some type."""
        return any(root_of(key) in roots for roots in self.own_keys.values())

    def may_write(self, kind: str, key: str) -> bool:
        """Whether the handler of a type may write a key (engine.md#handlers)."""
        return root_of(key) in self.own_keys.get(kind, ()) or not (is_reserved(key) or self.owns(key))

    def resolve(self, graph: Graph, node_id: str) -> tuple[str, Handler | None]:
        """The type that runs a node: its own where it has a handler, else its shape's (E2).

        A type of ours that has no handler is never run as something else: a command that an LLM answers instead
        would look done.
        """
        wanted = graph.type_of(node_id)
        if wanted in self.by_type or wanted in BUILT_IN_TYPES:
            return wanted, self.by_type.get(wanted)
        shape = SHAPES.get(graph.nodes[node_id].shape, "codergen")
        return (shape, self.by_type[shape]) if shape in self.by_type else (wanted, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A pipeline as it is run: graph, handlers, and the texts that are recorded.

    ``children`` has, for each node that runs a child, the child's plan for each time that the node does so; the
    last serves all further times. ``given`` says that the texts are new, not read from a record. ``runs``
    has, for each node, the type that runs it and its handler. ``seconds`` is the limit of the run's time (A5).
    """

    graph: Graph
    handlers: Handlers
    dot: Text
    file: str
    graph_hash: str
    workdir: str = ""
    simulation: Text = ""
    dotfiles: Mapping[str, ContextValue] = field(default_factory=dict)
    children: Mapping[str, tuple[Plan, ...]] = field(default_factory=dict)
    given: bool = False
    seconds: float = 0
    runs: Mapping[str, tuple[str, Handler | None]] = field(init=False)

    def __post_init__(self) -> None:
        runs = {node: self.handlers.resolve(self.graph, node) for node in self.graph.nodes}
        object.__setattr__(self, "runs", runs)
