"""Runs on a repository, as users meet them: a worktree, a branch, commits, and a checkout that is not touched."""

from __future__ import annotations

from pathlib import Path

import pytest
from calls import call
from scratch import branch_of, everything, git, project, repository, row, run


def test_a_tool_node_commits_what_it_changed_and_the_checkout_is_not_touched(tmp_path: Path) -> None:
    code = repository(project(tmp_path, row(("write", "echo new > c.txt; rm a.txt; pwd"))) / "code")
    (code / "b.txt").write_text("uncommitted\n")
    (code / "untracked.txt").write_text("mine\n")
    before = everything(code)
    ended = run(tmp_path)
    assert ended["status"] == "success"
    assert everything(code) == before
    branch = branch_of(tmp_path)
    assert branch == f"orchestra/p/{ended['session']}"
    assert git(code, "show", "--format=%an <%ae>", "--name-status", branch) == (
        "write (tool) <orchestra@local>\n\nD\ta.txt\nA\tc.txt"
    )
    trailers = git(code, "show", "-s", "--format=%(trailers:unfold)", branch)
    assert trailers.splitlines() == [
        "Orchestra-Node: write",
        "Orchestra-Pipeline: p",
        f"Orchestra-Session: {ended['session']}",
        "Orchestra-Turn: write.1.1",
    ]
    assert git(code, "rev-parse", f"{branch}~1") == git(code, "rev-parse", "main")
    assert git(code, "fsck", "--strict") == ""


def test_a_node_that_changes_nothing_makes_no_commit(tmp_path: Path) -> None:
    code = repository(project(tmp_path, row(("look", "cat a.txt"))) / "code")
    assert run(tmp_path)["status"] == "success"
    assert git(code, "rev-parse", branch_of(tmp_path)) == git(code, "rev-parse", "main")


def test_names_with_spaces_and_other_scripts_links_and_modes_are_committed(tmp_path: Path) -> None:
    command = (
        "mkdir 'é ü'; echo x > 'é ü/ß b.txt'; chmod +x 'é ü/ß b.txt'; ln -s b.txt link; printf 'x' > ':(glob)*'"
    )
    code = repository(project(tmp_path / "dé r", row(("write", command))) / "code")
    assert run(tmp_path / "dé r")["status"] == "success"
    listed = git(code, "-c", "core.quotePath=false", "show", "--format=", "--raw", branch_of(tmp_path / "dé r"))
    assert [(line.split()[1], line.partition("\t")[2]) for line in listed.splitlines()] == [
        ("100644", ":(glob)*"),
        ("120000", "link"),
        ("100755", "é ü/ß b.txt"),
    ]


@pytest.mark.parametrize(
    ("command", "stays"),
    [
        ("ls", False),
        ("touch build.log", True),
        ("echo x > c.txt", True),
        ("exit 1", True),
    ],
)
def test_the_worktree_of_a_completed_run_that_changed_nothing_is_removed(
    command: str, stays: bool, tmp_path: Path
) -> None:
    """What git ignores may be what the run was for, and a failed run is looked into."""
    more = "      copy: [.env]\n"
    code = repository(
        project(tmp_path, row(("work", command)), more) / "code", {"a.txt": "a", ".gitignore": "*.log\n.env\n"}
    )
    (code / ".env").write_text("X=1")
    ended = run(tmp_path)
    worktree = tmp_path / ".orchestra" / "worktrees" / ended["session"] / "code"
    assert worktree.exists() is stays
    assert worktree.parent.exists() is stays
    assert git(code, "rev-parse", "--verify", branch_of(tmp_path))
    if not stays:
        assert call(tmp_path, "merge", "last").returncode == 0
        assert call(tmp_path, "replay", "last", "--node", "work").returncode == 0
        assert call(tmp_path, "discard", ended["session"]).returncode == 0
