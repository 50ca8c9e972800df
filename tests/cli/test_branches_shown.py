"""Parallel branches on the command line: what a run prints, and what log, show and attach say of them."""

from __future__ import annotations

import json
from pathlib import Path

from calls import call

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
