"""The total size of attached file trees, computed incrementally."""

from __future__ import annotations

from orchestra.cxdb.format.frames import Malformed
from orchestra.cxdb.format.fstree import DIRECTORY, read_tree
from orchestra.cxdb.server.backing import Backing
from orchestra.errors import StoreError

READ_AT_ONCE = 1000
"""Directories that one look reads; what is left is read by the next one."""


class TreeSizes:
    """The bytes of every file and directory that a tree names, each content once.

    A blob never changes, so none is read twice. Files are not read: their directories tell their sizes.
    """

    def __init__(self, store: Backing) -> None:
        self._store = store
        self._place = 0
        self._known: set[bytes] = set()
        self._directories: list[bytes] = []
        self._total = 0

    async def total(self) -> int:
        """The bytes of what was attached so far, as far as it is counted."""
        roots, self._place = self._store.attached_trees(self._place)
        self._note(roots)
        for _ in range(READ_AT_ONCE):
            if not self._directories:
                break
            await self._read(self._directories.pop())
        return self._total

    async def _read(self, directory: bytes) -> None:
        try:
            data = await self._store.get_blob(directory)
            entries = read_tree(data)
        except (Malformed, StoreError):
            return
        self._total += len(data)
        self._note([entry.digest for entry in entries if entry.kind == DIRECTORY])
        for entry in entries:
            if entry.kind != DIRECTORY and entry.digest not in self._known:
                self._known.add(entry.digest)
                self._total += entry.size

    def _note(self, directories: list[bytes]) -> None:
        for digest in directories:
            if digest not in self._known:
                self._known.add(digest)
                self._directories.append(digest)
