"""Push session branches while a run continues: in the background, the newest commit of each branch only (W9)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestra.errors import WorkspaceError
from orchestra.run.events import Event, SessionBranchPushed, SessionBranchPushFailed
from orchestra.workspace import remote
from orchestra.workspace.worktrees import Tree

PATIENCE = 120.0
"""Seconds that a remote is waited for at the end of a run."""


@dataclass(slots=True, kw_only=True)
class Pusher:
    """The branches that the remotes do not have yet, and who records what became of them."""

    waiting: dict[tuple[str, str], tuple[Tree, Callable[[Event], None]]] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    failing: bool = False
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    def want(self, tree: Tree, record: Callable[[Event], None]) -> None:
        """A branch moved; commits that follow one another quickly are pushed as one."""
        if tree.repo.settings.push == "never" or not tree.repo.settings.remote:
            return
        self.waiting[tree.name, tree.branch] = tree, record
        if tree.repo.settings.push == "on_checkpoint" and not self.failing:
            self.news.set()

    async def run(self) -> None:
        """Push what is pushed on checkpoints, until cancelled. A remote that fails is tried again at the end."""
        while True:
            await self.news.wait()
            self.news.clear()
            await self._push(lambda tree: tree.repo.settings.push == "on_checkpoint")

    async def finish(self, *, completed: bool) -> None:
        """Push what the remotes do not have yet; where the run has not succeeded, what is pushed on checkpoints."""
        await self._push(lambda tree: completed or tree.repo.settings.push == "on_checkpoint")

    async def _push(self, chosen: Callable[[Tree], bool]) -> None:
        async with self.busy:
            for key, (tree, record) in tuple(self.waiting.items()):
                if chosen(tree) and self.waiting.pop(key, None) is not None:
                    await self._one(key, tree, record)

    async def _one(self, key: tuple[str, str], tree: Tree, record: Callable[[Event], None]) -> None:
        url, commit = tree.repo.settings.remote, tree.tip
        try:
            async with asyncio.timeout(PATIENCE):
                await remote.push(tree.repo.git, url, tree.branch, commit)
        except asyncio.CancelledError:
            self.waiting.setdefault(key, (tree, record))
            raise
        except (WorkspaceError, TimeoutError) as error:
            self.failing = True
            self.waiting.setdefault(key, (tree, record))
            reason = str(error) or f"no answer in {PATIENCE:g} s"
            record(
                SessionBranchPushFailed(repo=tree.name, branch=tree.branch, reason=reason, url=remote.shown(url))
            )
            return
        record(SessionBranchPushed(repo=tree.name, branch=tree.branch, commit=commit, url=remote.shown(url)))
