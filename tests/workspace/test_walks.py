"""Walks that share or hand on code: children, restarts, nested branches, merges by an agent (W5, W6, W8)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from calls import call
from scratch import branch_of, environment, everything, git, project, repository, row, run, tool

MINE = "git -c user.name=me -c user.email=me@x"


def test_a_child_works_on_its_parents_branch(tmp_path: Path) -> None:
    nodes = (
        tool("before", "echo 1 > one.txt")
        + 'child [type=pipeline, stack.child_dotfile="c.dot"]\n'
        + tool("after", "test -e two.txt && echo 3 > three.txt")
        + "start -> before -> child -> after -> exit"
    )
    code = repository(project(tmp_path, nodes) / "code")
    (tmp_path / "c.dot").write_text(
        "digraph c { start [shape=Mdiamond] exit [shape=Msquare]\n"
        + tool("inner", "test -e one.txt && echo 2 > two.txt")
        + "start -> inner -> exit }"
    )
    ended = run(tmp_path)
    assert ended["status"] == "success", ended
    assert branch_of(tmp_path) == f"orchestra/p/{ended['session']}"
    authors = git(code, "log", "--format=%an", branch_of(tmp_path)).split("\n")
    assert authors == ["after (tool)", "inner (tool)", "before (tool)", "A User"]
    shown = json.loads(call(tmp_path, "show", git(code, "rev-parse", f"{branch_of(tmp_path)}~1"), "--json").stdout)
    assert (shown["node"], shown["session"] != ended["session"]) == ("inner", True)


def test_a_restart_continues_from_the_code_of_the_session_before_it(tmp_path: Path) -> None:
    nodes = (
        tool("work", "echo x >> log.txt")
        + tool("enough", "test $(wc -l < log.txt) -ge 2")
        + 'start -> work -> enough; enough -> exit [condition="outcome=success"]'
        + ' enough -> work [condition="outcome=fail", loop_restart=true]'
    )
    code = repository(project(tmp_path, nodes) / "code")
    ended = run(tmp_path)
    assert ended["status"] == "success", ended
    assert len(branch_of(tmp_path).split()) == 2
    last = f"orchestra/p/{ended['session']}"
    assert git(code, "show", f"{last}:log.txt") == "x\nx"
    assert git(code, "rev-list", "--count", f"main..{last}") == "2"
    shown = call(tmp_path, "status", "last").stdout
    assert f"diff main...{last}" in shown
    assert "merge: orchestra merge" in shown


def test_a_replay_that_completes_the_work_of_a_failed_session_offers_all_of_it(tmp_path: Path) -> None:
    code = repository(project(tmp_path, row(("work", "echo x > work.txt"), ("check", "exit 1"))) / "code")
    assert run(tmp_path)["status"] == "fail"
    (tmp_path / "fixed.dot").write_text((tmp_path / "p.dot").read_text().replace("exit 1", "true"))
    done = call(tmp_path, "replay", "last", "--node", "check", "--graph", "fixed.dot", "--plain")
    assert done.returncode == 0, done.stderr
    assert f"from main ({git(code, 'rev-parse', '--short=10', 'main')})" in done.stdout
    assert "no changes" not in done.stdout
    preview = call(tmp_path, "cleanup", "--older-than", "0").stdout
    assert "1 session to remove, 1 kept" in preview, preview
    assert call(tmp_path, "merge", "last").returncode == 0
    assert (code / "work.txt").read_text() == "x\n"


def test_nested_branches_merge_into_the_branch_around_them(tmp_path: Path) -> None:
    nodes = (
        "outer [shape=component] inner [shape=component] near [shape=tripleoctagon] far [shape=tripleoctagon]\n"
        + "".join(tool(name, f"echo {name} > {name}.txt") for name in ("a1", "a2", "far1"))
        + tool("check", "test -e a1.txt && test -e a2.txt && test -e far1.txt")
        + tool("seen", "test -e a1.txt && test -e a2.txt && test ! -e far1.txt")
        + "start -> outer -> inner -> a1 -> near -> seen -> far; inner -> a2 -> near; outer -> far1 -> far"
        + " far -> check -> exit"
    )
    code = repository(project(tmp_path, nodes) / "code")
    before = everything(code)
    ended = run(tmp_path)
    assert ended["status"] == "success", ended
    assert everything(code) == before
    names = [name.rpartition("@")[2] for name in branch_of(tmp_path).split() if "@" in name]
    assert sorted(names) == [
        "outer.1.1.far1",
        "outer.1.1.inner",
        "outer.1.1.inner.inner.1.1.a1",
        "outer.1.1.inner.inner.1.1.a2",
    ]
    assert git(code, "fsck", "--strict", "--no-dangling") == ""


def test_an_agent_can_end_a_merge_in_conflict_itself(tmp_path: Path) -> None:
    resolve = (
        "b=$(git for-each-ref --format='%(refname:short)' refs/heads | grep @fan.1.1.right);"
        f" {MINE} merge $b; echo both > c.txt; git add c.txt; true"
    )
    nodes = (
        "fan [shape=component] join [shape=tripleoctagon]\n"
        + tool("left", "echo left > c.txt")
        + tool("right", "echo right > c.txt; echo more > d.txt")
        + tool("resolve", resolve)
        + tool("check", "test -e d.txt && grep -q both c.txt")
        + "start -> fan -> left -> join; fan -> right -> join -> resolve -> check -> exit"
    )
    code = repository(project(tmp_path, nodes) / "code", {"c.txt": "1\n"})
    ended = run(tmp_path)
    assert ended["status"] == "success", ended
    main = f"orchestra/p/{ended['session']}"
    assert git(code, "merge-base", "--is-ancestor", f"{main}@fan.1.1.right", main, check=False) == ""
    assert len(git(code, "show", "-s", "--format=%P", main).split()) == 2
    assert git(code, "show", f"{main}:c.txt") == "both"


def test_a_branch_without_a_node_that_writes_gets_no_worktree(tmp_path: Path) -> None:
    nodes = (
        "fan [shape=component] join [shape=tripleoctagon]\n"
        "look [shape=diamond] "
        + tool("write", "echo x > x.txt")
        + "start -> fan -> look -> join; fan -> write -> join -> exit"
    )
    repository(project(tmp_path, nodes) / "code")
    ended = run(tmp_path)
    assert ended["status"] == "success", ended
    assert [name for name in branch_of(tmp_path).split() if "@" in name] == [
        f"orchestra/p/{ended['session']}@fan.1.1.write"
    ]


def test_many_runs_at_once_on_one_repository(tmp_path: Path) -> None:
    code = repository(project(tmp_path, tool("work", "echo x > x.txt") + "start -> work -> exit") / "code")
    variables = {**environment(tmp_path), "ORCHESTRA_CXDB_PATH": str(tmp_path / "store")}
    command = [sys.executable, "-m", "orchestra", "run", str(tmp_path / "p.dot")]
    running = [
        subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    for process in running:
        _out, err = process.communicate()
        assert process.returncode == 0, err
    assert len(branch_of(tmp_path).split()) == 4
    assert git(code, "fsck", "--strict", "--no-dangling") == ""


def test_a_gate_shows_the_diff(tmp_path: Path) -> None:
    nodes = (
        tool("work", "echo fresh > fresh.txt")
        + 'gate [shape=hexagon, label="Ship it?"]\n'
        + 'start -> work -> gate; gate -> exit [label="[Y] Yes"] gate -> work [label="[N] No"]'
    )
    repository(project(tmp_path, nodes) / "code")
    done = call(tmp_path, "run", str(tmp_path / "p.dot"), "--no-input")
    assert done.returncode == 5, done.stderr
    asked = json.loads(call(tmp_path, "log", "last", "--json").stdout)["events"]
    started = next(event for event in asked if event["event"] == "InterviewStarted")
    assert "+fresh" in json.dumps(started)
