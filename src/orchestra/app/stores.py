"""The store that the settings name."""

from __future__ import annotations

from orchestra.config.settings import Settings
from orchestra.cxdb.adopt import Progress, quiet
from orchestra.cxdb.embedded import EmbeddedStore
from orchestra.cxdb.memory import MemoryStore
from orchestra.ports import Store


def open_store(settings: Settings, *, read_only: bool = False, progress: Progress = quiet) -> Store:
    """Open the store. ``read_only`` neither makes nor changes a file. Raises ``StoreError``.

    ``progress`` is told of what takes long: the one pass over a folder that CXDB wrote (S9).
    """
    if settings.store is None:
        return MemoryStore()
    return EmbeddedStore.open(settings.store, read_only=read_only, progress=progress)


async def mend_store(settings: Settings, *, progress: Progress = quiet) -> list[str]:
    """Go on with what is left of a damaged folder, and make anew what its files tell; what was wrong and is not
    any more (S8). Pieces that were in the way are kept in ``orchestra/lost``."""
    if settings.store is None:
        return []
    store = EmbeddedStore.open(settings.store, salvage=True, progress=progress)
    try:
        return [str(finding) for finding in await store.mend()]
    finally:
        await store.close()
