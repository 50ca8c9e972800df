"""A session's branches after its run: merge them into the checkout, or move them to the trash.

See W6 and W11.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestra.errors import ConfigError, WorkspaceError
from orchestra.workspace.cleanup import own_repositories
from orchestra.workspace.git import Git
from orchestra.workspace.remote import deepen_to_common, fetch_commit
from orchestra.workspace.repos import admin_of, checked_out, shell_path, worktree
from orchestra.workspace.worktrees import IDENTITY, TRASH, uncommitted

TRASH_DAYS = 14
"""Days for which what was removed can be brought back (W11)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionBranches:
    """The branches of a session in one repository: its own, and those of its parallel branches beside it.

    ``path`` is the repository, ``remote`` its address in the settings; ``tips`` are the commits by branch, its own
    first; without it if it was removed. ``commit`` is the recorded one of its own.
    """

    repo: str
    git: Git
    path: Path
    session: str
    own: str
    base: str
    base_branch: str
    tips: dict[str, str]
    remote: str = ""
    commit: str = ""

    @property
    def tip(self) -> str:
        """The commit of the session branch; empty where it does not exist any more."""
        return self.tips.get(self.own, "")


async def tips_of(git: Git, own: str) -> dict[str, str]:
    """The commits of a session branch and of those beside it."""
    listed = await git.run(
        "for-each-ref", "--format=%(objectname) %(refname)", f"refs/heads/{own}", f"refs/heads/{own}@*"
    )
    found = {}
    for line in listed.text.split("\n"):
        commit, _, ref = line.partition(" ")
        if ref:
            found[ref.removeprefix("refs/heads/")] = commit
    return dict(sorted(found.items(), key=lambda pair: (pair[0] != own, pair[0])))


async def diffstat(git: Git, before: str, after: str) -> str:
    """How much differs between two commits, as git says in one line; empty where nothing does."""
    done = await git.run("diff", "--shortstat", "--no-ext-diff", "--no-textconv", before, after, "--", check=False)
    return done.text.strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class GitAction:
    """What was done in a repository, and the commands that undo it."""

    repo: str
    text: str
    undo: tuple[str, ...] = ()
    branch: str = ""
    commit: str = ""
    trash: str = ""


async def _head(found: SessionBranches) -> str:
    """Return the commit to merge: the branch's, or the later one at which the session ended on another machine."""
    git, tip, commit = found.git, found.tip, found.commit
    if not commit or tip == commit:
        return tip
    if not await fetch_commit(git, found.remote, found.own, commit):
        raise WorkspaceError(
            f"{found.repo}: the session ended at {commit[:12]}, which is not in {found.path}:"
            " fetch it, then merge again"
        )
    return commit if await git.ok("merge-base", "--is-ancestor", tip, commit) else tip


async def check_merge(found: SessionBranches) -> tuple[str, str, str]:
    """Return the branch to merge into and its commit, empty if all is merged already; and the commit to merge.

    Raises ``WorkspaceError`` for a checkout with changes, a detached HEAD, conflicts.
    """
    git, place = found.git, found.path
    if git.work_tree is None:
        raise WorkspaceError(f"{place} is a bare repository: merge {found.own} in a clone of it")
    if not found.tip:
        raise WorkspaceError(f"{found.repo}: the branch {found.own} does not exist any more")
    into = (await git.run("symbolic-ref", "-q", "--short", "HEAD", check=False)).text
    if not into:
        raise WorkspaceError(f"no branch is checked out in {place}: switch to the one to merge into")
    dirty = await git.run("status", "--porcelain", "-z", "--untracked-files=no", "--ignore-submodules=dirty")
    if dirty.items:
        raise WorkspaceError(f"{place} has uncommitted changes: commit or stash them, then merge again")
    old = (await git.run("rev-parse", "HEAD")).text
    head = await _head(found)
    await deepen_to_common(git, found.remote, old, head)
    if await git.ok("merge-base", "--is-ancestor", head, old):
        return into, "", head
    tried = await git.run("merge-tree", "--write-tree", "--name-only", "-z", old, head, check=False)
    if tried.code == 1:
        names = os.fsdecode(tried.out).partition("\0")[2].split("\0\0", 1)[0].split("\0")
        raise WorkspaceError(
            f"{found.own} conflicts with {into} in {', '.join(names[:10])}; nothing was changed."
            f" Merge it by hand: git -C {shell_path(place)} merge {found.own}"
        )
    return into, old, head


async def merge(found: SessionBranches, message: str) -> GitAction:
    """Merge a session branch into the branch that is checked out in the repository.

    Raises ``WorkspaceError`` before anything is changed, as ``check_merge`` does.
    """
    git, place = found.git, found.path
    into, old, head = await check_merge(found)
    if not old:
        text = f"{found.own} is in {into} already"
        return GitAction(repo=found.repo, text=text, branch=found.own, commit=head)
    named = await git.ok("var", "GIT_COMMITTER_IDENT")
    await git.run("merge", "--no-ff", "--quiet", "-m", message, head, more=None if named else IDENTITY)
    new = (await git.run("rev-parse", "HEAD")).text
    stat = await diffstat(git, old, new)
    return GitAction(
        repo=found.repo,
        text=f"merged {found.own} into {into} ({new[:10]}): {stat or 'no change'}",
        undo=(f"git -C {shell_path(place)} reset --keep {old[:12]}",),
        branch=found.own,
        commit=new,
    )


async def discard(found: SessionBranches, names: Sequence[str], worktrees: Sequence[Path]) -> list[GitAction]:
    """Remove worktrees, and move branches to the trash, where they stay for ``TRASH_DAYS``.

    What is uncommitted in a worktree is committed to the trash first.
    """
    done = []
    day = time.strftime("%Y%m%d", time.gmtime())
    place = f"{TRASH}/{day}/{found.session}"
    for folder in worktrees:
        done += await _without_worktree(found, folder, place)
    for name in names:
        commit = found.tips[name]
        ref = f"{place}/{name.rpartition('/')[2]}"
        moves = f"update {ref} {commit}\ndelete refs/heads/{name} {commit}\n"
        await found.git.run("update-ref", "--stdin", given=moves.encode())
        done.append(
            GitAction(
                repo=found.repo,
                text=f"removed the branch {name} ({commit[:10]})",
                undo=(f"git -C {shell_path(found.path)} branch {name} {ref}",),
                branch=name,
                commit=commit,
                trash=ref,
            )
        )
    return done


async def _without_worktree(found: SessionBranches, folder: Path, place: str) -> list[GitAction]:
    if not folder.is_dir() and admin_of(found.git.common, folder) is None:  # noqa: ASYNC240  one look
        return []
    if admin_of(found.git.common, folder) is None:
        await found.git.run("worktree", "repair", folder, check=False)  # the repository was moved
    admin = admin_of(found.git.common, folder)
    if admin is None:
        return [GitAction(repo=found.repo, text=f"kept {folder}: git does not know it as a worktree")]
    lost = await own_repositories(found.git.at(admin, folder)) if folder.is_dir() else ""  # noqa: ASYNC240
    if lost:  # on no branch from now on: its own may be removed
        await found.git.at(admin, folder).run("checkout", "--quiet", "--detach", check=False)
        return [GitAction(repo=found.repo, text=f"kept {folder}: it holds {lost}")]
    done = []
    saved = ""
    if folder.is_dir():  # noqa: ASYNC240
        saved, _none = await uncommitted(found.git.at(admin, folder), "uncommitted")
    if saved:
        ref = f"{place}/{folder.parent.name}.uncommitted"
        await found.git.run("update-ref", ref, saved)
        text = f"saved uncommitted changes in {folder} as {ref}"
        undo = (f"git -C {shell_path(found.path)} checkout {ref} -- .",)
        done.append(GitAction(repo=found.repo, text=text, undo=undo, commit=saved, trash=ref))
    await worktree(found.git, "remove", "--force", folder)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()
    return done


async def check_free(found: SessionBranches, worktrees: Sequence[Path]) -> None:
    """Raise ``WorkspaceError`` where a branch of a session is checked out elsewhere than in its ``worktrees``."""
    if elsewhere := await checked_out(found.git, found.tips, worktrees):
        name, place = elsewhere
        switch = f"git -C {shell_path(place)} switch {found.base_branch or 'OTHER-BRANCH'}"
        raise WorkspaceError(
            f"the branch {name} is checked out in {place}; nothing was removed."
            f" Switch to another there, then discard again: {switch}"
        )


async def empty_trash(git: Git, days: int = TRASH_DAYS) -> list[str]:
    """Forget what was removed longer ago; the refs that were deleted."""
    oldest = time.strftime("%Y%m%d", time.gmtime(time.time() - days * 86400))
    listed = await git.run("for-each-ref", "--format=%(refname)", f"{TRASH}/")
    old = [
        ref
        for ref in listed.text.split("\n")
        if ref and ref.removeprefix(f"{TRASH}/").partition("/")[0] < oldest and ref.split("/")[3].isdigit()
    ]
    if old:
        await git.run("update-ref", "--stdin", given="".join(f"delete {ref}\n" for ref in old).encode())
    return old


def need(found: Sequence[SessionBranches], session: str) -> None:
    """Raise ``ConfigError`` where a session has no branch."""
    if not any(one.tips for one in found):
        raise ConfigError(f"session {session} has no branch: it ran without a workspace, or its branch was removed")
