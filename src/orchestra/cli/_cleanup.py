"""What ``orchestra cleanup`` does."""

from __future__ import annotations

import asyncio
import re
from dataclasses import asdict
from pathlib import Path

from orchestra.app.cleaning import Item, clean
from orchestra.app.stores import open_store
from orchestra.cli._json import say_json
from orchestra.cli._stores import exists, settings_for
from orchestra.cli._terminal import one_line, say
from orchestra.config.settings import Settings
from orchestra.errors import ConfigError
from orchestra.graph.report import counted

_AGE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([dhm]?)")
_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "": 86_400_000}


def clean_up(
    older_than: str, *, yes: bool, force: bool, store: str | None, config: Path | None, as_json: bool
) -> int:
    """List what runs left, and remove what may go where that is wanted."""
    match = _AGE.fullmatch(older_than)
    if match is None:
        raise ConfigError(f"{older_than!r} is not a length of time", fix="write it as 7d, 12h or 30m")
    settings = settings_for(store, config)
    items, expired = asyncio.run(_cleaned(settings, round(float(match[1]) * _MS[match[2]]), yes, force))
    if as_json:
        say_json({"removed": yes, "items": [_plain(item) for item in items], "expired": expired}, indent=2)
        return 0
    for item in items:
        for line in _lines(item, yes):
            say(line)
    going = sum(not item.kept for item in items)
    if yes:
        say(f"{counted(going, 'session')} removed, {len(items) - going} kept")
    else:
        say(f"{counted(going, 'session')} to remove, {len(items) - going} kept")
        if going:
            again = f" --older-than {older_than}" if older_than != "7d" else ""
            say(f"  remove: orchestra cleanup{again}{' --force' if force else ''} --yes")
    return 0


async def _cleaned(settings: Settings, older_ms: int, yes: bool, force: bool) -> tuple[list[Item], list[str]]:
    missing = not exists(settings) and not yes
    opened = open_store(settings, read_only=not yes and not missing)
    try:
        return await clean(opened, settings, older_ms=older_ms, remove=yes, force=force)
    finally:
        await opened.close()


def _lines(item: Item, removed: bool) -> list[str]:
    left = item.left
    what = [counted(len(left.branches), "branch", "branches")] if left.branches else []
    what += [counted(len(left.worktrees), "worktree")] if left.worktrees else []
    name = f"{left.session}  {left.repo}  {item.pipeline or '(no record)'}  {', '.join(what)}"
    if item.kept:
        return [f"keep    {name}: {one_line(item.kept, 400)}"]
    undo = [f"          undo: {command}" for one in item.done for command in one.undo]
    return [f"{'removed' if removed else 'remove '} {name}", *undo]


def _plain(item: Item) -> dict[str, object]:
    return {
        "repo": item.left.repo,
        "session": item.left.session,
        "branches": item.left.branches,
        "worktrees": [str(place) for place in item.left.worktrees],
        "kept": item.kept,
        "done": [asdict(one) for one in item.done],
    }
