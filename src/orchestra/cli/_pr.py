"""What ``orchestra pr`` does."""

from __future__ import annotations

import asyncio
from pathlib import Path

from orchestra.app.pulls import Pull, pulls
from orchestra.app.stores import open_store
from orchestra.cli._stores import aimed, hint, settings_for, there
from orchestra.cli._terminal import many_lines, say
from orchestra.config.settings import Settings
from orchestra.errors import StoreError


def pull_request(session: str, *, dry_run: bool, store: str | None, config: Path | None) -> int:
    """Push and create, or print what to create."""
    settings = settings_for(store, config)
    there(settings, session)
    try:
        found = asyncio.run(_pulls(settings, session, dry_run))
    except StoreError as error:
        error.fix = aimed(error.fix, hint(settings, store))
        raise
    for pull in found:
        for line in _lines(pull):
            say(line)
    return 0


async def _pulls(settings: Settings, session: str, dry_run: bool) -> list[Pull]:
    store = open_store(settings)
    try:
        return await pulls(store, settings, session, push=not dry_run)
    finally:
        await store.close()


def _lines(pull: Pull) -> list[str]:
    if pull.created:
        return [f"{pull.repo}: {pull.branch} pushed, pull request: {pull.created}"]
    did = f"pushed to {pull.remote}" if pull.pushed else "not pushed"
    note = [f"  {pull.note}"] if pull.note else []
    return [
        f"{pull.repo}: {pull.branch} {did}; open a pull request into {pull.into} with this text:",
        *note,
        "",
        pull.title,
        "",
        *many_lines(pull.body).splitlines(),
    ]
