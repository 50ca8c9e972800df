"""A runner killed at any of its git calls: no commit is lost or made twice, no lock is left (W7, W13).

A ``git`` before the real one counts the calls and kills the runner at one of them: before it, after it, while it
goes on without its runner, or with the lock that a git killed with it would leave.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from calls import call
from scratch import environment, everything, git, project, repository, tool

GIT = shutil.which("git")
WRAPPER = """#!/bin/sh
exec 9>>"$SWEEP/lock"
flock 9
n=$(($(cat "$SWEEP/count") + 1))
echo $n > "$SWEEP/count"
flock -u 9
exec 9>&-
if [ $n = "$KILL_AT" ]; then
    case $MODE in
        before) kill -9 $PPID; exit 1;;
        after) REAL "$@"; kill -9 $PPID; exit 1;;
        during) kill -9 $PPID; exec REAL "$@";;
        lock)
            case "$GIT_DIR" in
                */worktrees/*) : > "$GIT_DIR/index.lock"; touch -d '10 seconds ago' "$GIT_DIR/index.lock";;
            esac
            kill -9 $PPID; exit 1;;
    esac
fi
exec REAL "$@"
"""
NODES = (
    "fan [shape=component] join [shape=tripleoctagon]\n"
    + tool("first", "echo 1 > one.txt")
    + tool("left", "echo l > l.txt")
    + tool("right", "echo r > r.txt")
    + tool("last", "test -e l.txt && test -e r.txt && echo 2 >> one.txt")
    + "start -> first -> fan -> left -> join; fan -> right -> join -> last -> exit"
)
MODES = ("before", "after", "during", "lock")


def swept(folder: Path, kill_at: int, mode: str) -> int:
    """Run the project's pipeline with the wrapper; the number of git calls, where nothing is killed."""
    sweep = folder / "sweep"
    (sweep / "bin").mkdir(parents=True)
    (sweep / "count").write_text("0")
    wrapper = sweep / "bin" / "git"
    wrapper.write_text(WRAPPER.replace("REAL", str(GIT)))
    wrapper.chmod(0o755)
    variables = environment(folder, SWEEP=str(sweep), KILL_AT=str(kill_at), MODE=mode)
    variables |= {"PATH": f"{sweep / 'bin'}:{os.environ['PATH']}", "ORCHESTRA_CXDB_PATH": str(folder / "store")}
    done = subprocess.run(
        [sys.executable, "-m", "orchestra", "run", str(folder / "p.dot")],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
    )
    if kill_at:
        assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
        return 0  # git that runs on without its runner may be counting
    return int((sweep / "count").read_text())


def points(total: int, long: bool) -> list[tuple[int, str]]:
    """Which calls are the last ones: all in each mode, or some in one mode each."""
    if long:
        return [(number, mode) for number in range(1, total + 1) for mode in MODES]
    return [(number, MODES[place % len(MODES)]) for place, number in enumerate(range(7, total + 1, 17))]


def test_the_end_is_the_same_wherever_the_runner_is_killed(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    repository(project(tmp_path / "whole", NODES) / "code")
    total = swept(tmp_path / "whole", 0, "")
    for number, mode in points(total, bool(request.config.getoption("--long"))):
        check(tmp_path / f"{mode}-{number}", number, mode)


def check(folder: Path, number: int, mode: str) -> None:
    code = repository(project(folder, NODES) / "code")
    before = everything(code)
    swept(folder, number, mode)
    done = call(folder, "resume", "last", "--json")
    if "no session" in done.stderr:  # it was killed before its session existed
        done = call(folder, "run", str(folder / "p.dot"), "--json")
    ended = json.loads(done.stdout)
    where = (number, mode, done.stderr)
    assert ended["status"] == "success", where
    branch = f"orchestra/p/{ended['session']}"
    commits = git(code, "log", "--no-merges", "--format=%an", f"main..{branch}").split("\n")
    assert sorted(commits) == ["first (tool)", "last (tool)", "left (tool)", "right (tool)"], where
    assert git(code, "ls-tree", "--name-only", branch).split() == ["a.txt", "b.txt", "l.txt", "one.txt", "r.txt"], (
        where
    )
    assert git(code, "show", f"{branch}:one.txt") == "1\n2", where
    assert everything(code) == before, where
    assert list((code / ".git").rglob("*.lock")) == [], where
    assert git(code, "fsck", "--strict", "--no-dangling") == "", where
    worktree = folder / ".orchestra" / "worktrees" / ended["session"] / "code"
    assert git(worktree, "status", "--porcelain") == "", where
    assert git(code, "worktree", "list").count(".orchestra") == 1, where
