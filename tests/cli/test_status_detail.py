"""``status SESSION``: what it says of nodes in branches, of the last visit, and of time without a runner (S25)."""

from __future__ import annotations

import json
from pathlib import Path

from calls import call

from orchestra.cli.screen.detail import node_rows
from orchestra.run.events import Event, Meta, PipelineCanceled, Recorded, StageCompleted, StageStarted
from orchestra.run.state import NEW

LOOP = """digraph g {
  start [shape=Mdiamond]; exit [shape=Msquare]
  test [shape=parallelogram, tool_command="exit 2"]; fix [prompt="x"]
  start -> test; test -> exit [condition="outcome=success"]
  test -> fix [condition="outcome=fail", max_visits=1]; fix -> test
}
"""
EACH = """digraph g {
  start [shape=Mdiamond]; exit [shape=Msquare]
  list [shape=parallelogram, tool_command="printf 'a\\nb\\nc\\n'"]
  fan [shape=component, for_each="tool.output"]; meet [shape=tripleoctagon]
  t [shape=parallelogram, tool_command="test $ORCHESTRA_BRANCH_INDEX != 1"]
  start -> list -> fan -> t -> meet -> exit
}
"""


def test_a_node_at_which_the_run_ended_has_no_edge(tmp_path: Path) -> None:
    (tmp_path / "g.dot").write_text(LOOP)
    assert call(tmp_path, "run", "g.dot").returncode == 1
    nodes = json.loads(call(tmp_path, "status", "last", "--detail", "--json").stdout)["nodes"]
    assert {node["node"]: node["next"] for node in nodes} == {"start": "test", "test": None, "fix": "test"}


def test_a_node_in_several_branches_shows_all_their_results(tmp_path: Path) -> None:
    (tmp_path / "g.dot").write_text(EACH)
    call(tmp_path, "run", "g.dot")
    nodes = json.loads(call(tmp_path, "status", "last", "--detail", "--json").stdout)["nodes"]
    assert [node["branches"] for node in nodes if "branches" in node] == [{"success": 2, "fail": 1}]
    assert "t      2 success, 1 fail, 3 visits" in call(tmp_path, "status", "last", "--detail").stdout


def told(path: str, event: Event) -> tuple[str, Recorded]:
    return path, Recorded(Meta(session="s", epoch=1, sequence=1, at=1, branch=path), event, 1, 1, 0)


def test_a_node_that_ended_in_a_branch_that_was_canceled_later_keeps_its_result() -> None:
    rows = node_rows(
        NEW,
        [
            told("fan/b", StageStarted(node="b", handler="tool", visit=1)),
            told("fan/b", StageCompleted(node="b", handler="tool", visit=1, status="success", duration_ms=7)),
            told("fan/b", StageStarted(node="c", handler="tool", visit=1)),
            told("fan/b", PipelineCanceled(node="c", reason="enough")),
        ],
    )
    assert {row["node"]: row["status"] for row in rows} == {"b": "success", "c": "canceled"}
