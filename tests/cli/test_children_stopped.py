"""Sessions with children that are stopped from outside: what becomes of the children."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from calls import begin, call

PARENT = """digraph parent {
  start [shape=Mdiamond] exit [shape=Msquare]
  check [type=pipeline, stack.child_dotfile="check.dot"]
  start -> check -> exit
}"""
CHECK = """digraph check {
  start [shape=Mdiamond] exit [shape=Msquare]
  deep [type=pipeline, stack.child_dotfile="deep.dot"]
  start -> deep -> exit
}"""
DEEP = """digraph deep { start [shape=Mdiamond] exit [shape=Msquare] plan [prompt="x"] start -> plan -> exit }"""
SCRIPT = "children: {check: {children: {deep: {nodes: {plan: {delay: DELAY}}}}}}\n"


def nested(folder: Path, delay: str = "30s") -> subprocess.Popen[str]:
    """A run whose child's child is at its node ``plan``."""
    for name, text in (("parent", PARENT), ("check", CHECK), ("deep", DEEP)):
        (folder / f"{name}.dot").write_text(text)
    (folder / "nested.yaml").write_text(SCRIPT.replace("DELAY", delay))
    return begin(folder, pipeline=folder / "parent.dot", script=folder / "nested.yaml")


def phases(folder: Path) -> list[str]:
    """The states of the sessions, each behind the one that runs it."""
    return [row["phase"] for row in json.loads(call(folder, "status", "--json").stdout)["sessions"]]


@pytest.mark.parametrize("killed", [True, False])
def test_cancelling_a_run_that_nobody_has_cancels_its_children_and_theirs(killed: bool, tmp_path: Path) -> None:
    process = nested(tmp_path)
    (process.kill if killed else process.terminate)()
    process.communicate(timeout=20)
    assert phases(tmp_path) == ["crashed" if killed else "paused"] * 3
    done = call(tmp_path, "cancel", "last")
    assert done.returncode == 0
    assert "its children" in done.stdout
    assert phases(tmp_path) == ["canceled"] * 3
    assert "nothing was done" in call(tmp_path, "cancel", "last").stdout
    (tmp_path / "quick.yaml").write_text(SCRIPT.replace("DELAY", "1ms"))
    assert call(tmp_path, "resume", "last", "--simulate", "quick.yaml").returncode == 0
    assert phases(tmp_path) == ["completed"] * 3


def test_cancelling_a_live_run_cancels_a_child_that_is_paused_by_itself(tmp_path: Path) -> None:
    process = nested(tmp_path)
    deep = json.loads(call(tmp_path, "status", "--json").stdout)["sessions"][-1]["session"]
    assert "is paused" in call(tmp_path, "pause", deep, "--now").stdout
    assert call(tmp_path, "cancel", "last").returncode == 0
    process.communicate(timeout=20)
    assert process.returncode == 1
    assert phases(tmp_path) == ["canceled"] * 3
