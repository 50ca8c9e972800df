"""docs/python.md shows only what works: its program runs, and its package adds a node type and a check."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROGRAM, MODULE = (text for kind, text in _BLOCK.findall((ROOT / "docs/python.md").read_text()) if kind == "python")
PACKAGE = next(text for kind, text in _BLOCK.findall((ROOT / "docs/python.md").read_text()) if kind == "toml")
PIPELINE = """digraph game {
    start [shape=Mdiamond]
    exit [shape=Msquare]
    roll [type=dice, sides=6]
    again [type=dice]
    start -> roll
    roll -> again [condition="context.dice.result < 7"]
    again -> exit
}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "game.dot").write_text(PIPELINE)
    project = tomllib.loads(PACKAGE)["project"]
    site = tmp_path / "site"
    info = site / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{name} = {place}\n" for name, place in points.items())
            for group, points in project["entry-points"].items()
        )
    )
    (site / "dice.py").write_text(MODULE)
    return tmp_path


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(folder / "site")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )


def test_the_program_runs_a_pipeline_and_records_it(folder: Path) -> None:
    done = python(folder, "-c", PROGRAM)
    assert done.returncode == 0, done.stderr
    session, status = done.stdout.split()[:2]
    assert status == "success"
    assert session in python(folder, "-m", "orchestra", "status").stdout


def test_the_package_adds_a_node_type_and_a_check(folder: Path) -> None:
    checked = python(folder, "-m", "orchestra", "compile", "game.dot", "--format", "json")
    found = [each["node"] for each in json.loads(checked.stdout)["diagnostics"] if each["rule"] == "dice_sides"]
    assert found == ["again"]
    done = python(folder, "-m", "orchestra", "run", "game.dot", "--json")
    assert done.returncode == 0, done.stderr + done.stdout
