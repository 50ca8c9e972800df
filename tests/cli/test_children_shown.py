"""Child sessions on the command line: their nodes in the run's lines, their sessions in the listing."""

from __future__ import annotations

import json
from pathlib import Path

from calls import call

PARENT = """digraph parent {
  start [shape=Mdiamond] exit [shape=Msquare]
  check [type=pipeline, stack.child_dotfile="parts/check.dot"]
  start -> check -> exit
}"""
CHECK = """digraph check {
  start [shape=Mdiamond] exit [shape=Msquare] lint [prompt="Lint"]
  start -> lint
  lint -> exit [condition="outcome=success"]
  lint -> lint [condition="outcome=fail", loop_restart=true]
}"""
SCRIPT = "children: {check: {nodes: {lint: [{status: fail}, {text: clean}]}}}\n"


def ran(folder: Path) -> list[dict[str, object]]:
    """The sessions of a run whose child restarts once, as they are listed."""
    (folder / "parts").mkdir()
    (folder / "parts" / "check.dot").write_text(CHECK)
    (folder / "parent.dot").write_text(PARENT)
    (folder / "script.yaml").write_text(SCRIPT)
    done = call(folder, "run", "parent.dot", "--simulate", "script.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "check/lint" in done.stdout
    listed: list[dict[str, object]] = json.loads(call(folder, "status", "--json").stdout)["sessions"]
    return listed


def test_children_are_listed_under_their_parent_and_restarted_sessions_beside_the_next(tmp_path: Path) -> None:
    parent, first, second = ran(tmp_path)
    assert [s["pipeline"] for s in (parent, first, second)] == ["parent", "check", "check"]
    assert [s["phase"] for s in (parent, first, second)] == ["completed", "restarted", "completed"]
    lines = call(tmp_path, "status").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == [parent["session"], "└", "└"]


def test_a_session_says_what_it_comes_from_and_what_it_runs(tmp_path: Path) -> None:
    parent, first, second = (str(session["session"]) for session in ran(tmp_path))
    assert first in call(tmp_path, "status", parent).stdout
    shown = call(tmp_path, "status", first).stdout
    assert f"child of {parent}" in shown
    assert second in shown
    assert json.loads(call(tmp_path, "status", second, "--json").stdout)["parent_session"] == first


def test_the_last_session_is_the_newest_that_is_nobodys_child(tmp_path: Path) -> None:
    parent, *_children = ran(tmp_path)
    assert json.loads(call(tmp_path, "status", "last", "--json").stdout)["session"] == parent["session"]


def test_a_missing_childs_file_is_shown_at_its_place_and_nothing_is_run(tmp_path: Path) -> None:
    (tmp_path / "parent.dot").write_text(PARENT)
    done = call(tmp_path, "run", "parent.dot")
    assert done.returncode == 3
    assert "child_dotfile" in done.stderr
    assert "parent.dot:3:" in done.stderr
