"""Approvals of tool calls while runners die anywhere (H11): an approved call runs once, a denied one never."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from gates import ENDS, Quick, Story, answered, begun, continued, says

from agents.backends.talking import world
from orchestra.agents.backends.cli import CliAgents
from orchestra.agents.bounds import Rules
from orchestra.agents.cli.asking import hook_command
from orchestra.agents.cli.presets import Cli, from_preset
from orchestra.agents.codergen import Agents
from orchestra.agents.tools.people import ask_tool, matching
from orchestra.agents.tools.settings import ToolSettings
from orchestra.agents.tools.toolset import Toolbox, Toolset
from orchestra.cxdb.memory import MemoryStore
from orchestra.engine.control import Control, SessionControl
from orchestra.engine.shared import Interviews
from orchestra.errors import StoreUnreachable
from orchestra.interview.interviewers import Callback, MailboxInterviewer
from orchestra.ports import AgentTask
from orchestra.run.events import InterviewCompleted, InterviewStarted
from orchestra.run.questions import Question
from support import CountingStore, agents_on

AGENT = f'digraph p {{ {ENDS} work [prompt="do it", agent=a] start -> work -> exit }}'
GOOD, BAD = "echo good >> good.txt", "echo bad >> bad.txt"


def lines(file: Path) -> int:
    return len(file.read_text().splitlines()) if file.exists() else 0


def decided(question: Question) -> str:
    """Whoever is asked allows the good command and denies the bad one."""
    return "A" if GOOD in str(question.about) else "never do that"


async def killed(folder: Path, codergen: Any, point: int) -> Story | None:
    """A run whose store fails from one append on, continued by another runner; None where it ended before."""
    inner = MemoryStore()
    dying = CountingStore(inner, fail_from=point)
    story = await begun(
        folder, AGENT, store=dying, work=codergen, interviewer=Callback(decided, who="anna"), walk=False
    )
    try:
        await story.run.walk()
    except StoreUnreachable:
        story.store = inner
        return await continued(story, Callback(decided, who="anna"))
    return None


MODEL = f"""
answers:
  - tool_calls: [{{name: shell, arguments: {{command: "{GOOD}"}}}}]
  - tool_calls: [{{name: shell, arguments: {{command: "{BAD}"}}}}]
  - tool_calls: [{{name: report_outcome, arguments: {{status: success, notes: done}}}}]
"""


async def test_wherever_the_runner_of_an_agent_dies_an_approved_call_runs_once_and_a_denied_one_never(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    stride = 1 if pytestconfig.getoption("--long") else 4
    for point in range(4, 60, stride):
        folder = tmp_path / str(point)
        folder.mkdir()
        with world(folder, MODEL, more="agents: {a: {approve: {shell: always}}}\n") as here:
            story = await killed(folder, here.handlers()["codergen"], point)
        assert lines(folder / "good.txt") <= 1, point
        assert not (folder / "bad.txt").exists(), point
        if story is None:
            assert lines(folder / "good.txt") == 1
            return
        assert story.run.state.result is not None, point
        assert story.run.state.result.good, point
    raise AssertionError("more durable writes than were tried")


# --- command-line agents ----------------------------------------------------------------------------

STUB = '''"""Stands for claude: makes calls, each after its hook; in a resumed session those that were not made."""
import json, pathlib, subprocess, sys
sys.stdin.read()
settings = json.loads(sys.argv[sys.argv.index("--settings") + 1])
assert not any("Bash" in word for word in sys.argv)
hook = settings["hooks"]["PreToolUse"][0]["hooks"][0]["command"]
made = pathlib.Path("made.json")
known = json.loads(made.read_text()) if made.exists() else []

def say(**line):
    print(json.dumps(line), flush=True)

say(type="system", subtype="init", session_id="s1", model="m")
for number, command in enumerate(%r):
    if command in known:
        continue
    id_ = "t%%d.%%d" %% (number, len(known))
    given = {"command": command}
    block = dict(type="tool_use", id=id_, name="Bash", input=given)
    say(type="assistant", message=dict(id="m" + id_, role="assistant", content=[block], usage={}))
    payload = dict(tool_name="Bash", tool_input=given, tool_use_id=id_, hook_event_name="PreToolUse")
    ran = subprocess.run(["/bin/sh", "-c", hook], input=json.dumps(payload), capture_output=True, text=True)
    told = json.loads(ran.stdout)["hookSpecificOutput"] if ran.returncode == 0 else {}
    allowed = told.get("permissionDecision") == "allow"
    text = "ok" if allowed else told.get("permissionDecisionReason") or ran.stderr
    if allowed:
        subprocess.run(["/bin/sh", "-c", command])
    known.append(command)
    made.write_text(json.dumps(known))
    block = dict(type="tool_result", tool_use_id=id_, content=text, is_error=not allowed)
    say(type="user", message=dict(role="user", content=[block]))
say(type="result", subtype="success", is_error=False, result="the end", session_id="s1", usage={})
'''


def stub_agent(folder: Path, *commands: str) -> Cli:
    (folder / "stub.py").write_text(STUB % (list(commands),))
    program = folder / "claude"
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -I -S '{folder}/stub.py' \"$@\"\n")
    program.chmod(0o755)
    return from_preset("stub", preset="claude", command=str(program))


def cli_agents(folder: Path, cli: Cli, *patterns: str) -> Agents:
    """The handler of agents whose commands need approval where a pattern fits."""

    def guard(tool: str, arguments: Any) -> str:
        return f"{tool}: {found}" if tool == "shell" and (found := matching(patterns, arguments)) else ""

    @asynccontextmanager
    async def tools(task: AgentTask) -> AsyncIterator[Toolset]:
        toolbox = Toolbox(settings=ToolSettings(), environment=dict(os.environ))
        async with toolbox.open(
            node=task.node, graph=task.graph, scope=task.scope, folders={"": folder}, own=(ask_tool(),)
        ) as toolset:
            yield toolset

    return agents_on(
        CliAgents(
            named=lambda task: cli,
            folders=lambda task: {"": folder},
            environment=os.environ,
            keys=frozenset(),
            rules=lambda task: Rules(guard=guard),
            tools=tools,
        )
    )


async def test_wherever_the_runner_of_a_cli_agent_dies_no_call_is_made_without_an_approval_of_its_own(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    stride = 1 if pytestconfig.getoption("--long") else 2
    for point in range(4, 60, stride):
        folder = tmp_path / str(point)
        folder.mkdir()
        story = await killed(folder, cli_agents(folder, stub_agent(folder, GOOD, BAD), "echo *"), point)
        assert not (folder / "bad.txt").exists(), point
        if story is None:
            assert lines(folder / "good.txt") == 1
            return
        completed = [event for event in await story.of(InterviewCompleted) if isinstance(event, InterviewCompleted)]
        assert lines(folder / "good.txt") <= len([event for event in completed if event.value == "A"]), point
        assert story.run.state.result is not None, point
        assert story.run.state.result.good, point
    raise AssertionError("more durable writes than were tried")


async def test_a_cli_agents_call_waits_for_a_person_and_is_made_once_after_the_answer(tmp_path: Path) -> None:
    story = await begun(tmp_path, AGENT, work=cli_agents(tmp_path, stub_agent(tmp_path, GOOD), "echo *"))  # type: ignore[arg-type]
    assert story.run.state.waiting
    assert not (tmp_path / "good.txt").exists()
    assert (await answered(story, "A")).won
    last = await continued(story)
    assert last.run.state.result is not None
    assert last.run.state.result.good
    assert lines(tmp_path / "good.txt") == 1
    asked = [event for event in await last.of(InterviewStarted) if isinstance(event, InterviewStarted)]
    assert len(asked) == 1
    assert asked[0].text.startswith("May the agent call shell: ")
    assert json.loads(str(asked[0].details["arguments"])) == {"command": GOOD}


async def test_whoever_is_asked_sees_no_secret(tmp_path: Path) -> None:
    seen: list[Question] = []

    def reply(question: Question) -> str:
        seen.append(question)
        return "deny"

    secret = "canary-0123456789abcdef"
    work = cli_agents(tmp_path, stub_agent(tmp_path, f"echo {secret}"), "echo *")
    control = Control(SessionControl(Interviews(Callback(reply, who="anna"))))
    story = await begun(tmp_path, AGENT, work=work, control=control, secrets={"TOKEN": secret})  # type: ignore[arg-type]
    assert len(seen) == 1
    assert "echo" in str(seen[0].about)
    assert secret not in str(seen[0])
    assert secret not in str(await story.events())


async def test_a_denied_call_of_a_cli_agent_is_never_made_and_the_agent_gets_the_words(tmp_path: Path) -> None:
    story = await begun(tmp_path, AGENT, work=cli_agents(tmp_path, stub_agent(tmp_path, BAD), "echo *"))  # type: ignore[arg-type]
    assert (await answered(story, "ask the others first")).won
    last = await continued(story)
    assert not (tmp_path / "bad.txt").exists()
    assert "ask the others first" in str(await last.events())


async def test_a_call_that_nobody_approves_in_time_is_not_made(tmp_path: Path) -> None:
    control = Control(SessionControl(Interviews(MailboxInterviewer(), timeout_ms=3000)))
    work = cli_agents(tmp_path, stub_agent(tmp_path, BAD), "echo *")
    story = await begun(tmp_path, AGENT, work=work, control=control, clock=Quick())  # type: ignore[arg-type]
    assert story.run.state.result is not None
    assert not (tmp_path / "bad.txt").exists()
    assert "it was not approved in time" in str(await story.events())


async def test_calls_of_a_cli_agent_that_no_pattern_fits_are_made(tmp_path: Path) -> None:
    story = await begun(tmp_path, AGENT, work=cli_agents(tmp_path, stub_agent(tmp_path, GOOD), "rm *"))  # type: ignore[arg-type]
    assert story.run.state.result is not None
    assert lines(tmp_path / "good.txt") == 1
    assert not await story.of(InterviewStarted)


TALKING = '''"""Stands for claude: repeats what it is told, and remembers how often that was."""
import json, pathlib, sys
told = sys.stdin.read().strip()
said = pathlib.Path("said.txt")
before = said.read_text() if said.exists() else ""
assert bool(before) == ("--resume" in sys.argv), sys.argv
said.write_text(before + told + "|")
print(json.dumps(dict(type="system", subtype="init", session_id="s1", model="m")), flush=True)
final = dict(subtype="success", is_error=False, result="heard " + told, session_id="s1", usage={})
print(json.dumps(dict(type="result", **final)))
'''


async def test_a_person_talks_with_a_cli_agent_over_several_runners(tmp_path: Path) -> None:
    cli = stub_agent(tmp_path)
    (tmp_path / "stub.py").write_text(TALKING)

    talking = AGENT.replace("work [", 'work [agent.mode="interactive" ')
    work = cli_agents(tmp_path, cli)
    story = await begun(tmp_path, talking, work=work, interviewer=says("faster", "bluer"))  # type: ignore[arg-type]
    assert story.run.state.waiting
    assert (tmp_path / "said.txt").read_text() == "do it|faster|bluer|"
    again = await continued(story)
    assert again.run.state.waiting
    assert (tmp_path / "said.txt").read_text() == "do it|faster|bluer|", "a resume does not ask it again"
    assert (await answered(again, "greener")).won
    last = await continued(again, says("/done"))
    assert (tmp_path / "said.txt").read_text() == "do it|faster|bluer|greener|"
    assert last.run.state.result is not None
    assert last.run.state.result.good
    assert last.run.state.context["last_response"] == "heard greener"


ASKING = '''"""Stands for claude with an MCP server: asks a person through the node's tools."""
import json, os, socket, sys
sys.stdin.read()
print(json.dumps(dict(type="system", subtype="init", session_id="s1", model="m")), flush=True)
door = socket.socket(socket.AF_UNIX)
door.connect(os.environ["ORCHESTRA_MCP_SOCKET"])
call = dict(id=1, do="call", name="ask-human", arguments=dict(question="Which colour?"))
for line in (dict(token=os.environ["ORCHESTRA_MCP_TOKEN"]), call):
    door.sendall(json.dumps(line).encode() + b"\\n")
text = json.loads(door.makefile().readline())["text"]
result = dict(type="result", subtype="success", is_error=False, result=text, session_id="s1", usage={})
print(json.dumps(result))
'''


async def test_a_cli_agent_asks_a_person_through_its_tools_and_the_run_pauses_meanwhile(tmp_path: Path) -> None:
    cli = stub_agent(tmp_path)
    (tmp_path / "stub.py").write_text(ASKING)
    story = await begun(tmp_path, AGENT, work=cli_agents(tmp_path, cli))  # type: ignore[arg-type]
    assert story.run.state.waiting
    assert (await answered(story, "green, please")).won
    last = await continued(story)
    assert last.run.state.result is not None
    assert last.run.state.result.good
    assert last.run.state.context["last_response"] == "green, please"
    assert len(await last.of(InterviewStarted)) == 1


async def test_a_cli_agent_that_does_not_ask_is_ended(tmp_path: Path) -> None:
    cli = stub_agent(tmp_path, GOOD)
    stub = tmp_path / "stub.py"
    allowing = """hook = "echo '{\\"hookSpecificOutput\\": {\\"permissionDecision\\": \\"allow\\"}}'"\n"""
    stub.write_text(stub.read_text().replace("made =", allowing + "made =", 1))
    story = await begun(tmp_path, AGENT, work=cli_agents(tmp_path, cli, "echo *"))  # type: ignore[arg-type]
    assert "without asking" in story.run.state.nodes["work"].reason


async def test_a_hook_that_cannot_reach_the_run_denies_the_call(tmp_path: Path) -> None:
    ran = subprocess.run(
        ["/bin/sh", "-c", hook_command()],
        input='{"tool_name": "Bash", "tool_input": {}}',
        env={"ORCHESTRA_MCP_SOCKET": str(tmp_path / "none"), "ORCHESTRA_MCP_TOKEN": "x"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 2
    assert "could not be asked" in ran.stderr
    assert not ran.stdout
