"""A run that was cut off continues from the recorded code, and nothing that was written is lost (W7, W8)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from calls import call
from scratch import branch_of, environment, git, project, repository, row, run, tool

ORCHESTRA = [sys.executable, "-m", "orchestra"]


def killed_at(folder: Path, ready: Path) -> None:
    """Start the project's pipeline and kill its runner when a file is there."""
    process = subprocess.Popen(
        [*ORCHESTRA, "run", str(folder / "p.dot")],
        cwd=folder,
        env={**environment(folder), "ORCHESTRA_CXDB_PATH": str(folder / "store")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    limit = time.monotonic() + 20
    while not ready.exists():
        assert time.monotonic() < limit
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def resumed(folder: Path, *more: str) -> dict[str, object]:
    done = call(folder, "resume", "last", "--json", *more)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_a_killed_node_is_run_again_on_the_recorded_commit_and_its_files_are_rescued(tmp_path: Path) -> None:
    half = "echo half > half.txt; echo >> a.txt"
    slow = f"test -e {tmp_path}/go || {{ {half}; touch {tmp_path}/ready; sleep 60; }}; echo done > done.txt"
    code = repository(project(tmp_path, row(("first", "echo 1 > one.txt"), ("slow", slow))) / "code")
    killed_at(tmp_path, tmp_path / "ready")
    (tmp_path / "go").touch()
    ended = resumed(tmp_path)
    assert ended["status"] == "success"
    branch = branch_of(tmp_path)
    assert git(code, "log", "--format=%an", branch).split("\n") == ["slow (tool)", "first (tool)", "A User"]
    assert "half.txt" not in git(code, "ls-tree", "--name-only", branch)
    rescued = f"refs/orchestra/rescue/{ended['session']}/1"
    assert git(code, "show", f"{rescued}:half.txt") == "half"
    assert rescued in call(tmp_path, "log", str(ended["session"])).stdout


def test_a_repository_that_a_killed_node_made_stays_and_is_not_called_kept(tmp_path: Path) -> None:
    me = "git -c user.name=me -c user.email=me@x"
    new = (
        f"git init -q new && cd new && echo x > x && git add x && {me} commit -qm x && cd .. && git init -q unborn"
    )
    slow = f"test -e {tmp_path}/go || {{ {new}; touch {tmp_path}/ready; sleep 60; }}; echo done > done.txt"
    code = repository(project(tmp_path, row(("slow", slow))) / "code")
    killed_at(tmp_path, tmp_path / "ready")
    (tmp_path / "go").touch()
    session = str(resumed(tmp_path)["session"])
    shown = call(tmp_path, "log", session).stdout
    assert "unborn, new stays in" in shown
    assert "refs/orchestra/rescue" not in shown
    assert git(code, "for-each-ref", "refs/orchestra/rescue") == ""
    assert (tmp_path / ".orchestra" / "worktrees" / session / "code" / "new" / "x").exists()


def test_cancel_names_a_checkout_that_a_dead_runner_left_on_the_sessions_branch(tmp_path: Path) -> None:
    slow = f"touch {tmp_path}/ready; sleep 60"
    code = repository(project(tmp_path, row(("slow", slow)), "      in_place: true\n") / "code")
    killed_at(tmp_path, tmp_path / "ready")
    done = call(tmp_path, "cancel", "last")
    assert f"{code} still has the branch {git(code, 'symbolic-ref', '--short', 'HEAD')} checked out" in done.stdout
    assert f"git -C {code} switch main" in done.stdout


def test_a_worktree_in_which_a_dead_runners_command_works_is_not_discarded_until_it_is_stopped(
    tmp_path: Path,
) -> None:
    slow = f"touch {tmp_path}/ready; sleep 60"
    repository(project(tmp_path, row(("slow", slow))) / "code")
    killed_at(tmp_path, tmp_path / "ready")
    refused = call(tmp_path, "discard", "last")
    assert refused.returncode == 8
    assert "still works in" in refused.stderr
    (worktree,) = (tmp_path / ".orchestra" / "worktrees").glob("*/code")
    canceled = call(tmp_path, "cancel", "last")
    assert canceled.returncode == 0, canceled.stderr
    done = call(tmp_path, "discard", "last")
    assert done.returncode == 0, done.stderr
    assert not worktree.exists()
    assert branch_of(tmp_path) == ""


def test_a_commit_that_was_not_recorded_is_rescued_and_made_once(tmp_path: Path) -> None:
    mine = "echo x > x.txt; git add x.txt; git commit -qm mine"
    slow = f"test -e {tmp_path}/go || {{ {mine}; touch {tmp_path}/ready; sleep 60; }}; echo y > y.txt"
    code = repository(project(tmp_path, row(("slow", slow))) / "code")
    git(code, "config", "user.email", "a@b.c")
    git(code, "config", "user.name", "me")
    killed_at(tmp_path, tmp_path / "ready")
    (tmp_path / "go").touch()
    ended = resumed(tmp_path)
    assert ended["status"] == "success"
    assert git(code, "log", "--format=%s", branch_of(tmp_path)).split("\n")[1:] == ["first"]
    assert git(code, "show", f"refs/orchestra/rescue/{ended['session']}/1:x.txt") == "x"


def test_a_worktree_and_a_branch_that_were_deleted_are_made_again(tmp_path: Path) -> None:
    fails = f"test -e {tmp_path}/go && cat one.txt"
    code = repository(project(tmp_path, row(("first", "echo 1 > one.txt"), ("second", fails))) / "code")
    assert run(tmp_path)["status"] == "fail"
    branch = branch_of(tmp_path)
    subprocess.run(["rm", "-rf", str(tmp_path / ".orchestra" / "worktrees")], check=True)
    git(code, "worktree", "prune")
    git(code, "branch", "-D", branch)
    (tmp_path / "go").touch()
    assert resumed(tmp_path)["status"] == "success"
    assert branch_of(tmp_path) == branch
    assert git(code, "show", f"{branch}:one.txt") == "1"


def test_a_repository_cloned_afresh_gets_the_worktree_again_and_what_was_in_its_place_is_kept(
    tmp_path: Path,
) -> None:
    fails = f"echo x > x.txt; test -e {tmp_path}/go && cat one.txt"
    code = repository(project(tmp_path, row(("first", "echo 1 > one.txt"), ("second", fails))) / "code")
    session = run(tmp_path)["session"]
    git(tmp_path, "clone", "-q", "--mirror", str(code), "copy.git")
    subprocess.run(["rm", "-rf", str(code)], check=True)
    git(tmp_path, "clone", "-q", "copy.git", "code")
    git(code, "fetch", "-q", "origin", "+refs/heads/orchestra/*:refs/heads/orchestra/*")
    (tmp_path / "go").touch()
    done = call(tmp_path, "resume", "last")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / ".orchestra" / "worktrees" / session / "code"
    assert git(folder, "status", "--porcelain") == ""
    assert (folder.with_name("code.kept-1") / "one.txt").read_text() == "1\n"
    assert f"{folder}.kept-1" in done.stdout + done.stderr


def killed_in_a_child(folder: Path) -> Path:
    """A repository in which the second node of a child, itself in a branch, was cut off."""
    slow = f"test -e {folder}/go || {{ touch {folder}/ready; sleep 60; }}; echo 2 > two.txt"
    nodes = 'fan [shape=component] meet [shape=tripleoctagon] a [type=pipeline, stack.child_dotfile="kid.dot"]\n'
    nodes += tool("b", "true") + "start -> fan fan -> a -> meet fan -> b -> meet meet -> exit"
    code = repository(project(folder, nodes) / "code")
    kid = row(("first", "echo 1 > one.txt"), ("second", slow))
    (folder / "kid.dot").write_text(f"digraph kid {{ start [shape=Mdiamond] exit [shape=Msquare]\n{kid}\n}}")
    killed_at(folder, folder / "ready")
    (folder / "go").touch()
    return code


def test_commits_from_which_a_child_in_a_branch_continues_are_not_rescued(tmp_path: Path) -> None:
    code = killed_in_a_child(tmp_path)
    assert resumed(tmp_path)["status"] == "success"
    assert git(code, "for-each-ref", "refs/orchestra/rescue/") == ""
    (branch,) = git(code, "for-each-ref", "--format=%(refname)", "refs/heads/orchestra/p/").split("\n")[:1]
    assert {"one.txt", "two.txt"} <= set(git(code, "ls-tree", "--name-only", branch).split("\n"))


def test_commits_of_a_child_that_is_not_continued_are_rescued(tmp_path: Path) -> None:
    code = killed_in_a_child(tmp_path)
    text = (tmp_path / "p.dot").read_text()
    changed = text.replace(
        'type=pipeline, stack.child_dotfile="kid.dot"', 'shape=parallelogram, tool_command="true"'
    )
    (tmp_path / "p.dot").write_text(changed)
    ended = resumed(tmp_path, "--graph", "p.dot")
    assert git(code, "show", f"refs/orchestra/rescue/{ended['session']}/1:one.txt") == "1"


def test_commits_added_to_the_branch_from_outside_are_rescued(tmp_path: Path) -> None:
    fails = f"test -e {tmp_path}/go && test ! -e alien.txt"
    code = repository(project(tmp_path, row(("first", "echo 1 > one.txt"), ("second", fails))) / "code")
    ended = run(tmp_path)
    worktree = tmp_path / ".orchestra" / "worktrees" / str(ended["session"]) / "code"
    (worktree / "alien.txt").write_text("x")
    git(worktree, "add", "alien.txt")
    git(worktree, "commit", "-q", "-m", "alien")
    (tmp_path / "go").touch()
    assert resumed(tmp_path)["status"] == "success"
    assert git(code, "show", f"refs/orchestra/rescue/{ended['session']}/1:alien.txt") == "x"


def test_a_replay_gets_branches_of_its_own_at_the_commit_of_that_turn(tmp_path: Path) -> None:
    nodes = row(("first", "echo 1 > one.txt"), ("second", "echo 2 >> one.txt"))
    code = repository(project(tmp_path, nodes) / "code")
    ended = run(tmp_path)
    old = branch_of(tmp_path)
    before = git(code, "rev-parse", old)
    done = call(tmp_path, "replay", ended["session"], "--node", "second", "--json")
    again = json.loads(done.stdout)
    assert again["status"] == "success"
    assert again["session"] != ended["session"]
    new = f"orchestra/p/{again['session']}"
    assert git(code, "rev-parse", old) == before
    assert git(code, "rev-parse", f"{new}~1") == git(code, "rev-parse", f"{old}~1")
    assert git(code, "show", f"{new}:one.txt") == "1\n2"
