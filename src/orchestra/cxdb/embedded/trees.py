"""The file tree attached to each turn."""

from __future__ import annotations

from orchestra.cxdb.embedded.directory import Directory
from orchestra.cxdb.format.layout import PATHS, ROOT, ROOT_SIZE, ROOTS, intact, strides
from orchestra.errors import Damaged


class FileTrees:
    """The attachments of one store, read in when they are first asked for."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._roots: dict[int, bytes] = {}
        self._seen = 0
        self._bad: int | None = None

    def of(self, turn_id: int) -> bytes | None:
        """The root that is attached to this very turn; ``Damaged`` where a damaged record may name another."""
        self._catch_up()
        found = self._roots.get(turn_id)
        if self._bad is not None:
            name = PATHS[ROOTS]
            raise Damaged(f"{name} at byte {self._bad}: has a wrong checksum", file=name, offset=self._bad)
        return found

    @property
    def any(self) -> bool:
        """Whether a tree is attached to any turn."""
        self._catch_up()
        return bool(self._roots)

    def _catch_up(self) -> None:
        end = self._directory.state.lengths[ROOTS]
        data = self._directory.read_all(ROOTS, self._seen, end)
        for offset, record in strides(data, ROOT_SIZE):
            if intact(record):
                turn_id, root = ROOT.unpack_from(record)
                self._roots[turn_id] = root
            else:
                self._bad = self._seen + offset
        if len(data) < end - self._seen:
            self._bad = self._seen + len(data)
        self._seen = max(end, self._seen)
