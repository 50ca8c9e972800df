"""The model of a node: each rule of A10 decides where those before it say nothing, and says so."""

from __future__ import annotations

from typing import Any

import pytest

from orchestra.agents.models import ResolvedModel, node_limit, resolve, run_limit
from orchestra.config.model import Config
from orchestra.config.reading import read_config
from orchestra.config.yaml import load
from orchestra.errors import Source
from orchestra.graph.dot import parse
from orchestra.graph.model import Graph
from orchestra.graph.transforms import transform

CONFIG = """
backend: langgraph
providers:
  default: anthropic
  anthropic:
    models: {smart: claude-opus-4-5, worker: claude-sonnet-4-5}
    max_tokens: 8192
    fallbacks: ["openai:smart"]
  openai: {models: {smart: gpt-5, worker: gpt-5-mini}, reasoning_effort: medium}
  local: {kind: openai, base_url: "http://127.0.0.1:1/v1", models: {only: llama}}
agents:
  reviewer: {model: smart, temperature: 0.2, max_tokens: 100, reasoning_effort: low}
  foreign: {provider: openai, backend: direct}
  terminal: {backend: cli, cli: claude}
pipelines: {p.dot: {backend: direct, limits: {run: {cost: 1}, node: {turns: 7}}}}
limits: {run: {cost: 9, time: 1h}, node: {turns: 50, cost: 2}}
"""


def config_of(text: str = CONFIG) -> Config:
    config, faults = read_config(load(Source("orchestra.yaml", text)))
    assert not faults
    return config


def graph_of(node: str = "", graph: str = "") -> Graph:
    text = f"digraph p {{ {graph} start [shape=Mdiamond] a [{node}] exit [shape=Msquare] start -> a -> exit }}"
    found, diagnostics = parse(Source("p.dot", text))
    assert found is not None, diagnostics
    return transform(found, {})


def resolved(node: str = "", graph: str = "", text: str = CONFIG, pipeline: str = "") -> ResolvedModel:
    made = graph_of(node, graph)
    return resolve(made.nodes["a"], made, config_of(text), pipeline)


SHEET = 'model_stylesheet="* { llm_model: from-sheet; }"'


@pytest.mark.parametrize(
    ("node", "graph", "model", "rule"),
    [
        ("llm_model=own", SHEET, "own", "node, line 1"),
        ("", SHEET, "from-sheet", "stylesheet, line 1"),
        ("agent=reviewer", SHEET, "from-sheet", "stylesheet, line 1"),
        ("agent=reviewer", "llm_model=of_graph", "claude-opus-4-5", "agent reviewer"),
        ("", "llm_model=of_graph", "of_graph", "graph, line 1"),
        ("", "", "claude-sonnet-4-5", "worker model of anthropic"),
        ("llm_provider=local", "", "llama", "only model of local"),
        ("llm_model=smart", "", "claude-opus-4-5", "node, line 1"),
        ("", "node [llm_model=smart]", "claude-opus-4-5", "node defaults, line 1"),
    ],
)
def test_the_model_is_the_first_that_is_named_and_an_alias_is_looked_up(
    node: str, graph: str, model: str, rule: str
) -> None:
    found = resolved(node, graph)
    assert (found.model.value, found.model.rule) == (model, rule)


@pytest.mark.parametrize(
    ("node", "graph", "provider", "rule"),
    [
        ("llm_provider=openai", "llm_provider=local", "openai", "node, line 1"),
        ("agent=foreign", "llm_provider=local", "openai", "agent foreign"),
        ("", "llm_provider=local", "local", "graph, line 1"),
        ('llm_model="gpt-4.1"', "", "openai", "guessed from the name gpt-4.1"),
        ('llm_model="gemini-2.5-pro"', "", "google", "guessed from the name gemini-2.5-pro"),
        ('llm_model="claude-haiku-4-5"', "", "anthropic", "providers.default"),
        ("llm_model=unheard", "", "anthropic", "providers.default"),
    ],
)
def test_the_provider_is_named_or_guessed_or_the_default(node: str, graph: str, provider: str, rule: str) -> None:
    found = resolved(node, graph)
    assert (found.provider.value, found.provider.rule) == (provider, rule)


def test_another_default_moves_every_node_that_names_only_an_alias() -> None:
    moved = CONFIG.replace("default: anthropic", "default: openai")
    assert resolved("llm_model=smart", text=moved).model.value == "gpt-5"
    assert resolved("", text=moved).model.value == "gpt-5-mini"
    assert resolved("llm_provider=anthropic, llm_model=smart", text=moved).model.value == "claude-opus-4-5"


def test_a_gateway_of_the_same_kind_keeps_the_models_that_it_serves() -> None:
    text = "providers: {corp: {kind: openai, base_url: 'http://corp/v1'}}"
    found = resolved('llm_model="gpt-5"', text=text)
    assert (found.provider.value, found.provider.rule) == ("corp", "only provider in the settings")


def test_without_settings_nothing_is_invented() -> None:
    found = resolved("", text="")
    assert (found.model.value, found.provider.value, found.backend) == (
        "",
        "",
        ("simulation", "default", ("backend",)),
    )


@pytest.mark.parametrize(
    ("node", "pipeline", "backend", "rule"),
    [
        ("backend=simulation, agent=foreign", "p.dot", "simulation", "node, line 1"),
        ("agent=foreign", "p.dot", "direct", "agent foreign"),
        ("", "p.dot", "direct", "pipeline's section"),
        ("", "q.dot", "langgraph", "backend"),
    ],
)
def test_the_backend_is_the_nodes_its_agents_its_pipelines_or_the_general_one(
    node: str, pipeline: str, backend: str, rule: str
) -> None:
    found = resolved(node, pipeline=pipeline)
    assert (found.backend.value, found.backend.rule) == (backend, rule)


def test_a_command_line_agent_gets_no_model_that_nobody_named() -> None:
    assert resolved("agent=terminal").model.value == ""
    assert resolved("agent=terminal, llm_model=smart").model.value == "claude-opus-4-5"


def test_settings_come_from_the_agent_before_the_provider() -> None:
    choice = resolved("agent=reviewer").choice
    assert (choice.temperature, choice.max_tokens, choice.reasoning_effort) == (0.2, 100, "low")
    plain = resolved("").choice
    assert (plain.temperature, plain.max_tokens, plain.reasoning_effort) == (None, 8192, "")
    assert resolved("llm_provider=openai").reasoning_effort == (
        "medium",
        "provider openai",
        ("providers", "openai", "reasoning_effort"),
    )


@pytest.mark.parametrize(
    ("model", "provider", "effort"),
    [
        ("gpt-5.1", "openai", "high"),
        ("o3", "openai", "high"),
        ("o3-mini", "openai", "high"),
        ("gpt-5-chat-latest", "openai", ""),
        ("gpt-4.1", "openai", ""),
        ("gpt-5", "local", ""),
        ("claude-opus-4-5", "anthropic", ""),
    ],
)
def test_the_effort_is_high_where_nothing_says_otherwise_and_the_model_takes_one(
    model: str, provider: str, effort: str
) -> None:
    text = CONFIG.replace(", reasoning_effort: medium", "")
    found = resolved(f'llm_model="{model}", llm_provider={provider}', text=text)
    assert found.reasoning_effort.value == effort


def test_fallbacks_are_the_nodes_or_the_providers_with_aliases_looked_up() -> None:
    assert resolved("").fallbacks.value == (("openai", "gpt-5"),)
    assert resolved('fallbacks="local:only, openai:gpt-4.1"').fallbacks.value == (
        ("local", "llama"),
        ("openai", "gpt-4.1"),
    )


def test_limits_of_the_agent_override_those_of_the_pipeline_and_the_general_ones() -> None:
    text: Any = CONFIG.replace("model: smart, temperature", "max_turns: 3, model: smart, temperature")
    config, graph = config_of(text), graph_of("agent=reviewer")
    assert node_limit(graph.nodes["a"], config, "p.dot").turns == 3
    assert node_limit(graph.nodes["start"], config, "p.dot").turns == 7
    assert node_limit(graph.nodes["start"], config).turns == 50
    assert (run_limit(config, "p.dot").cost, run_limit(config, "p.dot").time) == (1.0, 3600.0)
    assert run_limit(config).cost == 9.0


def test_gemini_is_another_name_of_google_and_of_the_provider_that_is_configured_as_it() -> None:
    assert resolved("llm_provider=gemini").provider.value == "google"
    text = CONFIG.replace("  local:", "  google: {models: {worker: gemini-3-flash}}\n  local:")
    assert resolved("llm_provider=gemini, llm_model=worker", text=text).model.value == "gemini-3-flash"
