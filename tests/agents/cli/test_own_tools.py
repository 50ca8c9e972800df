"""A CLI agent is offered its node's own tools, and the files that it changes are known (A33, A6)."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from calls_cli import call, project

from orchestra.agents.cli.presets import PRESETS
from orchestra.modelserver import ModelServer, parse
from orchestra.processes.sandbox import unavailable

STUB = '''"""Stands for claude: reads its prompt and MCP servers, calls a tool, writes a file, and ends."""
import asyncio, json, os, pathlib, sys

from mcp import Client, StdioServerParameters, stdio_client

arguments = sys.argv[1:]
file = pathlib.Path(arguments[arguments.index("--mcp-config") + 1])
server = json.loads(file.read_text())["mcpServers"]["orchestra"]
assert "report_outcome of the MCP server orchestra" in sys.stdin.read()


def say(**line):
    print(json.dumps(line), flush=True)


async def work():
    say(type="system", subtype="init", session_id="s1", model="claude-test")
    pathlib.Path("by-itself.txt").write_text("x")
    call = dict(type="tool_use", id="t1", name="Bash", input=dict(command="echo x"))
    say(type="assistant", message=dict(id="m1", role="assistant", content=[call], usage={}))
    result = dict(type="tool_result", tool_use_id="t1", content="done")
    say(type="user", message=dict(role="user", content=[result]))
    parameters = StdioServerParameters(
        command=server["command"], args=server["args"], env=dict(server["env"], PATH=os.environ["PATH"])
    )
    async with Client(stdio_client(parameters)) as client:
        names = sorted(one.name for one in (await client.list_tools()).tools)
        counted = await client.call_tool("count-lines", dict(path="adder.py"))
        report = dict(status="success", preferred_label="ship", notes=" ".join(names))
        await client.call_tool("report_outcome", report)
    text = "lines: " + counted.content[0].text
    content = [dict(type="text", text=text)]
    say(type="assistant", message=dict(id="m2", role="assistant", content=content, usage={}))
    final = dict(subtype="success", is_error=False, result=text, session_id="s1", total_cost_usd=0, usage={})
    say(type="result", **final)


asyncio.run(work())
'''
PIPELINE = """digraph p {
    start [shape=Mdiamond]; exit [shape=Msquare]
    work [agent=fixer, backend=cli, cli=stub, prompt="do it"]
    other [prompt="not here"]
    start -> work
    work -> exit [label="ship"]
    work -> other [label="drop"]
    other -> exit
}
"""
SETTINGS = """agents:
  fixer: {tools: [+count-lines]}
tools_module: my_tools.py
"""


def events(folder: Path, session: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in call(folder, "log", session, "--json").stdout.splitlines()]


@pytest.mark.parametrize("sandbox", ["none", "bwrap"])
def test_a_cli_agent_uses_the_nodes_own_tools_and_its_files_are_known(tmp_path: Path, sandbox: str) -> None:
    if sandbox == "bwrap" and unavailable():
        pytest.skip("bwrap does not work here")
    project(tmp_path)
    stub, program = tmp_path / "stub-claude", tmp_path / "stub_claude.py"
    program.write_text(STUB)
    stub.write_text(f"#!/bin/sh\nexec '{sys.executable}' '{program}' \"$@\"\n")  # a #! line takes no space
    stub.chmod(0o755)
    (tmp_path / "p.dot").write_text(PIPELINE)
    (tmp_path / "orchestra.yaml").write_text(
        f"{SETTINGS}cli: {{stub: {{preset: claude, command: {stub}}}}}\n"
        f"sandbox: {{mode: {sandbox}, network: full}}\n"
    )
    done = call(tmp_path, "run", "p.dot")
    assert done.returncode == 0, done.stdout + done.stderr
    recorded = json.dumps(events(tmp_path, done.stdout.split()[1]))
    assert '"files_written": ["by-itself.txt"]' in recorded
    assert "count-lines read-output report_outcome" in recorded
    assert "lines: 2" in recorded
    assert '"other"' not in json.dumps(
        [one for one in events(tmp_path, done.stdout.split()[1]) if "StageStarted" in str(one)]
    )


@pytest.mark.live_cli
@pytest.mark.parametrize("name", ["claude", "codex"])
def test_the_real_program_reports_by_our_tool(tmp_path: Path, name: str) -> None:
    if shutil.which(PRESETS[name].command) is None:
        pytest.skip(f"{name} is not installed")
    project(tmp_path)
    (tmp_path / "p.dot").write_text(PIPELINE.replace("cli=stub", f"cli={name}"))
    (tmp_path / "orchestra.yaml").write_text(SETTINGS)
    tool = "mcp__orchestra__report_outcome"
    offered = {"claude": tool, "codex": "mcp__orchestra"}[name]
    script = f"""
    rules:
      - when: {{tool: {offered}}}
        answers:
          - tool_calls: [{{name: {tool}, arguments: {{status: success, preferred_label: ship, notes: by tool}}}}]
          - text: "done"
    answers: [ok]
    """
    with ModelServer(parse(script)) as server:
        done = call(tmp_path, "run", "p.dot", **asking(server, tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "by tool" in json.dumps(events(tmp_path, done.stdout.split()[1]))


def asking(server: ModelServer, folder: Path) -> dict[str, str]:
    """What makes both programs ask the server."""
    (folder / "home" / ".codex").mkdir(parents=True, exist_ok=True)
    (folder / "home" / ".codex" / "config.toml").write_text(
        f'model = "gpt-5"\nmodel_provider = "fake"\n[model_providers.fake]\nname = "fake"\n'
        f'base_url = "{server.url}/v1"\nwire_api = "responses"\nenv_key = "CODEX_API_KEY"\n'
    )
    return {
        "ANTHROPIC_BASE_URL": server.url,
        "ANTHROPIC_API_KEY": "k",
        "CODEX_API_KEY": "k",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }


@pytest.mark.live_cli
@pytest.mark.parametrize("name", ["claude", "codex"])
def test_the_real_program_asks_before_its_call_and_makes_it_once_after_the_answer(
    tmp_path: Path, name: str
) -> None:
    if shutil.which(PRESETS[name].command) is None:
        pytest.skip(f"{name} is not installed")
    project(tmp_path)
    (tmp_path / "p.dot").write_text(PIPELINE.replace("cli=stub", f"cli={name}"))
    open_ = "" if unavailable() else "sandbox: {mode: bwrap, network: full}\n"
    (tmp_path / "orchestra.yaml").write_text(f'agents: {{fixer: {{approve: {{shell: ["echo *"]}}}}}}\n{open_}')
    tool, argument = {"claude": ("Bash", "command"), "codex": ("exec_command", "cmd")}[name]
    good, bad = (f"{{name: {tool}, arguments: {{{argument}: '{c}'}}}}" for c in ("echo x >> a", "echo y >> b"))
    report = "{name: mcp__orchestra__report_outcome, arguments: {status: success, preferred_label: ship}}"
    script = f"""
    rules:
      - when: {{tool: {tool}}}
        answers:
          - tool_calls: [{good}]
          - tool_calls: [{good}]
          - tool_calls: [{bad}]
          - tool_calls: [{bad}]
          - tool_calls: [{report}]
          - text: "done"
    answers: [ok]
    """
    with ModelServer(parse(script)) as server:
        variables = asking(server, tmp_path)
        done = call(tmp_path, "run", "p.dot", "--no-input", **variables)
        assert done.returncode == 5, done.stdout + done.stderr
        session = done.stdout.split()[1]
        assert not (tmp_path / "a").exists()
        assert call(tmp_path, "answer", session, "A").returncode == 0
        assert call(tmp_path, "resume", session, "--no-input", **variables).returncode == 5
        assert (tmp_path / "a").read_text() == "x\n"
        assert call(tmp_path, "answer", session, "never").returncode == 0
        done = call(tmp_path, "resume", session, "--no-input", **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "a").read_text() == "x\n"
    assert not (tmp_path / "b").exists()
