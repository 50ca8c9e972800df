"""Subjects of commits follow CONTRIBUTING.md, from the commit that introduced it on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 72


def git(*args: str) -> str:
    done = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def test_subjects_of_commits_are_short() -> None:
    """Skipped where there is no history: in an archive, or in a shallow clone that does not reach back so far."""
    introduced = git("log", "--diff-filter=A", "--format=%H", "--", ".gitmessage").split()
    if not introduced or git("rev-parse", "--is-shallow-repository").strip() == "true":
        pytest.skip("no history")
    subjects = git("log", "--no-merges", "--format=%s", f"{introduced[-1]}..HEAD").splitlines()
    assert [subject for subject in subjects if len(subject) > LONGEST] == []
