"""Worktrees beside those that other processes make and remove at the same moment (W1)."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from scratch import git, repository

from orchestra.config.workspace import RepoSettings
from orchestra.errors import WorkspaceError
from orchestra.workspace.repos import TRIES, Repo, find_repo
from orchestra.workspace.worktrees import place_worktree


def half_made(code: Path) -> Path:
    """The entry of a worktree that another git is just making: its ``commondir`` is there and still empty."""
    entry = code / ".git" / "worktrees" / "other"
    entry.mkdir(parents=True)
    (entry / "HEAD").write_text("ref: refs/heads/other\n")
    (entry / "gitdir").write_text(f"{code.parent / 'other' / '.git'}\n")
    (entry / "commondir").touch()
    return entry


async def found(code: Path) -> Repo:
    return await find_repo(RepoSettings(name="code", path=code), {"PATH": os.environ["PATH"]})


async def placed(repo: Repo, home: Path) -> Path:
    tree, made = await place_worktree(
        repo, folder=home / "abc" / "code", branch="orchestra/p/abc", commit=repo.commit, home=home, tell=print
    )
    assert made
    return tree.folder


async def test_a_worktree_is_made_while_another_process_makes_one(tmp_path: Path) -> None:
    code = repository(tmp_path / "code")
    repo = await found(code)
    entry = half_made(code)
    placing = asyncio.ensure_future(placed(repo, tmp_path / "home"))
    while repo.git.calls.count("worktree") < 2:  # the first has met it
        await asyncio.sleep(0.01)
    (entry / "commondir").write_text("../..\n")
    folder = await placing
    assert (folder / "a.txt").exists()
    assert git(folder, "branch", "--show-current") == "orchestra/p/abc"


async def test_an_entry_that_stays_half_made_is_reported_in_gits_words(tmp_path: Path) -> None:
    code = repository(tmp_path / "code")
    repo = await found(code)
    half_made(code)
    with pytest.raises(WorkspaceError, match="commondir"):
        await placed(repo, tmp_path / "home")
    assert repo.git.calls.count("worktree") == TRIES
