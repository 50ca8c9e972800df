"""List or remove the branches and worktrees of ended sessions, and say why others stay (W11)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from orchestra.app.git_branches import record_removal
from orchestra.app.workspaces import own_environment
from orchestra.clock import SystemClock
from orchestra.config.settings import Settings
from orchestra.config.workspace import RepoSettings
from orchestra.engine.sessions import Row, rows, summarize
from orchestra.errors import ConfigError
from orchestra.graph.report import duration_words
from orchestra.ports import Store
from orchestra.run.views import ENDED, Phase
from orchestra.workspace import cleanup, ending
from orchestra.workspace.cleanup import SessionLeftovers
from orchestra.workspace.ending import GitAction, SessionBranches
from orchestra.workspace.git import Git
from orchestra.workspace.repos import locate


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What a session left in a repository; ``kept`` says why it stays, empty where it may go or went."""

    left: SessionLeftovers
    kept: str
    pipeline: str = ""
    done: tuple[GitAction, ...] = ()


async def clean(
    store: Store, settings: Settings, *, older_ms: int, remove: bool, force: bool
) -> tuple[list[Item], list[str]]:
    """List what runs left; with ``remove``, remove what may go, and expired trash refs.

    Raises ``ConfigError`` where no repository is configured.
    """
    if settings.workspace is None or not settings.workspace.repos:
        raise ConfigError("no repository is configured", fix="name one under workspace.repos in orchestra.yaml")
    known = {row.session: row for row in await rows(store)}
    items: list[Item] = []
    expired: list[str] = []
    for repo in settings.workspace.repos:
        git = await locate(repo, own_environment())
        gone: set[str] = set()
        for left in await cleanup.find_left(git, repo.name, repo.branch_prefix, settings.workspace.home):
            row = known.get(left.session)
            kept = await _reason_to_keep(store, row, older_ms) or await cleanup.reason_to_keep(
                git, left, gone, force=force
            )
            gone |= set() if kept else left.branches.keys()
            item = Item(left=left, kept=kept, pipeline=row.pipeline if row is not None else "")
            items.append(await _remove(store, git, repo, item, row) if remove and not kept else item)
        if remove:
            expired += await ending.empty_trash(git)
    return items, expired


async def _reason_to_keep(store: Store, row: Row | None, older_ms: int) -> str:
    """Why a session's own state keeps what it left; an unknown session's is an orphan's."""
    if row is None:
        return ""
    now = SystemClock().now_ms()
    found = await summarize(store, row, now)
    if found.phase not in ENDED | {Phase.RESTARTED}:
        return f"the session is {found.phase}"
    age = now - found.last_ms
    return f"it ended {duration_words(age)} ago, less than {duration_words(older_ms)}" if age < older_ms else ""


async def _remove(store: Store, git: Git, repo: RepoSettings, item: Item, row: Row | None) -> Item:
    left = item.left
    branches = SessionBranches(
        repo=repo.name,
        git=git,
        path=repo.path,
        session=left.session,
        own=next(iter(left.branches), ""),
        base="",
        base_branch="",
        tips=left.branches,
    )
    done = await ending.discard(branches, list(left.branches), left.worktrees)
    if row is not None:
        await record_removal(store, row, done, "cleanup")
    return replace(item, done=tuple(done))
