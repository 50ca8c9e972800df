"""Merge the branches of a fan-out: decided without touching a worktree, then applied at once (W6)."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestra.errors import WorkspaceError
from orchestra.ports import Conflict
from orchestra.workspace.durable import names_synced, now_ns
from orchestra.workspace.git import Git
from orchestra.workspace.remote import deepen_to_common, fetch_commit
from orchestra.workspace.worktrees import IDENTITY, Tree

FILES = 20
"""Files of a conflict whose hunks are kept."""

HUNKS = 8000
"""Characters of a file's conflict hunks that are kept."""

DIFF = 8000
"""Characters of a diff that a gate shows."""

AROUND = 3
"""Lines before and after a conflict that a hunk shows."""


@dataclass(slots=True, kw_only=True)
class RepoMerge:
    """The branches of one repository as they were merged one after the other onto ``tip``."""

    tip: str
    commit: str = ""
    merged: list[tuple[str, str]] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)


async def merge_branches(
    tree: Tree, branches: Mapping[str, str], folders: Mapping[str, str], trailers: str
) -> RepoMerge:
    """Merge branches into a worktree's branch, three-way and in order; those in conflict are left out.

    Each branch has its recorded commit, empty where none is known.
    Nothing but objects is written before all are decided; then the branch and the worktree move once, to one commit
    whose parents are the tip and every branch merged. Raises ``WorkspaceError``.
    """
    git, tip, began = tree.git, tree.tip, now_ns()
    done = RepoMerge(tip=tip)
    current = tip
    for branch, recorded in branches.items():
        theirs = await _head_of(tree, branch, recorded)
        await deepen_to_common(git, tree.repo.settings.remote, current, theirs)
        if await git.ok("merge-base", "--is-ancestor", theirs, current):
            done.unchanged.append(branch)
            continue
        result = await git.run("merge-tree", "--write-tree", "--name-only", "-z", current, theirs, check=False)
        if result.code > 1 or not result.items:
            raise WorkspaceError(f"{tree.name}: git merge-tree failed: {result.err.strip()}")
        written, _, rest = os.fsdecode(result.out).partition("\0")
        if result.code:
            names = rest.split("\0\0", 1)[0].split("\0")
            done.conflicts.append(
                await _conflict(tree, branch, folders.get(branch, ""), written, names, (current, theirs))
            )
            continue
        current = await _commit(git, written, (current, theirs), f"Merge {branch}")
        done.merged.append((branch, theirs))
    if done.merged:
        done.commit = await _apply(tree, current, done, trailers)
        await names_synced(git, (f"refs/heads/{tree.branch}",), began)
    return done


async def _head_of(tree: Tree, branch: str, recorded: str) -> str:
    """Return the commit of a branch that is merged: the recorded one, or what was committed after it.

    The branch may be missing, or be elsewhere; a missing commit is fetched from the remote (W7).
    """
    git, url = tree.git, tree.repo.settings.remote
    tip = (await git.run("rev-parse", "-q", "--verify", f"refs/heads/{branch}^{{commit}}", check=False)).text
    if recorded and await fetch_commit(git, url, branch, recorded) and tip != recorded:
        later = tip and await git.ok("merge-base", "--is-ancestor", recorded, tip)
        return tip if later else recorded
    if not tip or (recorded and tip != recorded):
        lost = f"its commit {recorded[:12]}" if recorded else "it"
        raise WorkspaceError(f"{tree.name}: the branch {branch} cannot be merged: {lost} is not in the repository")
    return tip


async def _apply(tree: Tree, current: str, done: RepoMerge, trailers: str) -> str:
    names = [branch.rpartition("/")[2] for branch, _theirs in done.merged]
    title = f"Merge {', '.join(names)}"
    subject = title if len(title) <= 72 else f"Merge {len(names)} branches"
    body = "\n".join(f"- {branch}" for branch, _theirs in done.merged)
    parents = (done.tip, *(theirs for _branch, theirs in done.merged))
    commit = await _commit(tree.git, f"{current}^{{tree}}", parents, f"{subject}\n\n{body}\n\n{trailers}")
    await tree.git.run("merge", "--ff-only", "--quiet", commit)
    return commit


async def _commit(git: Git, tree: str, parents: Sequence[str], message: str) -> str:
    options = [option for parent in parents for option in ("-p", parent)]
    return (await git.run("commit-tree", tree, *options, "-m", message, more=IDENTITY)).text


async def _conflict(
    tree: Tree, branch: str, folder: str, written: str, names: Sequence[str], sides: tuple[str, str]
) -> Conflict:
    """A conflict as data: per file its hunks, and what each side's commits say (W6)."""
    files: dict[str, str] = {}
    ours, theirs = sides
    for name in names:
        shown = ""
        if len(files) < FILES:
            found = await tree.git.run("cat-file", "blob", f"{written}:{name}", check=False)
            shown = hunks(found.out.decode("utf-8", "replace")) if not found.code else ""
        files[name] = shown
    return Conflict(
        repo=tree.name,
        branch=branch,
        folder=folder,
        files=files,
        ours=await _subjects(tree.git, theirs, ours),
        theirs=await _subjects(tree.git, ours, theirs),
    )


async def _subjects(git: Git, without: str, tip: str) -> tuple[str, ...]:
    """The subjects of the commits that one side has and the other has not, oldest first."""
    found = await git.run("log", "--reverse", "--no-merges", "-20", "--format=%s", f"{without}..{tip}", "--")
    return tuple(line for line in found.text.split("\n") if line)


def hunks(text: str) -> str:
    """The conflicts in a file with markers, each with a few lines around it; empty where it has none."""
    lines = text.splitlines()
    kept: list[int] = []
    inside = False
    for number, line in enumerate(lines):
        if line.startswith("<<<<<<< "):
            inside = True
            kept += range(max(0, number - AROUND), number)
        if inside:
            kept.append(number)
        if line.startswith(">>>>>>> ") and inside:
            inside = False
            kept += range(number + 1, min(len(lines), number + 1 + AROUND))
    shown = [lines[number] for number in sorted(set(kept))]
    return "\n".join(shown)[:HUNKS]


async def markdown_diff(tree: Tree, start: str) -> str:
    """The changes of a worktree's branch since a commit, as Markdown."""
    flags = ("--no-ext-diff", "--no-textconv", "--stat", "--patch", "--find-renames")
    done = await tree.git.run("diff", *flags, start, tree.tip, "--")
    text = done.out.decode("utf-8", "replace").strip("\n")
    if len(text) > DIFF:
        command = f"git -C {shlex.quote(str(tree.repo.settings.path))} diff {start[:12]} {tree.tip[:12]}"
        text = f"{text[:DIFF]}\n[cut; all of it: {command}]"
    return f"Changes in {tree.name}:\n\n```diff\n{text}\n```"
