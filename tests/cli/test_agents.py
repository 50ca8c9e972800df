"""Agents on the command line: runs with a model server, limits, kills, missing keys, imports (A1, A5, A8, A9)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from calls import ORCHESTRA, call, environment

from orchestra.modelserver import ModelServer, parse

DOT = """digraph p {
  start [shape=Mdiamond] exit [shape=Msquare]
  work [prompt="do it"] next [prompt="and on", backend=direct]
  start -> work -> next -> exit
}
"""
WORKS = """
rules:
  - when: {contains: "and on"}
    answers: [{text: fine}]
answers:
  - tool_calls: [{name: shell, arguments: {command: "echo x >> runs; sleep 0.4"}}]
    usage: {input: 1000, output: 100}
  - tool_calls: [{name: shell, arguments: {command: "echo x >> runs; sleep 0.4"}}]
  - tool_calls: [{name: report_outcome, arguments: {status: success}}]
"""


@contextmanager
def served(folder: Path, script: str, more: str = "") -> Iterator[ModelServer]:
    (folder / "p.dot").write_text(DOT)
    with ModelServer(parse(script)) as server:
        (folder / "orchestra.yaml").write_text(
            "backend: langgraph\nproviders:\n"
            f"  openai: {{base_url: '{server.url}/v1', models: {{worker: gpt-5}}}}\n{more}"
        )
        yield server


def test_a_run_asks_its_models_and_says_what_they_used(tmp_path: Path) -> None:
    with served(tmp_path, WORKS) as server:
        done = call(tmp_path, "run", "p.dot", "--plain")
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(server.requests) == 4
    told = json.loads(call(tmp_path, "status", "last", "--detail", "--json").stdout)
    work = next(node for node in told["nodes"] if node["node"] == "work")
    assert (work["agent"]["turns"], work["agent"]["tool_calls"]) == (3, 3)
    assert told["models"]["gpt-5"]["turns"] == 4
    assert told["models"]["gpt-5"]["tokens_in"] == told["spent"]["tokens_in"]
    shown = call(tmp_path, "status", "last", "--detail").stdout
    assert "3 agent turns" in " ".join(shown.split())
    log = call(tmp_path, "log", "last").stdout
    assert log.count("AgentTurnCompleted") == 4


def test_a_killed_run_pays_for_no_recorded_answer_again(tmp_path: Path) -> None:
    with served(tmp_path, WORKS) as server:
        run = subprocess.Popen(
            [*ORCHESTRA, "run", "p.dot", "-q"],
            cwd=tmp_path,
            env=environment(tmp_path),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        runs = tmp_path / "runs"
        deadline = time.monotonic() + 30
        while not (runs.exists() and runs.read_text().count("x") == 2):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        asked = len(server.requests)
        assert asked == 2
        done = call(tmp_path, "resume", "last", "--plain")
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(server.requests) == asked + 2
        assert "may or may not have happened" in str(server.requests[2].messages)
    assert runs.read_text().count("x") == 2


def test_a_limit_is_exit_code_7_and_a_higher_one_continues(tmp_path: Path) -> None:
    section = "pipelines: {p.dot: {limits: {run: {cost: 100}}}}\n"
    with served(tmp_path, WORKS, section) as server:
        stopped = call(tmp_path, "run", "p.dot", "--plain", "--max-cost", "0.001")
        assert stopped.returncode == 7, stopped.stdout + stopped.stderr
        assert "--max-cost" in stopped.stdout
        assert "--max-cost" in call(tmp_path, "status", "last", "--detail").stdout
        assert len(server.requests) == 1
        assert call(tmp_path, "resume", "last", "-q").returncode == 7
        assert len(server.requests) == 1
        assert call(tmp_path, "resume", "last", "-q", "--max-cost", "1").returncode == 0


def test_no_quota_is_exit_code_7(tmp_path: Path) -> None:
    with served(tmp_path, "answers: [{error: insufficient_quota}]") as server:
        assert call(tmp_path, "run", "p.dot", "-q").returncode == 7
        assert len(server.requests) == 1


def test_no_quota_is_exit_code_7_beside_a_branch_that_succeeds(tmp_path: Path) -> None:
    script = """
rules:
  - when: {contains: "task a"}
    answers: [{error: insufficient_quota}, {text: fine}]
answers: [{text: fine}]
"""
    with served(tmp_path, script) as server:
        (tmp_path / "p.dot").write_text(
            "digraph p { start [shape=Mdiamond] exit [shape=Msquare] fan [shape=component] "
            'join [shape=tripleoctagon] a [prompt="task a"] b [prompt="task b"] '
            "start -> fan -> a -> join -> exit fan -> b -> join }"
        )
        assert call(tmp_path, "run", "p.dot", "-q").returncode == 7
        assert len(server.requests) == 2
        assert call(tmp_path, "resume", "last", "-q").returncode == 0
        assert len(server.requests) == 3


def test_a_missing_key_is_reported_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(DOT)
    (tmp_path / "orchestra.yaml").write_text(
        "backend: langgraph\nproviders: {anthropic: {models: {worker: claude-sonnet-4-5}}}\n"
    )
    done = call(tmp_path, "run", "p.dot")
    assert done.returncode == 4, done.stderr
    assert "ANTHROPIC_API_KEY" in done.stderr
    assert "session" not in done.stdout


def test_a_model_without_a_price_is_named(tmp_path: Path) -> None:
    with served(tmp_path, "answers: [{text: fine}]"):
        file = tmp_path / "orchestra.yaml"
        file.write_text(file.read_text().replace("gpt-5", "own-model"))
        done = call(tmp_path, "run", "p.dot", "--plain")
    assert "no price is known for the model own-model" in done.stdout


@pytest.mark.parametrize("command", ["--help", "compile p.dot", "run p.dot -q"])
def test_what_asks_no_model_imports_no_model_library(command: str, tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(DOT.replace(", backend=direct", ""))
    words = command.split()
    code = (
        "import sys; from orchestra.__main__ import main\n"
        f"sys.argv = ['orchestra', *{words!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([n for n in sys.modules if n.startswith(('langchain', 'langgraph', 'openai', 'anthropic'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


LOOPS = """
answers:
  - tool_calls: [{name: list-files, arguments: {pattern: "*"}}]
    usage: {input: 100000, output: 1000}
    delay: 50ms
"""


@pytest.mark.parametrize("shape", ["child", "branches"])
def test_a_cost_limit_stops_the_whole_tree_and_the_same_limit_asks_nothing_more(shape: str, tmp_path: Path) -> None:
    with served(tmp_path, LOOPS) as server:
        child = DOT.replace("p {", "c {").replace(", backend=direct", "")
        (tmp_path / "c.dot").write_text(child)
        graph = 'run [type=pipeline, stack.child_dotfile="c.dot"] start -> run -> exit'
        if shape == "branches":
            graph = (
                "fan [shape=component] a [prompt=a] b [prompt=b] c [prompt=c] join [shape=tripleoctagon]\n"
                "start -> fan fan -> a fan -> b fan -> c a -> join b -> join c -> join join -> exit"
            )
        (tmp_path / "p.dot").write_text(f"digraph p {{ start [shape=Mdiamond] exit [shape=Msquare] {graph} }}")
        stopped = call(tmp_path, "run", "p.dot", "--plain", "--max-cost", "0.60")
        assert stopped.returncode == 7, stopped.stdout + stopped.stderr
        asked = len(server.requests)
        assert 5 <= asked <= 7, asked  # 0.135 dollars each
        again = call(tmp_path, "resume", "last", "--plain")
        assert again.returncode == 7, again.stdout + again.stderr
        assert len(server.requests) == asked, again.stdout
        if shape == "child":
            assert call(tmp_path, "replay", "last", "--turn", "0", "--plain").returncode == 7


def test_show_says_how_much_of_a_huge_result_is_recorded(tmp_path: Path) -> None:
    script = """
answers:
  - tool_calls: [{name: shell, arguments: {command: "head -c 17000000 /dev/zero | tr '\\\\0' x"}}]
  - done
"""
    with served(tmp_path, script):
        done = call(tmp_path, "run", "p.dot", "--plain")
        assert done.returncode == 0, done.stdout + done.stderr
        events = json.loads(call(tmp_path, "log", "last", "--json").stdout)["events"]
        depth = next(event["depth"] for event in events if event["event"] == "AgentToolEnded")
        shown = call(tmp_path, "show", f"last:{depth}").stdout
    assert f"recorded: the first {16 * 1024 * 1024} of 17000000 bytes" in shown
    assert "whole output" not in shown
