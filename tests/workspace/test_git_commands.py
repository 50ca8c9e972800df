"""The commands for what runs leave: merge, discard, cleanup, show, compare, pr (W6, W11)."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from calls import call, on_terminal
from scratch import branch_of, environment, everything, git, project, repository, row, run

WRITES = row(("write", "echo new > c.txt"))
ME = "git -c user.name=me -c user.email=me@x"


def undo_of(said: str) -> list[str]:
    """The commands that undo what a command said it did."""
    return [
        line.partition("git ")[1] + line.partition("git ")[2] for line in said.splitlines() if " git -C" in line
    ]


def shell(folder: Path, command: str) -> None:
    subprocess.run(["sh", "-c", command], cwd=folder, env=environment(folder), check=True)


def test_merge_takes_the_work_and_can_be_undone(tmp_path: Path) -> None:
    code = repository(project(tmp_path, WRITES) / "code")
    run(tmp_path)
    before = git(code, "rev-parse", "main")
    done = call(tmp_path, "merge", "last")
    assert done.returncode == 0, done.stderr
    assert (code / "c.txt").read_text() == "new\n"
    assert git(code, "status", "--porcelain") == ""
    assert "1 file changed" in done.stdout
    shell(tmp_path, undo_of(done.stdout)[0])
    assert git(code, "rev-parse", "main") == before
    assert not (code / "c.txt").exists()


def test_the_commands_that_a_run_names_work_where_it_was_started(tmp_path: Path) -> None:
    """The settings are beside the pipeline, not in the folder from which it was run."""
    code = repository(project(tmp_path / "deep", WRITES) / "code")
    done = call(tmp_path, "run", "deep/p.dot", ORCHESTRA_CXDB_PATH="")
    assert done.returncode == 0, done.stderr
    command = next(line for line in done.stdout.splitlines() if line.startswith("  merge: orchestra "))
    merged = call(tmp_path, *command.removeprefix("  merge: orchestra ").split(), ORCHESTRA_CXDB_PATH="")
    assert merged.returncode == 0, merged.stderr
    assert (code / "c.txt").exists()


def test_the_status_of_an_ended_session_shows_its_code_as_the_end_of_its_run(tmp_path: Path) -> None:
    repository(project(tmp_path, WRITES) / "code")
    done = call(tmp_path, "run", "p.dot")
    words = ("  code: ", "  diff: ", "  merge: ", "  pull request: ", "  discard: ")
    lines = [line for line in done.stdout.splitlines() if line.startswith(words)]
    assert len(lines) == len(words)
    shown = call(tmp_path, "status", "last").stdout.splitlines()
    assert [line for line in shown if line.startswith(words)] == lines
    assert call(tmp_path, "discard", "last").returncode == 0
    assert "\n        removed by discard" in on_terminal(tmp_path, 50, "status", "last").replace("\r", "")
    shown = call(tmp_path, "status", "last", "--detail").stdout.splitlines()
    (code,) = [line for line in shown if line.startswith(words)]
    assert code.startswith(lines[0])
    assert "removed by discard" in code


def test_what_did_not_complete_is_merged_only_by_force(tmp_path: Path) -> None:
    code = repository(project(tmp_path, row(("write", "echo half > c.txt; exit 3"))) / "code")
    ended = call(tmp_path, "run", "p.dot")
    assert ended.returncode == 1
    assert "orchestra merge" not in ended.stdout
    before = everything(code)
    done = call(tmp_path, "merge", "last")
    assert done.returncode == 2
    assert "did not complete: failed" in done.stderr
    assert everything(code) == before
    command = done.stderr.rpartition("orchestra merge ")[2].split()
    assert command[0] == "--force"
    done = call(tmp_path, "merge", *command)
    assert done.returncode == 0, done.stderr
    assert (code / "c.txt").exists()


def test_merge_is_refused_for_a_dirty_checkout_and_for_conflicts(tmp_path: Path) -> None:
    code = repository(project(tmp_path, row(("write", "echo theirs > a.txt"))) / "code")
    run(tmp_path)
    (code / "a.txt").write_text("mine\n")
    before = everything(code)
    done = call(tmp_path, "merge", "last")
    assert done.returncode == 2
    assert "uncommitted changes" in done.stderr
    assert everything(code) == before
    git(code, "commit", "-qam", "mine")
    before = everything(code)
    done = call(tmp_path, "merge", "last")
    assert done.returncode == 2
    assert "conflicts with main in a.txt" in done.stderr
    assert everything(code) == before


@pytest.mark.parametrize("fetched", [True, False])
def test_a_branch_that_is_behind_the_end_of_its_session_is_not_merged_as_it_is(
    fetched: bool, tmp_path: Path
) -> None:
    """So another machine leaves it, which completed the session."""
    code = repository(project(tmp_path, row(("one", "echo 1 > one.txt"), ("two", "echo 2 > two.txt"))) / "code")
    session = run(tmp_path)["session"]
    branch = branch_of(tmp_path)
    git(code, "worktree", "remove", "--force", str(tmp_path / ".orchestra" / "worktrees" / session / "code"))
    git(code, "branch", "-q", "-f", branch, f"{branch}~1")
    if not fetched:
        git(code, "reflog", "expire", "--expire=now", "--all")
        git(code, "gc", "-q", "--prune=now")
    done = call(tmp_path, "merge", "last")
    assert done.returncode == (0 if fetched else 2), done.stderr
    assert (code / "two.txt").exists() is fetched
    assert (code / "one.txt").exists() is fetched


def test_a_worktree_that_holds_a_repository_of_its_own_is_kept(tmp_path: Path) -> None:
    make = "mkdir new && cd new && git init -q && echo x > w && git add w"
    code = repository(project(tmp_path, row(("make", f"{make} && {ME} commit -qm work"))) / "code")
    session = run(tmp_path)["session"]
    kept = tmp_path / ".orchestra" / "worktrees" / session / "code" / "new" / "w"
    assert "holds the repository new" in call(tmp_path, "cleanup", "--older-than", "0", "--yes", "--force").stdout
    done = call(tmp_path, "discard", "last")
    assert "holds the repository new" in done.stdout, done.stdout + done.stderr
    assert kept.exists()
    assert git(code, "status", "--porcelain") == ""


def test_a_worktree_whose_submodule_has_commits_that_no_remote_has_is_kept(tmp_path: Path) -> None:
    lib = repository(tmp_path / "lib")
    allow = "git -c protocol.file.allow=always"
    change = f"{allow} submodule update -q --init && cd sub && echo y >> a.txt && {ME} commit -qam sub"
    code = repository(project(tmp_path, row(("change", change))) / "code")
    shell(code, f"{allow} submodule add -q {lib} sub && {ME} commit -qam module")
    session = run(tmp_path)["session"]
    done = call(tmp_path, "discard", "last")
    assert "commits of the submodule sub that no remote has" in done.stdout, done.stdout + done.stderr
    assert (tmp_path / ".orchestra" / "worktrees" / session / "code" / "sub" / "a.txt").exists()


def test_of_several_repositories_none_is_merged_where_one_cannot_be(tmp_path: Path) -> None:
    more = "    lib:\n      path: lib\n"
    project(tmp_path, row(("write", "echo a > a.txt; echo b > ../lib/a.txt")), more)
    repositories = [repository(tmp_path / "code"), repository(tmp_path / "lib")]
    assert run(tmp_path)["status"] == "success"
    (tmp_path / "lib" / "a.txt").write_text("mine\n")
    before = [everything(code) for code in repositories]
    done = call(tmp_path, "merge", "last")
    assert done.returncode == 2
    assert "uncommitted changes" in done.stderr
    assert [everything(code) for code in repositories] == before


@pytest.mark.parametrize("place", ["the checkout", "a worktree"])
def test_a_branch_that_the_user_has_checked_out_is_not_removed(place: str, tmp_path: Path) -> None:
    code = repository(project(tmp_path, WRITES) / "code")
    session = run(tmp_path)["session"]
    branch, folder = branch_of(tmp_path), code
    git(code, "worktree", "remove", "--force", str(tmp_path / ".orchestra" / "worktrees" / session / "code"))
    if place == "the checkout":
        git(code, "checkout", "-q", branch)
    else:
        folder = tmp_path / "mine"
        git(code, "worktree", "add", "-q", str(folder), branch)
        git(code, "merge", "-q", branch)
    done = call(tmp_path, "discard", "last")
    assert done.returncode == 2
    assert f"is checked out in {folder}" in done.stderr
    done = call(tmp_path, "cleanup", "--older-than", "0", "--yes", "--force")
    assert f"is checked out in {folder}" in done.stdout
    assert git(folder, "log", "--format=%s").splitlines()[-1] == "first"
    git(folder, "switch", "-q", *(["main"] if folder == code else ["--detach"]))
    assert call(tmp_path, "discard", "last").returncode == 0


def test_what_is_left_of_a_repository_that_was_moved_is_discarded_too(tmp_path: Path) -> None:
    folder = tmp_path / "before"
    repository(project(folder, WRITES) / "code")
    run(folder)
    moved = folder.rename(tmp_path / "after")
    kept = call(moved, "cleanup", "--older-than", "0")
    assert "worktree repair" in kept.stdout
    done = call(moved, "discard", "last")
    assert done.returncode == 0, done.stderr
    assert not list((moved / ".orchestra" / "worktrees").glob("*/*"))


def test_a_session_that_waits_for_an_answer_is_not_called_running(tmp_path: Path) -> None:
    gate = 'gate [shape=hexagon] start -> gate gate -> exit [label="Yes"] gate -> exit [label="No"]'
    repository(project(tmp_path, gate) / "code")
    assert call(tmp_path, "run", "p.dot", "--no-input").returncode == 5
    for command in ("merge", "discard"):
        done = call(tmp_path, command, "last")
        assert done.returncode == 8
        assert "is waiting for an answer" in done.stderr
        assert "answer it: orchestra answer" in done.stderr


def test_git_does_not_see_the_store_in_a_project(tmp_path: Path) -> None:
    code = repository(tmp_path / "code")
    (code / "orchestra.yaml").write_text("backend: simulation\n")
    (code / "p.dot").write_text(f"digraph p {{ start [shape=Mdiamond] exit [shape=Msquare]\n{WRITES}\n}}")
    assert call(code, "run", "p.dot", ORCHESTRA_CXDB_PATH="").returncode == 0
    assert (code / ".orchestra" / "cxdb").is_dir()
    seen = git(code, "status", "--porcelain")
    assert "c.txt" in seen
    assert ".orchestra" not in seen


def test_discard_removes_branch_and_worktree_and_can_be_undone(tmp_path: Path) -> None:
    code = repository(project(tmp_path, WRITES) / "code")
    ended = run(tmp_path)
    branch = branch_of(tmp_path)
    tip = git(code, "rev-parse", branch)
    worktree = tmp_path / ".orchestra" / "worktrees" / ended["session"] / "code"
    (worktree / "later.txt").write_text("not committed")
    done = call(tmp_path, "discard", "last")
    assert done.returncode == 0, done.stderr
    assert branch_of(tmp_path) == ""
    assert not worktree.exists()
    assert "later.txt" in git(
        code,
        "ls-tree",
        "--name-only",
        git(code, "for-each-ref", "--format=%(refname)", "refs/orchestra/trash/*/*/*.uncommitted"),
    )
    shell(tmp_path, next(command for command in undo_of(done.stdout) if " branch " in command))
    assert git(code, "rev-parse", branch) == tip
    assert call(tmp_path, "discard", "last").returncode == 0
    assert call(tmp_path, "discard", "last").returncode == 2


def test_cleanup_removes_only_what_is_merged_clean_and_ended(tmp_path: Path) -> None:
    code = repository(project(tmp_path, WRITES) / "code")
    sessions = {}
    for name in ("merged", "unmerged", "dirty", "detached", "used", "linked", "locked"):
        ended = run(tmp_path)
        sessions[name] = ended["session"]
        if name != "unmerged":
            git(code, "branch", f"keep-{name}", f"orchestra/p/{ended['session']}")
    homes = {name: tmp_path / ".orchestra" / "worktrees" / session / "code" for name, session in sessions.items()}
    (homes["dirty"] / "more.txt").write_text("x")
    git(homes["detached"], "checkout", "-q", "--detach")
    git(code, "worktree", "lock", str(homes["locked"]))
    moved = tmp_path / "elsewhere"
    homes["linked"].rename(moved)
    homes["linked"].symlink_to(moved)
    user = subprocess.Popen(["sleep", "30"], cwd=homes["used"])
    try:
        listed = call(tmp_path, "cleanup", "--older-than", "0", "--json")
        found = {item["session"]: item["kept"] for item in json.loads(listed.stdout)["items"]}
        assert [name for name, session in sessions.items() if not found[session]] == ["merged"]
        assert "not merged" in found[sessions["unmerged"]]
        assert "1 uncommitted change " in found[sessions["dirty"]]
        assert "detached" in found[sessions["detached"]]
        assert str(user.pid) in found[sessions["used"]]
        assert "symbolic link" in found[sessions["linked"]]
        assert "locked" in found[sessions["locked"]]
        assert homes["merged"].exists()
        assert "7 kept" in call(tmp_path, "cleanup").stdout
        done = call(tmp_path, "cleanup", "--older-than", "0", "--yes")
    finally:
        user.kill()
        user.wait()
    assert "1 session removed, 6 kept" in done.stdout
    assert not homes["merged"].exists()
    assert all(home.exists() for name, home in homes.items() if name != "merged")
    shell(tmp_path, undo_of(done.stdout)[0])
    assert f"orchestra/p/{sessions['merged']}" in branch_of(tmp_path)


def test_cleanup_takes_worktrees_that_were_deleted_by_hand(tmp_path: Path) -> None:
    code = repository(project(tmp_path, row(("look", "true"))) / "code")
    run(tmp_path)
    subprocess.run(["rm", "-rf", str(tmp_path / ".orchestra" / "worktrees")], check=True)
    done = call(tmp_path, "cleanup", "--older-than", "0", "--yes")
    assert "1 session removed" in done.stdout
    assert branch_of(tmp_path) == ""
    assert os.listdir(code / ".git" / "worktrees") == [] if (code / ".git" / "worktrees").exists() else True


def test_show_finds_the_turn_of_a_commit_and_the_change_of_a_turn(tmp_path: Path) -> None:
    code = repository(project(tmp_path, WRITES) / "code")
    ended = run(tmp_path)
    commit = git(code, "rev-parse", branch_of(tmp_path))
    shown = json.loads(call(tmp_path, "show", commit[:12], "--json").stdout)
    assert (shown["event"], shown["node"]) == ("StageCompleted", "write")
    diff = call(tmp_path, "show", f"{ended['session']}:{shown['depth']}", "--diff").stdout
    assert f"commit {commit}" in diff
    assert "+new" in diff


def test_compare_shows_two_sessions_side_by_side(tmp_path: Path) -> None:
    repository(
        project(tmp_path, row(("write", "test -e ../../../../other && echo b > d.txt || echo a > d.txt"))) / "code"
    )
    first = run(tmp_path)["session"]
    (tmp_path / "other").touch()
    second = run(tmp_path)["session"]
    found = json.loads(call(tmp_path, "compare", first, second, "--json").stdout)
    assert found["left"]["nodes"]["write"] == "success"
    assert "1 file changed" in found["differences"]["code"]


def test_pr_pushes_the_branch_and_prints_the_text_without_gh(tmp_path: Path) -> None:
    code = repository(project(tmp_path, WRITES) / "code")
    git(tmp_path, "init", "-q", "--bare", "remote.git")
    git(code, "remote", "add", "origin", str(tmp_path / "remote.git"))
    ended = run(tmp_path)
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "git").symlink_to("/usr/bin/git")
    done = call(tmp_path, "pr", "last", PATH=str(bin_))
    assert done.returncode == 0, done.stderr
    branch = f"orchestra/p/{ended['session']}"
    assert git(tmp_path / "remote.git", "rev-parse", branch) == git(code, "rev-parse", branch)
    assert "| write | success |" in done.stdout
