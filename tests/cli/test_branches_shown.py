"""Parallel branches on the command line: what a run prints, and what log, show and attach say of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from calls import call

from orchestra.cli.screen.detail import branch_rows, say_branches
from orchestra.run.events import (
    EdgeSelected,
    Event,
    Meta,
    ParallelBranchCompleted,
    ParallelBranchOpened,
    Recorded,
    StageStarted,
)

FAN = """digraph fan {
  start [shape=Mdiamond]
  exit [shape=Msquare]
  split [shape=component]
  quick [shape=parallelogram, tool_command="echo $ORCHESTRA_BRANCH $ORCHESTRA_BRANCH_INDEX"]
  bad [shape=parallelogram, tool_command="echo lost >&2; exit 3"]
  more
  meet [shape=tripleoctagon]
  start -> split
  split -> quick -> more -> meet
  split -> bad -> meet
  meet -> exit
}
"""


def fanned(folder: Path, *args: str) -> str:
    (folder / "fan.dot").write_text(FAN)
    done = call(folder, "run", "fan.dot", *args)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_line_of_a_branch_says_which_branch_it_is(tmp_path: Path) -> None:
    shown = fanned(tmp_path)
    lines = [line.split(maxsplit=2)[1:] for line in shown.splitlines() if ":" in line.split()[0]]
    marks = {rest[1].split()[0]: rest[0] for rest in lines}
    assert marks["split/quick"] == "✓"
    assert marks["split/quick/more"] == "✓"
    assert marks["split/bad"] == "✗"
    assert marks["meet"] == "✓"


def test_log_show_and_attach_know_branches_by_their_path(tmp_path: Path) -> None:
    fanned(tmp_path)
    logged = call(tmp_path, "log", "last").stdout
    assert "split/quick/more" in logged
    assert logged.count("PipelineStarted") == 1
    shown = json.loads(call(tmp_path, "show", "last/split/quick:10", "--json").stdout)
    assert (shown["event"], shown["branch"]) == ("ToolExecuted", "split/quick")
    assert shown["output"] == "split/quick 1\n"
    detail = call(tmp_path, "status", "last", "--detail").stdout
    assert "branches: 2 of 2 ended" in detail
    assert "✗ split/bad" in detail
    watched = call(tmp_path, "attach", "last").stdout
    assert "split/quick/more" in watched
    assert watched.count("split/bad") == 1


def test_a_branch_that_does_not_exist_is_named(tmp_path: Path) -> None:
    fanned(tmp_path)
    done = call(tmp_path, "show", "last/split/nobody")
    assert done.returncode == 9
    assert "no branch 'split/nobody'" in done.stderr


def test_the_stream_of_events_names_the_branch_of_each(tmp_path: Path) -> None:
    events = [json.loads(line) for line in fanned(tmp_path, "--json-stream").splitlines()]
    by_branch = {event.get("branch", "") for event in events}
    assert by_branch == {"", "split/quick", "split/bad"}


def test_a_branchs_row_names_its_current_or_next_node_and_a_later_visit_replaces_it() -> None:
    def told(path: str, event: Event) -> tuple[str, Recorded]:
        return path, Recorded(Meta(session="s", epoch=1, sequence=1, at=1, branch=path), event)

    def opened(branch: str) -> tuple[str, Recorded]:
        path = f"split/{branch}"
        return told(path, ParallelBranchOpened(node="split", branch_id=branch, path=path, target=branch))

    def ended(branch: str, status: str) -> tuple[str, Recorded]:
        return told("", ParallelBranchCompleted(node="split", branch_id=branch, branch_context=5, status=status))

    events = [opened("a"), opened("b"), ended("a", "fail"), opened("a")]
    events.append(told("split/a", StageStarted(node="later", handler="codergen", visit=1)))
    events.append(ended("b", "success"))
    rows = {row["branch"]: (row["status"], row["node"]) for row in branch_rows(events)}
    assert rows == {"split/a": ("", "later"), "split/b": ("success", "b")}
    events.append(told("split/a", EdgeSelected(source="later", target="next", rule=1, reason="the only edge")))
    assert branch_rows(events)[0]["node"] == "next"


def test_of_many_branches_those_come_first_that_need_a_look(capsys: pytest.CaptureFixture[str]) -> None:
    def row(number: int) -> dict[str, object]:
        status = "fail" if number == 77 else "" if number == 88 else "success"
        return {"branch": f"split/x[{number}]", "status": status, "node": "x", "reason": "", "duration_ms": 1}

    say_branches([row(number) for number in range(100)], colour=False)
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "  branches: 99 of 100 ended"
    assert [line.split()[1] for line in shown[1:3]] == ["split/x[77]", "split/x[88]"]
    assert "60 more branches" in shown[-2]
