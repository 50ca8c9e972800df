from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
from calls import ORCHESTRA, ROOT, call, environment

from orchestra.modelserver import ModelServer, read
from orchestra.processes.sandbox import unavailable

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
    had = {(one["node"], one["name"]): one for one in json.loads(done.stdout)["tools"]}
    assert had["fix", "run-tests"]["origin"].endswith("orchestra.yaml")
    assert had["fix", "db:query"]["origin"] == "MCP server db"
    assert had["fix", "shell"]["origin"] == "built in"
    assert {name for node, name in had if node == "look"} == {
        "read-file",
        "search-code",
        "read-output",
        "report_outcome",
    }
    assert had["look", "read-file"]["read_only"]
    assert "run-tests" in call(folder, "tools", "p.dot", "fix").stdout
    assert call(folder, "tools", "p.dot", "nobody").returncode == 2


def test_a_tool_that_does_not_exist_is_a_compile_error(folder: Path) -> None:
    (folder / "p.dot").write_text(PIPELINE.replace("search-code", "serch-code"))
    done = call(folder, "compile", "p.dot")
    assert done.returncode == 3
    assert "tool_known" in done.stdout
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


NO_SANDBOX = bool(unavailable())


def project(folder: Path, *, sandbox: str) -> None:
    """The example whose test fails."""
    for file in (ROOT / "examples" / "fix-test").iterdir():
        if file.is_file():
            (folder / file.name).write_text(file.read_text())
    settings = folder / "orchestra.yaml"
    settings.write_text(f"{settings.read_text()}sandbox: {sandbox}\n")


@pytest.mark.parametrize("sandbox", ["none", "bwrap"])
def test_an_agent_fixes_a_failing_test_with_its_tools(tmp_path: Path, sandbox: str) -> None:
    """Only the model is simulated; the tools, the tests and the record are real."""
    if sandbox == "bwrap" and NO_SANDBOX:
        pytest.skip("bwrap does not work here")
    project(tmp_path, sandbox=sandbox)
    with ModelServer(read(tmp_path / "model.yaml")) as server:
        variables = environment(tmp_path, ANTHROPIC_BASE_URL=server.url, ANTHROPIC_API_KEY="sk-ant-canary-01234567")
        done = subprocess.run(
            [*ORCHESTRA, "run", "fix.dot"], cwd=tmp_path, env=variables, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "adder.py").read_text() == "def add(a: int, b: int) -> int:\n    return a + b\n"
    session = done.stdout.split()[1]
    events = [json.loads(line) for line in call(tmp_path, "log", session, "--json").stdout.splitlines()]
    text = json.dumps(events)
    assert '"files_written": ["adder.py"]' in text
    assert "canary-01234567" not in text


def test_what_an_agent_left_running_ends_when_the_run_is_resumed(tmp_path: Path) -> None:
    project(tmp_path, sandbox="none")
    (tmp_path / "model.yaml").write_text(
        "answers:\n"
        '  - tool_calls: [{name: shell, arguments: {command: "touch begun; setsid sleep 3217 & sleep 3217"}}]\n'
        "  - tool_calls: [{name: report_outcome, arguments: {status: fail, notes: given up}}]\n  - text: bye\n"
    )
    with ModelServer(read(tmp_path / "model.yaml")) as server:
        variables = environment(tmp_path, ANTHROPIC_BASE_URL=server.url, ANTHROPIC_API_KEY="model-server")
        run = subprocess.Popen(
            [*ORCHESTRA, "run", "fix.dot"], cwd=tmp_path, env=variables, stdout=subprocess.PIPE, text=True
        )
        try:
            deadline = time.monotonic() + 30
            while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
        finally:
            run.kill()
        session = run.communicate()[0].split()[1]
        done = subprocess.run(
            [*ORCHESTRA, "resume", session], cwd=tmp_path, env=variables, capture_output=True, text=True
        )
    assert "was still running and was stopped" in done.stdout + done.stderr
    assert "given up" in done.stdout + done.stderr
    assert "interrupted: it may or may not have happened" in json.dumps(
        [json.loads(line) for line in call(tmp_path, "log", session, "--json").stdout.splitlines()]
    )
