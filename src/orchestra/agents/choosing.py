"""Which backend runs a node, and with which model (A7, A10)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from orchestra.agents.models import CLI
from orchestra.graph.model import Graph, Node
from orchestra.ports import AgentTask, CodergenBackend, ModelChoice, Turns
from orchestra.run.events import WarningRaised
from orchestra.run.outcome import Outcome
from orchestra.run.retry import attempts_of

SIMULATION, DIRECT, LANGGRAPH = "simulation", "direct", "langgraph"
MODEL_BACKENDS = frozenset({DIRECT, LANGGRAPH})
"""The backends that ask a provider's model."""

Choosing: TypeAlias = Callable[[Node, Graph], str]
"""The name of a node's backend (A7)."""

Resolving: TypeAlias = Callable[[Node, Graph], ModelChoice]
"""The model of a node (A10)."""


Making: TypeAlias = Callable[[str], CodergenBackend]
"""The backend of a name."""

Falling: TypeAlias = Callable[[Node, Graph], tuple[ModelChoice, ...]]
"""The models that are used instead, in order, when an attempt failed for a moment or out of quota (A15)."""


@dataclass(frozen=True, slots=True)
class BackendChooser:
    """Hands each node's task to its own backend, the model resolved."""

    making: Making
    choosing: Choosing
    resolving: Resolving
    falling: Falling

    async def run(self, task: AgentTask, turns: Turns) -> str | Outcome | None:
        """What the node's backend answers."""
        name = self.choosing(task.node, task.graph)
        if name in (*MODEL_BACKENDS, *CLI) and not task.model.model:
            task = self._with_model(task)
        if not task.thread:
            task = replace(task, thread=f"{task.scope.talk.name}/{task.before}")
        return await self.making(name).run(task, turns)

    def _with_model(self, task: AgentTask) -> AgentTask:
        """The task with its model: another one where the attempt before this failed for a moment (A15)."""
        scope, own = task.scope, self.resolving(task.node, task.graph)
        models = (own, *self.falling(task.node, task.graph))
        used = min(scope.attempt - 1, len(models) - 1) if scope.talk.transient else 0
        if used:
            message = f"{task.node.id}: {_named(models[used - 1])} failed; using {_named(models[used])} (fallbacks)"
            scope.record(WarningRaised(message=message, rule="fallback", node=task.node.id))
        more = used < len(models) - 1 and scope.attempt < attempts_of(task.graph, task.node)
        return replace(task, model=models[used], more_models=more)


def _named(choice: ModelChoice) -> str:
    return f"{choice.provider}:{choice.model}"
