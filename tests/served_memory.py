"""The store in memory as the server's backing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from orchestra.cxdb.embedded.store import NO_TREES, Counts
from orchestra.cxdb.format.packing import digest_of
from orchestra.cxdb.memory import MemoryStore
from orchestra.ports import Head, NewTurn, Turn


class ServedMemory(MemoryStore):
    """The store in memory, served."""

    def __init__(self) -> None:
        super().__init__()
        self._set: list[Head] = []

    async def create(self, base_turn: int = 0) -> Head:
        """Make a context."""
        head = await super().create(base_turn)
        self._set.append(head)
        return head

    async def append(
        self,
        context_id: int,
        turns: Sequence[NewTurn],
        *,
        parent: int = 0,
        blobs: Sequence[bytes] = (),
        trees: Mapping[int, bytes] = NO_TREES,
    ) -> tuple[Turn, ...]:
        """Append turns and store blobs, after a turn if one is named, with file trees."""
        row = self._row(context_id)
        known = {digest_of(data) for data in blobs}
        for root in trees.values():
            if root not in known:
                await self.get_blob(root)
        if parent:
            self._contexts[context_id] = replace(row, head_turn=parent, head_depth=self._turn(parent).depth)
        added = await super().append(context_id, turns, blobs=blobs)
        for turn in added:
            self._set.append(Head(context_id, turn.turn_id, turn.depth))
        for number, root in trees.items():
            await self.attach_fs(added[number].turn_id, root)
        return added

    def attached_trees(self, since: int) -> tuple[list[bytes], int]:
        """All file trees: they are few."""
        return list(self._fs.values()), since

    async def first_turn(self, turn_id: int) -> Turn:
        """The first turn of a chain."""
        return self.first_turn_of(turn_id)

    def moves(self, since: int) -> tuple[list[Head], int]:
        """The heads that were set."""
        return self._set[since:], len(self._set)

    def place(self) -> int:
        """How many were set."""
        return len(self._set)

    def bundles(self) -> list[bytes]:
        """The bundles."""
        return list(self._bundles.values())

    def bundles_changed(self) -> int:
        """How many there are."""
        return len(self._bundles)

    def counts(self) -> Counts:
        """How much is stored."""
        count = len(self._contexts)
        blobs = {*self._blobs, *(digest_of(turn.payload) for turn in self._turns)}
        return Counts(count, len(self._turns), len(blobs), count, len(self._fs), {})

    def folder(self) -> str | None:
        """There are no files."""
        return None
