"""What ``orchestra show --diff`` does."""

from __future__ import annotations

import asyncio
from pathlib import Path

from orchestra.app.finding import commits_of
from orchestra.app.workspaces import own_environment
from orchestra.cli._stores import reading, settings_for
from orchestra.cli._terminal import deliver
from orchestra.cli._turns import parted, placed_by_commit
from orchestra.config.settings import Settings
from orchestra.errors import ConfigError, WorkspaceError
from orchestra.ports import Store
from orchestra.workspace.repos import located


def show_diff(place: str, *, store: str | None, config: Path | None) -> int:
    """Write the commits of a turn with their changes, as ``git show`` does."""
    settings = settings_for(store, config)
    name, depth = parted(placed_by_commit(settings, place, store))
    session, _, branch = name.partition("/")

    async def look(opened: Store) -> list[tuple[str, str]]:
        return await commits_of(opened, session, branch, depth)

    for repo, commit in asyncio.run(reading(settings, look, session, flag=store)):
        deliver(asyncio.run(_shown(settings, repo, commit)))
    return 0


async def _shown(settings: Settings, repo: str, commit: str) -> bytes:
    configured = settings.workspace.repos if settings.workspace is not None else ()
    found = next((one for one in configured if one.name == repo), None)
    if found is None:
        raise ConfigError(f"the repository {repo} is not in the settings", fix="name it under workspace.repos")
    git = await located(found, own_environment())
    done = await git.run("show", "--no-ext-diff", "--no-textconv", "--stat", "--patch", commit, "--", check=False)
    if done.code:
        raise WorkspaceError(f"the commit {commit[:12]} is not in {found.path}: {done.err.strip()}")
    return done.out
