"""Wrong usage: one style of message, exit code 2, an object with ``--json`` (C1, C2, C5)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from calls import call

WRONG = {
    "run": "argument PIPELINE is missing",
    "run x.dot --bogus": "no such option: --bogus",
    "run x.dot --max-cost": "option '--max-cost' requires an argument",
    "run x.dot --max-cost x": "--max-cost must be dollars such as 5 or 0.50, not 'x'",
    "run x.dot --json-stream --json": "--json and --json-stream exclude each other; use one",
    "replay last --node a --visit x": "--visit must be a whole number, not 'x'",
    "replay last --node a --visit 0": "--visit must be at least 1, not '0'",
    "model-server x --port 70000": "--port must be at most 65535, not '70000'",
    "cxdb bogus": "'bogus' is not serve or mirror",
    "status a b": "unexpected argument: b",
    "statsu": "no such command 'statsu'; did you mean 'status'?",
    "config bogus": "'bogus' is not show",
    "run x.dot badvar": "'badvar' is not KEY=VALUE",
    "compile x.dot --format x": "--format must be one of text, json, dot, svg, github, sarif, not 'x'",
}


@pytest.mark.parametrize("line", WRONG)
def test_wrong_usage_is_one_line_and_a_help_line(tmp_path: Path, line: str) -> None:
    done = call(tmp_path, *line.split())
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {WRONG[line]}"), done.stderr
    assert len(done.stderr.splitlines()) <= 2


def test_wrong_usage_is_an_object_with_json(tmp_path: Path) -> None:
    done = call(tmp_path, "resume", "--json", "--bogus", "last")
    shown = json.loads(done.stdout)
    assert (shown["status"], shown["exit_code"], shown["help"]) == ("error", 2, "orchestra resume --help")
    assert shown["detail"].startswith("no such option: --bogus")
