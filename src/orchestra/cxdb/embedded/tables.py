"""Look up contexts, turns and blobs of a store, by tables beside CXDB's files (S8, S9)."""

from __future__ import annotations

from orchestra.cxdb.embedded.batch import Batch
from orchestra.cxdb.embedded.contexts import ContextHead, Contexts, parent_by_heads
from orchestra.cxdb.embedded.directory import Directory
from orchestra.cxdb.embedded.hashes import Hashes
from orchestra.cxdb.embedded.reader import BlobPlaces, FileTrees, PageReader
from orchestra.cxdb.embedded.titles import Titles
from orchestra.cxdb.embedded.wal import State
from orchestra.cxdb.format.layout import HEADS
from orchestra.cxdb.format.metadata import NO_METADATA, ChainMetadata, metadata_of
from orchestra.errors import Damaged, SessionNotFound
from orchestra.ports.store import Turn

MANY_ROOTS = 8192
"""How many turns are remembered with the first turn of their chain."""


class Tables:
    """The tables of one open folder."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self.contexts = Contexts(directory)
        self.hashes = Hashes(directory)
        self.trees = FileTrees(directory)
        self._places = BlobPlaces(directory)
        self._titles = Titles(directory)
        self._roots: dict[int, int] = {}
        """The first turns of the chains of turns that were appended or forked lately."""

    def load(self, *, keep: bool = False) -> None:
        """Read the tables; those that are rebuilt are written if ``keep``, under the store's lock."""
        self.contexts.load()
        self.hashes.load(keep=keep)

    def reload(self) -> None:
        """Read again what another process may have rewritten."""
        self.contexts.load()
        self.hashes.reload_if_changed()

    def catch_up(self, before: State, after: State) -> None:
        """Read what other processes appended between two states."""
        self.contexts.read_heads(before.lengths[HEADS], after.lengths[HEADS])
        self.hashes.catch_up()

    def add(self, batch: Batch) -> None:
        """Add a batch that was stored."""
        for context_id, (turn_id, depth) in batch.heads.items():
            self.contexts.move(context_id, turn_id, depth, batch.now_ms)
        for digest, offset in batch.blobs.items():
            self.hashes.add(digest, offset)
        if len(self._roots) > MANY_ROOTS:
            self._roots.clear()
        self._roots.update(batch.roots)
        for turn in batch.begun:
            self._titles.add(turn.turn_id, metadata_of(turn.payload))

    def save(self) -> None:
        """Bring the files of the tables up to date, under the store's lock."""
        self.contexts.save()
        self.hashes.save()
        self._titles.save()

    def close(self) -> None:
        """Close the files."""
        self.contexts.close()
        self.hashes.close()

    def reader(self, limit: int = 1) -> PageReader:
        """A reader for a page of so many turns."""
        return PageReader(self._directory, self._places, self.hashes.find, width=min(max(limit, 1), 64))

    def head(self, context_id: int) -> ContextHead:
        """A context's head. Raises ``SessionNotFound``."""
        found = self.contexts.find(context_id)
        if found is None:
            raise SessionNotFound(f"no context {context_id}")
        return found

    def head_after(self, batch: Batch, context_id: int) -> ContextHead:
        """A context's head when a batch is stored."""
        at = batch.heads.get(context_id)
        return self.head(context_id) if at is None else ContextHead(context_id, *at, 0, 0)

    def root_after(self, batch: Batch, turn_id: int) -> int:
        """The first turn of a turn's chain when a batch is stored; 0 for no turn."""
        return batch.roots.get(turn_id) or (self.root(turn_id) if turn_id else 0)

    def root(self, turn_id: int) -> int:
        """The first turn of a turn's chain."""
        known = self._roots.get(turn_id)
        if known is None:
            known = self._roots[turn_id] = self.reader().root(turn_id)
        return known

    def depth(self, turn_id: int) -> int:
        """A turn's depth. Raises ``SessionNotFound``."""
        self.check_turn(turn_id)
        return self.reader().record(turn_id)[1].depth

    def parent(self, reader: PageReader, turn_id: int) -> int:
        """A turn's parent, also where the turn itself is damaged. Raises ``SessionNotFound``."""
        self.check_turn(turn_id)
        try:
            return reader.record(turn_id)[1].parent
        except Damaged:
            parent = parent_by_heads(self._directory, turn_id)
            if parent is None:
                raise
            return parent

    def check_turn(self, turn_id: int) -> None:
        """Raise ``SessionNotFound`` for a turn that does not exist."""
        if not 1 <= turn_id < self._directory.state.next_turn:
            raise SessionNotFound(f"no turn {turn_id}")

    def blob_place(self, digest: bytes) -> int:
        """The offset of a blob in the pack. Raises ``SessionNotFound``."""
        offset = self.hashes.find_surely(digest)
        if offset is None:
            raise SessionNotFound(f"no blob {digest.hex()}")
        return offset

    def blob(self, digest: bytes) -> bytes:
        """A blob by its hash."""
        return self.reader().blob(self.blob_place(digest), digest)

    def first_turn(self, turn_id: int) -> Turn:
        """The first turn of a turn's chain, whole."""
        return self.reader().turn(self.root(turn_id))

    def metadata(self, turn_id: int) -> ChainMetadata:
        """What the first turn of a turn's chain says; nothing for no turn, or where that turn is damaged."""
        if not turn_id:
            return NO_METADATA
        try:
            root = self.root(turn_id)
            return self._titles.of(root, lambda: metadata_of(self.first_turn(root).payload))
        except Damaged:
            return NO_METADATA
