"""The run's key-value context: what is stored, and what follows from it (engine.md#the-context).

Only what handlers write is stored. ``current_node``, ``graph.*``, ``run.*`` and ``internal.*`` are read off
the graph and the state, so they can never disagree with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestra.graph.attributes import Duration
from orchestra.graph.model import Graph
from orchestra.run.blobs import BlobRef
from orchestra.run.events import ContextValue
from orchestra.run.state import NodeRecord, RunState

RESERVED_KEYS = frozenset({"outcome", "preferred_label", "current_node", "last_stage"})
ENGINE_ROOTS = frozenset({"graph", "run", "internal", "responses"})
"""Roots of keys that no handler writes either."""

RESERVED_ROOTS = ENGINE_ROOTS | {"parallel", "human", "tool", "tools", "stack", "workspace"}
"""Keys of the engine and of handlers; agents and the command line may not write them."""


def root_of(key: str) -> str:
    """The namespace of a key: what stands before its first dot."""
    return key.partition(".")[0]


def is_reserved(key: str) -> bool:
    """Whether only the engine and handlers write this key (engine.md#the-context)."""
    return key in RESERVED_KEYS or root_of(key) in RESERVED_ROOTS


class Context(Mapping[str, ContextValue]):
    """The context as a handler and a condition see it: read only, always current for one state."""

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

    def with_resolved(self, values: Mapping[str, ContextValue]) -> Context:
        """The same context in which some references are replaced by what they stand for."""
        return Context(self._graph, self._state, {**self._resolved, **values})

    def references(self) -> dict[str, BlobRef]:
        """The keys whose values are carried by reference."""
        return {
            key: value
            for key, value in self._state.context.items()
            if isinstance(value, BlobRef) and key not in self._resolved
        }


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
            return _record(state, rest[7:]).visits
        case "internal" if rest.startswith("retry_count."):
            return _record(state, rest[12:]).retries
    raise KeyError(key)


def _record(state: RunState, node: str) -> NodeRecord:
    return state.nodes[node]


def _derived_keys(graph: Graph, state: RunState) -> Iterator[str]:
    yield "current_node"
    yield "run.id"
    yield from (f"run.vars.{name}" for name in state.variables)
    yield from (f"graph.{key}" for key in graph.attributes)
    for node in state.nodes:
        yield f"internal.visits.{node}"
        yield f"internal.retry_count.{node}"
