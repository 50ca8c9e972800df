"""What is decided about a node's agent: its model, backend and why, limits, tools, layers (A7, A10, A15).

Everything here is a pure function of the graph and the settings; ``compile --models``, the run and its status show
what it returns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from orchestra.agents.layers import FOLDERS
from orchestra.config.model import Agent, Bounds, Config, Limit, LimitSettings, RunLimit
from orchestra.config.providers import KINDS, Provider
from orchestra.graph.model import Graph, Node
from orchestra.ports import ModelChoice

SIMULATION, DIRECT, LANGGRAPH = "simulation", "direct", "langgraph"
WITH_MODEL = (DIRECT, LANGGRAPH)
"""The backends that ask a provider's model."""

MOST_CORRECTIONS = 2
"""How often an answer that does not fit ``output_schema`` is sent back (A4)."""

CLI = ("cli", "cli_agent")
"""The names of the backend that runs a command-line agent."""

_FAMILIES: Mapping[str, tuple[str, ...]] = {"openai": ("azure",), "google": ("vertex",)}
"""Kinds that serve another kind's models under the same names."""


class DecidedValue(NamedTuple):
    """A value and the rule that decided it; ``path`` leads to it where it is in ``orchestra.yaml``."""

    value: Any
    rule: str
    path: tuple[str | int, ...] = ()


UNSET = DecidedValue("", "")
NO_FALLBACKS = DecidedValue((), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedModel:
    """Everything that is settled about a node's model.

    ``model`` is the name that the provider gets and ``alias`` the one that was written for it. ``fallbacks`` holds
    pairs of a provider and a model. A value that nothing decides is empty.
    """

    node: str
    agent: str
    backend: DecidedValue
    model: DecidedValue
    provider: DecidedValue
    alias: str = ""
    reasoning_effort: DecidedValue = UNSET
    max_tokens: DecidedValue = UNSET
    temperature: DecidedValue = UNSET
    fallbacks: DecidedValue = NO_FALLBACKS

    @property
    def choice(self) -> ModelChoice:
        """The same as a backend gets it."""
        return ModelChoice(
            model=self.model.value,
            provider=self.provider.value,
            rule=self.model.rule,
            reasoning_effort=self.reasoning_effort.value,
            max_tokens=self.max_tokens.value or 0,
            temperature=self.temperature.value if self.temperature.rule else None,
        )


def resolve(node: Node, graph: Graph, config: Config, pipeline: str = "") -> ResolvedModel:
    """The model of a node, with its provider, its settings and its backend.

    ``pipeline`` is the name of the pipeline's file, for its section in the settings. A model or provider that
    nothing names is empty: whether that is an error depends on the backend.
    """
    agent = config.agents.get(node.text("agent"))
    backend = choose_backend(node, config, pipeline)
    model = _of_node(node, "llm_model") or _of_agent(agent, "model") or _of_graph(graph, "llm_model")
    provider = _provider(node, graph, agent, config, model.value if model else "")
    served = config.provider(provider.value) if provider.value else None
    provider = provider if served is None else provider._replace(value=served.name)
    asks = backend.value not in CLI
    model = model or (_default_model(served) if served is not None and asks else UNSET)
    alias, name = "", str(model.value)
    if served is not None and name in served.models:
        alias, name = name, served.models[name]
    return ResolvedModel(
        node=node.id,
        agent=node.text("agent"),
        backend=backend,
        model=model._replace(value=name),
        provider=provider,
        alias=alias,
        reasoning_effort=_of_node(node, "reasoning_effort")
        or _of_agent(agent, "reasoning_effort")
        or _of_graph(graph, "reasoning_effort")
        or _of_provider(served, "reasoning_effort")
        or _default_effort(served, name),
        max_tokens=_of_agent(agent, "max_tokens") or _of_provider(served, "max_tokens") or UNSET,
        temperature=_of_agent(agent, "temperature") or _of_provider(served, "temperature") or UNSET,
        fallbacks=_fallbacks(node, agent, served, config),
    )


def choose_backend(node: Node, config: Config, pipeline: str = "") -> DecidedValue:
    """The backend of a node (A7): its own, its agent's, its pipeline's, the general one."""
    agent = config.agents.get(node.text("agent"))
    found = _of_node(node, "backend") or _of_agent(agent, "backend")
    if found:
        return found
    section = config.pipelines.get(pipeline)
    if section is not None and section.backend:
        return DecidedValue(section.backend, "pipeline's section", ("pipelines", pipeline, "backend"))
    return DecidedValue(config.backend, "backend" if config.backend != "simulation" else "default", ("backend",))


def _of_node(node: Node, key: str) -> DecidedValue | None:
    attribute = node.attributes.get(key)
    if attribute is None or not attribute.value:
        return None
    if attribute.origin == "stylesheet":
        return DecidedValue(str(attribute.value), f"stylesheet, line {attribute.span.line}")
    rule = "node" if attribute.origin != "default" else "node defaults"
    return DecidedValue(str(attribute.value), f"{rule}, line {attribute.span.line}")


def _of_agent(agent: Agent | None, key: str) -> DecidedValue | None:
    value = getattr(agent, key, None)
    if agent is None or value in (None, "", ()):
        return None
    return DecidedValue(value, f"agent {agent.name}", ("agents", agent.name, key))


def _of_graph(graph: Graph, key: str) -> DecidedValue | None:
    attribute = graph.attributes.get(key)
    if attribute is None or not attribute.value:
        return None
    return DecidedValue(str(attribute.value), f"graph, line {attribute.span.line}")


def _of_provider(provider: Provider | None, key: str) -> DecidedValue | None:
    value = getattr(provider, key, None)
    if provider is None or value in (None, "", ()):
        return None
    return DecidedValue(value, f"provider {provider.name}", ("providers", provider.name, key))


def _default_model(provider: Provider) -> DecidedValue:
    """The provider's ``worker``, else its only model."""
    path = ("providers", provider.name, "models")
    if "worker" in provider.models:
        return DecidedValue("worker", f"worker model of {provider.name}", (*path, "worker"))
    if len(provider.models) == 1:
        only = next(iter(provider.models))
        return DecidedValue(only, f"only model of {provider.name}", (*path, only))
    return UNSET


_REASONING = re.compile(r"(?:gpt-5(?!-chat)|o[134](?:-|$))")


def _default_effort(provider: Provider | None, model: str) -> DecidedValue:
    """``high`` for models that are known to take an effort (A11)."""
    own = provider is not None and provider.kind == "openai" and not provider.base_url
    return DecidedValue("high", "default") if own and _REASONING.match(model) else UNSET


def _provider(node: Node, graph: Graph, agent: Agent | None, config: Config, model: str) -> DecidedValue:
    named = _of_node(node, "llm_provider") or _of_agent(agent, "provider") or _of_graph(graph, "llm_provider")
    if named:
        return named
    default = default_provider(config)
    served = config.provider(default.value) if default.value else None
    if served is not None and model in served.models:
        return default
    kind = guess_kind(model)
    if kind and not (served is not None and served.kind in (kind, *_FAMILIES.get(kind, ()))):
        return DecidedValue(kind, f"guessed from the name {model}")
    return default


CHEAP = "cheap"
"""The alias of the model that writes commit messages and summaries."""


def cheap_model(config: Config) -> ModelChoice | None:
    """The ``cheap`` model of the default provider, else of the first that has one; None where none has."""
    names = dict.fromkeys((default_provider(config).value, *config.providers.named))
    for name in names:
        served = config.provider(name) if name else None
        if served is not None and CHEAP in served.models:
            return ModelChoice(model=served.models[CHEAP], provider=name, rule=f"{CHEAP} model of {name}")
    return None


def default_provider(config: Config) -> DecidedValue:
    """``providers.default``, else the only provider that is configured."""
    if config.providers.default:
        return DecidedValue(config.providers.default, "providers.default", ("providers", "default"))
    if len(config.providers.named) == 1:
        only = next(iter(config.providers.named))
        return DecidedValue(only, "only provider in the settings", ("providers", only))
    return UNSET


def guess_kind(model: str) -> str:
    """The kind of provider whose models are called so; empty where the name says nothing."""
    for name, kind in KINDS.items():
        if model.startswith(kind.prefixes) and kind.prefixes:
            return name
    return ""


def _fallbacks(node: Node, agent: Agent | None, provider: Provider | None, config: Config) -> DecidedValue:
    """What to use when the model fails (A15), aliases looked up: pairs of a provider and a model."""
    own = _of_node(node, "fallbacks")
    if own is not None:
        own = own._replace(value=tuple(item.strip() for item in str(own.value).split(",") if item.strip()))
    found = own or _of_agent(agent, "fallbacks") or _of_provider(provider, "fallbacks")
    if found is None:
        return NO_FALLBACKS
    pairs = []
    for item in found.value:
        name, _colon, model = item.partition(":")
        served = config.provider(name)
        pairs.append((name, served.models.get(model, model) if served is not None else model))
    return found._replace(value=tuple(pairs))


def node_limit(node: Node, config: Config, pipeline: str = "") -> Limit:
    """The bounds of each visit of a node (A5): its agent's before its pipeline's before the general ones."""
    agent = config.agents.get(node.text("agent"))
    layers: list[Limit] = []
    if agent is not None:
        layers += [agent.limits, *([Limit(turns=agent.max_turns)] if agent.max_turns is not None else [])]
    layers += [limits.node for limits in _limits(config, pipeline)]
    return Limit(**_merge(layers, Limit))


def run_limit(config: Config, pipeline: str = "", *, cost_is_bound: bool = False) -> RunLimit:
    """The bounds of a whole run: the pipeline's before the general ones.

    ``cost_is_bound``: the general bound of its cost is the command line's, and comes first.
    """
    layers = [limits.run for limits in _limits(config, pipeline)]
    if cost_is_bound:
        layers.insert(0, RunLimit(cost=config.limits.run.cost))
    return RunLimit(**_merge(layers, RunLimit))


def _limits(config: Config, pipeline: str) -> Iterator[LimitSettings]:
    section = config.pipelines.get(pipeline)
    if section is not None:
        yield section.limits
    yield config.limits


def _merge(layers: list[Any], cls: type[Any]) -> dict[str, Any]:
    """Each bound from the first layer that sets it."""
    found: dict[str, Any] = {}
    for each in fields(cls):
        if each.name == "soft":
            found["soft"] = Bounds(**_merge([layer.soft for layer in layers], Bounds))
            continue
        values = [getattr(layer, each.name) for layer in layers]
        unset = each.default
        found[each.name] = next((value for value in values if value != unset), unset)
    return found


def agent_of(node: Node, config: Config) -> Agent:
    """Return the agent that a node names; one without settings if it names none or an unknown one."""
    return config.agents.get(node.text("agent")) or Agent()


def layer_names(node: Node, config: Config) -> dict[str, str]:
    """The layers of a node by kind, as they are named: by the node, else by its agent."""
    agent = agent_of(node, config)
    named = {kind: node.text(f"agent.{kind}") or getattr(agent, kind) for kind in FOLDERS}
    return {kind: name for kind, name in named.items() if name}


def tool_names(node: Node, agent: Agent) -> tuple[str, ...]:
    """The list of tools that counts for a node: its own, else its agent's; empty for the base set (A30).

    The servers that the agent names are in it with all their tools.
    """
    own = tuple(word.strip() for word in node.text("agent.tools").split(",") if word.strip())
    named = own or (agent.tools or ())
    servers = agent.mcp or ()
    plus = "" if any(not name.startswith("+") for name in named) else "+"
    return (*named, *(f"{plus}{server}:*" for server in servers))


ONLY_READ = frozenset({"read-file", "list-files", "search-code", "read-output", "report_outcome"})
"""The tools of the base set that change no file."""


def only_reads(node: Node, agent: Agent) -> bool:
    """Whether the tools of a node's agent are restricted to those that change no file."""
    names = tool_names(node, agent)
    return bool(names) and ONLY_READ.issuperset(names)
