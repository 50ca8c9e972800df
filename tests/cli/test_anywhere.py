"""The examples do the same wherever their runs are kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from calls import ROOT, call

SCRIPTED = sorted(dot for dot in (ROOT / "examples").glob("*.dot") if dot.with_suffix(".yaml").exists())
SAME = ("sequence", "event", "node", "visit", "attempt", "status", "target", "rule", "changes")
NAMED = os.environ.get("ORCHESTRA_TEST_CXDB", "")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Settings for runs on our server, a process of its own."""
    command = [sys.executable, "-m", "orchestra", "cxdb", "serve", "--path", str(tmp_path_factory.mktemp("served"))]
    process = subprocess.Popen(
        [*command, "--bind", "127.0.0.1:0", "--http", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        words = process.stdout.readline().split()
        yield on(words[1], words[3])
    finally:
        process.kill()
        process.communicate()


def on(address: str, url: str) -> str:
    return f"cxdb: {{url: '{url}', address: '{address}'}}\n"


def told(folder: Path, pipeline: Path, settings: str) -> list[dict[str, object]]:
    """What is recorded of a run: what happened at which node, and what came of it."""
    folder.mkdir()
    kept = {"ORCHESTRA_CXDB_PATH": ""} if settings else {}
    (folder / "orchestra.yaml").write_text(settings)
    script = pipeline.with_suffix(".yaml")
    written = pipeline.with_suffix(".answers.yaml")
    answers = ["--answers", str(written)] if written.exists() else []
    told = ["--simulate", str(script), *answers, "--config", "orchestra.yaml", "-q"]
    ran = call(folder, "run", str(pipeline), *told, **kept)
    assert ran.stderr == ""
    log = call(folder, "log", "last", "--config", "orchestra.yaml", "--json", **kept)
    events = json.loads(log.stdout)["events"]
    for event in events:
        changes = event.get("changes", {})
        for key in [key for key in changes if key.startswith(("stack.child.session", "parallel."))]:
            del changes[key]  # a child's id is its own in each store, and so are contexts and times of branches
    events = [event for event in events if not event["event"].startswith("ParallelBranch")]
    events.sort(key=lambda event: event.get("branch", ""))  # branches run side by side, in no order
    return [{key: event.get(key) for key in SAME if key != "sequence" or "branch" in event} for event in events]


@pytest.mark.parametrize("pipeline", SCRIPTED, ids=lambda path: path.stem)
def test_an_example_is_recorded_alike_in_a_folder_and_on_a_server(
    pipeline: Path, ours: str, tmp_path: Path
) -> None:
    expected = told(tmp_path / "folder", pipeline, "")
    assert len(expected) > 5
    assert told(tmp_path / "ours", pipeline, ours) == expected
    if NAMED:
        address, http = NAMED.split(",")
        assert told(tmp_path / "named", pipeline, on(address, f"http://{http}")) == expected
