"""Remotes: a clone where nothing is, a push at the end or at every commit, trouble that stops nothing (W9)."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
from calls import call
from scratch import environment, git, project, repository, row, run, tool

from orchestra.workspace import preparing
from orchestra.workspace import remote as remotes

WRITES = row(("write", "echo new > c.txt"))


def remote(folder: Path) -> Path:
    """A bare repository with one commit on main."""
    first = repository(folder / "first")
    git(folder, "clone", "-q", "--bare", str(first), "remote.git")
    return folder / "remote.git"


def settings(url: Path | str, more: str = "") -> str:
    return f"      remote: {url}\n{more}"


def events(folder: Path) -> list[str]:
    shown = json.loads(call(folder, "log", "last", "--json").stdout)["events"]
    return [event["event"] for event in shown]


def test_a_missing_repository_is_cloned_and_the_branch_pushed_when_the_run_succeeds(tmp_path: Path) -> None:
    there = remote(tmp_path)
    project(tmp_path, WRITES, settings(there))
    ended = run(tmp_path)
    assert ended["status"] == "success"
    branch = f"orchestra/p/{ended['session']}"
    assert git(there, "show", f"{branch}:c.txt") == "new"
    assert {"RepoCloned", "SessionBranchPushed"} <= set(events(tmp_path))
    assert events(tmp_path)[-1] == "PipelineCompleted"


def test_a_shallow_clone_works_and_pushes(tmp_path: Path) -> None:
    there = remote(tmp_path)
    for number in range(4):
        git(tmp_path / "first", "commit", "-q", "--allow-empty", "-m", f"c{number}")
    git(tmp_path / "first", "push", "-q", str(there), "main")
    project(tmp_path, WRITES, settings(there, "      clone_depth: 1\n"))
    ended = run(tmp_path)
    assert ended["status"] == "success"
    assert git(tmp_path / "code", "rev-parse", "--is-shallow-repository") == "true"
    assert git(there, "show", f"orchestra/p/{ended['session']}:c.txt") == "new"


def test_a_failed_run_pushes_nothing_on_completion(tmp_path: Path) -> None:
    there = remote(tmp_path)
    project(tmp_path, row(("write", "echo new > c.txt; exit 1")), settings(there))
    assert run(tmp_path)["status"] == "fail"
    assert git(there, "for-each-ref", "refs/heads/orchestra/") == ""


def test_a_remote_that_is_gone_is_a_warning_and_the_run_succeeds(tmp_path: Path) -> None:
    there = remote(tmp_path)
    git(tmp_path, "clone", "-q", str(there), "code")
    project(tmp_path, WRITES, settings(there))
    there.rename(tmp_path / "gone.git")
    ended = run(tmp_path)
    assert ended["status"] == "success"
    assert "SessionBranchPushFailed" in events(tmp_path)
    assert "not fetched" in call(tmp_path, "log", "last").stdout


def test_no_prompt_waits_for_a_password(tmp_path: Path) -> None:
    project(tmp_path, WRITES, settings("https://127.0.0.1:1/x.git"))
    began = time.monotonic()
    done = call(tmp_path, "run", str(tmp_path / "p.dot"))
    assert done.returncode == 2
    assert "git clone failed" in done.stderr
    assert time.monotonic() - began < 8
    assert not (tmp_path / "code").exists()


def test_another_machine_continues_from_the_store_and_the_remote(tmp_path: Path) -> None:
    there = remote(tmp_path)
    pushed = "while ! git --git-dir={0} for-each-ref refs/heads/orchestra/ | grep -q .; do sleep 0.05; done"
    nodes = row(
        ("write", "echo new > c.txt"),
        ("second", f"{pushed.format(there)}; test -e {tmp_path}/go && test -e c.txt && echo 2 > d.txt"),
    )
    push = "      push: on_checkpoint\n"
    project(tmp_path / "one", nodes, settings(there, push))
    ended = run(tmp_path / "one")
    assert ended["status"] == "fail"
    project(tmp_path / "two", nodes, settings(there, push))
    (tmp_path / "go").touch()
    subprocess.run(["rm", "-rf", str(tmp_path / "one" / "code"), str(tmp_path / "one" / ".orchestra")], check=True)
    done = call(tmp_path / "two", "resume", "last", "--json", "--store", str(tmp_path / "one" / "store"))
    assert json.loads(done.stdout)["status"] == "success", done.stderr
    branch = f"orchestra/p/{ended['session']}"
    log = call(tmp_path / "two", "log", "last", "--json", "--store", str(tmp_path / "one" / "store")).stdout
    places = [event.get("path") for event in json.loads(log)["events"] if event["event"] == "WorktreeCreated"]
    assert places == [f"{tmp_path}/one/code", f"{tmp_path}/two/code"]
    assert git(there, "show", f"{branch}:d.txt") == "2"
    assert git(there, "show", f"{branch}:c.txt") == "new"


def test_a_password_in_an_address_is_not_recorded(tmp_path: Path) -> None:
    repository(project(tmp_path, WRITES, settings("https://me:hunter2hunter2@127.0.0.1:1/x.git")) / "code")
    assert run(tmp_path)["status"] == "success"
    assert "hunter2" not in call(tmp_path, "log", "last", "--json").stdout
    assert environment(tmp_path)["HOME"]


def commits(folder: Path, there: Path, count: int) -> None:
    """More commits on the remote's main."""
    for number in range(count):
        git(folder / "first", "commit", "-q", "--allow-empty", "-m", f"c{number}")
    git(folder / "first", "push", "-q", str(there), "main")


def test_a_merge_into_a_branch_that_moved_on_deepens_a_shallow_clone(tmp_path: Path) -> None:
    there = remote(tmp_path)
    commits(tmp_path, there, 3)
    project(tmp_path, WRITES, settings(there, "      clone_depth: 1\n"))
    session = run(tmp_path)["session"]
    commits(tmp_path, there, 3)
    code = tmp_path / "code"
    git(code, "fetch", "-q", "--depth=1", "origin", "main")
    git(code, "reset", "-q", "--hard", "FETCH_HEAD")
    assert git(code, "merge-base", "HEAD", f"orchestra/p/{session}", check=False) == ""
    done = call(tmp_path, "merge", session)
    assert done.returncode == 0, done.stderr
    assert git(code, "show", "HEAD:c.txt") == "new"
    assert git(code, "log", "--format=%s", "HEAD^1").split("\n")[:4] == ["c2", "c1", "c0", "c2"]


def test_a_shallow_clone_whose_remote_is_gone_is_left_as_it_is_and_says_why(tmp_path: Path) -> None:
    there = remote(tmp_path)
    commits(tmp_path, there, 1)
    project(tmp_path, WRITES, settings(there, "      clone_depth: 1\n"))
    session = run(tmp_path)["session"]
    commits(tmp_path, there, 1)
    code = tmp_path / "code"
    git(code, "fetch", "-q", "--depth=1", "origin", "main")
    git(code, "reset", "-q", "--hard", "FETCH_HEAD")
    there.rename(tmp_path / "gone.git")
    before = git(code, "rev-parse", "HEAD")
    done = call(tmp_path, "merge", session)
    assert done.returncode != 0
    assert "getting more of its history failed" in done.stderr
    assert git(code, "rev-parse", "HEAD") == before


def test_a_shallow_clone_elsewhere_gets_the_history_back_to_where_the_session_began(tmp_path: Path) -> None:
    there = remote(tmp_path)
    nodes = row(("one", "echo 1 > c.txt"), ("two", "echo 2 > c.txt"), ("last", f"test -e {tmp_path}/go"))
    more = "      push: on_checkpoint\n      clone_depth: 1\n"
    project(tmp_path / "one", nodes, settings(there, more))
    ended = run(tmp_path / "one")
    assert ended["status"] == "fail"
    (tmp_path / "go").touch()
    subprocess.run(["rm", "-rf", str(tmp_path / "one" / "code"), str(tmp_path / "one" / ".orchestra")], check=True)
    project(tmp_path / "two", nodes, settings(there, more))
    done = call(tmp_path / "two", "resume", "last", "--json", "--store", str(tmp_path / "one" / "store"))
    assert json.loads(done.stdout)["status"] == "success", done.stderr
    log = git(tmp_path / "two" / "code", "log", "--format=%s", f"orchestra/p/{ended['session']}").split("\n")
    assert log == ["two: echo 2 > c.txt", "one: echo 1 > c.txt", "first"]


FAN = (
    "fan [shape=component] join [shape=tripleoctagon]\n"
    + tool("write", "echo new > c.txt")
    + tool("left", "echo l > l.txt")
    + tool("right", "echo r > r.txt; exit 1")
    + "start -> write -> fan -> left -> join; fan -> right -> join -> exit"
)


def test_a_remote_that_never_answers_holds_a_run_up_for_a_moment_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((remotes, "PATIENCE"), (remotes, "IMPATIENCE"), (preparing, "FETCH_PATIENCE")):
        monkeypatch.setattr(module, name, 0.5)
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 300\n")
    silent.chmod(0o755)
    project(tmp_path, FAN, settings("ssh://me@nowhere.example/x.git", "      push: on_checkpoint\n"))
    code = repository(tmp_path / "code")
    began = time.monotonic()
    done = call(tmp_path, "run", str(tmp_path / "p.dot"), "--plain", GIT_SSH=str(silent))
    assert time.monotonic() - began < 8
    assert done.returncode == 0, done.stderr
    assert "not fetched from ssh://nowhere.example/x.git: no answer" in done.stdout + done.stderr
    assert "not pushed: the remote did not answer" in done.stdout
    assert git(code, "for-each-ref", "refs/heads/orchestra").count("refs/heads/") == 3
    assert list((code / ".git").rglob("*.lock")) == []


def test_a_remote_that_refuses_is_named_with_its_reason_and_asked_again_at_the_end(tmp_path: Path) -> None:
    there = remote(tmp_path)
    hook = there / "hooks" / "pre-receive"
    hook.write_text(f"#!/bin/sh\necho x >> {tmp_path}/asked\necho 'no pushes on Saturdays' >&2\nexit 1\n")
    hook.chmod(0o755)
    project(tmp_path, FAN, settings(there, "      push: on_checkpoint\n"))
    ended = run(tmp_path)
    assert ended["status"] == "success"
    log = call(tmp_path, "log", "last").stdout
    assert "not pushed: git push failed: pre-receive hook declined; no pushes on Saturdays" in log
    assert (tmp_path / "asked").read_text().count("x") >= 2
    session = str(ended["session"])
    way = f"`orchestra pr {session}` pushes it"
    assert way in call(tmp_path, "status", session).stdout
    assert f"push again: orchestra pr {session}" in call(tmp_path, "resume", session).stdout
    hook.unlink()
    assert call(tmp_path, "pr", "last").returncode == 0  # pushes it


def test_a_branch_that_is_not_merged_is_pushed_too(tmp_path: Path) -> None:
    there = remote(tmp_path)
    project(tmp_path, FAN, settings(there))
    session = run(tmp_path)["session"]
    refs = git(there, "for-each-ref", "--format=%(refname:short)", "refs/heads/orchestra").split()
    assert refs == [f"orchestra/p/{session}", f"orchestra/p/{session}@fan.1.1.right"]
    assert git(there, "show", f"{refs[1]}:r.txt") == "r"
