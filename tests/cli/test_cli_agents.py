"""Command-line agents in runs from the command line, with stub programs (A6)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from calls import ORCHESTRA, call, environment

PIPELINE = """digraph p {
    start [shape=Mdiamond]
    exit [shape=Msquare]
    work [prompt="do it", backend=cli, cli=stub ATTRIBUTES]
    start -> work -> exit
}
"""
ANSWER = [
    {"type": "system", "subtype": "init", "session_id": "s-1", "model": "claude-sonnet-4-5"},
    {
        "type": "assistant",
        "message": {
            "id": "m1",
            "content": [{"type": "tool_use", "id": "t1", "name": "Write", "input": {"file_path": "FILE"}}],
            "usage": {"input_tokens": 10, "output_tokens": 1},
        },
    },
    {"type": "user", "message": {"content": [{"type": "tool_result", "tool_use_id": "t1", "content": "ok"}]}},
    {"type": "assistant", "message": {"id": "m2", "content": [{"type": "text", "text": "It is done."}]}},
    {
        "type": "result",
        "subtype": "success",
        "is_error": False,
        "result": "It is done.",
        "total_cost_usd": 0.5,
        "usage": {"input_tokens": 30, "output_tokens": 20},
    },
]


def project(folder: Path, body: str, attributes: str = "", more: str = "") -> None:
    """A pipeline whose agent is a shell script; its answer's lines are in ``answer``, in ``first`` the first."""
    lines = [json.dumps(line).replace("FILE", "made.txt") + "\n" for line in ANSWER]
    (folder / "answer").write_text("".join(lines))
    (folder / "first").write_text("".join(lines[:4]))
    (folder / "stub").write_text(f'#!/bin/sh\necho "$*" >> {folder}/asked\n{body}\n')
    (folder / "stub").chmod(0o755)
    (folder / "p.dot").write_text(PIPELINE.replace("ATTRIBUTES", attributes))
    (folder / "orchestra.yaml").write_text(f"cli:\n  stub: {{preset: claude, command: {folder}/stub}}\n{more}")


def events(folder: Path) -> list[dict[str, object]]:
    return [json.loads(text) for text in call(folder, "log", "last", "--json-stream").stdout.splitlines()]


def of(folder: Path, kind: str) -> list[dict[str, object]]:
    return [event for event in events(folder) if event["event"] == kind]


def test_a_run_shows_its_agents_turns_tokens_and_cost(tmp_path: Path) -> None:
    project(tmp_path, f"cat {tmp_path}/answer")
    done = call(tmp_path, "run", "p.dot")
    assert done.returncode == 0, done.stderr
    detail = call(tmp_path, "status", "last", "--detail").stdout
    assert "30 tokens in" in detail
    assert "$0.50" in detail
    assert "turn 1, claude-sonnet-4-5, Write" in call(tmp_path, "log", "last").stdout


def test_a_program_that_is_missing_or_unknown_makes_the_pipeline_invalid(tmp_path: Path) -> None:
    project(tmp_path, "true")
    (tmp_path / "stub").unlink()
    done = call(tmp_path, "compile", "p.dot")
    assert done.returncode == 3
    assert "error[cli_agent]" in done.stderr + done.stdout
    assert call(tmp_path, "run", "p.dot").returncode == 3
    (tmp_path / "p.dot").write_text((tmp_path / "p.dot").read_text().replace("cli=stub", "cli=stab"))
    assert "did you mean 'stub'?" in call(tmp_path, "run", "p.dot").stderr


def test_without_quota_the_run_pauses_with_7_and_a_resume_continues(tmp_path: Path) -> None:
    failed = {"type": "result", "subtype": "success", "is_error": True, "result": "Credit balance is too low"}
    body = f"[ -e {tmp_path}/paid ] && exec cat {tmp_path}/answer; echo '{json.dumps(failed)}'; exit 1"
    project(tmp_path, body, ", max_retries=3")
    done = call(tmp_path, "run", "p.dot")
    assert done.returncode == 7, (done.returncode, done.stdout, done.stderr)
    assert len((tmp_path / "asked").read_text().splitlines()) == 1
    (tmp_path / "paid").touch()
    assert call(tmp_path, "resume", "last").returncode == 0


def test_a_limit_of_cost_pauses_between_turns(tmp_path: Path) -> None:
    more = "limits: {run: {tokens: 5}}\n"
    project(tmp_path, f"cat {tmp_path}/first; sleep 20", more=more)
    began = time.monotonic()
    done = call(tmp_path, "run", "p.dot")
    assert done.returncode == 7, (done.stdout, done.stderr)
    assert time.monotonic() - began < 15
    assert len(of(tmp_path, "AgentTurnCompleted")) == 1
    assert call(tmp_path, "resume", "last").returncode == 7  # at the same limit nothing is asked
    assert len((tmp_path / "asked").read_text().splitlines()) == 1


@pytest.mark.parametrize("signal", ["kill", "terminate"])
def test_a_runner_that_is_killed_or_stopped_leaves_no_agent_and_a_resume_continues_its_session(
    tmp_path: Path, signal: str
) -> None:
    body = f"""
    case "$*" in *--resume*) exec tail -2 {tmp_path}/answer;; esac
    cat {tmp_path}/first; echo $$ > {tmp_path}/pid; exec sleep 60
    """
    project(tmp_path, body)
    run = subprocess.Popen(
        [*ORCHESTRA, "run", "p.dot"],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 20
    while not (tmp_path / "pid").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    while len(of(tmp_path, "AgentTurnCompleted")) < 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    getattr(run, signal)()
    run.wait(15)
    done = call(tmp_path, "resume", "last")
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = (tmp_path / "asked").read_text().splitlines()
    assert "--resume" not in first
    assert "--resume s-1" in second
    pid = int((tmp_path / "pid").read_text())
    assert not alive(pid)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def git(folder: Path, *args: str) -> str:
    return subprocess.run(["git", *args], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_an_agent_works_in_the_worktree_and_its_changes_are_committed(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    repo.mkdir()
    git(repo, "init", "-q", "-b", "main")
    (repo / "a.txt").write_text("a\n")
    git(repo, "add", ".")
    git(repo, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "first")
    body = f"pwd > {tmp_path}/pwd; echo hello > made.txt; echo more > other.txt; cat {tmp_path}/answer"
    project(tmp_path, body, more="workspace: {repos: {app: {path: repo}}}\n")
    done = call(tmp_path, "run", "p.dot")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (repo / "made.txt").exists()
    assert (tmp_path / "pwd").read_text().strip() != str(repo)
    branches = git(repo, "branch", "--list", "orchestra/*", "--format", "%(refname:short)").split()
    (branch,) = branches
    assert set(git(repo, "ls-tree", "--name-only", branch).split()) == {"a.txt", "made.txt", "other.txt"}


@pytest.mark.skipif(not os.access("/usr/bin/bwrap", os.X_OK), reason="no bubblewrap")
def test_in_a_sandbox_an_agent_writes_its_folder_its_status_and_nothing_else(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    body = """
    echo inside > made.txt
    echo outside > ../outside.txt 2>/dev/null
    echo '{"status": "success", "notes": "reported"}' > "$ORCHESTRA_STATUS_FILE"
    cat answer
    """
    project(work, body.replace("cat answer", f"cat {work}/answer"), more="sandbox: {mode: bwrap, network: full}\n")
    done = call(work, "run", "p.dot")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (work / "made.txt").read_text() == "inside\n"
    assert not (tmp_path / "outside.txt").exists()
    (ended,) = [event for event in of(work, "StageCompleted") if event["node"] == "work"]
    assert ended["notes"] == "reported"


@pytest.mark.skipif(not os.access("/usr/bin/bwrap", os.X_OK), reason="no bubblewrap")
def test_in_a_sandbox_without_a_network_a_known_agent_is_refused(tmp_path: Path) -> None:
    project(tmp_path, "true", more="sandbox: bwrap\n")
    done = call(tmp_path, "run", "p.dot")
    assert done.returncode == 3
    assert "needs the network" in done.stderr


def test_simulation_and_compile_load_no_model_library(tmp_path: Path) -> None:
    project(tmp_path, f"cat {tmp_path}/answer")
    program = (
        "import sys; from orchestra.cli import main\n"
        "sys.argv = ['orchestra', *sys.argv[1:]]\n"
        "try: main()\n"
        "finally: print(sorted(n for n in sys.modules if n.startswith(('langchain', 'langgraph'))))"
    )
    for arguments in (["compile", "p.dot"], ["run", "p.dot"]):
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=tmp_path,
            env=environment(tmp_path),
            capture_output=True,
            text=True,
        )
        assert "[]" in done.stdout.splitlines()[-1], done.stdout + done.stderr


def test_the_store_in_the_working_folder_is_not_counted_as_written_by_the_agent(tmp_path: Path) -> None:
    project(tmp_path, f"sleep 0.3; echo new > made.txt; cat {tmp_path}/answer")
    assert call(tmp_path, "run", "p.dot").returncode == 0
    written = str(of(tmp_path, "AgentTurnCompleted"))
    assert "made.txt" in written
    assert "store/" not in written
