from __future__ import annotations

import json
from pathlib import Path

import pytest
from calls import call

PIPELINE = """digraph p {
    start [shape=Mdiamond]; exit [shape=Msquare]
    fix [agent=fixer, prompt="fix it"]
    look [prompt="look", agent.tools="read-file, search-code"]
    start -> fix -> look -> exit
}
"""
SETTINGS = """agents:
  fixer: {tools: [+run-tests, "+db:query"]}
tools:
  run-tests: {command: "pytest -q {{ path }}", args: {path: {type: string}}}
mcp: {db: {command: db-server}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "p.dot").write_text(PIPELINE)
    (tmp_path / "orchestra.yaml").write_text(SETTINGS)
    return tmp_path


def test_tools_lists_what_each_agent_has_and_where_it_comes_from(folder: Path) -> None:
    done = call(folder, "tools", "p.dot", "--json")
    assert done.returncode == 0, done.stderr
    had = {(one["node"], one["name"]): one for one in json.loads(done.stdout)}
    assert had["fix", "run-tests"]["origin"].endswith("orchestra.yaml")
    assert had["fix", "db:query"]["origin"] == "MCP server db"
    assert had["fix", "shell"]["origin"] == "built in"
    assert {name for node, name in had if node == "look"} == {"read-file", "search-code", "report_outcome"}
    assert had["look", "read-file"]["read_only"]
    assert "run-tests" in call(folder, "tools", "p.dot", "fix").stdout
    assert call(folder, "tools", "p.dot", "nobody").returncode == 2


def test_a_tool_that_does_not_exist_is_a_compile_error(folder: Path) -> None:
    (folder / "p.dot").write_text(PIPELINE.replace("search-code", "serch-code"))
    done = call(folder, "compile", "p.dot")
    assert done.returncode == 3
    assert "tool_unknown" in done.stdout
    assert "'search-code'" in done.stdout
    (folder / "p.dot").write_text(PIPELINE)
    (folder / "orchestra.yaml").write_text(SETTINGS.replace("+run-tests", "+rum-tests"))
    done = call(folder, "compile", "p.dot")
    assert done.returncode == 3
    assert "'run-tests'" in done.stdout


def test_trust_shows_the_command_and_its_hash_and_asks_again_when_it_changes(folder: Path) -> None:
    (folder / ".mcp.json").write_text('{"mcpServers": {"theirs": {"command": "npx", "args": ["their-server"]}}}')
    refused = call(folder, "trust")
    assert refused.returncode == 2
    assert "npx their-server" in refused.stdout
    assert "sha256" in refused.stdout
    assert call(folder, "trust", "--yes").returncode == 0
    assert call(folder, "trust").returncode == 0
    (folder / ".mcp.json").write_text('{"mcpServers": {"theirs": {"command": "npx", "args": ["evil-server"]}}}')
    assert call(folder, "trust").returncode == 2
    assert call(folder, "trust", "--revoke").returncode == 0


def test_doctor_says_which_sandbox_is_in_force(folder: Path) -> None:
    assert "no sandbox" in call(folder, "doctor").stdout
    (folder / "orchestra.yaml").write_text("sandbox: auto\n")
    assert "sandbox: " in call(folder, "doctor").stdout


def test_mcp_by_hand_says_what_it_is_for(folder: Path) -> None:
    done = call(folder, "mcp")
    assert done.returncode == 2
    assert "inside a run" in done.stderr
