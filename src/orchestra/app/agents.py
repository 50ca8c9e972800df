"""The agents of a run: backends, models, tools and prompts joined from the settings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestra.agents.backends.asking import Direct, Equipment, LangGraph
from orchestra.agents.choosing import DIRECT, LANGGRAPH, MODEL_BACKENDS, SIMULATION, Chosen
from orchestra.agents.pricing import Price
from orchestra.agents.providers import KINDS, SILENCE, Provider, ready
from orchestra.agents.simulation import Script, Simulation
from orchestra.agents.talk import Rules
from orchestra.agents.tools import Hooks, ToolContext
from orchestra.agents.tools.builtin import by_name, repository_tools
from orchestra.agents.tools.reporting import report_tool
from orchestra.agents.tools.tracking import WriteTracker
from orchestra.app.plugins import BACKENDS, loaded, offered
from orchestra.config.durations import seconds
from orchestra.config.environment import PROVIDER_KEYS
from orchestra.config.settings import Settings
from orchestra.errors import ConfigError, Diagnostic, Severity
from orchestra.graph.model import Graph, Node
from orchestra.ports import AgentTask, CodergenBackend, ModelChoice
from orchestra.run.events import ToolOutput
from orchestra.run.limits import Limits
from orchestra.run.secrets import Redactor


@dataclass(frozen=True)
class Agents:
    """What the agents of one pipeline are run with. A ``script`` stands for all of them where ``simulated``."""

    settings: Settings
    folder: Path
    script: Script
    simulated: bool
    more: Mapping[str, CodergenBackend] = field(default_factory=dict)

    @cached_property
    def backend(self) -> CodergenBackend:
        """Runs each node on its own backend."""
        backends: dict[str, CodergenBackend] = {
            SIMULATION: Simulation(self.script),
            DIRECT: Direct(self.providers, self.rules),
            LANGGRAPH: LangGraph(self.providers, self.rules, self.equipment),
            **self.more,
        }
        for point in offered()[BACKENDS]:
            made = loaded(point)
            backends[point.name] = made() if isinstance(made, type) else made
        return Chosen(backends, self.choose, self.resolve)

    @cached_property
    def known(self) -> frozenset[str]:
        """The names of all backends."""
        return frozenset(
            {SIMULATION, DIRECT, LANGGRAPH, *self.more, *(point.name for point in offered()[BACKENDS])}
        )

    # --- choosing ---------------------------------------------------------------------------------

    def choose(self, node: Node, graph: Graph) -> str:
        """The backend of a node (A7)."""
        return SIMULATION if self.simulated else node.text("backend") or self.settings.backend

    def resolve(self, node: Node, graph: Graph) -> ModelChoice:
        """The model of a node (A10)."""
        wanted = node.text("llm_model") or graph.text("llm_model")
        named = node.text("llm_provider") or graph.text("llm_provider")
        name = named or _guessed(wanted, self.providers) or self.default
        provider = self.providers.get(name)
        if provider is None:
            raise ConfigError(f"node {node.id!r} needs the provider {name!r}, which is not configured")
        own = provider.models
        wanted = wanted or ("worker" if "worker" in own or len(own) != 1 else next(iter(own)))
        effort = node.text("reasoning_effort") or graph.text("reasoning_effort")
        return ModelChoice(model=own.get(wanted, wanted), provider=name, reasoning_effort=effort)

    def problems(self, graph: Graph) -> Iterator[Diagnostic]:
        """What stands in the way of the nodes that need a model (A8). Raises ``CredentialsMissing``."""
        for node in graph.nodes.values():
            if graph.type_of(node.id) not in _ASKING:
                continue
            name = self.choose(node, graph)
            try:
                self._check(node, graph, name)
            except ConfigError as error:
                if type(error) is not ConfigError:
                    raise
                yield Diagnostic(
                    rule="backend_missing",
                    severity=Severity.ERROR,
                    message=f"node {node.id!r}: {error.message}",
                    span=node.span_of("backend", node.span),
                    node=node.id,
                    fix=error.fix,
                )

    def _check(self, node: Node, graph: Graph, name: str) -> None:
        if name not in self.known:
            raise ConfigError(f"no backend {name!r}; there are: {', '.join(sorted(self.known))}")
        if name in MODEL_BACKENDS:
            ready(self.providers[self.resolve(node, graph).provider])

    # --- the settings -----------------------------------------------------------------------------

    @cached_property
    def default(self) -> str:
        """The provider of nodes that name none."""
        section = self.settings.sections.get("providers", {})
        return str(section.get("default") or next(iter(self.providers), ""))

    @cached_property
    def providers(self) -> dict[str, Provider]:
        """The configured providers; those of a known kind need no configuration."""
        section = self.settings.sections.get("providers", {})
        found = {name: Provider(name=name, kind=name) for name in KINDS if name not in section}
        for name, data in section.items():
            if name != "default":
                found[name] = _provider(name, data)
        return found

    @cached_property
    def rules(self) -> Rules:
        """Limits and prices."""
        limits = self.settings.sections.get("limits", {})
        return Rules(
            node=_limits(limits.get("node", {})),
            run=_limits(limits.get("run", {})),
            prices={
                name: Price(**{key: float(value) for key, value in data.items()})
                for name, data in self.settings.sections.get("prices", {}).items()
            },
        )

    # --- tools ------------------------------------------------------------------------------------

    async def equipment(self, task: AgentTask) -> Equipment:
        """The tools of a node's agent (A30)."""
        scope, node = task.scope, task.node
        workspace = scope.workspace
        folders = (
            {repo: workspace.folder(repo) for repo in workspace.repos}
            if workspace is not None
            else {"": self.folder}
        )
        tools = by_name([*repository_tools(folders), report_tool(task.graph, node.id)])

        def show(tool: str, text: str) -> None:
            scope.show(ToolOutput(node=node.id, stream="stdout", text=text))

        return tools, ToolContext(
            node=node.id,
            scope=scope,
            folders=folders,
            environment={name: value for name, value in os.environ.items() if name not in PROVIDER_KEYS},
            redactor=Redactor(self.settings.secrets),
            tracker=WriteTracker(folders),
            hooks=Hooks(
                pre=node.text("tool_hooks.pre") or task.graph.text("tool_hooks.pre"),
                post=node.text("tool_hooks.post") or task.graph.text("tool_hooks.post"),
            ),
            show=show,
        )


_ASKING = frozenset({"codergen"})
"""The types of nodes that always ask an agent."""

_GUESSES = {
    "claude": "anthropic",
    "gpt-": "openai",
    "o1": "openai",
    "o3": "openai",
    "o4": "openai",
    "gemini-": "google",
}


def _guessed(model: str, providers: Mapping[str, Provider]) -> str:
    """The provider whose models are called so."""
    for start, name in _GUESSES.items():
        if model.startswith(start) and name in providers:
            return name
    return ""


def _provider(name: str, data: Any) -> Provider:
    timeout = seconds(str(data["timeout"])) if "timeout" in data else None
    return Provider(
        name=name,
        kind=str(data.get("kind", name)),
        models=data.get("models", {}),
        base_url=str(data.get("api_base") or data.get("base_url") or ""),
        api_key_env=str(data.get("api_key_env", "")),
        api=str(data.get("api", "")),
        max_tokens=int(data.get("max_tokens", 0)),
        temperature=data.get("temperature"),
        retries=int(data.get("retries", 5)),
        timeout=timeout or SILENCE,
    )


def _limits(data: Mapping[str, Any]) -> Limits:
    return Limits(
        turns=int(data.get("turns", 0)),
        tool_calls=int(data.get("tool_calls", 0)),
        tokens=int(data.get("tokens", 0)),
        cost_micros=round(float(data.get("cost", 0)) * 1_000_000),
        seconds=seconds(str(data["time"])) or 0 if "time" in data else 0,
    )
