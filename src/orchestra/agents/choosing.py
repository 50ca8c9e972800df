"""Which backend runs a node, and with which model (A7, A10)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from orchestra.agents.models import CLI
from orchestra.graph.model import Graph, Node
from orchestra.ports import AgentTask, CodergenBackend, ModelChoice, Turns
from orchestra.run.outcome import Outcome

SIMULATION, DIRECT, LANGGRAPH = "simulation", "direct", "langgraph"
MODEL_BACKENDS = frozenset({DIRECT, LANGGRAPH})
"""The backends that ask a provider's model."""

Choosing: TypeAlias = Callable[[Node, Graph], str]
"""The name of a node's backend (A7)."""

Resolving: TypeAlias = Callable[[Node, Graph], ModelChoice]
"""The model of a node (A10)."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Hands each node's task to its own backend, the model resolved."""

    backends: Mapping[str, CodergenBackend]
    choosing: Choosing
    resolving: Resolving

    async def run(self, task: AgentTask, turns: Turns) -> str | Outcome | None:
        """What the node's backend answers."""
        name = self.choosing(task.node, task.graph)
        if name in (*MODEL_BACKENDS, *CLI) and not task.model.model:
            task = replace(task, model=self.resolving(task.node, task.graph))
        if not task.thread:
            task = replace(task, thread=f"{task.scope.talk.name}/{task.before}")
        return await self.backends[name].run(task, turns)
