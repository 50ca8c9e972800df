"""The agents of a run: their backends made from the settings, and what they lack before anything is paid."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from orchestra.agents.codergen import Agents
from orchestra.agents.models import SIMULATION, WITH_MODEL
from orchestra.agents.pricing import price_of, prices_of
from orchestra.agents.simulation import Script, Simulation
from orchestra.app.plugins import BACKENDS, entry_points_of_ours, load_entry_point
from orchestra.config.settings import Settings
from orchestra.errors import CredentialsMissing
from orchestra.graph.model import Graph, Node
from orchestra.ports import CodergenBackend


class Backends(dict[str, CodergenBackend]):
    """The backends of a pipeline by name, each made when the first node needs it (A1)."""

    def __init__(self, settings: Settings, folder: Path, pipeline: str, script: Script) -> None:
        super().__init__({SIMULATION: Simulation(script)})
        self._settings = settings
        self._folder = folder
        self._pipeline = pipeline

    def __missing__(self, name: str) -> CodergenBackend:
        self[name] = made = self._made(name)
        return made

    def _made(self, name: str) -> CodergenBackend:
        for point in entry_points_of_ours()[BACKENDS]:
            if point.name == name:
                found: CodergenBackend | type[CodergenBackend] = load_entry_point(point)
                return found() if isinstance(found, type) else found
        from orchestra.app.backends import BackendFactory  # imports what asks models

        prices = prices_of(self._settings.config)
        return BackendFactory(self._settings, self._folder, self._pipeline, prices).backend(name)


def agents_of(settings: Settings, folder: Path, file: str, script: Script, *, simulated: bool) -> Agents:
    """The agents of the pipeline in a file that works in a folder; where ``simulated``, all follow the script."""
    backends = Backends(settings, folder, Path(file).name, script)
    return Agents(settings=settings, folder=folder, file=file, backends=backends, simulated=simulated)


def used_backends(agents: Agents, graph: Graph) -> list[str]:
    """The backends of a pipeline's own nodes, sorted; none where no node is an agent."""
    return sorted({agents.of(node, graph).backend for node in _of_agents(graph)})


def unpriced_models(agents: Agents, graph: Graph) -> list[str]:
    """The models of a pipeline's nodes that have no price (A14)."""
    prices, found = prices_of(agents.settings.config), dict[str, None]()
    for node in _asking(agents, graph):
        choice = agents.of(node, graph).models[0]
        if price_of(choice.model, prices, choice.provider) is None:
            found[choice.model] = None
    return list(found)


def require_keys(agents: Agents, graph: Graph) -> None:
    """Raise ``CredentialsMissing`` where a node's model needs a key that has no value (A8)."""
    for node in _asking(agents, graph):
        provider = agents.settings.config.provider(agents.of(node, graph).models[0].provider)
        if provider is None or provider.keyless or any(os.environ.get(name) for name in provider.key_names):
            continue
        raise CredentialsMissing(
            f"node {node.id!r} needs a key of provider {provider.name!r}: "
            f"{' or '.join(provider.key_names)} is not set",
            fix=f"export {provider.key_names[0]}=…, or run with --simulate FILE",
        )


def _asking(agents: Agents, graph: Graph) -> Iterator[Node]:
    """The nodes that ask a provider's model."""
    return (node for node in _of_agents(graph) if agents.of(node, graph).backend in WITH_MODEL)


def _of_agents(graph: Graph) -> Iterator[Node]:
    return (node for node in graph.nodes.values() if graph.type_of(node.id) == "codergen")
