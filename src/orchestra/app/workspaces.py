"""The repositories of the settings, found and checked before a session starts or is resumed (W1, W7)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from orchestra.config.environment import PROVIDER_KEYS
from orchestra.config.settings import Settings
from orchestra.errors import ConfigError, WorkspaceError
from orchestra.ports import Workspaces
from orchestra.processes import process, tree
from orchestra.run.state import RepoRecord

KEPT = 4000
"""Bytes of a setup's output that a message may need."""


def own_environment() -> dict[str, str]:
    """This process's environment without provider keys, which git does not need."""
    return {name: value for name, value in os.environ.items() if name not in PROVIDER_KEYS}


async def workspaces_of(
    settings: Settings, pipeline: str, known: Mapping[str, RepoRecord], *, simulated: bool = False
) -> Workspaces | None:
    """What makes the workspaces of this process's sessions; None where no repository is configured.

    ``known`` is what a resumed session knows of its repositories; no model is asked for the commit
    messages of a ``simulated`` one. Raises ``ConfigError`` and ``WorkspaceError``.
    """
    configured = {repo.name for repo in settings.workspace.repos} if settings.workspace is not None else set()
    missing = [name for name in known if name not in configured]
    if missing:
        raise ConfigError(
            f"the session works on the repository {missing[0]}, which is not in the settings",
            fix="name it under workspace.repos, or the settings file that has it with --config FILE",
        )
    if settings.workspace is None or not settings.workspace.repos:
        return None
    from orchestra.workspace.preparing import prepare  # a run without repositories does without git

    writer = None
    if settings.workspace.commit_messages == "auto" and not simulated:
        from orchestra.app.backends import message_writer  # asks a model

        writer = message_writer(settings)
    environment = settings.tool_environment()
    setup = partial(run_setup, environment=environment)
    return await prepare(
        settings.workspace, environment, setup, pipeline=None if known else pipeline, writer=writer
    )


async def left_checked_out(settings: Settings, known: Mapping[str, RepoRecord]) -> list[str]:
    """Return which checkouts a dead runner left on its session's branch (``in_place``), with the command back."""
    notes = []
    for repo in settings.workspace.repos if settings.workspace is not None else ():
        if not repo.in_place or repo.name not in known:
            continue
        from orchestra.workspace.repos import locate, shell_path

        record = known[repo.name]
        try:
            git = await locate(repo, own_environment())
            head = await git.run("symbolic-ref", "-q", "--short", "HEAD", check=False)
        except (ConfigError, WorkspaceError):
            continue  # there is no checkout any more
        if head.text == record.branch:
            back = record.base_branch or f"--detach {record.base}"
            command = f"git -C {shell_path(repo.path)} switch {back}"
            notes.append(f"{repo.path} still has the branch {record.branch} checked out; go back: {command}")
    return notes


async def run_setup(command: str, folder: Path, *, environment: Mapping[str, str]) -> tuple[int, str]:
    """Run a repository's setup command in a new worktree; its exit code, and the end of what it wrote."""
    said = bytearray()

    async def feed(_name: str, data: bytes) -> None:
        said.extend(data)
        del said[:-KEPT]

    async def silent() -> None:
        return None

    ended = await process.run(
        process.Command(
            argv=("/bin/sh", "-c", command),
            folder=folder,
            environment=environment,
            marker=tree.new_marker(),
            quiet=3600.0,
        ),
        feed,
        silent,
    )
    return ended.code, said.decode("utf-8", "replace")
