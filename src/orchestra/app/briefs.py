"""What is decided of a pipeline's agents before it runs: models, prompts, what they lack (A8, A10, A20)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestra.agents.layers import LayerFolders, places_for
from orchestra.agents.models import SIMULATION, WITH_MODEL, ResolvedModel, agent_of, layer_names, resolve
from orchestra.agents.pricing import price_of, prices_of
from orchestra.agents.prompts import ComposedPrompt, compose, doc_folders, layers_of
from orchestra.config.settings import Settings
from orchestra.errors import CredentialsMissing, Source, Span
from orchestra.graph.model import Graph, Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """What a pipeline's nodes are resolved and composed with. ``file`` is the pipeline's path.

    Where ``simulated``, every node answers from a script: no model, package or key is needed.
    """

    graph: Graph
    settings: Settings
    file: str
    simulated: bool = False

    @property
    def folder(self) -> Path:
        """The pipeline's folder; for standard input the one that it works in."""
        from_stdin = self.file in ("-", "<stdin>")
        return folder_of(self.file, self.settings) if from_stdin else Path(self.file).absolute().parent

    @property
    def name(self) -> str:
        """The pipeline's name in the settings' section ``pipelines``."""
        return Path(self.file).name

    @property
    def places(self) -> LayerFolders:
        """Where layer files are looked for (A23)."""
        return places_for(
            self.folder,
            config_file=self.settings.file,
            paths=self.settings.config.prompts.paths,
            environment=os.environ,
        )

    def asking(self) -> Iterator[Node]:
        """The nodes that ask an agent, in the order of the file."""
        return (node for node in self.graph.nodes.values() if asks(self.graph, node))

    def models(self) -> Iterator[tuple[Node, ResolvedModel]]:
        """The nodes that ask a provider's model, and which."""
        found = ((node, self.resolve(node)) for node in self.asking())
        return (each for each in found if not self.simulated and each[1].backend.value in WITH_MODEL)

    def backends(self) -> list[str]:
        """The backends of the pipeline's own nodes, sorted; none where no node asks an agent."""
        return sorted(
            {SIMULATION if self.simulated else str(self.resolve(node).backend.value) for node in self.asking()}
        )

    def unpriced_models(self) -> list[str]:
        """The models of the nodes that have no price (A14)."""
        prices = prices_of(self.settings.config)
        chosen = (found.choice for _node, found in self.models())
        return list(dict.fromkeys(one.model for one in chosen if price_of(one.model, prices, one.provider) is None))

    def require_keys(self) -> None:
        """Raise ``CredentialsMissing`` where a node's model needs a key that has no value (A8)."""
        for node, found in self.models():
            provider = self.settings.config.provider(found.provider.value)
            if provider is not None and provider.lacks_key:
                raise CredentialsMissing(
                    f"node {node.id!r} needs a key of provider {provider.name!r}: "
                    f"{' or '.join(provider.key_names)} is not set",
                    fix=f"export {provider.key_names[0]}=…, or run with --simulate FILE",
                )

    def resolve(self, node: Node) -> ResolvedModel:
        """The node's model, with what decided it (A10)."""
        return resolve(node, self.graph, self.settings.config, self.name)

    def compose(self, node: Node, context: Mapping[str, Any], *, placeholders: bool = True) -> ComposedPrompt:
        """The node's prompt; with ``placeholders`` a value that only a run knows prints as its name.

        Raises ``ConfigError``.
        """
        config = self.settings.config
        with_docs = self.resolve(node).backend.value == "langgraph" and agent_of(node, config).project_docs
        return compose(
            node,
            self.graph,
            context,
            layers_of(node, config, self.places) if layer_names(node, config) else (),
            docs=self.doc_folders() if with_docs else (),
            placeholders=placeholders,
        )

    def setting_span(self, node: Node, key: str, *more: int) -> Span | None:
        """Where a node's setting is written: on the node, else in its agent's section of the settings."""
        document = self.settings.document
        if node.has(f"agent.{key}") or document is None:
            return node.span_of(f"agent.{key}", node.span_of("agent", node.span))
        path = ("agents", node.text("agent"), key)
        return document.span((*path, *more)) or document.span(path) or node.span_of("agent", node.span)

    def doc_folders(self) -> tuple[Path, ...]:
        """Where project documents are looked for: the first repository, else the pipeline's folder (A24)."""
        workspace = self.settings.workspace
        return doc_folders(workspace.repos[0].path if workspace is not None and workspace.repos else self.folder)


def asks(graph: Graph, node: Node) -> bool:
    """Whether a node asks an agent: a codergen node, a fan-in with a prompt, a manager that steers."""
    match graph.type_of(node.id):
        case "codergen":
            return True
        case "parallel.fan_in":
            return bool(node.text("prompt"))
        case "stack.manager_loop":
            return "steer" in node.text("manager.actions")
        case _:
            return False


def workdir_of(graph: Graph, node: str, folder: Path) -> str:
    """Return where a node's child works, relative to its parent; empty for the folder of its file."""
    named = graph.nodes[node].text("stack.child_workdir") or graph.text("stack.child_workdir")
    return str(folder / named) if named else ""


def folder_of(file: str, settings: Settings) -> Path:
    """Return the folder in which a pipeline runs: the settings', its file's, else the working directory."""
    if settings.workspace is not None and settings.workspace.folder is not None:
        return settings.workspace.folder
    path = Path(file)
    return path.parent if path.is_absolute() else Path.cwd()


def whereabouts(source: Source) -> str:
    """Return where a text came from, absolute where it is a file."""
    return str(Path(source.name).absolute()) if os.path.exists(source.name) else source.name  # noqa: PTH110
