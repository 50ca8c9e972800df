"""Send a folder's turns to a server: by a process beside each run, and by a command (S22).

The process beside a run shares nothing with it but a pipe that ends with the run. So the run never waits for the
server, and what it recorded is sent however it ends. One process at a time sends (``.lock``), a batch of sessions
at most; of the processes beside runs one leads (``.lead``) and sends for all. The leader looks once more after it
has released the lock, so it also sends the turns of a run that ends meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from orchestra.app.runs import this_process
from orchestra.app.stores import on_server
from orchestra.app.workspaces import own_environment
from orchestra.clock import SystemClock
from orchestra.config.server import Server
from orchestra.config.settings import Settings
from orchestra.cxdb.embedded.files import Files, store_errors
from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.cxdb.format.fstree import DIRECTORY, read_tree
from orchestra.cxdb.format.registry import bundle
from orchestra.engine.mirroring import PASSES, Master, Mirror
from orchestra.engine.sessions import Row, find, own, row_of_context
from orchestra.errors import StoreError, StoreFull, StoreUnreachable

PATIENCE = 5.0
"""Seconds that one call waits for a lost server; a run's mirror process tries again as long as the run lasts."""

LOOK_SECONDS = 0.25
"""How often a run's mirror process reads new turns, in seconds; they are sent as one batch."""

REST = 2
"""It rests this many times as long as sending took, so that a busy run keeps its processor and its disk."""

AGAIN_SECONDS = (0.5, 5.0)
"""How long it waits for a server that is away: at first, and at most."""

TURN_SECONDS = 0.02
"""How often the lock is asked for, and how long others have to take it between two batches."""


class Lock:
    """A lock between processes on one file, given back by the system when its holder dies."""

    def __init__(self, file: Path) -> None:
        self._files = Files()
        self._fd = self._files.open(str(file), write=True, create=True)

    def take(self) -> bool:
        """Take the lock; false if another process has it."""
        return self._files.lock(self._fd, wait=False)

    def release(self) -> None:
        """Release the lock."""
        self._files.unlock(self._fd)

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Wait for the lock, and hold it during the block."""
        while not self.take():  # noqa: ASYNC110  another process releases it
            await asyncio.sleep(TURN_SECONDS)
        try:
            yield
        finally:
            self.release()

    def close(self) -> None:
        """Close the file, which releases the lock."""
        self._files.close(self._fd)


def _files(folder: Path, server: Server, suffix: str) -> Path:
    name = f"{server.http_host}_{server.http_port}".translate({ord(c): "_" for c in "/:%"})
    return folder / "orchestra" / "mirrors" / f"{name}.{suffix}"


@contextmanager
def _locks(folder: Path, server: Server, *suffixes: str) -> Iterator[list[Lock]]:
    """Locks of this store and this mirror. Raises ``StoreError``."""
    with contextlib.ExitStack() as stack:
        with store_errors(str(folder)):
            (folder / "orchestra" / "mirrors").mkdir(exist_ok=True)
            found = [Lock(_files(folder, server, suffix)) for suffix in suffixes]
        for lock in found:
            stack.callback(lock.close)
        yield found


def _name(folder: Path) -> str:
    """The folder's name, which no other has, not even a copy of it: a copied file has another inode."""
    file = folder / "orchestra" / "mirrors" / "name"
    with contextlib.suppress(OSError, ValueError):
        name, inode = file.read_text(encoding="ascii").split()
        if int(inode) == file.stat().st_ino:
            return name
    name = os.urandom(8).hex()
    fresh = file.with_name("name.new")
    with store_errors(str(file)):
        with fresh.open("w", encoding="ascii") as out:
            out.write(f"{name} {os.fstat(out.fileno()).st_ino}\n")
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(file)
    return name


class _StoreTrees:
    """The file trees of an embedded store, as the engine sees them."""

    def __init__(self, store: EmbeddedStore) -> None:
        self.any = store.has_trees
        self.root_of = store.own_fs_root
        self._store = store

    async def blobs_of(self, root: bytes) -> AsyncIterator[bytes]:
        """What a tree is made of, the root last."""
        data = await self._store.get_blob(root)
        for entry in read_tree(data):
            if entry.kind == DIRECTORY:
                async for blob in self.blobs_of(entry.digest):
                    yield blob
            else:
                yield await self._store.get_blob(entry.digest)
        yield data


@asynccontextmanager
async def _mirror(folder: Path, server: Server, patience: float) -> AsyncIterator[tuple[EmbeddedStore, Mirror]]:
    """The folder, opened for reading, and its mirror; the types of our events are published (S12)."""
    store = EmbeddedStore.open(folder, read_only=True)
    remote = on_server(server, patience)
    try:
        await remote.publish_types(*bundle())
        place = f"{socket.gethostname()}:{folder}"
        master = Master(store=store, trees=_StoreTrees(store), name=_name(folder), place=place)
        yield store, Mirror(master, remote, this_process(), SystemClock())
    finally:
        await remote.close()
        await store.close()


class MirrorResult(Struct, frozen=True, kw_only=True):
    """The result of mirroring a session: its turns, how many were sent now, and why not all."""

    session: str
    turns: int
    sent: int
    trouble: str = ""


async def send_now(
    folder: Path, server: Server, names: tuple[str, ...], tell: Callable[[MirrorResult], None]
) -> tuple[list[MirrorResult], int]:
    """Send what is missing of the sessions named, or of all; how many blobs were too large for the server.

    Raises ``SessionNotFound``, ``ConfigError`` and ``StoreError``.
    """
    done: dict[str, MirrorResult] = {}
    with _locks(folder, server, "lock") as (lock,):
        async with lock.hold(), _mirror(folder, server, server.patience) as (store, mirror):
            wanted = (await mirror.sessions())[::-1]
            if names:
                wanted = [own(await find(store, name)) for name in names]
            for _ in range(PASSES):
                for row in wanted:
                    one = await _send(store, mirror, row)
                    tell(one)
                    before = done.get(one.session)
                    done[one.session] = one if before is None else replace(one, sent=one.sent + before.sent)
                if not mirror.server_changed():
                    return list(done.values()), mirror.too_large
    raise StoreUnreachable(f"the mirror {server} keeps losing the connection", fix="see the server's log")


async def _send(store: EmbeddedStore, mirror: Mirror, row: Row) -> MirrorResult:
    """Send one session; a damaged or refused one does not keep others from being sent."""
    sent, trouble = 0, ""
    try:
        sent = await mirror.send(row)
    except (StoreUnreachable, StoreFull):
        raise
    except StoreError as error:
        trouble = error.message
    head = await store.head(row.context_id)
    return MirrorResult(
        session=row.session, turns=head.depth + 1 if head.turn_id else 0, sent=sent, trouble=trouble
    )


def mirror_fix(fix: str) -> str:
    """Adapt a fix for a mirror: unlike a run, it cannot work without its server."""
    return fix.replace("; or use a folder: --store DIR", "; then: orchestra cxdb mirror")


async def behind(folder: Path, server: Server) -> list[tuple[Row, int]]:
    """Return the sessions that the mirror lacks turns of, and how many turns.

    Raises ``StoreError`` and ``ConfigError``.
    """
    with _locks(folder, server, "lock"):
        async with _mirror(folder, server, PATIENCE) as (_store, mirror):
            counts = [(row, await mirror.behind(row)) for row in await mirror.sessions()]
    return [(row, count) for row, count in counts if count]


@contextmanager
def sending(settings: Settings) -> Iterator[None]:
    """Send the store's turns from a process of its own, during the block and until all are sent."""
    if settings.mirror is None or settings.store is None:
        yield
        return
    reader, writer = os.pipe()
    command = [
        sys.executable,
        "-P",
        "-m",
        "orchestra",
        "cxdb",
        "mirror",
        "--follow",
        "--store",
        str(settings.store),
    ]
    if settings.file is not None:
        command += ["--config", str(settings.file.absolute())]
    streams = [
        (os.POSIX_SPAWN_DUP2, reader, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
    ]
    with contextlib.suppress(OSError, NotImplementedError):  # what cannot be sent now is sent at the next chance
        os.posix_spawn(sys.executable, command, own_environment(), file_actions=streams, setsid=True)
    os.close(reader)
    try:
        yield
    finally:
        os.close(writer)


def run_ended() -> bool:
    """Whether the run that holds the other end of our standard input has ended."""
    ready, _, _ = select.select([0], [], [], 0)
    return bool(ready) and not os.read(0, 1)


async def follow(folder: Path, server: Server, ended: Callable[[], bool]) -> None:
    """Send new turns until ``ended``, then what is missing; wait for a server that is down."""
    with _locks(folder, server, "lead", "lock") as (lead, lock):
        while not lead.take():
            if ended():
                return
            await asyncio.sleep(1.0)
        while True:
            place = await _Following(folder, server, lock, ended).until_all_is_sent()
            lead.release()
            if place is None or not await _has_changed(folder, place) or not lead.take():
                return


async def _has_changed(folder: Path, since: int) -> bool:
    """Whether there are turns after a place in the store; false where it cannot be opened."""
    try:
        store = EmbeddedStore.open(folder, read_only=True)
    except StoreError:
        return False
    changed = store.place() != since
    await store.close()
    return changed


class _Following:
    """One process that sends for all runs of a store."""

    def __init__(self, folder: Path, server: Server, lock: Lock, ended: Callable[[], bool]) -> None:
        self._folder = folder
        self._server = server
        self._lock = lock
        self._ended = ended
        self._since = -1
        self._todo: list[Row] = []
        self._rows: dict[int, Row] = {}
        self._last_sent = time.monotonic()

    async def until_all_is_sent(self) -> int | None:
        """The place in the store up to which all is sent; None where the server stayed away."""
        wait, longest = AGAIN_SECONDS
        while True:
            began = time.monotonic()
            try:
                async with _mirror(self._folder, self._server, PATIENCE) as (store, mirror):
                    return await self._send_all(store, mirror)
            except StoreError:
                if time.monotonic() - began > PATIENCE:
                    wait = AGAIN_SECONDS[0]
            if await self._wait(wait):
                return None
            wait = min(2 * wait, longest)

    async def _wait(self, seconds: float) -> bool:
        """Wait for the next attempt; return whether to give up."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await asyncio.sleep(LOOK_SECONDS)
            if not self._ended():
                self._last_sent = time.monotonic()
        return time.monotonic() - self._last_sent > self._server.patience

    async def _send_all(self, store: EmbeddedStore, mirror: Mirror) -> int:
        """Send everything, running sessions first, then each new turn until the run has ended."""
        self._since = store.place()
        found = await mirror.sessions()
        self._rows = {row.context_id: row for row in found}
        self._todo = sorted(found, key=lambda row: (store.holder(row.context_id) is not None, row.context_id))
        while True:
            ended, began = self._ended(), time.monotonic()
            place = store.place()
            if place != self._since or self._todo:
                async with self._lock.hold():
                    await self._send_some(store, mirror)
            elif ended:
                return place
            least = TURN_SECONDS if self._todo else LOOK_SECONDS
            rest = max(least, REST * (time.monotonic() - began))
            await asyncio.sleep(TURN_SECONDS if ended else rest)

    async def _send_some(self, store: EmbeddedStore, mirror: Mirror) -> None:
        """Send what changed, and one of the sessions that were not compared yet."""
        heads, since = store.moves(self._since)
        moved = [
            row
            for context in dict.fromkeys(head.context_id for head in heads)
            async for row in self._row(store, mirror, context)
        ]
        moved = list({row.context_id: row for row in moved}.values())
        mirror.learn(moved)
        if not moved and self._todo:
            moved = [self._todo.pop()]
        for row in moved:
            await _send(store, mirror, row)
            self._last_sent = time.monotonic()
        self._since = since
        if mirror.server_changed():
            self._todo = sorted(self._rows.values(), key=lambda row: row.context_id)

    async def _row(self, store: EmbeddedStore, mirror: Mirror, context: int) -> AsyncIterator[Row]:
        """Yield the session of a context: its own, that of its branch, or the one whose mailbox it is."""
        known = self._rows.get(context)
        if known is None:
            for listed in await store.contexts(before=context + 1, limit=1):
                known = row_of_context(listed) if listed.context_id == context else None
        if known is None:
            known = await mirror.branch_of(context)
        if known is not None and not known.mirror_of:
            self._rows[known.context_id] = known
            yield known
