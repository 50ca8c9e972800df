"""Push session branches in the background, only the newest commit of each (W9)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestra.errors import WorkspaceError
from orchestra.run.events import Event, SessionBranchPushed, SessionBranchPushFailed
from orchestra.workspace import remote
from orchestra.workspace.worktrees import Tree

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
                await remote.push(tree.repo.git, url, tree.branch, commit)
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
                    repo=tree.name, branch=tree.branch, reason=reason, url=remote.without_credentials(url)
                )
            )
            return
        self.silent.discard(tree.name)
        self.pushed[key] = commit
        record(
            SessionBranchPushed(
                repo=tree.name, branch=tree.branch, commit=commit, url=remote.without_credentials(url)
            )
        )
