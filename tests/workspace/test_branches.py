"""Parallel branches on a repository: a worktree each, merged at the fan-in, conflicts as data (W5, W6)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from calls import call
from scratch import IDENTITY, branch_of, everything, git, project, repository, run, tool


def fanned(folder: Path, left: str, right: str, more: str = "", after: str = "true") -> Path:
    """A project whose pipeline runs two commands in parallel branches, joins them, and runs another."""
    nodes = (
        "fan [shape=component]\n"
        f"join [shape=tripleoctagon {more}]\n"
        + tool("left", left)
        + tool("right", right)
        + tool("after", after)
        + "start -> fan -> left -> join; fan -> right -> join -> after -> exit"
    )
    return repository(project(folder, nodes) / "code", {"a.txt": "one\n", "b.txt": "two\n", "c.txt": "1\n2\n3\n"})


def test_branches_work_apart_and_are_merged_in_order(tmp_path: Path) -> None:
    code = fanned(
        tmp_path,
        "echo left > l.txt; ls",
        "echo right > r.txt; test ! -e l.txt",
        after="test -e l.txt && test -e r.txt",
    )
    before = everything(code)
    ended = run(tmp_path)
    assert ended["status"] == "success", ended
    assert everything(code) == before
    main = f"orchestra/p/{ended['session']}"
    assert git(code, "show", "-s", "--format=%s%n%an", main) == (
        f"Merge {ended['session']}@fan.1.1.left, {ended['session']}@fan.1.1.right\nOrchestra"
    )
    assert len(git(code, "show", "-s", "--format=%P", main).split()) == 3
    assert sorted(branch_of(tmp_path).split()) == [main, f"{main}@fan.1.1.left", f"{main}@fan.1.1.right"]
    worktrees = [line for line in git(code, "worktree", "list").splitlines() if ".orchestra" in line]
    assert len(worktrees) == 1
    assert git(code, "fsck", "--strict", "--no-dangling") == ""


def test_a_conflict_is_data_and_the_branch_and_its_worktree_are_kept(tmp_path: Path) -> None:
    code = fanned(tmp_path, "echo left > c.txt", "echo right > c.txt; echo more > d.txt", after="test ! -e d.txt")
    ended = run(tmp_path)
    assert ended["status"] == "success"
    assert ended["nodes"]["join"]["status"] == "partial_success"
    main = f"orchestra/p/{ended['session']}"
    assert git(code, "show", f"{main}:c.txt") == "left"
    kept = tmp_path / ".orchestra" / "worktrees" / f"{ended['session']}@fan.1.1.right" / "code"
    assert (kept / "d.txt").read_text() == "more\n"
    shown = json.loads(call(tmp_path, "log", ended["session"], "--json").stdout)["events"]
    joined = next(e for e in shown if e["event"] == "StageCompleted" and e["node"] == "join")
    conflict = joined["context_updates"]["workspace.conflicts"][0]
    assert conflict["branch"] == f"{main}@fan.1.1.right"
    assert "left" in conflict["files"][0]["hunks"]
    assert ">>>>>>>" in conflict["files"][0]["hunks"]
    assert len(conflict["ours"]) == len(conflict["theirs"]) == 1


def test_only_the_best_is_merged_where_one_is_chosen(tmp_path: Path) -> None:
    code = fanned(tmp_path, "echo left > l.txt", "echo right > r.txt; exit 1", "merge_code=best")
    ended = run(tmp_path)
    assert ended["status"] == "success"
    files = git(code, "ls-tree", "--name-only", f"orchestra/p/{ended['session']}").split()
    assert "l.txt" in files
    assert "r.txt" not in files


REST = (
    "fan [shape=component, error_policy=continue] join [shape=tripleoctagon MORE]\n"
    + tool("left", "echo l > l.txt")
    + tool("right", "echo r > r.txt")
    + tool("bad", "echo b > b.txt; exit 1")
    + "start -> fan -> left -> join; fan -> right -> join; fan -> bad -> join -> exit"
)


@pytest.mark.parametrize(
    ("more", "rest"),
    [
        ("", {"bad": "failed"}),
        (", merge_code=best", {"bad": "failed", "right": "not chosen"}),
        (", merge=best", {"bad": "failed", "right": "not chosen"}),
        (", merge_code=none", {"bad": "failed", "left": "not chosen", "right": "not chosen"}),
    ],
)
def test_the_last_lines_name_every_branch_that_is_not_merged_and_why(
    tmp_path: Path, more: str, rest: dict[str, str]
) -> None:
    code = repository(project(tmp_path, REST.replace("MORE", more)) / "code")
    said = call(tmp_path, "run", str(tmp_path / "p.dot"), "--plain").stdout
    lines = [line for line in said.splitlines() if line.startswith("  not merged: ")]
    session = said.split()[1]
    own = f"orchestra/p/{session}@fan.1.1."
    assert lines == [f"  not merged: {own}{name} ({why}; kept)" for name, why in rest.items()]
    assert [git(code, "log", "-1", "--format=%an", f"{own}{name}") for name in rest] == [
        f"{name} (tool)" for name in rest
    ]
    assert ("code: no changes" in said) == (len(rest) == 3)


def test_branches_in_conflict_that_a_later_node_merged_are_not_called_unmerged(tmp_path: Path) -> None:
    resolve = "git merge {{ workspace.conflicts[0].branch }}; echo both > c.txt; git commit -qam both"
    code = fanned(tmp_path, "echo left > c.txt", "echo right > c.txt; echo more > d.txt", after=resolve)
    said = call(tmp_path, "run", str(tmp_path / "p.dot"), "--plain", **IDENTITY).stdout
    assert "not merged" not in said.partition("completed")[2]
    assert "not merged" not in call(tmp_path, "status", "last").stdout
    assert "(0 files)" not in said
    assert git(code, "show", f"orchestra/p/{said.split()[1]}:d.txt") == "more"


@pytest.mark.parametrize("change", ["update-ref -d $ref", "update-ref $ref main"])
def test_the_recorded_commit_of_a_branch_is_merged_wherever_its_name_points(change: str, tmp_path: Path) -> None:
    repo = tmp_path / "code"
    moved = f"ref=$(git -C {repo} for-each-ref --format='%(refname)' 'refs/heads/orchestra/p/*@fan.1.1.left')"
    nodes = (
        "fan [shape=component, max_parallel=1] join [shape=tripleoctagon]\n"
        + tool("left", "echo left > l.txt")
        + tool("right", f"{moved}; git -C {repo} {change}; echo right > r.txt")
        + "start -> fan -> left -> join; fan -> right -> join -> exit"
    )
    code = repository(project(tmp_path, nodes) / "code")
    ended = run(tmp_path)
    assert ended["status"] == "success", ended
    files = git(code, "ls-tree", "--name-only", f"orchestra/p/{ended['session']}").split()
    assert {"l.txt", "r.txt"} <= set(files)


def test_branches_whose_agents_only_read_share_the_worktree_of_the_walk_around_them(tmp_path: Path) -> None:
    nodes = """fan [shape=component] meet [shape=tripleoctagon]
    named [prompt=x, agent=reviewer] own [prompt=x, "agent.tools"="read-file, search-code"] free [prompt=x]
    start -> fan -> named -> meet fan -> own -> meet fan -> free -> meet -> exit"""
    more = "agents: {reviewer: {tools: [read-file, list-files]}}\n"
    repository(project(tmp_path, nodes, more) / "code")
    run(tmp_path)
    assert [name for name in branch_of(tmp_path).split() if "@" in name and name.endswith(".free")]
    assert len([name for name in branch_of(tmp_path).split() if "@" in name]) == 1
