"""What the server needs of a store beyond the ``Store`` port: and the embedded store's answers to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from orchestra.cxdb.embedded.store import NO_TREES, EmbeddedStore
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
from orchestra.ports.store import Head, NewTurn, Store, Turn


class Counts(NamedTuple):
    """How much is stored; ``sizes`` are bytes by file."""

    contexts: int
    turns: int
    blobs: int
    heads: int
    trees: int
    sizes: Mapping[str, int]


class Backing(Store, Protocol):
    """A store that can be served."""

    async def append(
        self,
        context_id: int,
        turns: Sequence[NewTurn],
        *,
        parent: int = 0,
        blobs: Sequence[bytes] = (),
        trees: Mapping[int, bytes] = NO_TREES,
    ) -> tuple[Turn, ...]:
        """Append as ``Store.append`` does, after ``parent`` if it is not 0, and attach file trees.

        The head moves to the new turns. ``trees`` are roots by the number in ``turns`` of their turn.
        """

    async def fs_root(self, turn_id: int) -> bytes | None:
        """The file tree of a turn or of its nearest ancestor that has one, or None."""

    def attached_trees(self, since: int) -> tuple[list[bytes], int]:
        """The file trees that were attached after a place, or more of them; and the place after them."""

    async def first_turn(self, turn_id: int) -> Turn:
        """The first turn of a turn's chain."""

    def moves(self, since: int) -> tuple[list[Head], int]:
        """The heads that were set after a place, by any process, in order; and the place after them."""

    def place(self) -> int:
        """The place after the last head that was set."""

    def bundles(self) -> list[bytes]:
        """The registry's bundles, oldest first."""

    def bundles_changed(self) -> int:
        """A number that is another one when a bundle was added."""

    def counts(self) -> Counts:
        """How much is stored."""

    def folder(self) -> str | None:
        """Where the files are; None where there are none."""


class ServedEmbedded(EmbeddedStore):
    """The embedded store, served while other processes use it."""

    def attached_trees(self, since: int) -> tuple[list[bytes], int]:
        """The file trees that were attached: what was added to roots.idx."""
        with self._reading():
            directory = self._directory
            end = directory.state.lengths[ROOTS]
            records = [record for _, record in strides(directory.read_all(ROOTS, since, end), ROOT_SIZE)]
            return [ROOT.unpack_from(record)[1] for record in records if intact(record)], end

    async def first_turn(self, turn_id: int) -> Turn:
        """The first turn of a chain."""
        with self._reading():
            self._depth(turn_id)
            return self._reader(1).turn(self._root(turn_id))

    def moves(self, since: int) -> tuple[list[Head], int]:
        """The heads that were set: what was added to heads.tbl."""
        with self._reading():
            directory = self._directory
            end = directory.state.lengths[HEADS]
            records = [read_head(record) for _, record in strides(directory.read_all(HEADS, since, end), HEAD_SIZE)]
            return [Head(r.context_id, r.turn_id, r.depth) for r in records if r is not None], end

    def place(self) -> int:
        """How long heads.tbl is."""
        with self._reading():
            return self._directory.state.lengths[HEADS]

    def bundles(self) -> list[bytes]:
        """The bundles in the order in which they were written."""
        with self._reading():
            return [raw for _, raw in self.registry.files() if isinstance(raw, bytes)]

    def bundles_changed(self) -> int:
        """When the folder was last changed."""
        with self._reading():
            return self.registry.changed()

    def counts(self) -> Counts:
        """How much is stored."""
        with self._reading():
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
