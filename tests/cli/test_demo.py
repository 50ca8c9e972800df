"""``orchestra demo``: the story that a newcomer sees first."""

from __future__ import annotations

import subprocess
from pathlib import Path

from calls import COLD, call


def test_the_demo_kills_and_resumes_a_run_asks_and_merges_and_leaves_the_checkout_alone(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = subprocess.run([*COLD, "demo", str(folder)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    branches = subprocess.run(
        ["git", "branch", "--format=%(refname:short)"], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.split()
    (session,) = [name for name in branches if name.startswith("orchestra/team/") and "@" not in name]
    for program, wanted in (("main", "cents + percent"), (session, "round(cents")):
        shown = subprocess.run(
            ["git", "show", f"{program}:prices.py"], cwd=folder, capture_output=True, text=True, check=True
        ).stdout
        assert wanted in shown
    assert "crashed" in done.stdout
    assert done.stdout.count("✓ before") == 0  # it had ended before the kill, and is not run again


def test_the_demo_takes_no_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("x")
    done = call(tmp_path, "demo", "mine")
    assert done.returncode == 2
    assert "is not empty" in done.stderr
