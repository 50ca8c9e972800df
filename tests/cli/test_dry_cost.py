"""The known bounds of cost, before anything is paid (A5)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from calls import call

from orchestra.graph.report import dollars

DOT = """digraph p {
  start [shape=Mdiamond] exit [shape=Msquare]
  work [prompt="do it", max_visits=3] judge [prompt="judge", backend=direct]
  sub [type=pipeline, stack.child_dotfile="c.dot"]
  start -> work -> sub -> judge -> exit
}
"""
CHILD = "digraph c { start [shape=Mdiamond] exit [shape=Msquare] deep [prompt=x] start -> deep -> exit }"
SETTINGS = """backend: langgraph
providers: {anthropic: {models: {worker: claude-haiku-4-5}, base_url: "http://127.0.0.1:1"}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "p.dot").write_text(DOT)
    (tmp_path / "c.dot").write_text(CHILD)
    (tmp_path / "orchestra.yaml").write_text(SETTINGS + "limits: {node: {turns: 10, tokens: 100000}}\n")
    return tmp_path


def test_visits_times_limits_bound_a_run_and_nothing_is_opened(folder: Path) -> None:
    done = call(folder, "run", "p.dot", "--dry-cost", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["cost_at_most"] == 1.5
    assert {each["node"]: each["turns"] for each in told["nodes"]} == {"work": 10, "judge": 10, "sub/deep": 10}
    assert not (folder / "store").exists()


def test_the_limit_of_the_run_bounds_it_where_it_is_lower(folder: Path) -> None:
    shown = call(folder, "run", "p.dot", "--dry-cost", "--max-cost", "0.5").stdout
    assert "at most $0.50 (--max-cost)" in shown
    assert "sub/deep" in shown


def test_compile_says_the_bound_and_what_is_missing_for_one(folder: Path) -> None:
    assert "a run costs at most $1.50" in call(folder, "compile", "p.dot").stdout
    assert json.loads(call(folder, "compile", "p.dot", "--json").stdout)["cost"]["cost_at_most"] == 1.5
    (folder / "orchestra.yaml").write_text(SETTINGS)
    assert "no bound on the cost of a run is known" in call(folder, "compile", "p.dot").stdout


def test_a_model_without_a_price_is_named(folder: Path) -> None:
    (folder / "orchestra.yaml").write_text(SETTINGS.replace("claude-haiku-4-5", "own-model"))
    done = call(folder, "run", "p.dot", "--dry-cost", "--max-cost", "1")
    assert "no price is known for anthropic:own-model" in done.stdout
    assert "at most" not in done.stdout


def test_an_invalid_pipeline_has_no_bounds(folder: Path) -> None:
    (folder / "p.dot").write_text("digraph p { a -> b }")
    assert call(folder, "run", "p.dot", "--dry-cost").returncode == 3


def test_what_has_no_bound_is_named_with_what_bounds_it(folder: Path) -> None:
    (folder / "orchestra.yaml").write_text(SETTINGS)
    shown = call(folder, "run", "p.dot", "--dry-cost").stdout
    assert "no bound for TURNS of work, sub/deep: set limits.node.turns" in shown
    assert "no bound for COST of work, judge, sub/deep: set limits.node.cost" in shown
    assert "VISITS of" not in shown


def test_a_small_amount_of_money_does_not_show_as_none() -> None:
    shown = [dollars(micros) for micros in (0, 1, 420, 4_200, 1_234_567)]
    assert shown == ["$0.00", "$0.000001", "$0.0004", "$0.0042", "$1.23"]
