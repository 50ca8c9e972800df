"""The agents of a run: backends, models, tools and prompts joined from the settings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from msgspec import structs

from orchestra.agents.inputs import attachments, read_schema
from orchestra.agents.layers import Layer, LayerFolders, places_for, read_layer
from orchestra.agents.models import CLI, LANGGRAPH, SIMULATION, WITH_MODEL, agent_of, layer_names, resolve
from orchestra.agents.pricing import Price, price_of, prices_of
from orchestra.agents.prompts import ComposedPrompt, compose, doc_folders, needed_names
from orchestra.agents.simulation import Script, Simulation
from orchestra.app.plugins import BACKENDS, entry_points_of_ours, load_entry_point
from orchestra.config.settings import Settings
from orchestra.errors import CredentialsMissing
from orchestra.graph.model import Graph, Node
from orchestra.ports import AgentTask, CodergenBackend, ModelChoice, Scope, Turns
from orchestra.run.blobs import BlobRef
from orchestra.run.events import WarningRaised
from orchestra.run.fidelity import FULL, Earlier
from orchestra.run.judging import attempts_of
from orchestra.run.outcome import Json, Outcome
from orchestra.run.prompts import FAILED_BEFORE, INSTRUCTED
from orchestra.run.state import Context

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


@dataclass(frozen=True)
class Agents:
    """What the agents of one pipeline are run with; ``file`` is the pipeline's, ``folder`` where it works.

    Where ``simulated``, all of them answer from the ``script``. It is the backend of all its nodes: each task goes
    to the node's own.
    """

    settings: Settings
    folder: Path
    file: str
    script: Script
    simulated: bool

    async def run(self, task: AgentTask, turns: Turns) -> str | Outcome | None:
        """What the node's backend answers."""
        name = self.of(task.node, task.graph).backend
        if name in (*WITH_MODEL, *CLI) and not task.model.model:
            task = self._with_model(task)
        if not task.thread:
            task = structs.replace(task, thread=f"{task.scope.talk.name}/{task.before}")
        return await self._backend(name).run(task, turns)

    def _with_model(self, task: AgentTask) -> AgentTask:
        """The task with its model: another one where the attempt before this failed for a moment (A15)."""
        scope, models = task.scope, self.of(task.node, task.graph).models
        used = min(scope.attempt - 1, len(models) - 1) if scope.talk.transient else 0
        if used:
            message = f"{task.node.id}: {_name(models[used - 1])} failed; using {_name(models[used])} (fallbacks)"
            scope.record(WarningRaised(message=message, rule="fallback", node=task.node.id))
        more = used < len(models) - 1 and scope.attempt < attempts_of(task.graph, task.node)
        return structs.replace(task, model=models[used], more_models=more)

    def _backend(self, name: str) -> CodergenBackend:
        """The backend of a name, which is made when the first node needs it (A1)."""
        if name not in self._backends:
            from orchestra.app.backends import BackendFactory

            self._backends[name] = BackendFactory(self.settings, self.folder, self.name, self.prices).backend(name)
        return self._backends[name]

    @cached_property
    def _backends(self) -> dict[str, CodergenBackend]:
        made: dict[str, CodergenBackend] = {SIMULATION: Simulation(self.script)}
        for point in entry_points_of_ours()[BACKENDS]:
            found = load_entry_point(point)
            made[point.name] = found() if isinstance(found, type) else found
        return made

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

    async def brief(self, node: Node, context: Context, graph: Graph, scope: Scope) -> AgentTask:
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

    @cached_property
    def prices(self) -> dict[str, Price]:
        """The prices that the settings name."""
        return prices_of(self.settings.config)

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

    def unpriced_models(self, graph: Graph) -> list[str]:
        """The models of a pipeline's nodes that have no price (A14)."""
        found: dict[str, None] = {}
        for node in self._asking(graph):
            choice = self.of(node, graph).models[0]
            if price_of(choice.model, self.prices, choice.provider) is None:
                found[choice.model] = None
        return list(found)

    def used_backends(self, graph: Graph) -> list[str]:
        """The backends of a pipeline's own nodes, sorted; none where no node is an agent."""
        return sorted({self.of(node, graph).backend for node in _of_agents(graph)})

    def _asking(self, graph: Graph) -> Iterator[Node]:
        """The nodes that ask a provider's model."""
        return (node for node in _of_agents(graph) if self.of(node, graph).backend in WITH_MODEL)

    def require_keys(self, graph: Graph) -> None:
        """Raise ``CredentialsMissing`` where a node's model needs a key that has no value (A8)."""
        for node in self._asking(graph):
            provider = self.settings.config.provider(self.of(node, graph).models[0].provider)
            if provider is None or provider.keyless or any(os.environ.get(name) for name in provider.key_names):
                continue
            raise CredentialsMissing(
                f"node {node.id!r} needs a key of provider {provider.name!r}: "
                f"{' or '.join(provider.key_names)} is not set",
                fix=f"export {provider.key_names[0]}=…, or run with --simulate FILE",
            )


def _of_agents(graph: Graph) -> Iterator[Node]:
    return (node for node in graph.nodes.values() if graph.type_of(node.id) == "codergen")


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
