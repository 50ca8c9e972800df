"""Limits of a run with branches and children: what they stop, what a resume asks, and what is shown (A5, E35)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from calls import call

from orchestra.modelserver import ModelServer, parse

ENDS = "start [shape=Mdiamond] exit [shape=Msquare] fan [shape=component] join [shape=tripleoctagon]"
BRANCHES = f"""digraph p {{ {ENDS}
  a [prompt="cheap one"] b [prompt="cheap two"] c [prompt="cheap three"]
  start -> fan -> a -> join -> exit fan -> b -> join fan -> c -> join }}
"""
CHILD = 'digraph c { start [shape=Mdiamond] exit [shape=Msquare] w [prompt="dear work"] start -> w -> exit }'
WITH_CHILD = f"""digraph p {{ {ENDS}
  a [prompt="cheap one"] k [type=pipeline, "stack.child_dotfile"="c.dot"]
  start -> fan -> a -> join -> exit fan -> k -> join }}
"""
NESTED = f"""digraph p {{ {ENDS}
  inner [shape=component] met [shape=tripleoctagon] a [prompt="cheap one"]
  k [type=pipeline, "stack.child_dotfile"="c.dot"] b [prompt="cheap two"]
  start -> fan -> a -> join -> exit fan -> inner -> k -> met -> join inner -> b -> met }}
"""
SCRIPT = """rules:
  - when: {contains: "dear work"}
    answers:
      - {tool_calls: [{name: read-file, arguments: {path: p.dot, offset: 1}}], usage: {input: 800, output: 100}}
      - {delay: 0.1, text: done, usage: {input: 40, output: 10}}
answers:
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ModelServer]:
    calls = "".join(
        f"  - {{delay: 0.03, tool_calls: [{{name: read-file, arguments: {{path: p.dot, offset: {number}}}}}],"
        " usage: {input: 40, output: 10}}\n"
        for number in range(1, 60)
    )
    (tmp_path / "c.dot").write_text(CHILD)
    with ModelServer(parse(SCRIPT + calls)) as server:
        (tmp_path / "orchestra.yaml").write_text(
            "backend: langgraph\nproviders:\n"
            f"  openai: {{base_url: '{server.url}/v1', models: {{worker: gpt-5}}}}\n"
            "prices: {gpt-5: {input: 1000, output: 1000}}\nlimits: {run: {cost: 1.00}}\n"
        )
        yield server


@pytest.mark.parametrize(("graph", "at_once"), [(BRANCHES, 3), (WITH_CHILD, 2), (NESTED, 3)])
def test_a_limit_is_passed_by_the_calls_in_flight_alone_and_a_resume_at_it_asks_nothing(
    tmp_path: Path, server: ModelServer, graph: str, at_once: int
) -> None:
    (tmp_path / "p.dot").write_text(graph)
    stopped = call(tmp_path, "run", "p.dot", "--plain")
    assert stopped.returncode == 7, stopped.stdout + stopped.stderr
    dear = sum("dear work" in str(one.messages) for one in server.requests)
    spent = round(0.05 * len(server.requests) + 0.85 * bool(dear), 2)
    assert 1.0 <= spent < 1.0 + at_once * (0.9 if graph != BRANCHES else 0.05)
    (row,) = [one for one in json.loads(call(tmp_path, "status", "--json").stdout)["sessions"] if not one["parent"]]
    assert row["cost_micros"] == round(spent * 1e6)
    higher = f"--max-cost {2 * spent:.2f}"
    assert higher in stopped.stdout
    assert higher in row["next"]
    assert f"${spent:.2f}" in call(tmp_path, "status", "last", "--detail").stdout
    detail = json.loads(call(tmp_path, "status", row["session"], "--detail", "--json").stdout)
    (model,) = detail["models"].values()
    assert model["cost_micros"] == detail["spent"]["cost_micros"] == row["cost_micros"]
    assert model["tokens_in"] + model["tokens_out"] == round(spent * 1000)
    assert detail["spent"]["tokens_in"] == model["tokens_in"]
    own = sum(node["agent"]["turns"] for node in detail["nodes"] if "agent" in node)
    assert own == model["turns"] - dear
    asked = len(server.requests)
    assert call(tmp_path, "resume", row["session"], "--plain").returncode == 7
    assert len(server.requests) == asked
    assert call(tmp_path, "resume", row["session"], "--plain", "--max-cost", "1.2").returncode == 7
    assert len(server.requests) > asked


def test_lines_of_a_resumed_child_name_the_branch_that_runs_it(tmp_path: Path, server: ModelServer) -> None:
    (tmp_path / "p.dot").write_text(WITH_CHILD.replace("a [", "z [").replace("-> a ->", "-> z ->"))
    assert call(tmp_path, "run", "p.dot", "--plain").returncode == 7
    shown = call(tmp_path, "resume", "last", "--plain").stdout
    assert "fan/k/k/w  resumed: its conversation continues" in shown
    assert "fan/z/z/" not in shown


TIMED = {
    "a command": 'a [shape=parallelogram, tool_command="SLEEP"] start -> a -> exit',
    "commands of branches": """fan [shape=component] join [shape=tripleoctagon]
  a [shape=parallelogram, tool_command="SLEEP"] b [shape=parallelogram, tool_command="SLEEP"]
  start -> fan -> a -> join -> exit fan -> b -> join""",
    "a child": 'k [type=pipeline, "stack.child_dotfile"="c.dot"] start -> k -> exit',
    "the wait before an attempt": """a [shape=parallelogram, tool_command="test -e go", max_retries=1,
  retry_policy=patient] start -> a -> exit""",
    "a model call": 'a [backend=direct, prompt="work"] start -> a -> exit',
}


@pytest.mark.parametrize("what", TIMED)
def test_a_runs_limit_of_time_interrupts(what: str, tmp_path: Path) -> None:
    ends = "start [shape=Mdiamond] exit [shape=Msquare] "
    for name, body in (("p", TIMED[what]), ("c", TIMED["a command"])):
        body = body.replace("SLEEP", "test -e go || sleep 60; echo x >> ended")
        (tmp_path / f"{name}.dot").write_text(f"digraph {name} {{ {ends} {body} }}")
    settings = "providers: {openai: {base_url: 'URL/v1', models: {worker: gpt-5}}}\n"
    with ModelServer(parse("answers: [{text: late, delay: 60s}]")) as server:
        limit = "2s" if "model" in what else "800ms"
        limited = settings.replace("URL", server.url) + f"limits: {{run: {{time: {limit}}}}}"
        (tmp_path / "orchestra.yaml").write_text(limited)
        stopped = call(tmp_path, "run", "p.dot", "--plain", OPENAI_API_KEY="x")
        assert stopped.returncode == 7, stopped.stdout + stopped.stderr
        assert "limits.run.time" in stopped.stdout
        assert call(tmp_path, "resume", "last", OPENAI_API_KEY="x").returncode == 7
        assert len(server.requests) <= 1, "at the same limit nothing is asked"
    (tmp_path / "go").touch()
    with ModelServer(parse("answers: [done]")) as server:
        (tmp_path / "orchestra.yaml").write_text(settings.replace("URL", server.url))
        resumed = call(tmp_path, "resume", "last", OPENAI_API_KEY="x")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    if "SLEEP" in TIMED[what]:
        assert (tmp_path / "ended").read_text().split() == ["x"] * TIMED[what].count("SLEEP")


def test_calls_beyond_the_limit_of_tool_calls_are_not_made_and_the_agent_sees_why(tmp_path: Path) -> None:
    calls = ", ".join(f'{{name: shell, arguments: {{command: "echo {n} >> eff"}}}}' for n in range(1, 6))
    (tmp_path / "p.dot").write_text(CHILD)
    settings = (
        "backend: langgraph\nproviders: {default: openai, openai: {base_url: 'URL', models: {worker: gpt-5}}}\n"
    )
    with ModelServer(parse(f"answers: [{{tool_calls: [{calls}]}}, {{text: done}}]")) as server:
        settings = settings.replace("URL", f"{server.url}/v1")
        (tmp_path / "orchestra.yaml").write_text(settings + "limits: {node: {tool_calls: 3}}")
        assert call(tmp_path, "run", "p.dot", OPENAI_API_KEY="x").returncode == 7
        assert (tmp_path / "eff").read_text().split() == ["1", "2", "3"]
        (tmp_path / "orchestra.yaml").write_text(settings)
        assert call(tmp_path, "resume", "last", OPENAI_API_KEY="x").returncode == 0
        assert (tmp_path / "eff").read_text().split() == ["1", "2", "3"]
        assert str(server.requests[-1].body).count("not made: the limit of tool calls is reached") == 2
