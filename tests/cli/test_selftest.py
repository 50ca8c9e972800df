"""``orchestra selftest``: what works on a machine, and what does not, by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from calls import call


def test_checks_that_pass_leave_nothing_behind(tmp_path: Path) -> None:
    done = call(tmp_path, "selftest", "retries", "--json")
    report = json.loads(done.stdout)
    assert [(check["name"], check["result"]) for check in report["checks"]] == [("retries", "works")]
    assert not Path(report["folder"]).exists()
    assert done.returncode == 0


def test_a_check_whose_program_is_missing_is_skipped_and_says_how_to_install_it(tmp_path: Path) -> None:
    done = call(tmp_path, "selftest", "drawing", "git", PATH=str(tmp_path))
    assert done.returncode == 0
    assert "needs dot" in done.stdout
    assert "fix: apt install graphviz" in done.stdout
    assert "2 skipped" in done.stdout


def test_a_check_that_fails_shows_its_command_and_keeps_its_folder(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "dot"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho no fonts >&2\nexit 3\n")
    program.chmod(0o755)
    done = call(tmp_path, "selftest", "drawing", "--keep", "kept", PATH=f"{program.parent}:/usr/bin:/bin")
    assert done.returncode == 1
    assert "orchestra compile hello.dot --format svg" in done.stdout
    assert "no fonts" in done.stdout
    assert (tmp_path / "kept" / "drawing" / "hello.dot").exists()


def test_an_unknown_check_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    done = call(tmp_path, "selftest", "branch")
    assert done.returncode == 2
    assert "did you mean 'branches'?" in done.stderr


@pytest.mark.long
def test_everything_works_without_a_network_and_leaves_nothing_at_home(tmp_path: Path) -> None:
    """In a network namespace of its own, which has only 127.0.0.1."""
    if subprocess.run(["unshare", "-rn", "true"]).returncode:
        pytest.skip("no network namespaces here")
    home = tmp_path / "home"
    home.mkdir()
    command = f"ip link set lo up; exec {sys.executable} -m orchestra selftest"
    done = subprocess.run(
        ["unshare", "-rn", "sh", "-c", command],
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(home.iterdir()) == []
