"""Subjects of commits follow CONTRIBUTING.md."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 72
SINCE = "a7a981c1dd5dd5c01469469f0edcf60a5f35352a"
"""The commit after which subjects are checked."""


def git(*args: str) -> str:
    done = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def test_subjects_of_commits_are_short() -> None:
    """Skipped where there is no history: in an archive, or in a shallow clone that does not reach back so far."""
    if git("merge-base", SINCE, "HEAD").strip() != SINCE:
        pytest.skip("no history")
    subjects = git("log", "--no-merges", "--format=%s", f"{SINCE}..HEAD").splitlines()
    assert [subject for subject in subjects if len(subject) > LONGEST] == []
