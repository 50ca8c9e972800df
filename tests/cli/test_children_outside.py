"""Sessions with children that are stopped, replayed and watched from outside."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from calls import ORCHESTRA, begin, call, environment

PARENT = """digraph parent {
  start [shape=Mdiamond] exit [shape=Msquare]
  check [type=pipeline, stack.child_dotfile="check.dot"]
  start -> check -> exit
}"""
FANNED = """digraph parent {
  start [shape=Mdiamond] exit [shape=Msquare]
  fan [shape=component] meet [shape=tripleoctagon]
  check [type=pipeline, stack.child_dotfile="check.dot"]
  other [prompt="y"]
  start -> fan -> check -> meet -> exit
  fan -> other -> meet
}"""
CHECK = """digraph check {
  start [shape=Mdiamond] exit [shape=Msquare]
  deep [type=pipeline, stack.child_dotfile="deep.dot"]
  start -> deep -> exit
}"""
DEEP = """digraph deep { start [shape=Mdiamond] exit [shape=Msquare] plan [prompt="x"] start -> plan -> exit }"""
SCRIPT = "children: {check: {children: {deep: {nodes: {plan: {delay: DELAY}}}}}}\n"


def nested(folder: Path, delay: str = "30s", parent: str = PARENT) -> subprocess.Popen[str]:
    """A run whose child's child is at its node ``plan``."""
    for name, text in (("parent", parent), ("check", CHECK), ("deep", DEEP)):
        (folder / f"{name}.dot").write_text(text)
    (folder / "nested.yaml").write_text(SCRIPT.replace("DELAY", delay))
    return begin(folder, pipeline=folder / "parent.dot", script=folder / "nested.yaml")


def sessions(folder: Path) -> list[str]:
    return [row["session"] for row in json.loads(call(folder, "status", "--json").stdout)["sessions"]]


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
    assert "nothing was changed" in call(tmp_path, "cancel", "last").stdout
    (tmp_path / "quick.yaml").write_text(SCRIPT.replace("DELAY", "1ms"))
    assert call(tmp_path, "resume", "last", "--simulate", "quick.yaml").returncode == 0
    assert phases(tmp_path) == ["completed"] * 3


def test_cancelling_a_run_whose_runner_died_cancels_the_children_of_its_branches(tmp_path: Path) -> None:
    process = nested(tmp_path, parent=FANNED)
    process.kill()
    process.communicate(timeout=20)
    assert "its children" in call(tmp_path, "cancel", "last").stdout
    assert phases(tmp_path) == ["canceled"] * 3


def test_cancelling_a_live_run_cancels_a_child_that_is_paused_by_itself(tmp_path: Path) -> None:
    process = nested(tmp_path)
    deep = json.loads(call(tmp_path, "status", "--json").stdout)["sessions"][-1]["session"]
    assert "is paused" in call(tmp_path, "pause", deep, "--now").stdout
    assert call(tmp_path, "cancel", "last").returncode == 0
    process.communicate(timeout=20)
    assert process.returncode == 1
    assert phases(tmp_path) == ["canceled"] * 3


def lines(folder: Path, session: str) -> list[str]:
    return call(folder, "log", session, "--json-stream").stdout.splitlines()


def test_children_are_watched_with_their_parent_from_several_terminals_each_event_once(tmp_path: Path) -> None:
    process = nested(tmp_path, "1s")
    watching = [
        subprocess.Popen(
            [*ORCHESTRA, "attach", "last", *how], cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.PIPE
        )
        for how in (["--json-stream"], ["--json-stream"], ["--plain"])
    ]
    process.communicate(timeout=20)
    first, second, plain = (one.communicate(timeout=20)[0].decode() for one in watching)
    named = sessions(tmp_path)
    recorded = [json.loads(line) for session in named for line in lines(tmp_path, session)]
    expected = sorted((event["turn"], event["session"], event["event"]) for event in recorded)
    for out in (first, second, call(tmp_path, "attach", "last", "--json-stream").stdout):
        told = [json.loads(line) for line in out.splitlines()]
        assert sorted((event["turn"], event["session"], event["event"]) for event in told) == expected
        assert {event["session"] for event in told} == set(named)
    for shown in (plain, call(tmp_path, "attach", "last").stdout):
        assert [line for line in shown.splitlines() if "✓ check/deep/plan " in line]
        assert shown.count("check/deep/plan") == 1


def test_a_replay_from_a_pause_continues_in_forks_of_the_children(tmp_path: Path) -> None:
    process = nested(tmp_path)
    process.terminate()
    process.communicate(timeout=20)
    paused = json.loads(lines(tmp_path, "last")[-1])
    (tmp_path / "quick.yaml").write_text(SCRIPT.replace("DELAY", "1ms"))
    before = [lines(tmp_path, row) for row in sessions(tmp_path)]
    done = call(tmp_path, "replay", "last", "--turn", str(paused["depth"]), "--simulate", "quick.yaml")
    assert done.returncode == 0, done.stderr
    assert "check/deep/plan" in done.stdout
    assert phases(tmp_path) == ["paused"] * 3 + ["completed"] * 3
    assert [lines(tmp_path, row) for row in sessions(tmp_path)[:3]] == before
    attached = call(tmp_path, "attach", "last").stdout
    assert attached.count("✓ check/deep/plan") == 1
