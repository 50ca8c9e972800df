"""Settings and the store of a command."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from orchestra.app.stores import open_store
from orchestra.config.settings import Settings, settle
from orchestra.errors import SessionNotFound
from orchestra.ports import Store

_T = TypeVar("_T")


def settings_for(store: str | None, config: Path | None, pipeline: str = "-") -> Settings:
    """The settings in force for a command about a pipeline, or about none."""
    folders: tuple[Path, ...] = (Path.cwd(),)
    if pipeline != "-":
        folders = (Path(pipeline).absolute().parent, *folders)
    return settle(folders=folders, environment=os.environ, store=store, config=config)


def exists(settings: Settings) -> bool:
    """Whether there is a store to look at."""
    return settings.store is not None and settings.store.is_dir()


async def reading(settings: Settings, look: Callable[[Store], Awaitable[_T]], wanted: str = "") -> _T:
    """Do something with the store opened for reading, and close it; ``wanted`` is the session asked for."""
    if not exists(settings):
        place = f"there is no store in {settings.store}" if settings.store else "a store in memory keeps nothing"
        raise SessionNotFound(
            f"no session {wanted!r}: {place}", fix="start a run first, or name the folder with --store"
        )
    store = open_store(settings, read_only=True)
    try:
        return await look(store)
    finally:
        await store.close()


def hint(store: str | None) -> str:
    """What a suggested command needs to find the same store."""
    return f" --store {store}" if store else ""
