"""``orchestra export SESSION --logs DIR`` writes Attractor's run directory, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from calls import call

from orchestra.agents.simulation import ScriptedResult
from orchestra.app.rundirs import write_run_directory
from orchestra.errors import StoreUnreachable
from support import CountingStore, ran

PIPELINE = """digraph two {
    graph [goal="Paint it"] start [shape=Mdiamond] exit [shape=Msquare]
    plan [prompt="Plan: $goal"] artifacts [prompt="Do it", max_retries=1]
    start -> plan -> artifacts -> exit
}"""


def exported(folder: Path, script: str = "nodes: {}") -> Path:
    (folder / "p.dot").write_text(PIPELINE)
    (folder / "s.yaml").write_text(script)
    assert call(folder, "run", "p.dot", "colour=red", "--simulate", "s.yaml", "-q").returncode in (0, 1)
    done = call(folder, "export", "last", "--logs", "out/logs")
    assert done.returncode == 0, done.stderr
    return folder / "out" / "logs"


def read(file: Path) -> Any:
    return json.loads(file.read_text())


def test_each_node_has_what_it_was_asked_what_it_answered_and_how_it_ended(tmp_path: Path) -> None:
    script = "nodes: {plan: {text: in red, label: Go, suggest: [artifacts], updates: {n: 1}, notes: well}}"
    logs = exported(tmp_path, script)
    assert (logs / "plan" / "prompt.md").read_text() == "Plan: Paint it"
    assert (logs / "plan" / "response.md").read_text() == "in red"
    assert read(logs / "plan" / "status.json") == {
        "outcome": "success",
        "preferred_label": "Go",
        "suggested_next_ids": ["artifacts"],
        "context_updates": {"n": 1},
        "notes": "well",
    }
    assert sorted(path.name for path in (logs / "start").iterdir()) == ["status.json"]


def test_the_checkpoint_and_the_manifest_name_the_current_node(tmp_path: Path) -> None:
    logs = exported(tmp_path, "nodes: {artifacts: [{status: retry, reason: wet}, {status: fail, reason: dry}]}")
    found = read(logs / "checkpoint.json")
    assert found["current_node"] == "artifacts"
    assert found["completed_nodes"] == ["start", "plan", "artifacts"]
    assert found["node_retries"]["artifacts"] == 1
    assert found["context"]["colour"] == "red"
    assert found["context"]["graph.goal"] == "Paint it"
    assert any("wet" in entry for entry in found["logs"])
    about = read(logs / "manifest.json")
    assert (about["name"], about["goal"], about["status"]) == ("two", "Paint it", "fail")
    assert found["timestamp"] >= about["start_time"]


def test_a_large_value_is_an_artifact_and_a_smaller_one_is_in_the_checkpoint(tmp_path: Path) -> None:
    text, middle = "ä" * 90_000, "b" * 40_000
    logs = exported(tmp_path, f"nodes: {{plan: {{text: {text}, updates: {{status: {text}x, m: {middle}}}}}}}")
    assert (logs / "plan" / "response.md").read_text() == text
    context = read(logs / "checkpoint.json")["context"]
    assert context["m"] == middle
    for key, whole in (("responses.plan", text), ("status", f"{text}x")):
        assert context[key]["size_bytes"] > 100_000
        assert read(logs / context[key]["artifact"]) == whole
    assert read(logs / "artifacts" / "status.json")["outcome"] == "success"


def test_a_folder_that_holds_something_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    exported(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("dear")
    (tmp_path / "file").write_text("x")
    for place in ("mine", "file", "."):
        assert call(tmp_path, "export", "last", "--logs", place).returncode == 2
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "out" / "logs").mkdir(parents=True)
    assert (exported(tmp_path) / "manifest.json").is_file()


async def test_an_export_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    class Lost(CountingStore):
        async def get_blob(self, digest: bytes) -> bytes:
            raise StoreUnreachable("gone", fix="")

    store = CountingStore()
    session = await ran(PIPELINE, {"plan": [ScriptedResult(text="x" * 300_000)]}, store=store)
    with pytest.raises(StoreUnreachable):
        await write_run_directory(Lost(store.inner), session.name, tmp_path / "logs")
    assert list(tmp_path.iterdir()) == []
    await write_run_directory(store, session.name, tmp_path / "logs")
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]
