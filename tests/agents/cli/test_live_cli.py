"""The real programs against the model server, from prompt to written file: ``pytest --live-cli``.

They are found on PATH; each that is not there is skipped.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cli_stubs import outcome

from orchestra.agents.cli.presets import PRESETS, Cli, from_preset
from orchestra.modelserver import ModelServer, parse
from orchestra.run.events import AgentTurnCompleted, StageCompleted, StageFailed
from support import Session

pytestmark = pytest.mark.live_cli
TOOLS = {
    "claude": ("Bash", "command"),
    "codex": ("exec_command", "cmd"),
    "gemini": ("run_shell_command", "command"),
}


@pytest.fixture(params=TOOLS)
def preset(request: pytest.FixtureRequest) -> Cli:
    cli = PRESETS[request.param]
    if shutil.which(cli.command) is None:
        pytest.skip(f"{cli.command} is not installed")
    return cli


def settings(cli: Cli, server: ModelServer, home: Path) -> dict[str, str]:
    """What makes the program ask the server, with a home folder of its own."""
    (home / ".gemini").mkdir(parents=True)
    (home / ".codex").mkdir()
    chosen = {"security": {"auth": {"selectedType": "gemini-api-key"}}}
    (home / ".gemini" / "settings.json").write_text(json.dumps(chosen))
    (home / ".codex" / "config.toml").write_text(
        f"""
        model = "gpt-5"
        model_provider = "fake"
        [model_providers.fake]
        name = "fake"
        base_url = "{server.url}/v1"
        wire_api = "responses"
        env_key = "CODEX_API_KEY"
        request_max_retries = 0
        stream_max_retries = 0
        """
    )
    return {
        "HOME": str(home),
        "ANTHROPIC_BASE_URL": server.url,
        "GOOGLE_GEMINI_BASE_URL": server.url,
        "ANTHROPIC_API_KEY": "k",
        "CODEX_API_KEY": "k",
        "GEMINI_API_KEY": "k",
        "GEMINI_MODEL": "gemini-2.5-pro",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_MAX_RETRIES": "0",
    }


async def run_with(
    cli: Cli, script: str, tmp_path: Path, node: str = 'prompt="write it"'
) -> tuple[Session, ModelServer]:
    work = tmp_path / "work"
    work.mkdir()
    if cli.name == "codex":  # its own sandbox needs rights that a container does not give
        cli = from_preset("codex", args=("exec", "--json", "--skip-git-repo-check", *cli.open, "-"))
    with ModelServer(parse(script)) as server:
        run = await outcome(cli, work, node, environment=settings(cli, server, tmp_path / "home"))
    return run, server


async def test_an_agent_writes_a_file(preset: Cli, tmp_path: Path) -> None:
    tool, argument = TOOLS[preset.name]
    script = f"""
    rules:
      - when: {{tool: {tool}}}
        answers:
          - text: I will write it.
            tool_calls: [{{name: {tool}, arguments: {{{argument}: "echo hello > made.txt"}}}}]
            usage: {{input: 120, output: 20, cached: 100}}
          - {{text: The file is there., usage: {{input: 160, output: 8, cached: 100}}}}
    answers: [ok]
    """
    run, server = await run_with(preset, script, tmp_path)
    assert (tmp_path / "work" / "made.txt").read_text() == "hello\n"
    (done,) = [event for event in run.of(StageCompleted) if event.node == "work"]
    assert done.response == "The file is there."
    turns = [event for event in run.of(AgentTurnCompleted) if isinstance(event, AgentTurnCompleted)]
    assert [len(turn.tool_calls) for turn in turns] == [1, 0]
    assert sum(turn.tokens_in for turn in turns) == 280
    assert sum(turn.tokens_out for turn in turns) == 28
    assert all(asked.answered == 200 for asked in server.requests)


@pytest.mark.parametrize("kind", ["unauthorized", "server_error"])
async def test_a_failed_call_fails_the_node(preset: Cli, tmp_path: Path, kind: str) -> None:
    if preset.name == "gemini" and kind == "server_error":
        pytest.skip("gemini repeats it for minutes, and has no setting for that")
    run, _server = await run_with(preset, f"answers: [{{error: {kind}}}]", tmp_path)
    (failed,) = run.of(StageFailed)
    assert failed.failure_class == ("terminal" if kind == "unauthorized" else "transient"), failed


async def test_a_goal_gate_is_asked_again_in_the_same_session(preset: Cli, tmp_path: Path) -> None:
    tool, argument = TOOLS[preset.name]
    command = 'echo \'{""status"": ""success""}\' > $ORCHESTRA_STATUS_FILE'.replace('""', '\\"')
    script = f"""
    rules:
      - when: {{contains: "You have not reported the outcome"}}
        answers:
          - tool_calls: [{{name: {tool}, arguments: {{{argument}: "{command}"}}}}]
    answers: [all is well]
    """
    run, server = await run_with(preset, script, tmp_path, 'prompt="check it" goal_gate=true')
    assert run.path == ["start", "work", "exit"], run.of(StageFailed)
    assert "check it" in json.dumps(server.requests[-1].messages)
