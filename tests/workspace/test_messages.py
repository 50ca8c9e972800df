"""Commit messages by the ``cheap`` model: the template where it fails, one call for one commit (W3)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from calls import call
from scratch import environment, git, project, repository, row
from test_turns import opened, turn

from orchestra.agents import commit_messages
from orchestra.agents.answers import LENGTH, STOP, Heard, ModelAnswer
from orchestra.agents.commit_messages import CUT, Writer, request, tidy
from orchestra.errors import Terminal, Transient
from orchestra.modelserver import ModelServer, parse
from orchestra.run.conversation import Message, Usage
from orchestra.workspace.commits import patch_of


class Scripted:
    """A model that says, or raises, one thing after the other."""

    name, provider = "gpt-5-nano", "openai"

    def __init__(self, *said: str | Exception, stop: str = STOP) -> None:
        self.said, self.asked, self.stop = list(said), 0, stop

    async def ask(self, system: str, messages: Sequence[Message], heard: Heard) -> ModelAnswer:
        self.asked += 1
        found = self.said.pop(0)
        if isinstance(found, Exception):
            raise found
        usage = Usage(input=1_000_000, output=1_000_000)
        return ModelAnswer(message=Message(role="assistant", text=found), usage=usage, stop=self.stop)


def writer_of(model: Scripted) -> Writer:
    async def connect() -> Scripted:
        return model

    return Writer(connect=connect)


async def test_a_message_is_what_the_model_wrote_and_costs_what_its_tokens_do() -> None:
    written = await writer_of(Scripted("Add c.txt\n\nIt was missing."))("add it", "diff")
    assert written is not None
    assert written.text == "Add c.txt\n\nIt was missing."
    assert (written.tokens_in, written.cost_micros, written.unpriced) == (1_000_000, 450_000, False)


async def test_trouble_of_the_moment_is_met_with_one_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_messages, "PAUSE", 0)
    model = Scripted(Transient("busy"), "Add it")
    written = await writer_of(model)("", "diff")
    assert written is not None
    assert (written.text, model.asked) == ("Add it", 2)
    with pytest.raises(Transient):
        await writer_of(Scripted(Transient("busy"), Transient("busy")))("", "diff")


async def test_a_model_that_cannot_be_asked_is_an_error_once_and_not_asked_again() -> None:
    model = Scripted(Terminal("no such model"))
    write = writer_of(model)
    with pytest.raises(Terminal, match="no such model"):
        await write("", "diff")
    assert await write("", "diff") is None
    assert model.asked == 1


async def test_an_answer_that_was_cut_off_is_no_message() -> None:
    written = await writer_of(Scripted("Add c.txt and th", stop=LENGTH))("", "diff")
    assert written is not None
    assert written.text == ""


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("Add it\n", "Add it"),
        ("```\nAdd it.\n\nBecause.\n```", "Add it\n\nBecause."),
        ("`Add it`", "Add it"),
        ("Add\0 it\x1b[31m\n\nSigned-off-by: A <a@b>\nOrchestra-Session: x\n", "Add it[31m"),
        ("  \n", ""),
    ],
)
def test_an_answer_is_tidied(said: str, message: str) -> None:
    assert tidy(said) == message


def test_a_long_diff_is_cut_and_the_prompt_says_so() -> None:
    asked = request("why", "x" * (CUT + 5))
    assert asked.count("x") == CUT
    assert "[cut: 5 more characters]" in asked


async def test_the_writer_gets_exactly_the_change_that_is_committed(tmp_path: Path) -> None:
    repository(tmp_path / "code", {"a.txt": "one\n", "gone.txt": "g\n"})
    workspace, _events = await opened(tmp_path)
    folder = workspace.folder()
    (folder / "é ü.txt").write_text("new\n")
    (folder / "a.txt").write_text("two\n")
    (folder / "gone.txt").unlink()
    (folder / "staged.txt").write_text("diff --git a/staged.txt b/staged.txt\n")
    git(folder, "add", "staged.txt")
    shown: list[tuple[str, str]] = []

    async def write(repo: str, diff: str) -> str:
        shown.append((repo, diff))
        return "Change them\n\nBecause."

    calls = workspace.trees["code"].git.calls
    calls.clear()
    (made,) = await workspace.commit(turn(1, "é ü.txt", "a.txt", write=write))  # type: ignore[arg-type]
    assert len(calls) <= 5, calls  # and one that reads the configuration, the first time
    assert made.subject == "Change them"
    ((repo, diff),) = shown
    assert repo == "code"
    assert "-one\n+two\n" in diff
    assert "+new\n" in diff
    assert "staged.txt" not in diff
    assert "gone.txt" not in diff
    assert git(folder, "log", "-1", "--format=%b").startswith("Because.\n\nOrchestra-Model: m-1")
    (folder / "a.txt").write_text("three\n")
    await workspace.commit(turn(2, "a.txt", message="As given", write=write))  # type: ignore[arg-type]
    assert len(shown) == 1, "nobody is asked for a message that is there"


async def test_an_empty_message_means_the_template(tmp_path: Path) -> None:
    repository(tmp_path / "code")
    workspace, _events = await opened(tmp_path)
    (workspace.folder() / "a.txt").write_text("two\n")

    async def write(_repo: str, _diff: str) -> str:
        return ""

    (made,) = await workspace.commit(turn(1, "a.txt", intent="Make it two", write=write))  # type: ignore[arg-type]
    assert made.subject == "write: Make it two"


def test_a_patch_is_parted_by_files() -> None:
    parts = ["diff --git a/x b/x\n+diff --git a/y b/y\n", "diff --git a/y b/y\n-1\n"]
    assert patch_of("".join(parts), ["y"]) == parts[1]


# --- by the command line ---------------------------------------------------------------------------

AUTO = "  commit_messages: auto\n"


def providers(url: str, models: str = "worker: gpt-5, cheap: gpt-5-nano") -> str:
    return f"providers:\n  openai: {{base_url: '{url}/v1', models: {{{models}}}}}\n"


KILLER = """#!/bin/sh
case "$*" in commit*) if mkdir "$ONCE" 2>/dev/null; then kill -9 $PPID; exit 1; fi;; esac
exec REAL "$@"
"""


def test_a_message_is_paid_for_once_also_when_the_runner_is_killed_before_its_commit(tmp_path: Path) -> None:
    wrapper = tmp_path / "bin" / "git"
    wrapper.parent.mkdir()
    wrapper.write_text(KILLER.replace("REAL", str(shutil.which("git"))))
    wrapper.chmod(0o755)
    nodes = row(("write", "echo new > c.txt"))
    with ModelServer(parse('answers: [{text: "Add c.txt\\n\\nIt was missing."}, {text: "Another one"}]')) as server:
        project(tmp_path, nodes, AUTO + providers(server.url))
        repository(tmp_path / "code")
        around = environment(tmp_path, ONCE=str(tmp_path / "once"), ORCHESTRA_CXDB_PATH=str(tmp_path / "store"))
        around["PATH"] = f"{wrapper.parent}:{os.environ['PATH']}"
        killed = subprocess.run(
            [sys.executable, "-m", "orchestra", "run", "p.dot"], cwd=tmp_path, env=around, capture_output=True
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        done = call(tmp_path, "resume", "last", "--json")
        assert json.loads(done.stdout)["status"] == "success", done.stderr
        (asked,) = server.requests
    assert asked.model == "gpt-5-nano"
    assert "+new" in str(asked.body)
    branch = f"orchestra/p/{json.loads(done.stdout)['session']}"
    assert git(tmp_path / "code", "log", "-1", "--format=%s", branch) == "Add c.txt"
    told = json.loads(call(tmp_path, "status", "last", "--detail", "--json").stdout)
    assert told["models"]["gpt-5-nano"]["tokens_in"] == told["spent"]["tokens_in"] > 0
    assert "Add c.txt" in call(tmp_path, "log", "last").stdout


def test_without_a_cheap_model_the_template_is_used_and_a_warning_says_so_once(tmp_path: Path) -> None:
    nodes = row(("one", "echo 1 > c.txt"), ("two", "echo 2 > c.txt"))
    project(tmp_path, nodes, AUTO)
    repository(tmp_path / "code")
    done = call(tmp_path, "run", str(tmp_path / "p.dot"), "--plain")
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert said.count("no provider has a model named `cheap`") == 1, said
    session = json.loads(call(tmp_path, "status", "last", "--json").stdout)["session"]
    assert git(tmp_path / "code", "log", "-1", "--format=%s", f"orchestra/p/{session}") == "two: echo 2 > c.txt"
