"""``orchestra log SESSION --why NODE``: why a run went where it went."""

from __future__ import annotations

import json
from pathlib import Path

from calls import call

PIPELINE = """digraph g {
    start [shape=Mdiamond] exit [shape=Msquare]
    work [prompt=x] mend [prompt=y] other [prompt=z]
    start -> work
    work -> exit [condition="outcome=success && context.score>5"]
    work -> mend [condition="score<=5", label="[M] Mend", max_visits=2]
    work -> other [condition=never]
    mend -> work other -> exit
}"""
SCRIPT = """nodes:
  work: [{updates: {score: 3}}, {updates: {score: 4}}, {updates: {score: LAST}}]
"""


def a_run(folder: Path, last: str = "9") -> int:
    (folder / "p.dot").write_text(PIPELINE)
    (folder / "s.yaml").write_text(SCRIPT.replace("LAST", last))
    return call(folder, "run", "p.dot", "--simulate", "s.yaml", "-q").returncode


def test_each_visit_shows_its_edges_what_they_saw_and_the_rule_that_decided(tmp_path: Path) -> None:
    assert a_run(tmp_path) == 0
    done = call(tmp_path, "log", "last", "--why", "work")
    assert done.returncode == 0
    first, _second, third = done.stdout.split("\n\n")
    for part in ("visit 1", "→ mend", "rule 1", "score was '3'", "[M] Mend", "taken 0 of 2", "false"):
        assert part in first
    for part in ("visit 3", "→ exit", "context.score was '9'", "taken 2 of 2 times, closed"):
        assert part in third


def test_the_same_as_data(tmp_path: Path) -> None:
    a_run(tmp_path)
    data = json.loads(call(tmp_path, "log", "last", "--why", "work", "--json").stdout)
    assert data["schema"] == "orchestra.why.v1"
    assert [visit["target"] for visit in data["visits"]] == ["mend", "mend", "exit"]
    assert data["visits"][0]["rule"] == 1
    assert data["visits"][0]["candidates"][1]["values"] == {"score": "3"}
    lines = call(tmp_path, "log", "last", "--why", "work", "--json-stream").stdout.splitlines()
    assert [json.loads(line)["visit"] for line in lines] == [1, 2, 3]


def test_where_nothing_led_on_the_edges_are_shown_all_the_same(tmp_path: Path) -> None:
    assert a_run(tmp_path, last="5") == 1
    last = call(tmp_path, "log", "last", "--why", "work").stdout.split("\n\n")[-1]
    for part in ("the run ended here", "rule 6", "context.score was '5'", "closed"):
        assert part in last


def test_a_gate_that_sends_the_run_back_is_seen_while_it_runs(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(
        "digraph g { start [shape=Mdiamond] exit [shape=Msquare] plan [prompt=x]"
        " work [prompt=y, goal_gate=true, fallback_retry_target=nowhere]"
        " graph [retry_target=plan] start -> plan -> work -> exit [condition=outcome] }"
    )
    (tmp_path / "s.yaml").write_text("nodes: {work: [{status: fail, reason: too red}, {}]}")
    done = call(tmp_path, "run", "p.dot", "--simulate", "s.yaml")
    (line,) = [line for line in done.stdout.splitlines() if "↩" in line]
    for part in ("exit", "→ plan", "goal gate work", "too red"):
        assert part in line


def test_a_node_that_was_never_entered_is_shown_where_it_was_passed_over(tmp_path: Path) -> None:
    a_run(tmp_path)
    done = call(tmp_path, "log", "last", "--why", "other")
    assert done.returncode == 9
    assert "--why work" in done.stderr


def test_a_mistyped_node_is_reported_with_a_similar_one(tmp_path: Path) -> None:
    a_run(tmp_path)
    done = call(tmp_path, "log", "last", "--why", "wrok")
    assert done.returncode == 9
    assert "'work'" in done.stderr
