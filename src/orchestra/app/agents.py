"""The agents of a run: backends, models, tools and prompts joined from the settings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestra.agents.choosing import DIRECT, LANGGRAPH, SIMULATION, BackendChooser
from orchestra.agents.inputs import attachments, read_schema
from orchestra.agents.layers import LayerFolders, places_for
from orchestra.agents.models import resolve
from orchestra.agents.pricing import Price, price_of, prices_of
from orchestra.agents.prompts import agent_of, compose, doc_folders, needed
from orchestra.agents.simulation import Script, Simulation
from orchestra.app.plugins import BACKENDS, loaded, offered
from orchestra.config.settings import Settings
from orchestra.errors import CredentialsMissing
from orchestra.graph.model import Graph, Node
from orchestra.ports import AgentTask, CodergenBackend, ModelChoice, Scope
from orchestra.run.blobs import BlobRef
from orchestra.run.context import Context
from orchestra.run.events import WarningRaised
from orchestra.run.fidelity import FULL, Earlier
from orchestra.run.outcome import Json
from orchestra.run.prompts import FAILED_BEFORE, INSTRUCTED

THREAD = "thread "
"""Before the name of a thread, in the name of the conversation that it is recorded as."""

DEGRADED = "summary:high"
"""What a node of a thread gets that cannot be continued (E40)."""


@dataclass(frozen=True)
class Agents:
    """What the agents of one pipeline are run with; ``file`` is the pipeline's, ``folder`` where it works.

    Where ``simulated``, all of them answer from the ``script``.
    """

    settings: Settings
    folder: Path
    file: str
    script: Script
    simulated: bool

    @cached_property
    def backend(self) -> CodergenBackend:
        """Runs each node on its own backend, which is made when the first node needs it (A1)."""
        made: dict[str, CodergenBackend] = {SIMULATION: Simulation(self.script)}
        for point in offered()[BACKENDS]:
            found = loaded(point)
            made[point.name] = found() if isinstance(found, type) else found

        def backend(name: str) -> CodergenBackend:
            if name not in made:
                from orchestra.app.backends import Joined

                made[name] = Joined(self.settings, self.folder, self.name, self.prices).backend(name)
            return made[name]

        return BackendChooser(backend, self.choose, self.model, self.fallbacks)

    # --- what a node gets -------------------------------------------------------------------------

    def choose(self, node: Node, graph: Graph) -> str:
        """The backend of a node (A7)."""
        if self.simulated:
            return SIMULATION
        return str(resolve(node, graph, self.settings.config, self.name).backend.value)

    def model(self, node: Node, graph: Graph) -> ModelChoice:
        """The model of a node (A10)."""
        return resolve(node, graph, self.settings.config, self.name).choice

    def fallbacks(self, node: Node, graph: Graph) -> tuple[ModelChoice, ...]:
        """The models that are used instead when the node's fails (A15)."""
        found = resolve(node, graph, self.settings.config, self.name)
        rule = f"fallbacks of {found.fallbacks.rule}"
        return tuple(
            replace(found.choice, provider=provider, model=model, rule=rule)
            for provider, model in found.fallbacks.value
        )

    async def brief(self, node: Node, context: Context, graph: Graph, scope: Scope) -> AgentTask:
        """The task of a node: its prompt composed, its conversation named (A20, A3)."""
        talk, backend = scope.talk, self.choose(node, graph)
        earlier = await self._earlier(node, graph, scope) if backend != SIMULATION else None
        shared = earlier is not None and earlier.mode == FULL
        composed = compose(
            node,
            graph,
            await self._known(node, context, scope),
            self.settings.config,
            self.places,
            preamble=earlier.preamble if earlier is not None else "",
            docs=self._docs(scope) if backend == LANGGRAPH else (),
        )
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
            interactive=self.interactive(node),
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

    def interactive(self, node: Node) -> bool:
        """Whether a person talks with a node's agent (H9)."""
        return (node.text("agent.mode") or agent_of(node, self.settings.config).mode) == "interactive"

    async def _known(self, node: Node, context: Context, scope: Scope) -> Mapping[str, Any]:
        """The values that the node's prompt may name, references resolved."""
        roots = needed(node, self.settings.config, self.places)
        found: dict[str, Json] = {}
        for key in context if roots else ():
            value = context[key]
            if not isinstance(value, BlobRef):
                found[key] = value
            elif "context" in roots or key.partition(".")[0] in roots:
                found[key] = await scope.resolve(value)
        return found

    def bases(self, scope: Scope | None = None) -> tuple[Path, ...]:
        """Where files that a node names are looked for: where it works, then beside the pipeline."""
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

    # --- the settings -----------------------------------------------------------------------------

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

    def unpriced(self, graph: Graph) -> list[str]:
        """The models of a pipeline's nodes that have no price (A14)."""
        found: dict[str, None] = {}
        for node in self._asking(graph):
            choice = self.model(node, graph)
            if price_of(choice.model, self.prices, choice.provider) is None:
                found[choice.model] = None
        return list(found)

    def used(self, graph: Graph) -> list[str]:
        """The backends of a pipeline's own nodes, sorted; none where no node is an agent."""
        return sorted({self.choose(node, graph) for node in _of_agents(graph)})

    def _asking(self, graph: Graph) -> Iterator[Node]:
        """The nodes that ask a provider's model."""
        return (node for node in _of_agents(graph) if self.choose(node, graph) in (DIRECT, LANGGRAPH))

    def keyed(self, graph: Graph) -> None:
        """Raise ``CredentialsMissing`` where a node's model needs a key that has no value (A8)."""
        for node in self._asking(graph):
            provider = self.settings.config.provider(self.model(node, graph).provider)
            if provider is None or provider.keyless or any(os.environ.get(name) for name in provider.key_names):
                continue
            raise CredentialsMissing(
                f"node {node.id!r} needs a key of provider {provider.name!r}: "
                f"{' or '.join(provider.key_names)} is not set",
                fix=f"export {provider.key_names[0]}=…, or run with --simulate FILE",
            )


def _of_agents(graph: Graph) -> Iterator[Node]:
    return (node for node in graph.nodes.values() if graph.type_of(node.id) == "codergen")
