"""The store that the settings name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from orchestra.config.environment import ignore_own
from orchestra.config.server import Server
from orchestra.config.settings import Settings
from orchestra.cxdb.embedded.adopt import Progress, quiet
from orchestra.cxdb.embedded.losses import losses
from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.cxdb.memory import MemoryStore
from orchestra.engine.sessions import rows
from orchestra.errors import Damaged
from orchestra.ports import Store

if TYPE_CHECKING:
    from orchestra.cxdb.remote.store import RemoteStore


def open_store(settings: Settings, *, read_only: bool = False, progress: Progress = quiet) -> Store:
    """Open the store. ``read_only`` neither makes nor changes a file. Raises ``StoreError``.

    ``progress`` is called for what takes long: the one pass over a folder that CXDB wrote (S9). A server is
    connected to when it is first asked.
    """
    if settings.server is not None:
        return on_server(settings.server, settings.server.patience)
    if settings.store is None:
        return MemoryStore()
    store = EmbeddedStore.open(settings.store, read_only=read_only, progress=progress)
    if not read_only and settings.store.parent.name == ".orchestra":
        with contextlib.suppress(OSError):  # the store itself says what is wrong with its disk
            ignore_own(settings.store.parent)
    return store


def on_server(server: Server, patience: float) -> RemoteStore:
    """The store on a server; a lost one is waited for ``patience`` seconds."""
    from orchestra.cxdb.remote.requests import ServerPlace  # only runs on a server pay for it
    from orchestra.cxdb.remote.store import RemoteStore

    place = ServerPlace(
        host=server.host,
        port=server.port,
        http_host=server.http_host,
        http_port=server.http_port,
        token=server.token,
    )
    return RemoteStore(place, patience=patience)


@runtime_checkable
class OnServer(Protocol):
    """A store that may keep its callers waiting for a server."""

    def hurry(self, seconds: float) -> None:
        """From now on wait for a silent server at most so many seconds, also where it is being waited for."""

    def on_silence(self, tell: Callable[[float, float], None]) -> None:
        """Call a function when the server has been silent for a few seconds, and when it answers again.

        ``tell`` takes for how many seconds it has been silent, and for how many more it is waited for: 0 where it
        has answered.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class LostTurns:
    """Turns that a repair would lose: their session, their depths in ranges, and their count."""

    whose: str
    stretches: tuple[tuple[int, int], ...]
    turns: int


async def repair_store(settings: Settings, *, drop_lost: bool, progress: Progress = quiet) -> list[str]:
    """Rebuild damaged files of a store's folder from its other files; return what was repaired (S8).

    A folder that lost bytes is repaired only if that loses no turn, or with ``drop_lost``; damaged pieces are moved
    to ``orchestra/lost``. Raises ``StoreError``; ``RepairLosesTurns`` before anything is changed.
    """
    if settings.store is None:
        return []
    store = await _whole_or_salvaged(settings.store, drop_lost, progress)
    try:
        return [str(finding) for finding in await store.repair()]
    finally:
        await store.close()


class RepairLosesTurns(Damaged):
    """Repairing a folder would lose turns."""

    def __init__(self, damage: Damaged, going: list[LostTurns]) -> None:
        super().__init__(damage.message, file=damage.file, offset=damage.offset, fix=damage.fix)
        self.going = going


async def _whole_or_salvaged(folder: Path, drop_lost: bool, progress: Progress) -> EmbeddedStore:
    try:
        return EmbeddedStore.open(folder, progress=progress)
    except Damaged as damage:
        going = [] if drop_lost else await _going(folder, progress)
        if going:
            raise RepairLosesTurns(damage, going) from damage
    return EmbeddedStore.open(folder, salvage=True, progress=progress)


async def _going(folder: Path, progress: Progress) -> list[LostTurns]:
    lost = losses(str(folder), progress)
    store = EmbeddedStore.open(folder, read_only=True, progress=progress)
    try:
        known = await rows(store)
    finally:
        await store.close()
    names = {row.context_id: f"session {row.session}" for row in known}
    names.update({row.mailbox: f"mailbox of session {row.session}" for row in known})
    return [
        LostTurns(
            whose=names.get(one.context_id, f"context {one.context_id}"), stretches=one.stretches, turns=one.turns
        )
        for one in lost
    ]
