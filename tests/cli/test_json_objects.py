"""``--json``: one object, whatever happens, with the fields that commands share (C1)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from calls import ORCHESTRA, call, environment

PIPELINE = "digraph g { start [shape=Mdiamond]; exit [shape=Msquare]; a [prompt=x MORE]; start -> a -> exit }"


def test_run_and_status_have_the_same_names_for_the_same_things(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(PIPELINE.replace("MORE", ""))
    run = json.loads(call(tmp_path, "run", "p.dot", "--json").stdout)
    status = json.loads(call(tmp_path, "status", "last", "--json").stdout)
    for name in ("session", "context", "context_id", "pipeline", "phase", "node", "steps", "cost_micros"):
        assert run[name] == status[name], name


def test_a_list_of_sessions_of_an_absent_server_is_one_object(tmp_path: Path) -> None:
    done = call(tmp_path, "status", "--json", "--store", "http://127.0.0.1:1")
    shown = json.loads(done.stdout)
    assert (done.returncode, shown["exit_code"], shown["sessions"]) == (6, 6, [])


def test_an_invalid_pipeline_has_detail_help_and_diagnostics(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text("digraph g { start [shape=Mdiamond]; start -> nowhere }")
    shown = json.loads(call(tmp_path, "run", "p.dot", "--json").stdout)
    assert shown["detail"] == shown["diagnostics"][0]["message"]
    assert "help" in shown


def test_compile_strict_is_not_ok_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(PIPELINE.replace("MORE", ", promt=y"))
    done = call(tmp_path, "compile", "p.dot", "--strict", "--json")
    assert (done.returncode, json.loads(done.stdout)["ok"]) == (3, False)
    assert call(tmp_path, "compile", "p.dot", "--strict", "--format", "github").stdout.startswith("::error ")


def test_the_commands_after_a_run_find_a_store_that_an_env_file_named(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(PIPELINE.replace("MORE", ""))
    (tmp_path / "e.env").write_text(f"ORCHESTRA_CXDB_PATH={tmp_path / 'other'}\n")
    variables = environment(tmp_path)
    del variables["ORCHESTRA_CXDB_PATH"]
    command = [*ORCHESTRA, "run", "p.dot", "--env-file", "e.env"]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60)
    assert f"--store {tmp_path / 'other'}" in done.stdout
