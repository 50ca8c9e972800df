"""How a codergen node's prompt becomes an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from msgspec import Struct, field

from orchestra.graph.model import Graph, Node
from orchestra.ports.handler import Scope, Turns
from orchestra.run.outcome import Json, Outcome
from orchestra.run.state import Context


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
