"""The embedded store: CXDB's own files, a write-ahead log beside them, any number of processes (S5 to S9).

An append takes the lock, reads in what others appended, writes the batch to the log with one sync, then to
the files unsynced, and says in the lock file where the store stands now. Reading takes no lock: what the lock
file says is whole in the files. Methods are async because the port is; they run on the calling thread,
since a hop to another one costs as much as the append itself.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike

from orchestra.cxdb import recovery
from orchestra.cxdb.adopt import Progress, quiet
from orchestra.cxdb.batch import Batch
from orchestra.cxdb.check import Finding, deep_check
from orchestra.cxdb.contexts import Contexts, Standing
from orchestra.cxdb.directory import Directory
from orchestra.cxdb.files import Files, translated, trouble
from orchestra.cxdb.hashes import Hashes
from orchestra.cxdb.holds import FileHold, holder_of
from orchestra.cxdb.layout import HEADS
from orchestra.cxdb.metadata import NO_METADATA, ChainMetadata, metadata_of
from orchestra.cxdb.packing import packer
from orchestra.cxdb.reader import Places, Reader
from orchestra.cxdb.wal import CAPACITY, RECORD_HEAD, SETTLED, State, follows, record_of
from orchestra.errors import Damaged, SessionNotFound, StoreError, StoreFull
from orchestra.ports import ContextRow, Head, Health, Hold, NewTurn, Turn

WATCH_SECONDS = 0.1
"""How often a watcher looks at the lock file."""

MANY_MOVED = 4096
"""How many contexts may stand beside their table when a folder has been opened."""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class EmbeddedStore:
    """A store in a folder. Make one with ``open``."""

    def __init__(
        self, directory: Directory, *, now_ms: Callable[[], int], progress: Progress, capacity: int
    ) -> None:
        self._directory = directory
        self._files = directory.files
        self._now_ms = now_ms
        self._progress = progress
        self._capacity = capacity
        self._contexts = Contexts(directory)
        self._hashes = Hashes(directory)
        self._places = Places(directory)
        self._metadata: dict[int, ChainMetadata] = {}
        self._pack = packer()
        self._suspect = False
        self._behind: State | None = None
        self._wrote = False
        self._closed = False

    @classmethod
    def open(
        cls,
        path: str | PathLike[str],
        *,
        read_only: bool = False,
        files: Files | None = None,
        now_ms: Callable[[], int] = _now_ms,
        progress: Progress = quiet,
        capacity: int = CAPACITY,
    ) -> EmbeddedStore:
        """Open a folder, and make it where it is not there; ``read_only`` neither makes nor changes a file.

        ``progress`` is told of the one pass over a folder that CXDB wrote. Raises ``StoreUnreachable``
        (not there, or somebody else wrote while batches were in the log), ``StoreFull``, ``Damaged``.
        """
        layer = files if files is not None else Files()
        place = str(path)
        with translated(place):
            directory = Directory(place, layer, read_only=read_only)
            store = cls(directory, now_ms=now_ms, progress=progress, capacity=capacity)
            try:
                store._begin()
            except BaseException:
                store._let_go()
                raise
            return store

    # --- the port --------------------------------------------------------------------------------

    async def create(self, base_turn: int = 0) -> Head:
        """Make a context; one batch."""
        with self._writing():
            depth = self._depth(base_turn) if base_turn else 0
            batch = self._batch()
            head = batch.create(base_turn, depth)
            self._commit(batch)
            return head

    async def fork(self, turn: int) -> Head:
        """Make a context that continues from a turn."""
        with self._writing():
            batch = self._batch()
            head = batch.create(turn, self._depth(turn))
            self._commit(batch)
            return head

    async def head(self, context_id: int) -> Head:
        """Where a context stands."""
        with self._reading():
            standing = self._standing(context_id)
            return Head(context_id, standing.turn_id, standing.depth)

    async def append(
        self, context_id: int, turns: Sequence[NewTurn], *, blobs: Sequence[bytes] = ()
    ) -> tuple[Turn, ...]:
        """Append turns and store blobs as one batch."""
        with self._writing():
            standing = self._standing(context_id)
            batch = self._batch()
            for data in blobs:
                batch.blob(data, self._hashes.find)
            if turns:
                root = self._root(standing.turn_id) if standing.turn_id else 0
                batch.append(standing, root, turns, self._hashes.recent)
            if batch.blobs or turns:
                self._commit(batch)
            return tuple(batch.turns)

    async def turns(self, context_id: int, *, before: int | None = None, limit: int = 64) -> list[Turn]:
        """A page of a chain."""
        with self._reading():
            standing = self._standing(context_id)
            reader = self._reader(limit)
            newest = standing.turn_id if before is None else self._record(reader, before)
            return reader.chain(newest, limit)

    async def turn(self, turn_id: int) -> Turn:
        """One turn whole."""
        with self._reading():
            reader = self._reader(1)
            self._record(reader, turn_id)
            return reader.turn(turn_id)

    async def contexts(
        self, *, label: str | None = None, before: int | None = None, limit: int | None = None
    ) -> list[ContextRow]:
        """Contexts by descending id."""
        with self._reading():
            found: list[ContextRow] = []
            below = self._directory.state.next_context
            for standing in self._contexts.descending(below if before is None else min(below, before)):
                if limit is not None and len(found) >= limit:
                    break
                known = self._chain_metadata(standing.turn_id)
                if label is None or label in known.labels:
                    found.append(_row(standing, known))
            return found

    async def put_blob(self, data: bytes) -> bytes:
        """Store a blob unless it is there."""
        with self._writing():
            batch = self._batch()
            digest = batch.blob(data, self._hashes.find)
            if batch.blobs:
                self._commit(batch)
            return digest

    async def get_blob(self, digest: bytes) -> bytes:
        """A blob by its hash."""
        with self._reading():
            return self._reader(1).blob(self._blob_place(digest), digest)

    async def attach_fs(self, turn_id: int, root: bytes) -> None:
        """Attach a file tree to a turn."""
        with self._writing():
            self._depth(turn_id)
            self._blob_place(root)
            batch = self._batch()
            batch.attach(turn_id, root)
            self._commit(batch)

    async def watch(self, context_id: int | None = None) -> AsyncIterator[Head]:
        """Heads as they move."""
        from asyncio import sleep  # whoever watches runs a loop; others need not pay for it

        told: dict[int, int] = {}
        seen: State | None = None
        while not self._closed:
            with self._reading():
                state = self._directory.state
                moved = [] if state is seen else self._heads(context_id)
                seen = state
            for standing in moved:
                if told.get(standing.context_id) != standing.turn_id:
                    told[standing.context_id] = standing.turn_id
                    yield Head(standing.context_id, standing.turn_id, standing.depth)
            await sleep(WATCH_SECONDS)

    async def publish_types(self, bundle_id: str, bundle: bytes) -> None:
        """Keep a registry bundle."""
        name = bundle_id.translate({ord(c): "_" for c in "/:#"})
        path = self._directory.at(f"registry/bundle_{name}.json")
        with self._writing():
            if self._files.exists(path):
                if self._bytes_of(path) != bundle:
                    raise StoreError(
                        f"bundle {bundle_id} is there with other content", fix="publish under another id"
                    )
                return
            self._write_whole(path, bundle)

    def hold(self, context_id: int, note: str) -> Hold:
        """Take the right to run a session."""
        with translated(self._directory.path):
            return FileHold.take(self._files, self._directory.at(f"orchestra/locks/{context_id}"), note)

    def holder(self, context_id: int) -> str | None:
        """Who has it."""
        with translated(self._directory.path):
            return holder_of(self._files, self._directory.at(f"orchestra/locks/{context_id}"))

    async def health(self) -> Health:
        """What works and what does not."""
        return Health(kind="embedded", place=self._directory.path)

    async def deep_check(self) -> list[Finding]:
        """Look at every record (S8); empty where all is well. Takes about a minute for a million turns."""
        with self._reading():
            found = list(deep_check(self._directory, self._progress))
            if not self._hashes.whole():
                found.append(Finding("orchestra/hashes", 0, "fails its check sum"))
            return found

    async def close(self) -> None:
        """Let go."""
        if self._closed:
            return
        try:
            if self._wrote:
                await self.settle()
        finally:
            self._let_go()

    async def settle(self) -> None:
        """Sync the files and empty the log: now other programs may open the folder (S5)."""
        with self._writing():
            if not self._directory.state.settled:
                self._cut()
                self._directory.mark_settled()
                self._directory.publish(self._directory.state._replace(flags=SETTLED))
            self._wrote = False

    # --- taking turns with other processes ---------------------------------------------------------

    def _begin(self) -> None:
        if self._directory.read_only:
            recovery.look(self._directory, self._progress)
            self._behind = self._directory.written_state()
            self._contexts.load()
            self._hashes.load()
        else:
            self._files.lock(self._directory.lock_fd)
            try:
                recovery.recover(self._directory, self._progress)
                self._contexts.load()
                self._hashes.load()
                if len(self._contexts.moved()) > MANY_MOVED:
                    self._contexts.save()
            finally:
                self._files.unlock(self._directory.lock_fd)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        directory = self._directory
        if directory.read_only:
            raise StoreFull(f"{directory.path} was opened for reading only")
        self._check_open()
        try:
            self._files.lock(directory.lock_fd)
            try:
                self._catch_up_locked()
                yield
            finally:
                self._files.unlock(directory.lock_fd)
        except OSError as error:
            raise trouble(error, directory.path) from error

    @contextmanager
    def _reading(self) -> Iterator[None]:
        self._check_open()
        try:
            self._catch_up()
            yield
        except OSError as error:
            raise trouble(error, self._directory.path) from error

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"{self._directory.path} was closed")

    def _catch_up_locked(self) -> None:
        directory = self._directory
        self._catch_up()
        state = directory.state
        if (
            self._suspect
            or directory.grown()
            or follows(self._files.pread(directory.wal_fd, RECORD_HEAD, state.position), state)
        ):
            recovery.recover(directory, self._progress)
            self._suspect = False
            self._reload()

    def _catch_up(self) -> None:
        directory = self._directory
        written = directory.written_state()
        if written is None or written is directory.state or written == directory.state:
            return
        if directory.read_only and written.sequence <= directory.state.sequence:
            self._look_again(written)
            return
        directory.overlay.clear()
        before, directory.state = directory.state, written
        if written.generation != before.generation:
            self._reload()
        else:
            self._contexts.read_heads(before.lengths[HEADS], written.lengths[HEADS])
            self._hashes.catch_up()

    def _look_again(self, written: State) -> None:
        """What the lock file said when the folder was opened was behind the log; anything else is news."""
        if written != self._behind:
            self._behind = written
            recovery.look(self._directory, self._progress)
            self._reload()

    def _reload(self) -> None:
        self._contexts.load()
        self._hashes.reload_if_changed()

    # --- writing ---------------------------------------------------------------------------------

    def _batch(self) -> Batch:
        return Batch(self._directory.state, self._now_ms(), self._pack)

    def _commit(self, batch: Batch) -> None:
        """Make a batch durable with one sync, then visible; or leave no trace of it."""
        directory, files = self._directory, self._files
        parts = batch.parts()
        if directory.state.position + RECORD_HEAD + sum(map(len, parts)) > self._capacity:
            self._cut()
        if directory.state.settled:
            directory.mark_unsettled()
            directory.state = directory.state._replace(flags=0)
        state = directory.state
        record, chain = record_of(state, parts, batch.next_turn, batch.next_context)
        try:
            files.pwrite(directory.wal_fd, record, state.position)
            files.fdatasync(directory.wal_fd)
            directory.write_parts(state.lengths, parts)
            directory.publish(
                State(
                    state.generation,
                    state.sequence + 1,
                    state.position + len(record),
                    chain,
                    0,
                    batch.next_turn,
                    batch.next_context,
                    tuple([length + len(part) for length, part in zip(state.lengths, parts, strict=True)]),
                    state.base,
                )
            )
        except OSError:
            self._withdraw(state)
            raise
        self._wrote = True
        self._remember(batch)

    def _remember(self, batch: Batch) -> None:
        for context_id, (turn_id, depth) in batch.heads.items():
            self._contexts.move(context_id, turn_id, depth, batch.now_ms)
        for digest, offset in batch.blobs.items():
            self._hashes.add(digest, offset)

    def _withdraw(self, state: State) -> None:
        """Undo a batch that could not be written whole; where that fails too, the next one looks again.

        The log forgets the batch last: as long as it knows it, whoever comes next can make it whole.
        """
        directory, files = self._directory, self._files
        self._suspect = True
        directory.state = state
        try:
            for fd, length in zip(directory.fds, state.lengths, strict=True):
                if files.size(fd) > length:
                    files.truncate(fd, length)
                    files.fdatasync(fd)
            files.pwrite(directory.wal_fd, bytes(RECORD_HEAD), state.position)
            files.fdatasync(directory.wal_fd)
            directory.publish(state)
        except OSError:
            return

    def _cut(self) -> None:
        """Sync the files, bring the tables up to date, and begin the log anew."""
        self._contexts.save()
        self._hashes.save()
        recovery.cut(self._directory, self._directory.state)

    # --- looking things up -------------------------------------------------------------------------

    def _reader(self, limit: int) -> Reader:
        return Reader(self._directory, self._places, self._hashes.find, width=min(max(limit, 1), 64))

    def _standing(self, context_id: int) -> Standing:
        standing = self._contexts.find(context_id)
        if standing is None:
            raise SessionNotFound(f"no context {context_id}")
        return standing

    def _record(self, reader: Reader, turn_id: int) -> int:
        """A turn's parent."""
        if not 1 <= turn_id < self._directory.state.next_turn:
            raise SessionNotFound(f"no turn {turn_id}")
        return reader.record(turn_id)[1].parent

    def _depth(self, turn_id: int) -> int:
        if not 1 <= turn_id < self._directory.state.next_turn:
            raise SessionNotFound(f"no turn {turn_id}")
        return self._reader(1).record(turn_id)[1].depth

    def _root(self, turn_id: int) -> int:
        return self._reader(1).root(turn_id)

    def _blob_place(self, digest: bytes) -> int:
        offset = self._hashes.find(digest)
        if offset is None:
            raise SessionNotFound(f"no blob {digest.hex()}")
        return offset

    def _heads(self, context_id: int | None) -> list[Standing]:
        if context_id is not None:
            return [self._standing(context_id)]
        return list(self._contexts.descending(self._directory.state.next_context))[::-1]

    def _chain_metadata(self, turn_id: int) -> ChainMetadata:
        if not turn_id:
            return NO_METADATA
        try:
            root = self._root(turn_id)
            known = self._metadata.get(root)
            if known is None:
                known = self._metadata[root] = metadata_of(self._reader(1).turn(root).payload)
        except Damaged:
            return NO_METADATA
        return known

    # --- whole files -------------------------------------------------------------------------------

    def _bytes_of(self, path: str) -> bytes:
        fd = self._files.open(path, write=False)
        try:
            return self._files.pread(fd, self._files.size(fd), 0)
        finally:
            self._files.close(fd)

    def _write_whole(self, path: str, data: bytes) -> None:
        fd = self._files.open(self._directory.at("orchestra/bundle.new"), write=True, create=True)
        try:
            self._files.truncate(fd, 0)
            self._files.pwrite(fd, data, 0)
            self._files.fdatasync(fd)
        finally:
            self._files.close(fd)
        self._files.rename(self._directory.at("orchestra/bundle.new"), path)
        self._files.sync_folder(self._directory.at("registry"))

    def _let_go(self) -> None:
        self._closed = True
        self._contexts.close()
        self._hashes.close()
        self._directory.close()


def _row(standing: Standing, known: ChainMetadata) -> ContextRow:
    return ContextRow(
        context_id=standing.context_id,
        head_turn=standing.turn_id,
        head_depth=standing.depth,
        created_ms=standing.created_ms,
        appended_ms=standing.appended_ms,
        client_tag=known.client_tag,
        title=known.title,
        labels=known.labels,
    )
