"""The embedded store: CXDB's own files, a write-ahead log, any number of processes (S5 to S9).

An append takes the lock, reads in what others appended, writes the batch to the log with one sync, then to
the files unsynced, and writes the new state to the lock file. Reading takes no lock: what that state covers is
whole in the files. Methods are async because the port is; they run on the calling thread,
since a hop to another one costs as much as the append itself.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from os import PathLike
from typing import NamedTuple, Self

from orchestra.cxdb.embedded.adopt import Progress, quiet
from orchestra.cxdb.embedded.batch import Batch, check_sizes
from orchestra.cxdb.embedded.bundles import BundleFiles
from orchestra.cxdb.embedded.check import Damage, deep_check, repair
from orchestra.cxdb.embedded.contexts import ContextHead
from orchestra.cxdb.embedded.directory import LOST, Directory
from orchestra.cxdb.embedded.files import Files, store_errors
from orchestra.cxdb.embedded.handle import Handle
from orchestra.cxdb.embedded.holds import FileHold, holder_of
from orchestra.cxdb.embedded.pruning import PRUNING, PruneResult, finish_pruning, prune
from orchestra.cxdb.embedded.wal import CAPACITY
from orchestra.cxdb.format.layout import (
    HEAD_SIZE,
    HEADS,
    INDEX,
    INDEX_ENTRY,
    PATHS,
    ROOT,
    ROOT_SIZE,
    ROOTS,
    intact,
    read_head,
    strides,
)
from orchestra.cxdb.format.metadata import ChainMetadata
from orchestra.cxdb.format.packing import digest_of
from orchestra.errors import SessionTaken, StoreError, StoreUnreachable
from orchestra.ports.store import ContextRow, Head, Health, Hold, NewTurn, Turn

NO_TREES: Mapping[int, bytes] = {}

WATCH_SECONDS = 0.1
"""How often a watcher looks at the lock file."""

REMOTE = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse"}
"""File systems of other machines: a lock there, or the order of writes, is not to be relied on (S7)."""


class Counts(NamedTuple):
    """How much is stored; ``sizes`` are bytes by file."""

    contexts: int
    turns: int
    blobs: int
    heads: int
    trees: int
    sizes: Mapping[str, int]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class EmbeddedStore:
    """A store in a folder. Make one with ``open``."""

    def __init__(self, handle: Handle, progress: Progress) -> None:
        self._handle = handle
        self._directory = handle.directory
        self._tables = handle.tables
        self._progress = progress
        self.registry = BundleFiles(handle.directory)

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
        """Open a folder, creating it if needed; ``read_only`` neither creates nor changes a file.

        ``salvage`` continues with what is left if files have lost bytes that were written; our records of them
        move to ``orchestra/lost``. ``progress`` is called during the one pass over a folder that CXDB wrote.
        Raises ``StoreFull``, ``Damaged``, and ``StoreUnreachable`` (missing, or another program wrote while batches
        were in the log).
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
            handle = Handle(directory, now_ms=now_ms, progress=progress)
            try:
                handle.begin(salvage=salvage)
            except BaseException:
                handle.release()
                raise
            return cls(handle, progress)

    async def create(self, base_turn: int = 0) -> Head:
        """Make a context."""
        return await self._handle.change(
            lambda batch: batch.create(base_turn, self._tables.depth(base_turn) if base_turn else 0)
        )

    async def fork(self, turn: int) -> Head:
        """Make a context that continues from a turn."""
        return await self._handle.change(lambda batch: batch.create(turn, self._tables.depth(turn)))

    async def head(self, context_id: int) -> Head:
        """Return a context's head."""
        with self._handle.reading():
            head = self._tables.head(context_id)
            return Head(context_id, head.turn_id, head.depth)

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
            head = self._tables.head_after(batch, context_id)
            if parent:
                head = ContextHead(context_id, parent, self._tables.depth(parent), 0, 0)
            check_sizes(blobs, turns)
            first = self._tables.root_after(batch, head.turn_id) if turns else 0
            if trees:
                new_blobs = {digest_of(data) for data in blobs}
                for root in trees.values():
                    if root not in new_blobs:
                        self._tables.blob_place(root)
            for data in blobs:
                batch.blob(data, self._tables.hashes.find)
            added = batch.append(head, first, turns, self._tables.hashes.recent) if turns else ()
            for number, root in trees.items():
                batch.attach(added[number].turn_id, root)
            return added

        return await self._handle.change(add)

    async def turns(self, context_id: int, *, before: int | None = None, limit: int = 64) -> list[Turn]:
        """A page of a chain."""
        with self._handle.reading():
            head = self._tables.head(context_id)
            reader = self._tables.reader(limit)
            newest = head.turn_id if before is None else self._tables.parent(reader, before)
            return reader.chain(newest, limit)

    async def turn(self, turn_id: int) -> Turn:
        """One turn whole."""
        with self._handle.reading():
            self._tables.check_turn(turn_id)
            return self._tables.reader().turn(turn_id)

    async def contexts(
        self, *, label: str | None = None, before: int | None = None, limit: int | None = None
    ) -> list[ContextRow]:
        """Contexts by descending id."""
        with self._handle.reading():
            found: list[ContextRow] = []
            below = self._directory.state.next_context
            for head in self._tables.contexts.descending(below if before is None else min(below, before)):
                if limit is not None and len(found) >= limit:
                    break
                known = self._tables.metadata(head.turn_id)
                if label is None or label in known.labels:
                    found.append(_row(head, known))
            return found

    async def put_blob(self, data: bytes) -> bytes:
        """Store a blob unless it is stored already."""

        def add(batch: Batch) -> bytes:
            check_sizes((data,))
            return batch.blob(data, self._tables.hashes.find)

        return await self._handle.change(add)

    async def get_blob(self, digest: bytes) -> bytes:
        """A blob by its hash."""
        with self._handle.reading():
            return self._tables.blob(digest)

    async def attach_fs(self, turn_id: int, root: bytes) -> None:
        """Attach a file tree to a turn."""

        def add(batch: Batch) -> None:
            self._tables.depth(turn_id)
            self._tables.blob_place(root)
            batch.attach(turn_id, root)

        await self._handle.change(add)

    async def fs_root(self, turn_id: int) -> bytes | None:
        """The file tree of a turn or of its nearest ancestor that has one, or None."""
        with self._handle.reading():
            reader = self._tables.reader(64)
            at = turn_id
            self._tables.check_turn(at)
            while at:
                found = self._tables.trees.of(at)
                if found is not None:
                    return found
                at = reader.record(at)[1].parent
            return None

    async def own_fs_root(self, turn_id: int) -> bytes | None:
        """The file tree that is attached to this very turn, or None."""
        with self._handle.reading():
            return self._tables.trees.of(turn_id) if self._tables.trees.any else None

    async def has_trees(self) -> bool:
        """Whether a file tree is attached to any turn."""
        with self._handle.reading():
            return self._tables.trees.any

    async def watch(self, context_id: int) -> AsyncIterator[Head]:
        """Yield a context's head now and after each change."""
        from asyncio import sleep  # only a watcher has a loop; others need not pay for the import

        last: Head | None = None
        while not self._handle.closed:
            head = await self.head(context_id)
            if head != last:
                last = head
                yield head
            await sleep(WATCH_SECONDS)

    async def publish_types(self, bundle_id: str, bundle: bytes) -> None:
        """Keep a registry bundle."""
        with self._handle.writing():
            self.registry.put(bundle_id, bundle)

    @property
    def local(self) -> bool:
        """All processes that open the folder are on this machine."""
        return True

    def hold(self, context_id: int, note: str) -> Hold:
        """Lock a session."""
        with store_errors(self._directory.path):
            return FileHold.take(self._directory.files, self._directory.at(f"orchestra/locks/{context_id}"), note)

    def holder(self, context_id: int) -> str | None:
        """The note of the lock's holder, or None."""
        with store_errors(self._directory.path):
            return holder_of(self._directory.files, self._directory.at(f"orchestra/locks/{context_id}"))

    async def health(self) -> Health:
        """What works and what does not, as far as can be seen without reading all."""
        with self._handle.reading():
            return Health(kind="embedded", place=self._directory.path, findings=tuple(self._findings()))

    def _findings(self) -> Iterator[tuple[str, str]]:
        directory = self._directory
        kind = self._directory.files.file_system(directory.path)
        if kind in REMOTE:
            yield f"the folder is on {kind}, where file locks are unreliable", "put it on a local disk: --store DIR"
        for offset in self._tables.contexts.bad_heads:
            yield f"{PATHS[HEADS]} at byte {offset}: a record has a wrong checksum", "orchestra doctor --deep"
        lost = directory.at(LOST)
        count = len(self._directory.files.listdir(lost)) if self._directory.files.exists(lost) else 0
        if count:
            pieces = "1 quarantined piece" if count == 1 else f"{count} quarantined pieces"
            yield f"{lost} has {pieces} of damaged files", "inspect them, then delete them"

    def attached_trees(self, since: int) -> tuple[list[bytes], int]:
        """The file trees that were attached: what was added to roots.idx."""
        with self._handle.reading():
            directory = self._directory
            end = directory.state.lengths[ROOTS]
            records = [record for _, record in strides(directory.read_all(ROOTS, since, end), ROOT_SIZE)]
            return [ROOT.unpack_from(record)[1] for record in records if intact(record)], end

    async def first_turn(self, turn_id: int) -> Turn:
        """The first turn of a chain."""
        with self._handle.reading():
            self._tables.check_turn(turn_id)
            return self._tables.first_turn(turn_id)

    def moves(self, since: int) -> tuple[list[Head], int]:
        """The heads that were set: what was added to heads.tbl."""
        with self._handle.reading():
            directory = self._directory
            end = directory.state.lengths[HEADS]
            records = [read_head(record) for _, record in strides(directory.read_all(HEADS, since, end), HEAD_SIZE)]
            return [Head(r.context_id, r.turn_id, r.depth) for r in records if r is not None], end

    def place(self) -> int:
        """How long heads.tbl is."""
        with self._handle.reading():
            return self._directory.state.lengths[HEADS]

    def bundles(self) -> list[bytes]:
        """The bundles in the order in which they were written."""
        with self._handle.reading():
            return [raw for _, raw in self.registry.files() if isinstance(raw, bytes)]

    def bundles_changed(self) -> int:
        """When the folder was last changed."""
        with self._handle.reading():
            return self.registry.changed()

    def counts(self) -> Counts:
        """How much is stored."""
        with self._handle.reading():
            state = self._directory.state
            return Counts(
                state.next_context - 1,
                state.next_turn - 1,
                state.lengths[INDEX] // INDEX_ENTRY.size,
                state.lengths[HEADS] // HEAD_SIZE,
                state.lengths[ROOTS] // ROOT_SIZE,
                dict(zip(PATHS, state.lengths, strict=True)),
            )

    def folder(self) -> str | None:
        """The store's folder."""
        return self._directory.path

    async def deep_check(self) -> list[Damage]:
        """Check every record (S8); empty if the store is sound. Takes about a minute for a million turns."""
        with self._handle.reading():
            found = list(deep_check(self._directory, self._progress))
            if not self._tables.hashes.whole():
                found.append(Damage("orchestra/hashes", 0, "has a wrong checksum"))
            return found

    async def close(self) -> None:
        """Settle what was written and close the files."""
        self._handle.close()

    async def settle(self) -> None:
        """Sync the files and empty the log, so that other programs may open the folder (S5)."""
        self._handle.settle()

    async def repair(self) -> list[Damage]:
        """Rebuild damaged files from the others; return the faults that were repaired (S8)."""
        with self._handle.writing():
            self._handle.cut()
            repaired = repair(self._directory, self._tables.reader(1))
            if not self._tables.hashes.whole():
                self._tables.hashes.discard()
                self._tables.hashes.load(keep=True)
                repaired.append(Damage("orchestra/hashes", 0, "has a wrong checksum"))
            return repaired

    async def prune(self, contexts: Collection[int]) -> PruneResult:
        """Remove contexts with the turns and blobs that only they need; the store is closed afterwards.

        Raises ``SessionTaken`` where a session is running anywhere in the folder, before anything is changed.
        """
        await self.settle()
        with self._handle.writing():
            for name in self._directory.files.listdir(self._directory.at("orchestra/locks")):
                note = holder_of(self._directory.files, self._directory.at(f"orchestra/locks/{name}"))
                if note is not None:
                    raise SessionTaken(
                        f"a session of this store is running ({note})",
                        fix="wait for its end, or stop it, then try again",
                    )
            done = prune(self._directory, contexts, self._tables.blob)
            self._handle.refusal = StoreError(f"{self._directory.path} was rewritten; open it again")
            return done


def _row(head: ContextHead, known: ChainMetadata) -> ContextRow:
    return ContextRow(
        context_id=head.context_id,
        head_turn=head.turn_id,
        head_depth=head.depth,
        created_ms=head.created_ms,
        appended_ms=head.appended_ms,
        client_tag=known.client_tag,
        title=known.title,
        labels=known.labels,
    )
