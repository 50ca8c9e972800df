"""A node that keeps killing its runner is failed by the fourth resume, and the failure routes as one (E4)."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
from pathlib import Path
from typing import Any

from calls import ORCHESTRA, call, environment

KILLING = 'shape=parallelogram, tool_command="echo x >> HITS; kill -9 $PPID; sleep 30"'
ROUTED = """digraph routed { start [shape=Mdiamond] exit [shape=Msquare] mend [prompt="x"]
  deadly [WHAT]
  start -> deadly
  deadly -> exit [condition="outcome=success"]
  deadly -> mend [condition="outcome=fail"]
  mend -> exit
}"""
PARENT = """digraph parent { start [shape=Mdiamond] exit [shape=Msquare]
  check [KIND, stack.child_dotfile="routed.dot"]
  start -> check -> exit
}"""


def died(folder: Path, *args: str) -> None:
    """A command whose process is killed."""
    done = subprocess.run(
        [*ORCHESTRA, *args], cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr


def events(folder: Path, session: str, name: str) -> list[dict[str, Any]]:
    lines = call(folder, "log", session, "--json-stream").stdout.splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == name]


def hits(folder: Path) -> int:
    return len((folder / "hits").read_text().splitlines())


def routed(folder: Path) -> None:
    (folder / "routed.dot").write_text(ROUTED.replace("WHAT", KILLING.replace("HITS", str(folder / "hits"))))


def test_a_command_that_keeps_killing_its_runner_is_failed_by_the_fourth_resume(tmp_path: Path) -> None:
    routed(tmp_path)
    died(tmp_path, "run", "routed.dot")
    for _ in range(3):
        died(tmp_path, "resume", "last")
    done = call(tmp_path, "resume", "last")
    assert done.returncode == 0, done.stderr
    assert "its runner died 4 times" in done.stdout
    assert hits(tmp_path) == 4
    (failure,) = events(tmp_path, "last", "StageFailed")
    assert (failure["node"], "died 4 times" in failure["failure_reason"]) == ("deadly", True)
    taken = [event["target"] for event in events(tmp_path, "last", "EdgeSelected")]
    assert taken == ["deadly", "mend", "exit"]


def test_in_a_child_it_is_the_childs_node_that_is_failed_and_routed(tmp_path: Path) -> None:
    routed(tmp_path)
    (tmp_path / "parent.dot").write_text(PARENT.replace("KIND", "type=pipeline"))
    died(tmp_path, "run", "parent.dot")
    for _ in range(3):
        died(tmp_path, "resume", "last")
    done = call(tmp_path, "resume", "last")
    assert done.returncode == 0, done.stdout + done.stderr
    assert hits(tmp_path) == 4
    assert events(tmp_path, "last", "StageFailed") == []
    child = events(tmp_path, "last", "ChildStarted")[0]["child_session"]
    assert [event["node"] for event in events(tmp_path, child, "StageFailed")] == ["deadly"]


def test_a_parent_whose_child_gets_on_is_never_failed_for_runners_that_died(tmp_path: Path) -> None:
    nodes = " ".join(
        f'{name} [tool_command="test -e {name} || {{ touch {name}; kill -9 $PPID; sleep 30; }}"]' for name in "abcd"
    )
    (tmp_path / "routed.dot").write_text(
        "digraph routed { start [shape=Mdiamond] exit [shape=Msquare]"
        f" node [shape=parallelogram] {nodes} start -> a -> b -> c -> d -> exit }}"
    )
    (tmp_path / "parent.dot").write_text(PARENT.replace("KIND", "shape=house"))
    died(tmp_path, "run", "parent.dot")
    for _ in range(3):
        died(tmp_path, "resume", "last")
    done = call(tmp_path, "resume", "last")
    assert done.returncode == 0, done.stdout + done.stderr


FAN = """digraph fan { start [shape=Mdiamond] exit [shape=Msquare] fan [shape=component, max_parallel=1]
  meet [shape=tripleoctagon]
  node [shape=parallelogram] quick [tool_command="echo >> hits"]
  NODES
  start -> fan -> quick -> meet -> exit
}"""


def test_a_fan_out_whose_branches_get_on_is_never_failed_for_runners_that_died(tmp_path: Path) -> None:
    nodes = " ".join(
        f'{name} [tool_command="test -e {name} || {{ touch {name}; kill -9 $PPID; sleep 30; }}"]' for name in "abcd"
    )
    (tmp_path / "fan.dot").write_text(FAN.replace("NODES", f"{nodes} fan -> a -> b -> c -> d -> meet"))
    died(tmp_path, "run", "fan.dot")
    for _ in range(3):
        died(tmp_path, "resume", "last")
    done = call(tmp_path, "resume", "last")
    assert done.returncode == 0, done.stdout + done.stderr
    assert events(tmp_path, "last", "StageFailed") == []


def test_in_a_branch_it_is_the_branchs_node_that_is_failed(tmp_path: Path) -> None:
    deadly = KILLING.replace("HITS", str(tmp_path / "hits"))
    (tmp_path / "fan.dot").write_text(
        FAN.replace("NODES", f"deadly [{deadly}] fan -> deadly -> meet").replace("echo >> hits", "true")
    )
    died(tmp_path, "run", "fan.dot")
    for _ in range(3):
        died(tmp_path, "resume", "last")
    done = call(tmp_path, "resume", "last")
    assert "its runner died 4 times" in done.stdout
    assert hits(tmp_path) == 4


FULL = """digraph full { start [shape=Mdiamond] exit [shape=Msquare] node [shape=parallelogram]
  before [tool_command="echo before >> HITS"]
  big [tool_command="head -c 4600000 /dev/urandom | base64"]
  after [tool_command="echo after >> HITS"]
  start -> before -> big -> after -> exit
}"""
ROOM = 4_400_000
"""Bytes of the largest file: more than the log of an empty store, less than the store of what `big` prints."""


def test_a_run_whose_store_finds_no_more_room_continues_once_there_is_some(tmp_path: Path) -> None:
    (tmp_path / "full.dot").write_text(FULL.replace("HITS", str(tmp_path / "hits")))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, hard))
    try:
        stopped = call(tmp_path, "run", "full.dot")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert stopped.returncode == 7
    assert "free some space, then: orchestra resume" in stopped.stderr
    assert call(tmp_path, "resume", "last").returncode == 0
    assert (tmp_path / "hits").read_text() == "before\nafter\n"
    assert call(tmp_path, "doctor", "--deep").returncode == 0
