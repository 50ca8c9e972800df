"""What an installed package adds by entry points: node types, their own context keys, rules, transforms (E2)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from calls import shell

MODULE = """
from orchestra.errors import Diagnostic, Severity
from orchestra.run.outcome import Outcome, Status


class Board:
    own_keys = OWN

    async def __call__(self, node, context, graph, scope):
        return Outcome(status=Status.SUCCESS, context_updates={"board.card": 7, "tool.output": "forged", "free": 1})


board = Board()


def rule(graph):
    if "forbidden" in graph.nodes:
        node = graph.nodes["forbidden"]
        yield Diagnostic(
            rule="house_rule", severity=Severity.WARNING, message="not here", span=node.span, node=node.id
        )
"""
PIPELINE = """digraph g {
    start [shape=Mdiamond]
    exit [shape=Msquare]
    card [type=board]
    ask [prompt="x"]
    start -> card -> ask
    ask -> exit [condition="context.board.card=7"]
}
"""
CHANGE = "[orchestra.transforms]\nchange = board:change\n"
SCRIPT = 'nodes: {ask: [{updates: {board.card: "forged", "other": 2}}]}\n'


def plugged(
    folder: Path, command: str, own: str = '{"board"}', module: str = MODULE, more: str = ""
) -> subprocess.CompletedProcess[str]:
    site = folder / "site"
    (site / "board-1.0.dist-info").mkdir(parents=True, exist_ok=True)
    (site / "board-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: board\nVersion: 1.0\n")
    points = "[orchestra.handlers]\nboard = board:board\n[orchestra.lint]\nhouse = board:rule\n"
    (site / "board-1.0.dist-info" / "entry_points.txt").write_text(points + more)
    (site / "board.py").write_text(module.replace("OWN", own))
    (folder / "p.dot").write_text(PIPELINE)
    (folder / "s.yaml").write_text(SCRIPT)
    return shell(folder, command, PYTHONPATH=str(site))


def test_a_handler_writes_the_keys_that_are_its_own_and_nobody_else_does(tmp_path: Path) -> None:
    done = plugged(tmp_path, "orchestra run p.dot --simulate s.yaml --json-stream")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    ended = {event["node"]: event.get("context_updates") for event in events if event["event"] == "StageCompleted"}
    assert ended["card"] == {"board.card": 7, "free": 1}
    assert ended["ask"] == {"other": 2}
    refused = [event["message"] for event in events if event["event"] == "Warning"]
    assert any("card may not write 'tool.output'" in message for message in refused)
    assert any("ask may not write 'board.card'" in message for message in refused)


def test_a_variable_may_not_have_the_name_of_a_handlers_key(tmp_path: Path) -> None:
    refused = plugged(tmp_path, "orchestra run p.dot board.card=7")
    assert refused.returncode == 2
    assert "board.card" in refused.stderr
    assert plugged(tmp_path, "orchestra run p.dot boards=7 -q").returncode == 0


@pytest.mark.parametrize("own", ['{"graph"}', '{"board.card"}', "7", '{""}', '"board"', "{1}"])
def test_keys_that_no_handler_can_have_are_refused(own: str, tmp_path: Path) -> None:
    refused = plugged(tmp_path, "orchestra run p.dot", own=own)
    assert refused.returncode == 2
    assert "own_keys" in refused.stderr
    assert "board" in refused.stderr


@pytest.mark.parametrize("module", ["import nosuch", "x = 1", "raise RuntimeError('broken')"])
def test_a_package_that_cannot_be_loaded_is_named(module: str, tmp_path: Path) -> None:
    for command in ("run", "compile"):
        refused = plugged(tmp_path, f"orchestra {command} p.dot", module=module)
        assert refused.returncode == 2, refused.stderr
        assert "board 1.0" in refused.stderr
        assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(("module", "code"), [("import nosuch", 1), (MODULE, 0), (MODULE.replace("OWN", "7"), 1)])
def test_doctor_reports_a_package_that_stops_every_run(module: str, code: int, tmp_path: Path) -> None:
    done = plugged(tmp_path, "orchestra doctor", module=module)
    assert done.returncode == code, done.stdout
    assert "board 1.0" in done.stdout


@pytest.mark.parametrize(
    "fault",
    [
        "def rule(graph):\n    yield graph.nothing\n",
        "def rule(graph):\n    return 7\n",
        "def rule(graph):\n    yield 'not here'\n",
        "def rule(graph):\n    return []\ndef change(graph):\n    raise ValueError('odd')\n",
        "def rule(graph):\n    return []\ndef change(graph):\n    return None\n",
    ],
)
def test_a_package_that_fails_on_a_pipeline_is_named(fault: str, tmp_path: Path) -> None:
    board = "def change(graph):\n    return graph\nasync def board(*_):\n    pass\n"
    refused = plugged(tmp_path, "orchestra compile p.dot", module=board + fault, more=CHANGE)
    assert refused.returncode == 2, refused.stderr
    assert "board 1.0" in refused.stderr or "the transform change must return a graph" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_rule_of_a_package_is_asked(tmp_path: Path) -> None:
    plugged(tmp_path, "true")
    (tmp_path / "q.dot").write_text(PIPELINE.replace("ask", "forbidden"))
    done = plugged(tmp_path, "orchestra compile q.dot --format json")
    assert "house_rule" in done.stdout
    assert "explain house_rule" not in done.stdout  # which does not know it
