"""What runs left in a repository: branches and worktrees, and why each is kept or may go (W11)."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Set
from dataclasses import dataclass, replace
from pathlib import Path

from orchestra.workspace.git import Git
from orchestra.workspace.repos import admin_of, checked_out, read_tip, shell_path

PLACE = re.compile(r"([a-z][0-9a-z]{5})(@[^/]*)?")
"""The last part of a session's branch, and the name of its folder of worktrees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLeftovers:
    """What one session left in one repository: its branches with their commits, and its worktrees."""

    repo: str
    session: str
    branches: dict[str, str]
    worktrees: tuple[Path, ...]


async def find_left(git: Git, repo: str, prefix: str, home: Path) -> list[SessionLeftovers]:
    """Everything of ours in a repository, by session."""
    branches: dict[str, dict[str, str]] = {}
    listed = await git.run("for-each-ref", "--format=%(objectname) %(refname)", "refs/heads/")
    for line in listed.text.split("\n"):
        commit, _, ref = line.partition(" ")
        name = ref.removeprefix("refs/heads/")
        match = PLACE.fullmatch(name.rpartition("/")[2])
        if match is not None and name.startswith(prefix) and "/" in name.removeprefix(prefix):
            branches.setdefault(match[1], {})[name] = commit
    worktrees: dict[str, list[Path]] = {}
    for place in _places(git.common, home / "worktrees", repo):
        match = PLACE.fullmatch(place.parent.name)
        if match is not None:
            worktrees.setdefault(match[1], []).append(place)
    return [
        SessionLeftovers(
            repo=repo,
            session=session,
            branches=branches.get(session, {}),
            worktrees=tuple(worktrees.get(session, ())),
        )
        for session in sorted({*branches, *worktrees})
    ]


def _places(common: Path, home: Path, repo: str) -> list[Path]:
    """The worktrees of a repository under our folder, those included that were deleted by hand."""
    found = [folder / repo for folder in _folders(home) if os.path.lexists(folder / repo)]
    return sorted({*found, *_missing_worktrees(common, home, repo)})


def _folders(home: Path) -> list[Path]:
    try:
        return sorted(home.iterdir())
    except OSError:
        return []


def _missing_worktrees(common: Path, home: Path, repo: str) -> list[Path]:
    """Worktrees of ours that git knows and whose folders were deleted by hand."""
    found = []
    for entry in _folders(common / "worktrees"):
        with contextlib.suppress(OSError):
            place = Path((entry / "gitdir").read_text(encoding="utf-8", errors="surrogateescape").strip()).parent
            if place.parent.parent == home and place.name == repo and not place.exists():
                found.append(place)
    return found


async def reason_to_keep(git: Git, left: SessionLeftovers, gone: Set[str], *, force: bool) -> str:
    """Return why a session's leftovers stay, empty if nothing would be lost.

    ``gone`` are branches that are removed as well, so that they do not keep a commit. ``force`` gives up unmerged
    commits.
    """
    for place in left.worktrees:
        if reason := await _worktree_kept(git, place, left.branches):
            return reason
    if elsewhere := await checked_out(git, left.branches, left.worktrees):
        return "{} is checked out in {}".format(*elsewhere)
    if force:
        return ""
    others = await _others(git, gone | left.branches.keys())
    for name, commit in left.branches.items():
        merged = await git.run(
            "for-each-ref", "--format=%(refname)", "--contains", commit, "refs/heads/", "refs/remotes/"
        )
        holding = {ref for ref in merged.text.split("\n") if ref} & others
        if not holding:
            return f"{name} is not merged into another branch"
    return ""


async def _others(git: Git, gone: Set[str]) -> set[str]:
    listed = await git.run("for-each-ref", "--format=%(refname)", "refs/heads/", "refs/remotes/")
    return {ref for ref in listed.text.split("\n") if ref.removeprefix("refs/heads/") not in gone}


async def _worktree_kept(git: Git, place: Path, branches: dict[str, str]) -> str:
    """Why a worktree has to stay; one that was deleted by hand has not."""
    if place.is_symlink() or place.parent.is_symlink():  # noqa: ASYNC240
        return f"{place} is a symbolic link"
    if not place.exists():  # noqa: ASYNC240
        return ""
    admin = admin_of(git.common, place)
    if admin is None:
        repair = f"git -C {shell_path(git.work_tree or git.git_dir)} worktree repair {shell_path(place)}"
        return f"{place} is a folder that git does not know as a worktree; if the repository was moved: {repair}"
    if (admin / "locked").exists():
        return f"{place} is locked"
    if user := process_in(place):
        return f"process {user} works in {place}"
    branch, _tip = read_tip(git.common, admin)
    if branch not in branches:
        return f"{place} has {'another branch' if branch else 'a detached commit'} checked out"
    if lost := await own_repositories(git.at(admin, place)):
        return f"{place} holds {lost}"
    status = await git.at(admin, place).run("status", "--porcelain", "-z", "--untracked-files=normal", check=False)
    if status.code:
        return f"{place} cannot be read: {status.err.strip()[:200]}"
    count = len(status.items)
    return f"{count} uncommitted change{'s' * (count > 1)} in {place}" if count else ""


async def own_repositories(git: Git) -> str:
    """Return what of repositories inside a worktree would be lost with it, in words; empty for nothing.

    That is a repository that is not part of its commits, and what of a submodule no remote has.
    """
    status = await git.run("status", "--porcelain=v2", "-z", "--untracked-files=all", "--no-renames", check=False)
    for item in status.items:
        if item.startswith("? ") and item.endswith("/"):
            return f"the repository {item[2:].rstrip('/')}"
        if item.startswith("1 ") and set(item.split(" ")[2]) & {"M", "U"}:
            return f"changes in the submodule {item.split(' ', 8)[8]}"
    for head in sorted((git.git_dir / "modules").glob("**/HEAD")):
        module = replace(git, git_dir=head.parent, common=head.parent, work_tree=None)
        if (head.parent / "objects").is_dir():
            found = await module.run("rev-list", "-1", "HEAD", "--all", "--not", "--remotes", check=False)
            if found.text:
                return f"commits of the submodule {head.parent.name} that no remote has"
    return ""


def process_in(place: Path) -> int:
    """A process whose working directory is in a folder; 0 for none, and where the system does not tell."""
    inside = os.path.realpath(place)
    for entry in _folders(Path("/proc")):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            found = str((entry / "cwd").readlink())
            if found == inside or found.startswith(inside + os.sep):
                return int(entry.name)
    return 0
