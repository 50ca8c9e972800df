"""What the server needs of a store beyond the ``Store`` port."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from orchestra.cxdb.embedded.store import NO_TREES, Counts
from orchestra.ports.store import Head, NewTurn, Store, Turn


class ServableStore(Store, Protocol):
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
