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

pytestmark = pytest.mark.timeout(7200)  # the long form

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


def swept(folder: Path, kill_at: int, mode: str, *arguments: str) -> int:
    """Run the project's pipeline, or another command, with the wrapper; the number of git calls, where nothing is
    killed."""
    sweep = folder / "sweep"
    (sweep / "bin").mkdir(parents=True)
    (sweep / "count").write_text("0")
    wrapper = sweep / "bin" / "git"
    wrapper.write_text(WRAPPER.replace("REAL", str(GIT)))
    wrapper.chmod(0o755)
    variables = environment(folder, SWEEP=str(sweep), KILL_AT=str(kill_at), MODE=mode)
    variables |= {"PATH": f"{sweep / 'bin'}:{os.environ['PATH']}", "ORCHESTRA_CXDB_PATH": str(folder / "store")}
    done = subprocess.run(
        [sys.executable, "-m", "orchestra", *(arguments or ("run", str(folder / "p.dot")))],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
    )
    if kill_at:
        assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
        return 0  # git that runs on without its runner may be counting
    return int((sweep / "count").read_text())


def points(
    total: int, long: bool, *, first: int = 7, step: int = 20, modes: tuple[str, ...] = MODES
) -> list[tuple[int, str]]:
    """Which calls are the last ones: all in each mode, or some in one mode each."""
    if long:
        return [(number, mode) for number in range(1, total + 1) for mode in modes]
    return [(number, modes[place % len(modes)]) for place, number in enumerate(range(first, total + 1, step))]


def test_the_end_is_the_same_wherever_the_runner_is_killed(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    repository(project(tmp_path / "whole", NODES) / "code")
    total = swept(tmp_path / "whole", 0, "")
    for number, mode in points(total, bool(request.config.getoption("--long"))):
        check(tmp_path / f"{mode}-{number}", number, mode)


def resumed(folder: Path, number: int, mode: str) -> str:
    """The session, once it was resumed and has succeeded."""
    done = call(folder, "resume", "last", "--json")
    if "no session" in done.stderr:  # it was killed before its session existed
        done = call(folder, "run", str(folder / "p.dot"), "--json")
    assert done.returncode == 0, (number, mode, done.stderr)
    ended = json.loads(done.stdout)
    assert ended["status"] == "success", (number, mode, done.stderr)
    return str(ended["session"])


def whole(code: Path, before: dict[str, str], where: tuple[int, str]) -> None:
    """The repository is in order, and the checkout as it was."""
    assert everything(code) == before, where
    assert list((code / ".git").rglob("*.lock")) == [], where
    assert git(code, "fsck", "--strict", "--no-dangling") == "", where


def check(folder: Path, number: int, mode: str) -> None:
    code = repository(project(folder, NODES) / "code")
    before = everything(code)
    swept(folder, number, mode)
    session, where = resumed(folder, number, mode), (number, mode)
    branch = f"orchestra/p/{session}"
    commits = git(code, "log", "--no-merges", "--format=%an", f"main..{branch}").split("\n")
    assert sorted(commits) == ["first (tool)", "last (tool)", "left (tool)", "right (tool)"], where
    assert git(code, "ls-tree", "--name-only", branch).split() == ["a.txt", "b.txt", "l.txt", "one.txt", "r.txt"], (
        where
    )
    assert git(code, "show", f"{branch}:one.txt") == "1\n2", where
    whole(code, before, where)
    worktree = folder / ".orchestra" / "worktrees" / session / "code"
    assert git(worktree, "status", "--porcelain") == "", where
    assert git(code, "worktree", "list").count(".orchestra") == 1, where


# --- 16 branches, pushes, cleanup -------------------------------------------------------------------

MANY = [f"b{number:02}" for number in range(16)]
WIDE = (
    "fan [shape=component] join [shape=tripleoctagon]\n"
    + "".join(tool(name, f"echo {name} > {name}.txt") for name in MANY)
    + "start -> fan; join -> exit\n"
    + "\n".join(f"fan -> {name} -> join" for name in MANY)
)


def test_sixteen_branches_end_the_same_wherever_the_runner_is_killed(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    long = bool(request.config.getoption("--long"))
    total = 200
    if long:
        repository(project(tmp_path / "whole", WIDE) / "code")
        total = swept(tmp_path / "whole", 0, "")
    chosen = points(total, long=False, first=5, step=7) if long else [(75, "during")]
    for number, mode in chosen:
        folder = tmp_path / f"{mode}-{number}"
        code = repository(project(folder, WIDE) / "code")
        before = everything(code)
        swept(folder, number, mode)
        session = resumed(folder, number, mode)
        branch = f"orchestra/p/{session}"
        authors = git(code, "log", "--no-merges", "--format=%an", f"main..{branch}").split("\n")
        assert sorted(authors) == [f"{name} (tool)" for name in MANY], (number, mode)
        files = git(code, "ls-tree", "--name-only", branch).split()
        assert files == ["a.txt", *(f"{name}.txt" for name in ["b", *MANY])], (number, mode)
        whole(code, before, (number, mode))
        assert git(code, "worktree", "list").count(".orchestra") == 1, (number, mode)


PUSHED = (
    tool("first", "echo 1 > one.txt") + tool("second", "echo 2 >> one.txt") + "start -> first -> second -> exit"
)


def test_what_was_to_be_pushed_is_pushed_wherever_the_runner_is_killed(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    long = bool(request.config.getoption("--long"))
    total = 30
    if long:
        with_remote(tmp_path / "whole")
        total = swept(tmp_path / "whole", 0, "")
    for number, mode in points(total, long, first=13, step=8):
        folder = tmp_path / f"{mode}-{number}"
        code = with_remote(folder)
        before = everything(code)
        swept(folder, number, mode)
        branch = f"orchestra/p/{resumed(folder, number, mode)}"
        there = folder / "there.git"
        assert git(there, "rev-parse", branch) == git(code, "rev-parse", branch), (number, mode)
        assert git(there, "show", f"{branch}:one.txt") == "1\n2", (number, mode)
        assert git(there, "fsck", "--strict", "--no-dangling") == "", (number, mode)
        whole(code, before, (number, mode))


def with_remote(folder: Path) -> Path:
    project(folder, PUSHED, f"      remote: {folder}/there.git\n      push: on_checkpoint\n")
    git(folder, "init", "-q", "--bare", "there.git")
    return repository(folder / "code")


def test_a_cleanup_that_is_killed_anywhere_is_finished_by_the_next_and_loses_nothing(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    long = bool(request.config.getoption("--long"))
    made = tmp_path / "made"
    code = repository(project(made, NODES) / "code")
    session = json.loads(call(made, "run", str(made / "p.dot"), "--json").stdout)["session"]
    (made / ".orchestra" / "worktrees" / session / "code" / "left.txt").write_text("uncommitted")
    tips = dict(
        line.split()
        for line in git(code, "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads/orchestra").split(
            "\n"
        )
    )
    before = everything(code)
    command = ("discard", session)
    number, mode = (1 if long else 9), "before"
    while True:
        kept = tmp_path / "kept"
        shutil.copytree(made, kept, symlinks=True)
        try:
            killed = _killed(made, number, mode, command)
            done = call(made, *command)
            assert done.returncode == 0 or "no branch" in done.stderr, (number, mode, done.stderr)
            assert git(code, "for-each-ref", "refs/heads/orchestra") == "", (number, mode)
            held = git(code, "for-each-ref", "--format=%(objectname)", "refs/orchestra/trash").split()
            assert set(tips.values()) <= set(held), (number, mode)
            assert "left.txt" in "".join(git(code, "ls-tree", "--name-only", one) for one in held), (number, mode)
            assert git(code, "worktree", "list").count(".orchestra") == 0, (number, mode)
            whole(code, before, (number, mode))
        finally:
            shutil.rmtree(made)
            kept.rename(made)
        if not killed:
            break
        number += (mode == "during") if long else 4
        mode = {"before": "after", "after": "during", "during": "before"}[mode]


def _killed(folder: Path, number: int, mode: str, command: tuple[str, ...]) -> bool:
    """Run a command that is killed at a git call; false where it has fewer."""
    try:
        swept(folder, number, mode, *command)
    except AssertionError:
        return False
    finally:
        shutil.rmtree(folder / "sweep")
    return True
