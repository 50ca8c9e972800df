"""Remotes: clone what is missing, fetch, and push session branches in the background; never a prompt (W9)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestra.errors import WorkspaceError
from orchestra.processes.git import SETTINGS, surroundings
from orchestra.run.events import Event, SessionBranchPushed, SessionBranchPushFailed
from orchestra.workspace.git import Git, GitResult, call, failure
from orchestra.workspace.worktrees import Tree

HIDDEN = "refs/orchestra/remote/"
"""Where a remote's branches are kept: not among the user's own."""

BRANCHES = f"+refs/heads/*:{HIDDEN}*"
"""All branches of a remote."""

_PASSWORD = re.compile(r"(://)[^/@\s]+@")


def without_credentials(url: str) -> str:
    """An address as it is recorded and shown: without a name and password in it."""
    return _PASSWORD.sub(r"\1", url)


async def clone(url: str, path: Path, environment: Mapping[str, str], depth: int) -> None:
    """Clone a repository that is missing. Raises ``WorkspaceError``; git removes an unfinished clone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = ["--depth", str(depth), "--no-single-branch"] if depth else []
    arguments = ("clone", "--quiet", *options, "--", _address(url, whole=not depth), str(path))
    around = surroundings(environment, SETTINGS, network=True)
    done = await call(arguments, environment=around, folder=path.parent)
    if done.code:
        raise WorkspaceError(without_credentials(failure(arguments, done)))


def _address(url: str, *, whole: bool) -> str:
    """An address for a clone; git clones a path with all its history, whatever depth is asked for."""
    place = Path(url)
    return url if whole or "://" in url or not place.exists() else place.absolute().as_uri()


async def fetch(git: Git, url: str, refs: tuple[str, ...] = ()) -> None:
    """Fetch what a remote has, all branches where no ``refs`` are named. Raises ``WorkspaceError``."""
    wanted = refs or (BRANCHES,)
    await _network(git, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", url, *wanted)


async def fetch_commit(git: Git, url: str, branch: str, commit: str) -> bool:
    """Return whether a commit is here; a missing one is fetched by its branch, if there is a ``url`` (W7).

    Raises ``WorkspaceError``.
    """
    if await git.has_commit(commit):
        return True
    if not url:
        return False
    await fetch(git, url, (f"+refs/heads/{branch}:{HIDDEN}{branch}",))
    return await git.has_commit(commit)


async def push(git: Git, url: str, branch: str, commit: str = "") -> str:
    """Push a session branch to its own name on a remote; what the remote said. Raises ``WorkspaceError``."""
    refs = f"+{commit or f'refs/heads/{branch}'}:refs/heads/{branch}"
    return await _network(git, "push", "--quiet", "--no-verify", url, refs)


DEEPER = ("--deepen=50", "--deepen=500", "--unshallow")
"""How a shallow clone gets more of its history, step by step."""


async def deepen(git: Git, url: str, enough: Callable[[], Awaitable[bool]]) -> bool:
    """Get the history that a shallow clone lacks until it is ``enough``; False where it cannot be.

    Without ``url`` the clone's own remote is asked. Raises ``WorkspaceError`` where the remote fails.
    """
    if await enough():
        return True
    for step in DEEPER:
        if (await git.run("rev-parse", "--is-shallow-repository")).text != "true":
            return False
        url = url or (await git.run("config", "--get", "remote.origin.url", check=False)).text
        if not url:
            return False
        await _network(git, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", step, url, BRANCHES)
        if await enough():
            return True
    return False


async def deepen_to_common(git: Git, url: str, one: str, other: str) -> None:
    """Deepen a shallow clone until two commits have a common one, so that they can be merged (W9).

    Raises ``WorkspaceError`` where that needs the remote and it fails; histories that are truly apart are left so.
    """
    try:
        await deepen(git, url, lambda: git.ok("merge-base", one, other))
    except WorkspaceError as error:
        raise WorkspaceError(
            f"{one[:12]} and {other[:12]} have no common commit in this shallow clone, and getting more of its"
            f" history failed: {error}"
        ) from error


async def _network(git: Git, *arguments: str) -> str:
    done = await git.run(*arguments, check=False, network=True)
    if done.code:
        raise WorkspaceError(without_credentials(_refusal(arguments, done)))
    return "\n".join(line for line in done.err.splitlines() if line.startswith("remote:"))


def _refusal(arguments: Sequence[str], done: GitResult) -> str:
    """Why a remote failed: its own words and those about each ref, where it has any, else git's."""
    lines = [line.strip() for line in done.err.splitlines()]
    rejected = [line.rpartition("(")[2].removesuffix(")") for line in lines if "rejected]" in line]
    if not rejected:
        return failure(arguments, done)
    own = [line.removeprefix("remote:").strip() for line in lines if line.startswith("remote:")]
    words = "; ".join(word for word in (*dict.fromkeys(rejected), *own[:3]) if word)
    return f"git {arguments[0]} failed: {words}"


PATIENCE = 60.0
"""Seconds that a remote is waited for."""

IMPATIENCE = 10.0
"""Seconds that one is waited for which has not answered before in this run."""


@dataclass(slots=True, kw_only=True)
class Pusher:
    """The branches that the remotes do not have yet, and who records the results."""

    waiting: dict[tuple[str, str], tuple[Tree, Callable[[Event], None]]] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    failing: bool = False
    silent: set[str] = field(default_factory=set)
    """The repositories whose remotes did not answer."""
    pushed: dict[tuple[str, str], str] = field(default_factory=dict)
    """The commit of each branch that its remote got in this run."""
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    def want(self, tree: Tree, record: Callable[[Event], None]) -> None:
        """A branch moved; commits that follow one another quickly are pushed as one."""
        if tree.repo.settings.push == "never" or not tree.repo.settings.remote:
            return
        self.waiting[tree.name, tree.branch] = tree, record
        if tree.repo.settings.push == "on_checkpoint" and not self.failing:
            self.news.set()

    def drop(self, repo: str, branch: str) -> None:
        """A branch is merged: its commits are pushed with the one that it is merged into."""
        self.waiting.pop((repo, branch), None)

    async def run(self) -> None:
        """Push what is pushed on checkpoints, until cancelled. A remote that fails is tried again at the end."""
        while True:
            await self.news.wait()
            self.news.clear()
            await self._push(lambda tree: tree.repo.settings.push == "on_checkpoint")

    async def finish(self, record: Callable[[Event], None], *, completed: bool) -> None:
        """Push what the remotes lack; after a failed run only what is pushed on checkpoints.

        The result goes to ``record``: the walks of parallel branches have ended.
        """
        async with self.busy:
            self.waiting = {key: (tree, record) for key, (tree, _theirs) in self.waiting.items()}
        await self._push(lambda tree: completed or tree.repo.settings.push == "on_checkpoint")

    async def _push(self, chosen: Callable[[Tree], bool]) -> None:
        async with self.busy:
            asked: set[str] = set()
            for key, (tree, record) in tuple(self.waiting.items()):
                if chosen(tree) and self.waiting.pop(key, None) is not None:
                    await self._one(key, tree, record, asked)

    async def _one(
        self, key: tuple[str, str], tree: Tree, record: Callable[[Event], None], asked: set[str]
    ) -> None:
        """Push one branch; a remote that is silent is ``asked`` once, whatever else it is to get."""
        url, commit = tree.repo.settings.remote, tree.tip
        if self.pushed.get(key) == commit:
            return
        patience = IMPATIENCE if tree.name in self.silent else PATIENCE
        if tree.name in self.silent & asked:
            patience = 0
        asked.add(tree.name)
        try:
            async with asyncio.timeout(patience):
                await push(tree.repo.git, url, tree.branch, commit)
        except asyncio.CancelledError:
            self.waiting.setdefault(key, (tree, record))
            raise
        except (WorkspaceError, TimeoutError) as error:
            if isinstance(error, TimeoutError):
                self.silent.add(tree.name)
            self.failing = True
            self.waiting.setdefault(key, (tree, record))
            reason = str(error) or "the remote did not answer"
            record(
                SessionBranchPushFailed(
                    repo=tree.name, branch=tree.branch, reason=reason, url=without_credentials(url)
                )
            )
            return
        self.silent.discard(tree.name)
        self.pushed[key] = commit
        record(SessionBranchPushed(repo=tree.name, branch=tree.branch, commit=commit, url=without_credentials(url)))
