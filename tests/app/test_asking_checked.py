"""Where calls need approval, a command-line agent that cannot ask is refused before a run (H11, A35)."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestra.app.cli_agents import check_cli
from orchestra.app.toolboxes import tool_problems
from orchestra.config.settings import settle
from orchestra.errors import ConfigError
from support import graph_of

APPROVE = "agents: {a: {approve: {shell: ['rm *']}}}\n"
HOOK = '"tool_hooks.pre"="true"'


def check(folder: Path, cli: str, settings: str, node: str) -> None:
    """Check a node whose programs are all there."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    for name in ("claude", "codex", "gemini"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    file = folder / "orchestra.yaml"
    file.write_text(settings)
    graph = graph_of(f'work [prompt="x", backend=cli, cli={cli}, {node}] start -> work -> exit')
    found = settle(folders=(folder,), environment={}, config=file)
    check_cli(found, graph.nodes["work"], graph, {"PATH": str(programs)})


@pytest.mark.parametrize("cli", ["claude", "codex"])
def test_claude_and_codex_can_ask(tmp_path: Path, cli: str) -> None:
    check(tmp_path, cli, APPROVE, "agent=a")
    check(tmp_path, cli, "", HOOK)
    check(tmp_path, cli, "tools: {shell: {approve: always}}\n", "")


@pytest.mark.parametrize(
    ("settings", "node", "words"),
    [
        (APPROVE, "agent=a", "agent 'a' asks for approval"),
        ("tools: {shell: {approve: always}}\n", "", "calls of shell need approval"),
        ("", HOOK, "node 'work' has tool_hooks.pre"),
    ],
)
def test_a_program_that_cannot_ask_is_refused(tmp_path: Path, settings: str, node: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check(tmp_path, "gemini", settings, node)
    check(tmp_path, "gemini", "", "")


def test_options_that_keep_claude_from_asking_are_refused(tmp_path: Path) -> None:
    own = "cli: {claude: {args: [-p, --settings, mine.json]}}\n"
    with pytest.raises(ConfigError, match=r"--settings in cli\.claude\.args"):
        check(tmp_path, "claude", APPROVE + own, "agent=a")
    check(tmp_path, "claude", own, "")


def test_a_program_without_sessions_cannot_hold_a_conversation(tmp_path: Path) -> None:
    own = "cli: {mine: {command: claude}}\n"
    with pytest.raises(ConfigError, match="mine cannot hold a conversation"):
        check(tmp_path, "mine", own, '"agent.mode"=interactive')
    check(tmp_path, "claude", "", '"agent.mode"=interactive')
    check(tmp_path, "mine", own, "")


@pytest.mark.parametrize(
    ("name", "backend", "wrong"),
    [
        ("shel", "langgraph", True),
        ("Shell", "langgraph", True),
        ("code:shell", "langgraph", True),
        ("shell", "langgraph", False),
        ("Bash", "cli", False),
    ],
)
def test_a_rule_for_an_unknown_tool_is_an_error(name: str, backend: str, wrong: bool, tmp_path: Path) -> None:
    file = tmp_path / "orchestra.yaml"
    file.write_text(f"agents: {{a: {{approve: {{'{name}': always}}}}}}\n")
    found = settle(folders=(tmp_path,), environment={}, config=file)
    graph = graph_of(f'work [prompt="x", backend={backend}, agent=a] start -> work -> exit')
    problems = tool_problems(graph, found, tmp_path)
    assert [problem.rule for problem in problems] == (["tool_known"] if wrong else [])
    assert all("did you mean 'shell'" in problem.fix for problem in problems)
