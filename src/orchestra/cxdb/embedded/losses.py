"""Report which turns a repair would drop from a damaged folder (S8); changes nothing.

The folder is read twice: as our log and our own records tell of it, and as CXDB's files alone do, which is what
continuing without them means.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestra.cxdb.embedded import recovery
from orchestra.cxdb.embedded.adopt import Progress
from orchestra.cxdb.embedded.contexts import ContextHead, Contexts
from orchestra.cxdb.embedded.directory import Directory
from orchestra.cxdb.embedded.files import Files, store_errors
from orchestra.cxdb.embedded.reader import BlobPlaces, PageReader
from orchestra.cxdb.format.layout import CHECKS, PACK, read_check
from orchestra.errors import Damaged, SessionNotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Turns of one context, as first and last depth of each stretch, and how many turns it had."""

    context_id: int
    stretches: tuple[tuple[int, int], ...]
    turns: int


def losses(path: str, progress: Progress) -> list[Loss]:
    """Return what is lost, by context; empty if everything can be rebuilt. Raises ``StoreError``."""
    place = Files().absolute(path)
    with store_errors(place):
        before, after = _FolderReading(place, Files(), progress), _FolderReading(place, _Theirs(place), progress)
        try:
            return _compare(before, after)
        finally:
            before.close()
            after.close()


class _Theirs(Files):
    """A folder without what we keep in it beside CXDB's files."""

    def __init__(self, place: str) -> None:
        self._ours = f"{place}/orchestra/"

    def open(self, path: str, *, write: bool, create: bool = False) -> int:
        """Open a file of CXDB's; ours are not there."""
        if path.startswith(self._ours):
            raise FileNotFoundError(path)
        return super().open(path, write=write, create=create)


class _FolderReading:
    """One way to read a folder."""

    def __init__(self, place: str, files: Files, progress: Progress) -> None:
        self.directory = Directory(place, files, read_only=True)
        recovery.look(self.directory, progress)
        self.contexts = Contexts(self.directory)
        self.contexts.load()
        self.reader = PageReader(self.directory, BlobPlaces(self.directory), lambda _digest: None, width=64)

    def close(self) -> None:
        """Close the files."""
        self.contexts.close()
        self.directory.close()


def _compare(before: _FolderReading, after: _FolderReading) -> list[Loss]:
    unread = _unreadable(after)
    found = []
    for stood in before.contexts.descending(before.directory.state.next_context):
        stands = after.contexts.find(stood.context_id)
        left = stands.depth + 1 if stands is not None and stands.turn_id else 0
        had = stood.depth + 1 if stood.turn_id else 0
        depths = [*range(left, had)]
        if stands is not None and unread:
            depths = [*_among(after, stands, unread), *depths]
        if depths:
            found.append(Loss(context_id=stood.context_id, stretches=_stretches(depths), turns=had))
    return found


def _unreadable(view: _FolderReading) -> frozenset[int]:
    """Return the turns whose payload is beyond the pack's end, and those whose type is unknown."""
    end = view.directory.state.lengths[PACK]
    checks = (read_check(record) for _, record in view.directory.records(CHECKS))
    return frozenset(
        check.turn_id for check in checks if check and (check.pack_offset >= end or not check.meta_size)
    )


def _among(view: _FolderReading, head: ContextHead, wanted: frozenset[int]) -> list[int]:
    """The depths of those of the turns that a context holds, ascending; ids only fall on the way back."""
    first, turn_id = min(wanted), head.turn_id
    depths = []
    try:
        while turn_id >= first:
            record = view.reader.record(turn_id)[1]
            if turn_id in wanted:
                depths.append(record.depth)
            turn_id = record.parent
    except (Damaged, SessionNotFound):
        pass  # what is older was out of reach before
    return depths[::-1]


def _stretches(depths: list[int]) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    for depth in depths:
        if found and found[-1][1] + 1 == depth:
            found[-1] = (found[-1][0], depth)
        else:
            found.append((depth, depth))
    return tuple(found)
