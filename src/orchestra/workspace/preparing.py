"""Find and check the repositories before a session exists; clone and fetch from remotes (W9)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from orchestra.config.workspace import RepoSettings, WorkspaceSettings
from orchestra.errors import WorkspaceError
from orchestra.ports import MessageWriter
from orchestra.run.events import Event, RepoCloned, RepoFetched
from orchestra.workspace import git, remote, repos
from orchestra.workspace.repos import Repo
from orchestra.workspace.session import GitWorkspaces, Shell, warning

FETCH_PATIENCE = 30.0
"""Seconds that a remote is waited for at the start."""


async def prepare(
    settings: WorkspaceSettings,
    environment: Mapping[str, str],
    shell: Shell,
    *,
    pipeline: str | None,
    writer: MessageWriter | None = None,
) -> GitWorkspaces:
    """Find and check everything before anything is written; ``pipeline`` is that of a session that begins.

    Raises ``ConfigError`` and ``WorkspaceError``.
    """
    await git.version(environment)
    facts: list[Event] = []
    found = []
    for each in settings.repos:
        cloned = await _clone(each, environment)
        repo = await repos.find_repo(each, environment, pipeline)
        found.append(repo)
        if cloned:
            url = remote.without_credentials(each.remote)
            facts.append(RepoCloned(repo=each.name, path=str(each.path), url=url, commit=repo.commit))
        elif each.remote:
            facts.append(await _fetch(repo))
    return GitWorkspaces(settings=settings, repos=tuple(found), shell=shell, facts=tuple(facts), writer=writer)


async def _clone(repo: RepoSettings, environment: Mapping[str, str]) -> bool:
    """Clone a repository that is missing and has a remote; whether it was (W9)."""
    if repo.path.exists() or not repo.remote:
        return False
    await remote.clone(repo.remote, repo.path, environment, repo.clone_depth)
    return True


async def _fetch(repo: Repo) -> Event:
    """Fetch from the remote; a failure is a warning, and the run continues with the commits that it has."""
    url = repo.settings.remote
    try:
        async with asyncio.timeout(FETCH_PATIENCE):
            await remote.fetch(repo.git, url)
    except (WorkspaceError, TimeoutError) as error:
        return warning(
            f"{repo.name}: not fetched from {remote.without_credentials(url)}: {str(error) or 'no answer'}"
        )
    return RepoFetched(repo=repo.name, path=str(repo.settings.path), url=remote.without_credentials(url))
