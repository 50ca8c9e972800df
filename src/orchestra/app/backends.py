"""The backends of agents, joined with tools and limits; imported when a node needs one (A1)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from orchestra.agents.answers import Model
from orchestra.agents.backends.conversations import Direct, LangGraph
from orchestra.agents.backends.models import ChatModel
from orchestra.agents.bounds import Rules
from orchestra.agents.commit_messages import Writer
from orchestra.agents.compaction import CompactionSummary, Summarizer, summary_of
from orchestra.agents.models import CLI, DIRECT, LANGGRAPH, agent_of, cheap_model, node_limit, run_limit, tool_names
from orchestra.agents.pricing import Price, price_of, prices_of
from orchestra.agents.tools.people import NAME as ASK
from orchestra.agents.tools.people import ask_tool
from orchestra.agents.tools.toolset import Toolset
from orchestra.app.guards import guard_of
from orchestra.app.toolboxes import toolbox_of
from orchestra.config.model import Bounds
from orchestra.config.providers import Provider
from orchestra.config.settings import Settings
from orchestra.errors import ConfigError
from orchestra.ports import AgentTask, CodergenBackend, ModelChoice
from orchestra.run.conversation import Message
from orchestra.run.limits import Limits
from orchestra.run.secrets import Redactor


@dataclass(frozen=True, slots=True)
class BackendFactory:
    """Makes the backends of a pipeline, and what they need for a task (``AgentSetup``).

    Its nodes work in ``folder``; ``pipeline`` names its section.
    """

    settings: Settings
    folder: Path
    pipeline: str
    prices: Mapping[str, Price]

    def backend(self, name: str) -> CodergenBackend:
        """The backend of that name."""
        if name == DIRECT:
            return Direct(self)
        if name == LANGGRAPH:
            return LangGraph(self)
        if name in CLI:
            from orchestra.app.cli_agents import cli_agents  # most runs do without

            return cli_agents(self.settings, self.folders, self.rules, self.tools)
        raise ConfigError(f"unknown backend {name!r}")

    def provider(self, task: AgentTask) -> Provider | None:
        """The provider of a task's model."""
        return self.settings.config.provider(task.model.provider) if task.model.provider else None

    def folders(self, task: AgentTask) -> dict[str, Path]:
        """Where a node's agent works, by repository."""
        workspace = task.scope.workspace
        if workspace is None:
            return {"": self.folder}
        return {repo: workspace.folder(repo) for repo in workspace.repos}

    @asynccontextmanager
    async def tools(self, task: AgentTask) -> AsyncIterator[Toolset]:
        """The tools of a node's agent while it runs (A30)."""
        scope, node = task.scope, task.node
        toolbox = toolbox_of(self.settings, Redactor(self.settings.secrets))
        agent = agent_of(node, self.settings.config)
        wanted = tool_names(node, agent)
        asks = any(name.removeprefix("+").strip() == ASK for name in wanted)
        async with toolbox.open(
            node=node,
            graph=task.graph,
            scope=scope,
            folders=self.folders(task),
            wanted=wanted,
            own=(ask_tool(),) if task.interactive or asks else (),
            only_skills=agent.skills,
        ) as toolset:
            yield toolset

    def rules(self, task: AgentTask) -> Rules:
        """What bounds a node's conversation, and what it costs (A5, A14)."""
        config = self.settings.config
        node = node_limit(task.node, config, self.pipeline)
        run = run_limit(config, self.pipeline, cost_is_bound=self.settings.cost_is_bound)
        return Rules(
            node=_limits(node),
            run=_limits(run),
            near_node=_limits(node.soft),
            near_run=_limits(run.soft),
            guard=guard_of(task.node, self.settings),
            prices=self.prices,
            summarise=summariser(self.settings),
        )


def message_writer(settings: Settings) -> Writer:
    """Who writes the commit messages of ``commit_messages: auto``: the `cheap` model (W3)."""
    choice, provider, problem = _cheap(settings)

    async def connect() -> Model:
        assert provider is not None
        return await asyncio.to_thread(ChatModel, provider, choice, {})

    return Writer(connect=connect, prices=prices_of(settings.config), problem=problem)


def summariser(settings: Settings) -> Summarizer | None:
    """Return the `cheap` model, which summarizes long conversations; None if it is not usable (E40)."""
    choice, provider, problem = _cheap(settings)
    if provider is None or problem:
        return None

    async def summarise(messages: Sequence[Message]) -> CompactionSummary:
        async with aclosing(await asyncio.to_thread(ChatModel, provider, choice, {})) as model:
            found = await summary_of(model, messages)
        price = price_of(found.model, prices_of(settings.config), found.provider)
        return replace(found, cost_micros=None if price is None else price.cost_micros(found.usage))

    return summarise


def _cheap(settings: Settings) -> tuple[ModelChoice, Provider | None, str]:
    """The `cheap` model, its provider, and why it cannot be asked."""
    choice = cheap_model(settings.config)
    provider = settings.config.provider(choice.provider) if choice is not None else None
    if choice is None or provider is None:
        return ModelChoice(), None, "no provider has a model named `cheap`; add it under providers.NAME.models"
    if provider.lacks_key:
        return choice, provider, f"{' or '.join(provider.key_names)} is not set"
    return choice, provider, ""


def _limits(bounds: Bounds) -> Limits:
    return Limits(
        turns=bounds.turns or 0,
        tool_calls=bounds.tool_calls or 0,
        tokens=bounds.tokens or 0,
        cost_micros=round((bounds.cost or 0) * 1_000_000),
        seconds=bounds.time or 0,
    )
