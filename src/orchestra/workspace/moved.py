"""Commits that an agent made itself while a node ran, and a HEAD that it moved (W4)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from orchestra.ports import CommitResult, NewCommit
from orchestra.workspace.commits import By, tip_of, trailers_for
from orchestra.workspace.durable import commits_synced
from orchestra.workspace.worktrees import IDENTITY, Tree, move, rescue_before

NOTES = "refs/notes/orchestra"
"""The notes with the trailers of commits that an agent made itself."""

MOST = 50
"""Commits of an agent that are recorded one by one."""


@dataclass(slots=True, kw_only=True)
class FoundCommits:
    """Commits that the agent or an interrupted run of this turn made, and remarks for the user."""

    own: list[CommitResult] = field(default_factory=list)
    adopted: CommitResult | None = None
    remarks: list[str] = field(default_factory=list)


async def restore_branch(tree: Tree, wanted: NewCommit, by: By) -> FoundCommits:
    """Bring a worktree back to its branch, with the commits that belong there; nothing is lost.

    Costs no git process where nothing moved. Afterwards ``tree.tip`` is the branch's tip. Files stay as they are.
    """
    found = FoundCommits()
    branch, tip = tree.head()
    if branch == tree.branch and tip == tree.tip:
        return found
    tip = tip or await tip_of(tree)
    if branch == tree.branch and await tree.git.ok("merge-base", "--is-ancestor", tree.tip, tip):
        await _commits(tree, tip, wanted, by, found)
        await commits_synced(tree.git, tree.tip, tip, f"refs/heads/{tree.branch}")
        tree.tip = tip
        return found
    await _put_back(tree, branch, tip, by, found)
    return found


async def _commits(tree: Tree, tip: str, wanted: NewCommit, by: By, found: FoundCommits) -> None:
    """Read the commits since the recorded one, and note on those of the agent where they come from."""
    shown = "%H%x00%s%x00%(trailers:key=Orchestra-Turn,valueonly,separator=%x2C)%x00"
    done = await tree.git.run(
        "log", "--reverse", "--first-parent", f"-{MOST}", f"--format={shown}", f"{tree.tip}..{tip}"
    )
    fields = os.fsdecode(done.out).split("\0")
    for commit, subject, turn in zip(fields[::3], fields[1::3], fields[2::3], strict=False):
        name = commit.strip()
        flags = ("-r", "-z", "--root", "--no-commit-id", "--name-only", "--diff-merges=first-parent")
        listed = await tree.git.run("diff-tree", *flags, name)
        made = CommitResult(repo=tree.name, commit=name, subject=subject, files=tuple(listed.items))
        if turn == wanted.turn:
            found.adopted = made
            continue
        await tree.git.run(
            "notes", f"--ref={NOTES}", "add", "-f", "-m", trailers_for(wanted, by), name, more=IDENTITY, check=False
        )
        found.own.append(made)


async def _put_back(tree: Tree, branch: str, tip: str, by: By, found: FoundCommits) -> None:
    """Put HEAD and the branch back where the record has them; commits that would be lost are rescued."""
    found.remarks += await rescue_before(tree, tree.tip, by.session, branch, tip)
    where = branch if branch != tree.branch else "another commit"
    found.remarks.insert(0, f"HEAD was moved to {where or 'a detached commit'}; it is back on {tree.branch}")
    await move(tree, tree.tip, branch, "--mixed")
