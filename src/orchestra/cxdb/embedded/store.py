"""The embedded store: CXDB's own files, a write-ahead log, any number of processes (S5 to S9).

An append takes the lock, reads in what others appended, writes the batch to the log with one sync, then to
the files unsynced, and says in the lock file where the store stands now. Reading takes no lock: what the lock
file says is whole in the files. Methods are async because the port is; they run on the calling thread,
since a hop to another one costs as much as the append itself.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from os import PathLike
from typing import Self

from orchestra.cxdb.embedded.adopt import Progress, quiet
from orchestra.cxdb.embedded.batch import Batch, check_sizes
from orchestra.cxdb.embedded.check import Damage, deep_check, repair
from orchestra.cxdb.embedded.contexts import ContextHead, parent_by_heads
from orchestra.cxdb.embedded.directory import LOST, Directory
from orchestra.cxdb.embedded.files import Files, store_errors
from orchestra.cxdb.embedded.handle import Handle
from orchestra.cxdb.embedded.holds import FileHold, holder_of
from orchestra.cxdb.embedded.pruning import PRUNING, PruneResult, finish_pruning, prune
from orchestra.cxdb.embedded.reader import PageReader
from orchestra.cxdb.embedded.wal import CAPACITY, SETTLED, State
from orchestra.cxdb.format.layout import HEADS, PATHS
from orchestra.cxdb.format.metadata import NO_METADATA, ChainMetadata, metadata_of
from orchestra.cxdb.format.packing import digest_of
from orchestra.errors import Damaged, SessionNotFound, SessionTaken, StoreError, StoreUnreachable
from orchestra.ports.store import ContextRow, Head, Health, Hold, NewTurn, Turn

NO_TREES: Mapping[int, bytes] = {}

WATCH_SECONDS = 0.1
"""How often a watcher looks at the lock file."""

REMOTE = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse"}
"""File systems of other machines: a lock there, or the order of writes, is not to be relied on (S7)."""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class EmbeddedStore(Handle):
    """A store in a folder. Make one with ``open``."""

    @classmethod
    def open(
        cls,
        path: str | PathLike[str],
        *,
        read_only: bool = False,
        salvage: bool = False,
        files: Files | None = None,
        now_ms: Callable[[], int] = _now_ms,
        progress: Progress = quiet,
        capacity: int = CAPACITY,
    ) -> Self:
        """Open a folder, and make it where it is not there; ``read_only`` neither makes nor changes a file.

        ``salvage`` continues with what is left if files have lost bytes that were written; what was known
        of them moves to ``orchestra/lost``. ``progress`` is told of the one pass over a folder that CXDB
        wrote. Raises ``StoreUnreachable`` (missing, or another program wrote while batches were in the log),
        ``StoreFull``, ``Damaged``.
        """
        layer = files if files is not None else Files()
        place = layer.absolute(str(path))
        with store_errors(place):
            if layer.exists(f"{place}/{PRUNING}"):
                if read_only:
                    raise StoreUnreachable(
                        f"{place} was being rewritten when that was interrupted",
                        fix="let any command that writes finish it: orchestra doctor --settle",
                    )
                finish_pruning(place, layer)
            directory = Directory(place, layer, read_only=read_only, capacity=capacity)
            store = cls(directory, now_ms=now_ms, progress=progress)
            try:
                store._begin(salvage=salvage)
            except BaseException:
                store._let_go()
                raise
            return store

    async def create(self, base_turn: int = 0) -> Head:
        """Make a context."""
        return await self._together(
            lambda batch: batch.create(base_turn, self._depth(base_turn) if base_turn else 0)
        )

    async def fork(self, turn: int) -> Head:
        """Make a context that continues from a turn."""
        return await self._together(lambda batch: batch.create(turn, self._depth(turn)))

    async def head(self, context_id: int) -> Head:
        """Return a context's head."""
        with self._reading():
            standing = self._standing(context_id)
            return Head(context_id, standing.turn_id, standing.depth)

    async def append(
        self,
        context_id: int,
        turns: Sequence[NewTurn],
        *,
        parent: int = 0,
        blobs: Sequence[bytes] = (),
        trees: Mapping[int, bytes] = NO_TREES,
    ) -> tuple[Turn, ...]:
        """Append turns and store blobs as one batch.

        ``parent`` is the turn to append after, 0 for the head; the head moves there. ``trees`` are the roots of
        file trees, by the number in ``turns`` of their turn.
        """

        def add(batch: Batch) -> tuple[Turn, ...]:
            standing = self._standing_in(batch, context_id)
            if parent:
                standing = ContextHead(context_id, parent, self._depth(parent), 0, 0)
            check_sizes(blobs)
            check_sizes(new.payload for new in turns)
            first = self._root_in(batch, standing.turn_id) if turns else 0
            new_blobs = {digest_of(data) for data in blobs} if trees else set()
            for root in trees.values():
                if root not in new_blobs:
                    self._blob_place(root)
            for data in blobs:
                batch.blob(data, self._hashes.find)
            added = batch.append(standing, first, turns, self._hashes.recent) if turns else ()
            for number, root in trees.items():
                batch.attach(added[number].turn_id, root)
            return added

        return await self._together(add)

    async def turns(self, context_id: int, *, before: int | None = None, limit: int = 64) -> list[Turn]:
        """A page of a chain."""
        with self._reading():
            standing = self._standing(context_id)
            reader = self._reader(limit)
            newest = standing.turn_id if before is None else self._before(reader, before)
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
        """Store a blob unless it is stored already."""

        def add(batch: Batch) -> bytes:
            check_sizes((data,))
            return batch.blob(data, self._hashes.find)

        return await self._together(add)

    async def get_blob(self, digest: bytes) -> bytes:
        """A blob by its hash."""
        with self._reading():
            return self._reader(1).blob(self._blob_place(digest), digest)

    async def attach_fs(self, turn_id: int, root: bytes) -> None:
        """Attach a file tree to a turn."""

        def add(batch: Batch) -> None:
            self._depth(turn_id)
            self._blob_place(root)
            batch.attach(turn_id, root)

        await self._together(add)

    async def fs_root(self, turn_id: int) -> bytes | None:
        """The file tree of a turn or of its nearest ancestor that has one, or None."""
        with self._reading():
            reader = self._reader(64)
            at = turn_id
            self._record(reader, at)
            while at:
                found = self._trees.of(at)
                if found is not None:
                    return found
                at = reader.record(at)[1].parent
            return None

    async def own_fs_root(self, turn_id: int) -> bytes | None:
        """The file tree that is attached to this very turn, or None."""
        with self._reading():
            return self._trees.of(turn_id) if self._trees.any else None

    async def has_trees(self) -> bool:
        """Whether a file tree is attached to any turn."""
        with self._reading():
            return self._trees.any

    async def watch(self, context_id: int | None = None) -> AsyncIterator[Head]:
        """Heads as they move."""
        from asyncio import sleep  # only a watcher has a loop; others need not pay for the import

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
        with self._writing():
            self.registry.put(bundle_id, bundle)

    @property
    def local(self) -> bool:
        """Locks of this machine keep all apart who open the folder."""
        return True

    def hold(self, context_id: int, note: str) -> Hold:
        """Take the right to run a session."""
        with store_errors(self._directory.path):
            return FileHold.take(self._files, self._directory.at(f"orchestra/locks/{context_id}"), note)

    def holder(self, context_id: int) -> str | None:
        """Who has it."""
        with store_errors(self._directory.path):
            return holder_of(self._files, self._directory.at(f"orchestra/locks/{context_id}"))

    async def health(self) -> Health:
        """What works and what does not, as far as can be seen without reading all."""
        with self._reading():
            return Health(kind="embedded", place=self._directory.path, findings=tuple(self._findings()))

    def _findings(self) -> Iterator[tuple[str, str]]:
        directory = self._directory
        kind = self._files.file_system(directory.path)
        if kind in REMOTE:
            yield f"the folder is on {kind}, where file locks are unreliable", "put it on a local disk: --store DIR"
        for offset in self._contexts.bad_heads:
            yield f"{PATHS[HEADS]} at byte {offset}: a record has a wrong checksum", "orchestra doctor --deep"
        lost = directory.at(LOST)
        count = len(self._files.listdir(lost)) if self._files.exists(lost) else 0
        if count:
            pieces = "1 quarantined piece" if count == 1 else f"{count} quarantined pieces"
            yield f"{lost} has {pieces} of damaged files", "inspect them, then delete them"

    async def deep_check(self) -> list[Damage]:
        """Check every record (S8); empty if the store is sound. Takes about a minute for a million turns."""
        with self._reading():
            found = list(deep_check(self._directory, self._progress))
            if not self._hashes.whole():
                found.append(Damage("orchestra/hashes", 0, "has a wrong checksum"))
            return found

    async def close(self) -> None:
        """Let go."""
        if self._closed:
            return
        with self._mutex:
            self._store_waiting()
        try:
            if self._wrote and self._refusal is None:
                await self.settle()
        finally:
            self._let_go()

    async def settle(self) -> None:
        """Sync the files and empty the log, so that other programs may open the folder (S5)."""
        with self._writing():
            if not self._directory.state.settled:
                self._cut()
                self._directory.publish(self._directory.state._replace(flags=SETTLED))
                self._directory.mark_settled()
            self._wrote = False

    async def repair(self) -> list[Damage]:
        """Rebuild damaged files from the others; return the faults that were repaired (S8)."""
        with self._writing():
            self._cut()
            repaired = repair(self._directory, self._reader(1))
            if not self._hashes.whole():
                self._hashes.discard()
                self._hashes.load(keep=True)
                repaired.append(Damage("orchestra/hashes", 0, "has a wrong checksum"))
            return repaired

    async def prune(self, contexts: Collection[int]) -> PruneResult:
        """Remove contexts with the turns and blobs that only they need; the store is closed afterwards.

        Raises ``SessionTaken`` where a session is running anywhere in the folder, before anything is changed.
        """
        await self.settle()
        with self._writing():
            for name in self._files.listdir(self._directory.at("orchestra/locks")):
                note = holder_of(self._files, self._directory.at(f"orchestra/locks/{name}"))
                if note is not None:
                    raise SessionTaken(
                        f"a session of this store is running ({note})",
                        fix="wait for its end, or stop it, then try again",
                    )
            done = prune(
                self._directory, contexts, lambda digest: self._reader(1).blob(self._blob_place(digest), digest)
            )
            self._refusal = StoreError(f"{self._directory.path} was rewritten; open it again")
            return done

    def _reader(self, limit: int) -> PageReader:
        return PageReader(self._directory, self._places, self._hashes.find, width=min(max(limit, 1), 64))

    def _standing(self, context_id: int) -> ContextHead:
        standing = self._contexts.find(context_id)
        if standing is None:
            raise SessionNotFound(f"no context {context_id}")
        return standing

    def _record(self, reader: PageReader, turn_id: int) -> int:
        """A turn's parent."""
        if not 1 <= turn_id < self._directory.state.next_turn:
            raise SessionNotFound(f"no turn {turn_id}")
        return reader.record(turn_id)[1].parent

    def _before(self, reader: PageReader, turn_id: int) -> int:
        """A turn's parent, also where the turn itself is damaged."""
        try:
            return self._record(reader, turn_id)
        except Damaged:
            parent = parent_by_heads(self._directory, turn_id)
            if parent is None:
                raise
            return parent

    def _depth(self, turn_id: int) -> int:
        if not 1 <= turn_id < self._directory.state.next_turn:
            raise SessionNotFound(f"no turn {turn_id}")
        return self._reader(1).record(turn_id)[1].depth

    def _root(self, turn_id: int) -> int:
        known = self._roots.get(turn_id)
        if known is None:
            known = self._roots[turn_id] = self._reader(1).root(turn_id)
        return known

    def _standing_in(self, batch: Batch, context_id: int) -> ContextHead:
        """Return a context's head after what is in a batch already."""
        at = batch.heads.get(context_id)
        return self._standing(context_id) if at is None else ContextHead(context_id, *at, 0, 0)

    def _root_in(self, batch: Batch, turn_id: int) -> int:
        """The first turn of a turn's chain, 0 for no turn."""
        return batch.roots.get(turn_id) or (self._root(turn_id) if turn_id else 0)

    def _blob_place(self, digest: bytes) -> int:
        offset = self._hashes.find_surely(digest)
        if offset is None:
            raise SessionNotFound(f"no blob {digest.hex()}")
        return offset

    def _heads(self, context_id: int | None) -> list[ContextHead]:
        if context_id is not None:
            return [self._standing(context_id)]
        return list(self._contexts.descending(self._directory.state.next_context))[::-1]

    def _chain_metadata(self, turn_id: int) -> ChainMetadata:
        if not turn_id:
            return NO_METADATA
        try:
            root = self._root(turn_id)
            return self._titles.of(root, lambda: metadata_of(self._reader(1).turn(root).payload))
        except Damaged:
            return NO_METADATA


def _row(standing: ContextHead, known: ChainMetadata) -> ContextRow:
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
