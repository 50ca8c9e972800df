"""The store that the settings name."""

from __future__ import annotations

from orchestra.config.settings import Settings
from orchestra.cxdb.embedded import EmbeddedStore
from orchestra.cxdb.memory import MemoryStore
from orchestra.ports import Store


def open_store(settings: Settings, *, read_only: bool = False) -> Store:
    """Open the store. ``read_only`` neither makes nor changes a file. Raises ``StoreError``."""
    if settings.store is None:
        return MemoryStore()
    return EmbeddedStore.open(settings.store, read_only=read_only)
