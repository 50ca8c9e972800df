"""The whole of orchestra.yaml as typed values; every mistake at once, each at its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestra.config.model import Approval, Config
from orchestra.config.reading import read_config
from orchestra.config.settings import settle
from orchestra.config.variables import read_env_file, variables
from orchestra.config.yaml import load
from orchestra.errors import ConfigError, InvalidConfig, Source

EVERYTHING = """
backend: langgraph
providers:
  default: anthropic
  anthropic:
    models: {smart: claude-opus-4-5, worker: claude-sonnet-4-5, cheap: claude-haiku-4-5}
    max_tokens: 8192
    temperature: 0.5
    reasoning_effort: high
    api_key_env: MY_KEY
    retries: 3
    fallbacks: ["local:llama"]
  local: {kind: openai, api_base: "http://127.0.0.1:8080/v1", models: {worker: llama}, timeout: 2m}
prices:
  llama: {input: 0, output: 0}
  "anthropic:claude-opus-4-5": {input: 5, output: 25, cache_read: 0.5, cache_write: 6.25}
limits:
  run: {cost: 5.00, tokens: 2000000, time: 2h, parallel: 8, soft: {cost: 4}}
  node: {turns: 50, tool_calls: 200}
agents:
  reviewer:
    role: prompts/roles/pr-reviewer.yaml
    persona: careful
    tools: [read-file, search-code, "backend:run-tests"]
    model: smart
    provider: anthropic
    max_turns: 20
    project_docs: false
    approve: {shell: ["rm *", "git push*"], write-file: always}
    mcp: [github]
tools:
  run-tests: {command: "pytest -q {{ path }}", description: Tests, args: {path: {type: string}}, timeout: 5m}
  shell: {approve: always, output_limit: 50000}
tools_module: my_tools
mcp: {mcpServers: {github: {command: npx, args: [-y, server-github], env: {TOKEN: "${GITHUB_TOKEN}"}}}}
cli: {mine: {preset: claude, args: [-p], env: [HTTPS_PROXY], input: stdin, events: claude-stream-json}}
prompts: {paths: [prompts]}
cxdb: {path: store}
workspace:
  repos: {backend: {path: ../backend, push: never, setup: npm ci, setup_key: [package.json], copy: [.env]}}
  tools: {backend: {run-tests: {command: make test}}}
humans: {interviewer: console, notify: "notify-send question"}
sandbox: {mode: auto, network: full}
skills: [skills]
secrets: [MY_TOKEN]
pipelines: {pr-review.dot: {backend: direct, limits: {run: {cost: 1}}}}
"""


def read(text: str, **given: Any) -> tuple[Config, list[ConfigError]]:
    overrides = {tuple(path.split("_")): value for path, value in given.items()}
    return read_config(load(Source("orchestra.yaml", text)), overrides)


def faults(text: str) -> list[tuple[str, str]]:
    """Each fault as ``line:column message`` and its fix."""
    return [
        (f"{fault.span.line}:{fault.span.column} {fault.message}" if fault.span else fault.message, fault.fix)
        for fault in read(text)[1]
    ]


def test_every_section_is_read_into_typed_values() -> None:
    config, wrong = read(EVERYTHING)
    assert not wrong
    anthropic, local = config.providers.named["anthropic"], config.providers.named["local"]
    assert (anthropic.kind, anthropic.key_names, anthropic.retries) == ("anthropic", ("MY_KEY",), 3)
    assert (local.kind, local.base_url, local.keyless) == ("openai", "http://127.0.0.1:8080/v1", True)
    assert (config.limits.run.cost, config.limits.run.time, config.limits.run.soft.cost) == (5.0, 7200.0, 4.0)
    assert config.limits.node.turns == 50
    reviewer = config.agents["reviewer"]
    assert reviewer.tools == ("read-file", "search-code", "backend:run-tests")
    assert reviewer.approve.tools is not None
    assert reviewer.approve.tools["shell"] == Approval(rule="patterns", patterns=("rm *", "git push*"))
    assert config.tools["run-tests"].timeout == 300.0
    assert config.tools_module == ("my_tools",)
    assert config.mcp["github"].args == ("-y", "server-github")
    assert config.cli["mine"].env == {"HTTPS_PROXY": None}
    assert config.workspace.repos["backend"].setup_key == ("package.json",)
    assert (config.sandbox.mode, config.sandbox.network) == ("auto", "full")
    assert config.secrets.names == ("MY_TOKEN",)
    assert config.pipelines["pr-review.dot"].limits.run.cost == 1.0


def test_an_empty_file_and_empty_sections_are_the_defaults() -> None:
    assert read("")[0] == Config()
    config, wrong = read("providers:\nlimits:\nagents:\nprompts:\n")
    assert not wrong
    assert config == Config()


@pytest.mark.parametrize(
    ("text", "place", "message", "fix"),
    [
        ("bakend: direct", "1:1", "bakend: unknown key", "did you mean 'backend'?"),
        ("agents: {r: {tools: [a, b, 3]}}", "1:28", "agents.r.tools[2]: expected text", "in quotes"),
        ("agents: {r: {modle: smart}}", "1:14", "agents.r.modle: unknown key", "did you mean 'model'?"),
        ("agents: {r: {tools: read-file}}", "1:21", "agents.r.tools: expected a list", "[first, second]"),
        ("providers: {antropic: {}}", "1:13", "providers.antropic: kind is missing", "did you mean 'anthropic'?"),
        ("providers: {default: gogle}", "1:22", "no provider 'gogle'", "did you mean 'google'?"),
        (
            "providers: {openai: {base_url: http://a, api_base: http://b}}",
            "1:42",
            "same setting as base_url",
            "remove one",
        ),
        ("providers: {openai: {base_url: 127.0.0.1:80}}", "1:32", "'127.0.0.1:80' is not an address", "http://"),
        ("tools: {t: {command: a, args: {x: {type: strin}}}}", "1:42", "'strin' is not one of", "'string'?"),
        ("tools: {t: {command: a, args: {x: string}}}", "1:35", "expected a JSON Schema", "{type: string}"),
        ("tools: {t: {command: 'a {{ x }}'}}", "1:22", "no argument 'x'", "args: {x: {type: string}}"),
        ("tools: {t: {command: 'a {{ pth }}', args: {path: {}}}}", "1:22", "no argument 'pth'", "'path'?"),
        ("limits: {run: {cost: -1}}", "1:22", "limits.run.cost: -1 is less than 0", ""),
        ("limits: {run: {time: 2x}}", "1:22", "'2x' is not a duration", "30s, 5m or 2h"),
        ("limits: {node: {turns: true}}", "1:24", "expected a whole number, not true", ""),
        ("tools: {tests: {description: x}}", "1:9", "tools.tests: command is missing", "add `command"),
        ("mcp: {github: {}}", "1:7", "mcp.github: has neither command nor url", "add `command"),
        ("sandbox: bwarp", "1:10", "sandbox: 'bwarp' is not one of", "did you mean 'bwrap'?"),
        ("backend:", "1:1", "backend: has no value", "remove the key"),
        ("prices: {m: {input: 1}}", "1:10", "prices.m: output is missing", ""),
        ("agents: {r: {fallbacks: [gpt-5]}}", "1:26", "'gpt-5' is not provider:model", "openai:gpt-5"),
        ("pipelines: {a.dot: {backnd: x}}", "1:21", 'pipelines."a.dot".backnd: unknown key', "'backend'"),
        ("providers: {openai: {api_key_env: sk-a-1}}", "1:35", "providers.openai.api_key_env", "OPENAI_API_KEY"),
        ("providers: {openai: {timeout: 0s}}", "1:31", "providers.openai.timeout", "remove"),
    ],
)
def test_a_mistake_has_its_place_its_path_and_what_was_meant(text: str, place: str, message: str, fix: str) -> None:
    found = faults(text)
    assert len(found) == 1
    assert found[0][0].startswith(f"{place} ")
    assert message in found[0][0]
    assert fix in found[0][1]


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "orchestra.yaml").write_text("bakend: x\nlimits: {run: {cost: a}}\nagents: {r: {tols: []}}\n")
    with pytest.raises(InvalidConfig) as caught:
        settle(folders=(tmp_path,), environment={"HOME": "/home/me"})
    assert [fault.span.line for fault in caught.value.faults if fault.span] == [1, 2, 3]


def test_a_variable_overrides_the_file_and_a_flag_overrides_both(tmp_path: Path) -> None:
    (tmp_path / "orchestra.yaml").write_text("backend: direct\nlimits: {run: {cost: 1, tokens: 5}}\n")
    environment = {"HOME": "/home/me", "ORCHESTRA_LIMITS_RUN_COST": "2.5", "ORCHESTRA_PROVIDER": "openai"}
    flags = {("limits", "run", "cost"): (9, "--max-cost")}
    config = settle(folders=(tmp_path,), environment=environment).config
    assert (config.backend, config.providers.default) == ("direct", "openai")
    assert (config.limits.run.cost, config.limits.run.tokens) == (2.5, 5)
    found = settle(folders=(tmp_path,), environment=environment, overrides=flags)
    assert found.config.limits.run.cost == 9
    assert found.given["limits", "run", "cost"] == "--max-cost"


def test_a_variable_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    environment = {"HOME": "/home/me", "ORCHESTRA_LIMITS_NODE_TURNS": "many"}
    with pytest.raises(InvalidConfig) as caught:
        settle(folders=(tmp_path,), environment=environment)
    assert caught.value.message.startswith("ORCHESTRA_LIMITS_NODE_TURNS (limits.node.turns): expected a whole")


def test_every_simple_setting_has_a_variable() -> None:
    names = variables()
    assert names["ORCHESTRA_BACKEND"] == ("backend",)
    assert names["ORCHESTRA_LIMITS_RUN_SOFT_COST"] == ("limits", "run", "soft", "cost")
    assert "ORCHESTRA_AGENTS" not in names


def test_the_variable_that_holds_a_providers_key_is_a_secret(tmp_path: Path) -> None:
    (tmp_path / "orchestra.yaml").write_text("providers: {openai: {api_key_env: TEAM_KEY}}")
    found = settle(folders=(tmp_path,), environment={"HOME": "/home/me", "TEAM_KEY": "value-of-it"})
    assert found.secrets == {"TEAM_KEY": "value-of-it"}
    assert "TEAM_KEY" in found.key_names
    assert found.declared == ()


def test_an_env_file_holds_names_values_comments_and_quotes(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("# keys\nexport A=1\nB = two words # not this\n\nC='x # y'\nD=\n", encoding="utf-8")
    assert read_env_file(file) == {"A": "1", "B": "two words", "C": "x # y", "D": ""}
    file.write_text("A=1\nsecret words\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"\.env:2: not NAME=value") as caught:
        read_env_file(file)
    assert "secret" not in str(caught.value)
