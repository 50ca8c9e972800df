"""Tool nodes in a simulation script: scripted ones get their results, the others are run (engine.md#tool-nodes)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from calls import call

PIPELINE = """digraph g {
    start [shape=Mdiamond]
    exit [shape=Msquare]
    test [shape=parallelogram, tool_command="echo ran > ran; echo real"]
    note [shape=parallelogram, tool_command="printf %s/%s {{ tool.output }} {{ tools.test.exit_code }} > note"]
    mend [prompt="Mend it", max_visits=2]
    start -> test
    test -> note [condition="outcome=success"]
    test -> mend [condition="outcome=fail"]
    mend -> test
    note -> exit
}
"""


def run(folder: Path, script: str) -> tuple[int, str]:
    (folder / "p.dot").write_text(PIPELINE)
    (folder / "s.yaml").write_text(script)
    done = call(folder, "run", "p.dot", "--simulate", "s.yaml")
    return done.returncode, done.stdout + done.stderr


def test_a_named_tool_node_ends_as_the_script_says_and_the_others_are_run(tmp_path: Path) -> None:
    code, said = run(tmp_path, 'nodes: {test: [{exit_code: 3, stderr: "2 tests failed"}, {text: "all well"}]}')
    assert code == 0, said
    assert "exit code 3: 2 tests failed" in said
    assert not (tmp_path / "ran").exists()
    assert (tmp_path / "note").read_text() == "all well/0"


def test_a_tool_node_that_no_script_names_is_run(tmp_path: Path) -> None:
    code, said = run(tmp_path, "nodes: {mend: {text: x}}")
    assert code == 0, said
    assert (tmp_path / "note").read_text() == "real/0"
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ("{status: fail}", "exit code 1"),
        ("{exit_code: 127}", "exit code 127"),
        ("{status: fail, reason: because}", "because"),
        ("{error: broken}", "broken"),
    ],
)
def test_a_scripted_failure_has_the_reason_of_a_real_one(result: str, reason: str, tmp_path: Path) -> None:
    code, said = run(tmp_path, f"nodes: {{test: {result}}}")
    assert code == 1, said
    assert reason in said
    log = [json.loads(line) for line in call(tmp_path, "log", "last", "--json").stdout.splitlines()]
    assert not [entry for entry in log if "ToolStarted" in json.dumps(entry)]


def test_a_resumed_run_continues_with_the_recorded_script(tmp_path: Path) -> None:
    run(tmp_path, "nodes: {test: [{exit_code: 3}, {exit_code: 3}, {exit_code: 3}, {text: at last}]}")
    done = call(tmp_path, "resume", "last")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "note").read_text() == "at last/0"


def test_a_recorded_script_goes_along_with_a_node_that_an_agent_answers_now(tmp_path: Path) -> None:
    run(tmp_path, "nodes: {test: [{exit_code: 3}, {exit_code: 3}, {exit_code: 3}, {text: at last}]}")
    agent = PIPELINE.replace(
        'test [shape=parallelogram, tool_command="echo ran > ran; echo real"]', 'test [prompt="Test"]'
    )
    (tmp_path / "p.dot").write_text(agent)
    done = call(tmp_path, "resume", "last", "--graph", "p.dot")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "note").exists()


def test_a_scripted_answer_is_checked_by_the_nodes_output_schema(tmp_path: Path) -> None:
    (tmp_path / "n.json").write_text('{"type": "object", "required": ["n"]}')
    (tmp_path / "p.dot").write_text(
        'digraph p { start [shape=Mdiamond] exit [shape=Msquare] a [prompt=x, output_schema="n.json"]'
        ' b [shape=parallelogram, tool_command="echo {{ outputs.a.n }} > got"] start -> a -> b -> exit }'
    )
    (tmp_path / "s.yaml").write_text("""nodes: {a: [{text: '{"m": 3}'}]}""")
    refused = call(tmp_path, "run", "p.dot", "--simulate", "s.yaml")
    assert "does not fit output_schema" in refused.stdout
    (tmp_path / "s.yaml").write_text("""nodes: {a: [{text: '{"n": 3}'}]}""")
    assert call(tmp_path, "run", "p.dot", "--simulate", "s.yaml").returncode == 0
    assert (tmp_path / "got").read_text() == "3\n"
