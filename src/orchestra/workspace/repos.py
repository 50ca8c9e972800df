"""Find and check the repositories of the settings, before anything is written (W1, W2)."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestra.config.workspace import RepoSettings
from orchestra.errors import ConfigError, WorkspaceError
from orchestra.processes.git import surroundings
from orchestra.run.workspace import branch_name
from orchestra.workspace.git import Git, GitResult, call, failure, untrusted_filters

TRIES = 10
"""How often ``git worktree`` is run at most, a tenth of a second apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repo:
    """A repository as found: current ``commit``, and the branch ``checked_out``, empty if detached.

    ``checkout`` is the user's work tree, None for a bare repository; ``changes`` counts what is uncommitted there.
    """

    settings: RepoSettings
    git: Git
    commit: str
    checked_out: str
    checkout: Path | None
    changes: int = 0

    @property
    def name(self) -> str:
        """Its name in the settings."""
        return self.settings.name


async def locate(settings: RepoSettings, environment: Mapping[str, str]) -> Git:
    """Return git for the repository at a path. Raises ``ConfigError`` if there is none."""
    path = settings.path
    if not path.is_dir():
        raise ConfigError(
            f"workspace.repos.{settings.name}: {path} does not exist",
            fix="name the folder of a git repository, or a `remote` to clone it from",
        )
    around = surroundings(environment, {})
    around["GIT_CEILING_DIRECTORIES"] = str(path.parent)
    arguments = ("rev-parse", "--path-format=absolute", "--git-dir", "--git-common-dir", "--is-bare-repository")
    done = await call(arguments, environment=around, folder=path)
    if done.code:
        said = failure(arguments, done)
        if "not a git repository" in said:
            top = await call(
                ("rev-parse", "--show-toplevel"), environment=surroundings(environment, {}), folder=path
            )
            raise ConfigError(
                f"workspace.repos.{settings.name}: {path} is not the top folder of a git repository",
                fix=f"make it one: git -C {path} init, then commit" if top.code else f"write path: {top.text}",
            )
        raise ConfigError(f"workspace.repos.{settings.name}: {said}")
    git_dir, common, bare = done.text.split("\n")
    if bare == "false" and Path(git_dir) == path:
        raise ConfigError(
            f"workspace.repos.{settings.name}: {path} is the git directory of a work tree",
            fix=f"name its work tree: {path.parent}",
        )
    work_tree = None if bare == "true" else path
    return Git(
        git_dir=Path(git_dir),
        common=Path(common),
        work_tree=work_tree,
        environment=environment,
        trusted=settings.filters,
    )


async def find_repo(settings: RepoSettings, environment: Mapping[str, str], pipeline: str | None = None) -> Repo:
    """A repository, checked: a session of a pipeline can branch off from it, where one begins.

    Raises ``ConfigError`` and ``WorkspaceError``.
    """
    git = await locate(settings, environment)
    own, _others = await git.own_configuration()
    if filters := untrusted_filters(own, settings.filters):
        names = ", ".join(filters)
        raise ConfigError(
            f"workspace.repos.{settings.name}: {git.common / 'config'} defines the filter {names}",
            fix=f"allow git to run it with `filters: [{names}]` beside its path, or define it in ~/.gitconfig",
        )
    head = await git.run("rev-parse", "--verify", "-q", "HEAD^{commit}", check=False)
    if head.code:
        raise ConfigError(
            f"workspace.repos.{settings.name}: {settings.path} has no commit to begin from",
            fix=f"make the first one: git -C {settings.path} commit --allow-empty -m 'first commit'",
        )
    branch = await git.run("symbolic-ref", "-q", "--short", "HEAD", check=False)
    repo = Repo(
        settings=settings,
        git=git,
        commit=head.text,
        checked_out=branch.text,
        checkout=git.work_tree,
        changes=await _changes(git),
    )
    if settings.in_place and repo.checkout is None:
        raise ConfigError(f"workspace.repos.{settings.name}: in_place needs a work tree; {settings.path} is bare")
    if pipeline is not None and settings.in_place and repo.changes:
        raise ConfigError(
            f"workspace.repos.{settings.name}: in_place needs a clean checkout; {settings.path} has changes",
            fix="commit or stash them, or leave out in_place",
        )
    await _no_case_clash(repo)
    if pipeline is not None:
        await branch_possible(repo, branch_name(settings.branch_prefix, pipeline, "SESSION"))
    return repo


async def _changes(git: Git) -> int:
    if git.work_tree is None:
        return 0
    more = {"GIT_OPTIONAL_LOCKS": "0"}
    flags = ("--porcelain", "-z", "--ignore-submodules=dirty", "--no-renames")
    done = await git.run("status", *flags, more=more)
    return sum(not item.startswith("?? .orchestra/") for item in done.items)  # our own folder, before it is ignored


async def _no_case_clash(repo: Repo) -> None:
    """Refuse a tree whose files this file system cannot hold side by side."""
    done = await repo.git.run("config", "--type=bool", "--get", "core.ignoreCase", check=False)
    if done.text != "true":
        return
    names = (await repo.git.run("ls-tree", "-r", "-z", "--name-only", "--full-tree", repo.commit)).items
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise ConfigError(
                f"workspace.repos.{repo.name}: {other} and {name} differ only by case, and the file system does not"
                " tell them apart",
                fix="rename one of them",
            )


async def branch_possible(repo: Repo, branch: str) -> None:
    """Refuse a branch that exists, or whose name collides with one that does. Raises ``ConfigError``."""
    if not await repo.git.ok("check-ref-format", f"refs/heads/{branch}"):
        raise ConfigError(
            f"workspace.repos.{repo.name}: {branch!r} is not a name for a branch", fix="change branch_prefix"
        )
    parts = branch.split("/")
    names = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    existing = await repo.git.run("for-each-ref", "--format=%(refname)", *(f"refs/heads/{name}" for name in names))
    taken = {ref.removeprefix("refs/heads/") for ref in existing.text.split("\n")}
    for name in names:
        if name in taken:
            below = "" if name == branch else f", so {branch} cannot be made below it"
            raise ConfigError(
                f"workspace.repos.{repo.name}: the branch {name} exists{below}",
                fix="choose another branch_prefix, or rename that branch",
            )


async def worktree(git: Git, *arguments: str | Path) -> GitResult:
    """Run ``git worktree``; again where it met the entry of a worktree that another process was just making."""
    for left in reversed(range(TRIES)):
        done = await git.run("worktree", *arguments, check=False)
        if done.code and left and "commondir" in done.err:
            await asyncio.sleep(0.1)
            continue
        if done.code:
            raise WorkspaceError(failure(("worktree", *arguments), done))
        return done
    raise AssertionError("the last try returns or raises")


async def checked_out(git: Git, branches: Container[str], own: Iterable[Path]) -> tuple[str, Path] | None:
    """Return one of some branches that is checked out in another folder than ``own``, and the folder."""
    ours = {os.path.realpath(place) for place in own}  # noqa: ASYNC240
    for name, place in await checkouts(git):
        if name in branches and place.exists() and os.path.realpath(place) not in ours:  # noqa: ASYNC240
            return name, place
    return None


async def checkouts(git: Git) -> list[tuple[str, Path]]:
    """Return the branches that are checked out, each with the folder; also in folders that were deleted by hand."""
    listed = await worktree(git, "list", "--porcelain", "-z")
    found, place = [], Path()
    for line in os.fsdecode(listed.out).split("\0"):
        if line.startswith("worktree "):
            place = Path(line.removeprefix("worktree "))
        elif line.startswith("branch refs/heads/"):
            found.append((line.removeprefix("branch refs/heads/"), place))
    return found


def read_tip(common: Path, git_dir: Path) -> tuple[str, str]:
    """Return the branch and commit of a worktree, read from git's files; empty if unreadable."""
    try:
        head = (git_dir / "HEAD").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return "", ""
    if not head.startswith("ref: refs/heads/"):
        return "", head
    branch = head.removeprefix("ref: refs/heads/")
    try:
        return branch, (common / "refs" / "heads" / branch).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return branch, ""


def admin_of(common: Path, folder: Path) -> Path | None:
    """Return the git directory of a worktree as the repository names it.

    The worktree's own ``.git`` file is not read, because an agent can write it (W12).
    """
    wanted = os.path.join(os.path.realpath(folder.parent), folder.name, ".git")  # noqa: PTH118
    try:
        entries = sorted((common / "worktrees").iterdir())
    except OSError:
        return None
    for entry in entries:
        try:
            named = (entry / "gitdir").read_text(encoding="utf-8", errors="surrogateescape").strip()
        except OSError:
            continue
        place = Path(named)
        if os.path.join(os.path.realpath(place.parent.parent), place.parent.name, place.name) == wanted:  # noqa: PTH118
            return entry
    return None


def shell_path(path: Path) -> str:
    """A path as a shell reads it."""
    return shlex.quote(str(path))


def no_symlink(folder: Path, home: Path) -> None:
    """Refuse a worktree's place that a symbolic link leads elsewhere. Raises ``WorkspaceError``."""
    for place in (folder, *folder.parents):
        if place == home:
            return
        if place.is_symlink():
            raise WorkspaceError(f"{place} is a symbolic link; remove it, so that a worktree can be made there")
