"""What ``orchestra merge`` and ``orchestra discard`` do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import TypeAlias

from orchestra.app import code
from orchestra.app.stores import open_store
from orchestra.cli._json import say_json
from orchestra.cli._stores import aimed, hint, settings_for, there
from orchestra.cli._terminal import say
from orchestra.config.settings import Settings
from orchestra.errors import StoreError
from orchestra.ports import Store
from orchestra.workspace.ending import Done

Doing: TypeAlias = Callable[[Store, Settings, str], Awaitable[list[Done]]]


def merge_session(session: str, *, store: str | None, config: Path | None, as_json: bool) -> int:
    """Merge, and say what was done and how to undo it."""
    return _done(code.merge, session, store=store, config=config, as_json=as_json)


def discard_session(session: str, *, store: str | None, config: Path | None, as_json: bool) -> int:
    """Discard, and say what was removed and how to bring it back."""
    return _done(code.discard, session, store=store, config=config, as_json=as_json)


def _done(doing: Doing, session: str, *, store: str | None, config: Path | None, as_json: bool) -> int:
    settings = settings_for(store, config)
    there(settings, session)
    try:
        done = asyncio.run(_with_store(settings, doing, session))
    except StoreError as error:
        error.fix = aimed(error.fix, hint(settings, store))
        raise
    if as_json:
        say_json({"session": session, "done": [asdict(one) for one in done]}, indent=2)
        return 0
    for one in done:
        say(f"{one.repo}: {one.text}")
    undo = [command for one in done for command in one.undo]
    for number, command in enumerate(undo):
        say(f"  {'undo:' if not number else '     '} {command}")
    return 0


async def _with_store(settings: Settings, doing: Doing, session: str) -> list[Done]:
    store = open_store(settings)
    try:
        return await doing(store, settings, session)
    finally:
        await store.close()
