"""The LLM task: compose a node's prompt, ask its backend, record both (engine.md#handlers, Attractor 4.5)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from msgspec import structs

from orchestra.agents.inputs import attachments, read_schema
from orchestra.agents.layers import Layer, LayerFolders, places_for, read_layer
from orchestra.agents.models import CLI, LANGGRAPH, SIMULATION, WITH_MODEL, agent_of, layer_names, resolve
from orchestra.agents.prompts import ComposedPrompt, compose, doc_folders, needed_names
from orchestra.config.settings import Settings
from orchestra.errors import ConfigError
from orchestra.graph.model import Graph, Node
from orchestra.ports import AgentTask, CodergenBackend, ModelChoice, Scope
from orchestra.run.declare import BlobRef
from orchestra.run.events import WarningRaised
from orchestra.run.fidelity import FULL, Earlier
from orchestra.run.judging import attempts_of
from orchestra.run.outcome import FailureClass, Json, Outcome, Status, failed_outcome
from orchestra.run.prompts import FAILED_BEFORE, INSTRUCTED
from orchestra.run.state import Context

ASKS_MODELS = frozenset({*WITH_MODEL, *CLI})
"""The backends whose tasks name a model."""

THREAD = "thread "
"""Before the name of a thread, in the name of the conversation that it is recorded as."""

DEGRADED = "summary:high"
"""What a node of a thread gets that cannot be continued (E40)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAgent:
    """What the graph and the settings decide about a node's agent: the same for each of its executions.

    ``models`` are its model and those that are used instead, in order, when an attempt failed for a moment or out
    of quota (A10, A15). ``layers`` are the names of its prompt layers by kind. ``prompt`` is what it is told where
    that depends on nothing else: no layer, no value of the context; else None.
    """

    backend: str
    models: tuple[ModelChoice, ...]
    interactive: bool
    layers: Mapping[str, str]
    project_docs: bool
    prompt: ComposedPrompt | None


@dataclass(frozen=True, kw_only=True)
class Agents:
    """The agents of a pipeline's nodes: the handler of codergen nodes, and whom other nodes ask.

    ``file`` is the pipeline's, ``folder`` where it works. ``backends`` has the backend of each name. Where
    ``simulated``, all nodes are asked of the simulation.
    """

    settings: Settings
    folder: Path
    file: str
    backends: Mapping[str, CodergenBackend]
    simulated: bool

    async def __call__(self, node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome | None:
        """The outcome of a codergen node; plain text is success (Attractor 4.5)."""
        try:
            task = await self.task(node, context, graph, scope)
        except ConfigError as error:  # the same prompt would be wrong again
            return failed_outcome(error.message + (f" ({error.fix})" if error.fix else ""), FailureClass.TERMINAL)
        answer = await self.ask(task)
        return Outcome(status=Status.SUCCESS) if isinstance(answer, str) else answer

    async def ask(self, task: AgentTask) -> str | Outcome | None:
        """What the node's backend answers; the prompt and the answer's text are recorded."""
        scope, name = task.scope, self.of(task.node, task.graph).backend
        if name in ASKS_MODELS and not task.model.model:
            task = self._with_model(task)
        if not task.thread:
            task = structs.replace(task, thread=f"{scope.talk.name}/{task.before}")
        scope.prompt(task.prompt)
        answer = await self.backends[name].run(task, scope)
        if isinstance(answer, str):
            scope.response(answer)
        elif answer is not None and not isinstance(answer, Outcome):
            raise TypeError(f"the backend answered with a {type(answer).__name__}, neither text nor an Outcome")
        return answer

    def _with_model(self, task: AgentTask) -> AgentTask:
        """The task with its model: another one where the attempt before this failed for a moment (A15)."""
        scope, models = task.scope, self.of(task.node, task.graph).models
        used = min(scope.attempt - 1, len(models) - 1) if scope.talk.transient else 0
        if used:
            message = f"{task.node.id}: {_name(models[used - 1])} failed; using {_name(models[used])} (fallbacks)"
            scope.record(WarningRaised(message=message, rule="fallback", node=task.node.id))
        more = used < len(models) - 1 and scope.attempt < attempts_of(task.graph, task.node)
        return structs.replace(task, model=models[used], more_models=more)

    def of(self, node: Node, graph: Graph) -> NodeAgent:
        """The agent of a node (A7, A10), settled when it is asked for the first time."""
        known = self._settled.get(node.id)
        if known is None:
            known = self._settled[node.id] = self._settle(node, graph)
        return known

    @cached_property
    def _settled(self) -> dict[str, NodeAgent]:
        return {}

    def _settle(self, node: Node, graph: Graph) -> NodeAgent:
        config = self.settings.config
        found, agent = resolve(node, graph, config, self.name), agent_of(node, config)
        rule = f"fallbacks of {found.fallbacks.rule}"
        instead = (
            replace(found.choice, provider=provider, model=model, rule=rule)
            for provider, model in found.fallbacks.value
        )
        layers = layer_names(node, config)
        return NodeAgent(
            backend=SIMULATION if self.simulated else str(found.backend.value),
            models=(found.choice, *instead),
            interactive=(node.text("agent.mode") or agent.mode) == "interactive",
            layers=layers,
            project_docs=agent.project_docs,
            prompt=None if layers or "{{" in node.text("prompt") else compose(node, graph, {}, ()),
        )

    async def task(self, node: Node, context: Context, graph: Graph, scope: Scope) -> AgentTask:
        """The task of a node: its prompt composed, its conversation named (A20, A3)."""
        talk, agent = scope.talk, self.of(node, graph)
        earlier = await self._earlier(node, graph, scope) if agent.backend != SIMULATION else None
        shared = earlier is not None and earlier.mode == FULL
        preamble = earlier.preamble if earlier is not None else ""
        docs = self._docs(scope) if agent.project_docs and agent.backend == LANGGRAPH else ()
        composed = agent.prompt
        if composed is None or preamble or docs:
            layers = tuple(read_layer(kind, name, self.places) for kind, name in agent.layers.items())
            known = await _known_values(node, layers, context, scope)
            composed = compose(node, graph, known, layers, preamble=preamble, docs=docs)
        attached, texts = attachments(node, self.bases(scope)) if node.has("attach") else ((), [])
        parts = [composed.user, *texts]
        if not talk.begun:
            parts += [INSTRUCTED + text for text in scope.steering()]
        if talk.failed_before:
            parts.append(f"{FAILED_BEFORE}{talk.failed_before}")
        return AgentTask(
            node=node,
            graph=graph,
            prompt="\n\n".join(parts),
            context=context,
            scope=scope,
            system=composed.system,
            thread=THREAD + earlier.thread if earlier is not None and shared else talk.name,
            begun=talk.begun,
            shared=shared,
            parts=attached,
            output_schema=self._schema(node),
            agent=node.text("agent"),
            interactive=agent.interactive,
        )

    async def _earlier(self, node: Node, graph: Graph, scope: Scope) -> Earlier:
        """What the node's model sees of earlier work; a summary where its thread cannot be read (E40)."""
        earlier = await scope.earlier(graph)
        if earlier.mode != FULL or scope.talk.begun:
            return earlier
        try:
            await scope.conversation(THREAD + earlier.thread)
        except ValueError as error:
            message = (
                f"the thread {earlier.thread!r} cannot be continued ({error}); {node.id} begins with a summary"
            )
            scope.record(WarningRaised(message=message, rule="thread_degraded", node=node.id))
            return await scope.earlier(graph, DEGRADED)
        return earlier

    def bases(self, scope: Scope | None = None) -> tuple[Path, ...]:
        """Return where files that a node names are searched for: its working folders, then the pipeline's."""
        own = () if scope is None or scope.workspace is None else (scope.workspace.folder(),)
        beside = Path(self.file).parent if Path(self.file).is_absolute() else self.folder
        return tuple(dict.fromkeys((*own, self.folder, beside)))

    def _schema(self, node: Node) -> Mapping[str, Json]:
        text = node.text("output_schema")
        return read_schema(text, self.bases()) if text else {}

    def _docs(self, scope: Scope) -> tuple[Path, ...]:
        return doc_folders(scope.workspace.folder() if scope.workspace is not None else self.folder)

    @property
    def name(self) -> str:
        """The pipeline's name in the settings' section ``pipelines``."""
        return Path(self.file).name

    @cached_property
    def places(self) -> LayerFolders:
        """Where layer files are looked for (A23)."""
        path = Path(self.file)
        return places_for(
            path.parent if path.is_absolute() else self.folder,
            config_file=self.settings.file,
            paths=self.settings.config.prompts.paths,
            environment=os.environ,
        )


async def _known_values(node: Node, layers: Sequence[Layer], context: Context, scope: Scope) -> Mapping[str, Any]:
    """The values that the node's prompt may name, references resolved."""
    roots = needed_names(node, layers)
    found: dict[str, Json] = {}
    for key in context if roots else ():
        value = context[key]
        if not isinstance(value, BlobRef):
            found[key] = value
        elif "context" in roots or key.partition(".")[0] in roots:
            found[key] = await scope.resolve(value)
    return found


def _name(choice: ModelChoice) -> str:
    return f"{choice.provider}:{choice.model}"
