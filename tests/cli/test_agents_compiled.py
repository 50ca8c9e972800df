"""What compile, config and init show of agents: models, prompts, settings, starters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from calls import call as in_process

SETTINGS = """
backend: langgraph
providers:
  default: anthropic
  anthropic: {models: {smart: claude-opus-4-5, worker: claude-sonnet-4-5}}
  mine: {kind: openai, base_url: "http://127.0.0.1:9/v1", api_key_env: MY_KEY, models: {only: llama}}
agents: {reviewer: {role: reviewer, task: review, model: smart}}
mcp: {x: {command: y, env: {TOKEN: not-to-be-seen, URL: "${HOST}"}, headers: {Authorization: not-to-be-seen}}}
"""
PIPELINE = """digraph p { goal="ship it"
  start [shape=Mdiamond] exit [shape=Msquare]
  a [agent=reviewer]
  b [prompt="Use {{ responses.a }}", llm_provider=mine]
  c [prompt="Plain", backend=simulation]
  start -> a -> b -> c -> exit }
"""


def call(folder: Path, *args: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder / "home"), "COLUMNS": "200", **more}
    return subprocess.run(
        [sys.executable, "-m", "orchestra", *args],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=30,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "orchestra.yaml").write_text(SETTINGS)
    (tmp_path / "p.dot").write_text(PIPELINE)
    for name, text in {"roles/reviewer": "You review.", "tasks/review": "Review {{ tools.diff.output }}."}.items():
        file = tmp_path / "prompts" / f"{name}.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(f"content: '{text}'")
    return tmp_path


def test_models_shows_what_decided_each(project: Path) -> None:
    done = call(project, "compile", "--models", "p.dot")
    assert done.returncode == 0
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert rows["a"].split()[1:4] == ["claude-opus-4-5", "anthropic", "langgraph"]
    assert "model: agent reviewer (orchestra.yaml:7) (alias smart)" in rows["a"]
    assert rows["b"].split()[1:4] == ["llama", "mine", "langgraph"]
    assert "backend: node, line 5" in rows["c"]
    moved = call(project, "compile", "--models", "--json", "p.dot", ORCHESTRA_PROVIDER="mine")
    found = {row["node"]: row for row in json.loads(moved.stdout)["models"]}
    assert found["c"]["provider"] == {"value": "mine", "rule": "providers.default (ORCHESTRA_PROVIDER)"}


def test_prompt_shows_the_composed_prompt_of_a_node(project: Path) -> None:
    done = call(project, "compile", "--prompt", "a", "--json", "p.dot")
    found = json.loads(done.stdout)
    assert (found["system"], found["user"]) == ("You review.", "Review <tools.diff.output>.")
    assert [Path(file).name for file in found["files"]] == ["reviewer.yaml", "review.yaml"]
    wrong = call(project, "compile", "--prompt", "A", "p.dot")
    assert wrong.returncode == 2
    assert "did you mean 'a'?" in wrong.stderr


def test_missing_keys_are_notes_and_an_env_file_provides_them(project: Path) -> None:
    done = call(project, "compile", "p.dot")
    assert done.returncode == 0
    assert "ANTHROPIC_API_KEY is not set" in done.stdout
    assert "MY_KEY is not set" in done.stdout
    (project / ".env").write_text("ANTHROPIC_API_KEY=a-key-for-tests\nMY_KEY=another-key\n")
    assert "MY_KEY is not set" in call(project, "compile", "p.dot").stdout
    assert "is not set" not in call(project, "compile", "--env-file", ".env", "p.dot").stdout


@pytest.mark.parametrize(
    ("was", "becomes", "rule", "word"),
    [
        ("agent=reviewer", "agent=reviewr", "agent_known", "reviewer"),
        ("backend=simulation", "backend=simulatin", "backend_known", "simulation"),
        ("llm_provider=mine", "llm_provider=min", "model_known", "mine"),
        ("llm_provider=mine", "llm_model=smrt", "model_known", "smart"),
        ("llm_provider=mine", '"agent.role"=reviwer', "prompt_file", "reviewer"),
    ],
)
def test_a_name_that_resolves_to_nothing_is_a_finding(
    project: Path, was: str, becomes: str, rule: str, word: str
) -> None:
    (project / "p.dot").write_text(PIPELINE.replace(was, becomes))
    found = json.loads(call(project, "compile", "--json", "p.dot").stdout)["diagnostics"]
    named = [each for each in found if each["rule"] == rule]
    assert len(named) == 1
    assert word in named[0]["fix"]


def test_an_unknown_backend_of_the_settings_is_shown_there_once(project: Path) -> None:
    (project / "orchestra.yaml").write_text(SETTINGS.replace("backend: langgraph", "backend: langgrap"))
    done = call(project, "compile", "p.dot")
    assert done.returncode == 2
    assert done.stderr.count("no backend 'langgrap'") == 1
    assert "orchestra.yaml:2:10" in done.stderr


def test_a_run_with_a_missing_prompt_file_is_refused_before_it_begins(project: Path) -> None:
    (project / "prompts/roles/reviewer.yaml").unlink()
    (project / "s.yaml").write_text("nodes: {a: {text: x}}")
    done = call(project, "run", "p.dot", "--simulate", "s.yaml")
    assert done.returncode == 3
    assert "prompts/roles/reviewer(.yaml|.yml)" in done.stderr.replace("\n ", "")
    assert not (project / ".orchestra").exists()


def test_config_show_says_where_each_value_is_from_and_hides_secrets(project: Path) -> None:
    done = call(project, "config", "show", "--origin", "--json", ORCHESTRA_LIMITS_RUN_COST="3")
    found = json.loads(done.stdout)["settings"]
    assert found["backend"] == {"value": "langgraph", "origin": "orchestra.yaml:2"}
    assert found["limits.run.cost"] == {"value": 3.0, "origin": "ORCHESTRA_LIMITS_RUN_COST"}
    assert found["limits.run.parallel"] == {"value": 16, "origin": "default"}
    assert found["providers.mine.base_url"]["origin"] == "orchestra.yaml:6"
    assert found["mcp.x.env"]["value"] == {"TOKEN": "***", "URL": "${HOST}"}
    assert "not-to-be-seen" not in done.stdout
    plain = call(project, "config", "show", "--store", "elsewhere")
    assert f"cxdb.path: {project / 'elsewhere'}" in plain.stdout
    assert "not-to-be-seen" not in plain.stdout
    assert "parallel" not in plain.stdout


def test_all_mistakes_of_the_settings_are_shown_at_once(project: Path) -> None:
    (project / "orchestra.yaml").write_text("bakend: x\nagents: {r: {tols: []}}\n")
    done = call(project, "compile", "p.dot")
    assert done.returncode == 2
    assert "orchestra.yaml:1:1" in done.stderr
    assert "orchestra.yaml:2:14" in done.stderr
    assert "2 errors in the settings" in done.stderr


def test_a_starter_compiles_and_runs_as_it_is_and_overwrites_nothing(tmp_path: Path) -> None:
    for template in ("agent", "minimal"):
        done = call(tmp_path, "init", "--template", template, f"new/{template}")
        assert done.returncode == 0, done.stderr
        folder = tmp_path / "new" / template
        assert call(folder, "compile", "--strict", "pipeline.dot").returncode == 0
        assert call(folder, "run", "pipeline.dot").returncode == 0
        before = {file: file.read_bytes() for file in folder.rglob("*.yaml")}
        assert call(folder, "init", "--template", template).returncode == 2
        assert {file: file.read_bytes() for file in folder.rglob("*.yaml")} == before
        settings = folder / "orchestra.yaml"
        settings.write_text(settings.read_text().replace("backend: simulation", "backend: langgraph"))
        checked = call(folder, "compile", "--strict", "pipeline.dot", ANTHROPIC_API_KEY="a-key-for-tests")
        assert checked.returncode == 0, checked.stdout
    scripted = tmp_path / "new" / "agent"
    (scripted / "orchestra.yaml").write_text("")
    assert call(tmp_path / "new", "init", "agent").returncode == 2


def test_a_starter_uses_the_provider_whose_key_is_set(tmp_path: Path) -> None:
    call(tmp_path, "init", "a", OPENAI_API_KEY="a-key-for-tests")
    assert "  default: openai " in (tmp_path / "a" / "orchestra.yaml").read_text()
    call(tmp_path, "init", "b", "--provider", "google")
    assert "  default: google " in (tmp_path / "b" / "orchestra.yaml").read_text()
    for args, word in ((("--provider", "opnai"), "'openai'"), (("--template", "agnt"), "'agent'")):
        done = call(tmp_path, "init", "c", *args)
        assert done.returncode == 2
        assert word in done.stderr
        assert not (tmp_path / "c").exists()


CHILD = 'digraph p { start [shape=Mdiamond] exit [shape=Msquare] w [prompt="Do", ATTRIBUTE] start -> w -> exit }'


@pytest.mark.parametrize("attribute", ['agent.tools="nothing"', "backend=nothing", "agent=nobody"])
def test_compile_refuses_what_run_refuses_in_a_child(attribute: str, tmp_path: Path) -> None:
    (tmp_path / "orchestra.yaml").write_text("agents: {}\n")
    (tmp_path / "child.dot").write_text(CHILD.replace("ATTRIBUTE", attribute))
    (tmp_path / "parent.dot").write_text(
        CHILD.replace("ATTRIBUTE", 'type=pipeline, stack.child_dotfile="child.dot"')
    )
    compiled, run = (in_process(tmp_path, command, "parent.dot") for command in ("compile", "run"))
    assert (compiled.returncode, run.returncode) == (3, 3)
    assert "child.dot:1:" in compiled.stdout
