"""One repository's worktree for one walk: make it, restore a commit, rescue lost work (W1, W7)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestra.errors import WorkspaceError
from orchestra.workspace.cleanup import own_repositories
from orchestra.workspace.durable import names_synced, now_ns
from orchestra.workspace.git import Git, changes_of, failure, new_repositories, stage_all, unstage
from orchestra.workspace.repos import Repo, admin_of, checkouts, no_symlink, read_tip, worktree

IDENTITY: Mapping[str, str] = {
    "GIT_AUTHOR_NAME": "Orchestra",
    "GIT_AUTHOR_EMAIL": "orchestra@local",
    "GIT_COMMITTER_NAME": "Orchestra",
    "GIT_COMMITTER_EMAIL": "orchestra@local",
}
"""Who makes commits that no agent wrote: merges and rescues. The user's own identity is not needed."""

RESCUE = "refs/orchestra/rescue"
TRASH = "refs/orchestra/trash"
LOCKED = 0.05
"""Seconds after which a ref that another process holds is tried again."""

TRIES = 100

STALE = 2.0
"""Seconds after which a lock in our own worktree is stale: git holds one for moments, and the session has
one runner."""


@dataclass(slots=True, kw_only=True)
class Tree:
    """The worktree of one repository for one walk; ``tip`` is its recorded commit."""

    repo: Repo
    git: Git
    folder: Path
    branch: str
    tip: str

    @property
    def name(self) -> str:
        """The repository's name."""
        return self.repo.name

    def head(self) -> tuple[str, str]:
        """The branch checked out and its commit, as git's files tell now."""
        return read_tip(self.repo.git.common, self.git.git_dir)


async def place_worktree(
    repo: Repo, *, folder: Path, branch: str, commit: str, home: Path, tell: Callable[[str], None]
) -> tuple[Tree, bool]:
    """The worktree of a branch at a folder, made where it is missing; and whether it was made.

    A folder in its place that git does not know is kept under another name, and ``tell`` is told. It stands at
    ``commit`` where it was made, else wherever it was left.
    """
    if repo.settings.in_place and folder == repo.checkout:
        return await _in_place(repo, branch, commit)
    no_symlink(folder, home)
    admin = admin_of(repo.git.common, folder)
    if admin is not None and _is_folder(folder):
        tree = Tree(repo=repo, git=repo.git.at(admin, folder), folder=folder, branch=branch, tip=commit)
        _mend_pointer(folder, admin)
        return tree, False
    if admin is not None:  # deleted by hand
        await worktree(repo.git, "remove", "--force", "--force", folder)
    if _is_folder(folder, filled=True):
        tell(f"{folder} was not known to git; its content is now {_out_of_the_way(folder)}")
    _no_torn_entries(repo.git.common, branch)
    await _free_branch(repo, branch)
    with _os_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    await _add_worktree(repo, folder, branch, commit)
    admin = admin_of(repo.git.common, folder)
    if admin is None:
        raise WorkspaceError(f"git does not know the worktree that it made at {folder}")
    tree = Tree(repo=repo, git=repo.git.at(admin, folder), folder=folder, branch=branch, tip=commit)
    return tree, True


async def _add_worktree(repo: Repo, folder: Path, branch: str, commit: str) -> None:
    if await repo.git.ok("rev-parse", "-q", "--verify", f"refs/heads/{branch}"):
        await worktree(repo.git, "add", "--quiet", folder, branch)
    else:
        await worktree(repo.git, "add", "--quiet", "--no-track", "-B", branch, folder, commit)


def _is_folder(place: Path, *, filled: bool = False) -> bool:
    """Whether a folder exists, and with ``filled`` whether it has content."""
    return place.is_dir() and (not filled or any(place.iterdir()))


def _out_of_the_way(folder: Path) -> Path:
    """Rename a folder that is in our place and unknown to git, as after a power loss."""
    number = 1
    while os.path.lexists(kept := folder.with_name(f"{folder.name}.kept-{number}")):
        number += 1
    return folder.rename(kept)


def _no_torn_entries(common: Path, branch: str) -> None:
    """Forget worktrees of a branch whose entry in the repository a power loss left without a place."""
    try:
        entries = sorted((common / "worktrees").iterdir())
    except OSError:
        return
    for entry in entries:
        if text_of(entry / "gitdir").strip() or (entry / "locked").exists():
            continue
        head = text_of(entry / "HEAD").strip()
        with contextlib.suppress(OSError):
            if head in ("", f"ref: refs/heads/{branch}") and time.time() - entry.stat().st_mtime > STALE:
                shutil.rmtree(entry)


async def _in_place(repo: Repo, branch: str, commit: str) -> tuple[Tree, bool]:
    assert repo.checkout is not None
    tree = Tree(repo=repo, git=repo.git, folder=repo.checkout, branch=branch, tip=commit)
    if tree.head()[0] == branch:
        return tree, False
    await repo.git.run("checkout", "--quiet", "--no-track", "-B", branch, commit)
    return tree, True


async def _free_branch(repo: Repo, branch: str) -> None:
    """Forget worktrees of a branch that were deleted or moved by hand: git would refuse the branch."""
    for name, place in await checkouts(repo.git):
        if name == branch and not _is_folder(place):
            await worktree(repo.git, "remove", "--force", "--force", place)


def _mend_pointer(folder: Path, admin: Path) -> None:
    """Rewrite the worktree's ``.git`` file if it is not what git wrote (W12)."""
    pointer, text = folder / ".git", f"gitdir: {admin}\n"
    try:
        if not pointer.is_symlink() and pointer.read_text(encoding="utf-8", errors="surrogateescape") == text:
            return
    except OSError:
        pass
    if pointer.is_dir() and not pointer.is_symlink():
        pointer.rename(folder / ".git.replaced")
    with contextlib.suppress(FileNotFoundError):
        pointer.unlink()
    pointer.write_text(text, encoding="utf-8", errors="surrogateescape")


async def put_back(
    tree: Tree, commit: str, session: str, *, keep: bool = False, held: Sequence[str] = ()
) -> list[str]:
    """Put a worktree and its branch at a commit; what would be lost is saved under a rescue ref and named.

    ``held`` are commits from which the work continues after that: what they contain is not lost. With ``keep``
    uncommitted changes stay, where the branch is at the commit already. Returns what was rescued, in words. Raises
    ``WorkspaceError`` where the commit does not exist.
    """
    _mend_pointer_of(tree)
    await remove_stale_locks(tree)
    branch, tip = await _head(tree)
    if keep and branch == tree.branch and await _same_turn(tree, tip, commit, session):
        await _check_exists(tree, commit)
        tree.tip = commit
        return []
    said = await rescue_before(tree, commit, session, branch, tip, held)
    saved, nested = await uncommitted(tree.git, f"uncommitted changes of session {session}") if tip else ("", [])
    if saved:
        said.append(f"uncommitted changes are kept as {await rescue(tree, session, saved)}")
    if nested:
        said.append(
            f"{', '.join(nested)} stays in {tree.folder}: a repository of its own is not saved with the rest"
        )
    await move(tree, commit, branch, "--hard")
    return said


async def _check_exists(tree: Tree, commit: str) -> None:
    """Raise ``WorkspaceError`` where a recorded commit is not in the repository."""
    if not await tree.git.has_commit(commit):
        raise WorkspaceError(
            f"the commit {commit[:12]}, which the session continues from, is not in {tree.repo.git.common}"
        )


async def rescue_before(
    tree: Tree, commit: str, session: str, branch: str, tip: str, held: Sequence[str] = ()
) -> list[str]:
    """Rescue what is lost when HEAD and the branch go to a commit; what was kept, in words.

    ``branch`` and ``tip`` are what HEAD is at now, ``held`` as in ``put_back``. Raises ``WorkspaceError`` where the
    commit does not exist.
    """
    await _check_exists(tree, commit)
    heads = [tip]
    if branch != tree.branch:
        heads.append(
            (await tree.git.run("rev-parse", "-q", "--verify", f"refs/heads/{tree.branch}", check=False)).text
        )
    return [
        f"commits up to {head[:12]} are kept as {await rescue(tree, session, head)}"
        for head in dict.fromkeys(heads)
        if head and not await _contained(tree, head, (commit, *held))
    ]


async def _contained(tree: Tree, head: str, commits: Sequence[str]) -> bool:
    """Whether one of the commits is this one or follows it."""
    if head in commits:
        return True
    for commit in commits:
        if await tree.git.ok("merge-base", "--is-ancestor", head, commit):
            return True
    return False


async def move(tree: Tree, commit: str, branch: str, mode: str) -> None:
    """Move HEAD, which is at ``branch``, and the tree's branch to a commit; with ``--hard`` the files too."""
    if branch != tree.branch:
        await tree.git.run("symbolic-ref", "HEAD", f"refs/heads/{tree.branch}")
    await tree.git.run("update-ref", f"refs/heads/{tree.branch}", commit)
    await tree.git.run("reset", "--quiet", mode, commit)
    tree.tip = commit


async def _same_turn(tree: Tree, tip: str, commit: str, session: str) -> bool:
    """Whether a branch is at a commit, or at the next one, which the interrupted turn made (W7)."""
    if tip == commit:
        return True
    shown = await tree.git.run(
        "log", "-1", "--format=%P%n%(trailers:key=Orchestra-Session,valueonly)", tip, "--", check=False
    )
    return shown.text.strip().split("\n") == [commit, session]


def _mend_pointer_of(tree: Tree) -> None:
    if tree.git.git_dir != tree.repo.git.git_dir:
        _mend_pointer(tree.folder, tree.git.git_dir)


async def _head(tree: Tree) -> tuple[str, str]:
    branch, tip = tree.head()
    if not tip:
        tip = (await tree.git.run("rev-parse", "-q", "--verify", "HEAD^{commit}", check=False)).text
    return branch, tip


async def rescue(tree: Tree, session: str, commit: str) -> str:
    """Keep a commit under the session's next free rescue ref; the ref."""
    began = now_ns()
    for _ in range(TRIES):
        if ref := await _rescue(tree, session, commit):
            await names_synced(tree.git, (ref,), began)
            return ref
    raise WorkspaceError(f"no rescue ref of session {session} can be written: {RESCUE}/{session} is locked")


async def _rescue(tree: Tree, session: str, commit: str) -> str:
    """One try to keep a commit; empty where another branch of the session took the number meanwhile."""
    refs = await tree.git.run("for-each-ref", "--format=%(objectname) %(refname)", f"{RESCUE}/{session}/")
    highest = 0
    for line in refs.text.split("\n"):
        found, _, ref = line.partition(" ")
        if found == commit:
            return ref
        number = ref.rpartition("/")[2]
        highest = max(highest, int(number) if number.isdigit() else 0)
    ref = f"{RESCUE}/{session}/{highest + 1}"
    made = await tree.git.run("update-ref", ref, commit, "", check=False)
    if not made.code:
        return ref
    if "cannot lock ref" in made.err or "already exists" in made.err:
        await asyncio.sleep(LOCKED)
        return ""
    raise WorkspaceError(failure(("update-ref",), made))


async def uncommitted(git: Git, message: str) -> tuple[str, list[str]]:
    """What is uncommitted in a worktree as a commit, empty where nothing is; and repositories inside, left out.

    Ignored files are left out, too.
    """
    nested, _errors = await stage_all(git)
    head = (await git.run("rev-parse", "-q", "--verify", "HEAD^{tree}", check=False)).text
    written = await git.run("write-tree", check=False)
    if not written.code and written.text != head:
        listed = await git.run("diff-index", "--cached", "--raw", "-z", "--no-renames", "HEAD")
        if links := new_repositories(changes_of(listed.items)):
            nested += links
            await unstage(git, links)
            written = await git.run("write-tree", check=False)
    if written.code or written.text == head:
        return "", nested
    return (await git.run("commit-tree", written.text, "-p", "HEAD", "-m", message, more=IDENTITY)).text, nested


async def remove_stale_locks(tree: Tree) -> None:
    """Remove locks that a killed git left in this worktree and on its branch."""
    if tree.git.git_dir == tree.repo.git.git_dir:  # the user's own checkout: not ours to judge
        return
    places = [*tree.git.git_dir.glob("*.lock"), tree.repo.git.common / "refs/heads" / f"{tree.branch}.lock"]
    for lock in places:
        for _ in range(int(STALE / 0.1)):
            try:
                age = time.time() - lock.stat().st_mtime
            except OSError:
                break
            if age > STALE:
                lock.unlink(missing_ok=True)
                break
            await asyncio.sleep(0.1)


async def remove_untouched(tree: Tree) -> None:
    """Remove a worktree that holds nothing but its commit and what was brought along, no ignored files either."""
    brought = {*tree.repo.settings.copy, *tree.repo.settings.link}
    status = await tree.git.run("status", "--porcelain", "-z", "--ignored")
    if all(item[3:].rstrip("/") in brought for item in status.items):
        await remove_worktree(tree.repo, tree.folder)


async def remove_worktree(repo: Repo, folder: Path) -> None:
    """Remove a worktree whose work is elsewhere, with what git ignores in it; its branch stays.

    One that holds repositories of its own stays, for they are nowhere else.
    """
    admin = admin_of(repo.git.common, folder)
    if admin is not None and not (folder.is_dir() and await own_repositories(repo.git.at(admin, folder))):  # noqa: ASYNC240
        await worktree(repo.git, "remove", "--force", folder)
        _no_empty(folder.parent)


def _no_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def bring_along(tree: Tree) -> list[str]:
    """Copy and link ignored files from the checkout into a new worktree; return what was missing (W1)."""
    checkout, settings = tree.repo.checkout, tree.repo.settings
    missing = []
    for name in (*settings.copy, *settings.link):
        source = checkout / name if checkout is not None else None
        if source is None or not source.exists():
            missing.append(name)
            continue
        with _os_errors(tree.folder / name):
            _bring(source, tree.folder / name, link=name in settings.link)
    return missing


def _bring(source: Path, target: Path, *, link: bool) -> None:
    if target.exists() or target.is_symlink():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        target.symlink_to(source, target_is_directory=source.is_dir())
    elif source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target)


@contextmanager
def _os_errors(place: Path) -> Iterator[None]:
    """Say where something could not be written."""
    try:
        yield
    except OSError as error:
        raise WorkspaceError(f"cannot write {place}: {error.strerror or error}") from error


def setup_key(tree: Tree) -> str:
    """What a setup's result depends on: the command, and the files that ``setup_key`` names."""
    found = hashlib.sha256(tree.repo.settings.setup.encode())
    for name in tree.repo.settings.setup_key:
        found.update(f"\0{name}\0".encode())
        with contextlib.suppress(OSError):
            found.update((tree.folder / name).read_bytes())
    return found.hexdigest()


def text_of(file: Path) -> str:
    """What a small file holds; empty where it cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


async def restore_checkout(tree: Tree, branch: str) -> None:
    """Check out the branch, or the commit, that a repository had before, unless something is uncommitted."""
    status = await tree.git.run("status", "--porcelain", "-z", check=False)
    if not status.items and tree.head()[0] == tree.branch:
        await tree.git.run(
            "checkout", "--quiet", *([branch] if branch else ["--detach", tree.repo.commit]), check=False
        )
