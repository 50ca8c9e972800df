"""Remove contexts from a store's folder: write its files without them, then replace the files (S5).

Turns keep their ids, which others name; a removed one keeps its place with an empty payload, and no context leads
to it. New files are written beside the old ones and synced. From the moment that ``PRUNING`` exists they are the
ones that count: the next process that opens the folder finishes putting them in place. What is ours beside CXDB's
files is made again when the folder is opened. A process that has the old files open cannot write to them any more.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from orchestra.cxdb.embedded.directory import LOCK, UNSETTLED, Directory
from orchestra.cxdb.embedded.files import Files
from orchestra.cxdb.embedded.reader import damage_at
from orchestra.cxdb.embedded.wal import PATH as WAL
from orchestra.cxdb.format.layout import (
    BLOB_EXTRA,
    CHECK_SIZE,
    CHECKS,
    HEADS,
    INDEX,
    LOG,
    META,
    PACK,
    PATHS,
    RAW,
    ROOT,
    ROOTS,
    TURN_INDEX,
    TURN_INDEX_ENTRY,
    TURN_SIZE,
    blob_record,
    head_record,
    index_entry,
    meta_record,
    read_check,
    read_head,
    read_index_entry,
    read_turn,
    turn_record,
)
from orchestra.cxdb.format.packing import digest_of
from orchestra.errors import Damaged

PRUNING = "orchestra/PRUNING"
"""New files are whole: they go into the place of the old ones."""

NEW = ".new"
REMOVED = "dev.orchestra.Removed"
"""The type of a turn whose session was removed."""

NOTHING_LEFT = b"\x80"
"""The payload of such a turn: an empty map."""

WRITTEN = (PACK, INDEX, LOG, TURN_INDEX, META, HEADS, ROOTS)
_HEX = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_STEP = 4096
"""Records that are read at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneResult:
    """How many turns and blobs were removed, and by how many bytes the files became smaller."""

    turns: int
    blobs: int
    freed: int


def prune(directory: Directory, contexts: Collection[int], blob: Callable[[bytes], bytes]) -> PruneResult:
    """Remove contexts, under the lock and with an empty log; ``blob`` reads one by its hash.

    What other contexts have in common with them stays. The directory cannot be used afterwards. Raises ``Damaged``
    where a turn's record cannot be read, before anything is changed. Damaged blobs that other contexts need stay.
    """
    before = sum(directory.sizes()[number] for number in WRITTEN)
    kept = _turns_kept(directory, contexts)
    gone, removed = _blobs_gone(directory, kept, blob)
    new = _NewFiles(directory)
    try:
        new.blobs(gone)
        new.turns(kept)
        new.heads(contexts)
        new.roots(kept)
        new.finish()
    finally:
        new.close()
    fd = directory.files.open(directory.at(PRUNING), write=True, create=True)
    directory.files.close(fd)
    directory.files.sync_folder(directory.at("orchestra"))
    put_in_place(directory.path, directory.files, directory.lock_fd)
    return PruneResult(turns=removed, blobs=len(gone), freed=max(0, before - sum(new.ends)))


def finish_pruning(path: str, files: Files) -> None:
    """Put the new files in place that a process left beside the old ones when it died."""
    fd = files.open(f"{path}/{LOCK}", write=True, create=True)
    try:
        files.lock(fd)
        if files.exists(f"{path}/{PRUNING}"):
            put_in_place(path, files, fd)
    finally:
        files.close(fd)


def put_in_place(path: str, files: Files, lock_fd: int) -> None:
    """Replace the old files by the new ones, which are whole, under the lock. It can be repeated."""
    for number in WRITTEN:
        if files.exists(f"{path}/{PATHS[number]}{NEW}"):
            files.rename(f"{path}/{PATHS[number]}{NEW}", f"{path}/{PATHS[number]}")
    for name in files.listdir(f"{path}/orchestra"):
        if name in {"contexts", "titles"} or name.startswith("hashes."):
            files.unlink(f"{path}/orchestra/{name}")
    for name in (PATHS[CHECKS], WAL, UNSETTLED):
        if files.exists(f"{path}/{name}"):
            files.unlink(f"{path}/{name}")
    for folder in ("blobs", "turns", "fs", "orchestra"):
        files.sync_folder(f"{path}/{folder}")
    files.truncate(lock_fd, 0)  # a process that has the old files open is refused from now on
    files.unlink(f"{path}/{PRUNING}")
    files.unlink(f"{path}/{LOCK}")
    files.sync_folder(f"{path}/orchestra")


def _heads(directory: Directory) -> Iterator[tuple[int, int, bytes]]:
    """Context, turn and bytes of each record of heads.tbl."""
    for at, data in directory.records(HEADS):
        head = read_head(data)
        if head is None:
            raise damage_at(HEADS, at, "a record has a wrong checksum")
        yield head.context_id, head.turn_id, data


def _turns_kept(directory: Directory, contexts: Collection[int]) -> bytearray:
    """By turn id, whether a context that stays leads to it."""
    parents = array("Q", [0])
    for at, data in directory.records(LOG):
        record = read_turn(data)
        if record is None or record.turn_id != len(parents):
            raise damage_at(LOG, at, "a turn's record has a wrong checksum or is out of order")
        parents.append(record.parent)
    newest = {context: turn for context, turn, _data in _heads(directory)}
    kept = bytearray(len(parents))
    for context, head in newest.items():
        turn = 0 if context in contexts else head
        while 0 < turn < len(kept) and not kept[turn]:
            kept[turn] = 1
            turn = parents[turn]
    return kept


def _blobs_gone(directory: Directory, kept: bytearray, blob: Callable[[bytes], bytes]) -> tuple[set[bytes], int]:
    """The blobs that only removed turns need, directly or by naming them; and how many turns are removed.

    A blob is named by its hash in hex. Where the store has file trees, which name blobs in binary, only payloads
    go.
    """
    needed: set[bytes] = set()
    gone: set[bytes] = set()
    removed = 0
    for _at, data in directory.records(LOG):
        record = read_turn(data)
        assert record is not None
        (needed if kept[record.turn_id] else gone).add(record.payload_hash)
        removed += not kept[record.turn_id]
    gone -= needed
    if not gone:
        return set(), removed
    known = {read_index_entry(data).digest for _at, data in directory.records(INDEX)}
    if directory.state.lengths[ROOTS]:
        return gone & known, removed
    gone = _reachable(gone & known, known - needed, blob)
    return gone - _reachable(known - gone, gone, blob), removed


def _reachable(start: set[bytes], among: set[bytes], blob: Callable[[bytes], bytes]) -> set[bytes]:
    """Blobs and those ``among`` others that they name, directly or by way of one another.

    A damaged one names none: nobody can follow it.
    """
    found, waiting = set(start), list(start)
    while waiting:
        try:
            names = _HEX.findall(blob(waiting.pop()))
        except Damaged:
            continue
        for name in names:
            digest = bytes.fromhex(name.decode())
            if digest in among and digest not in found:
                found.add(digest)
                waiting.append(digest)
    return found


class _NewFiles:
    """The files that take the place of the old ones."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._fds: dict[int, int] = {}
        self._waiting: dict[int, list[bytes]] = {number: [] for number in WRITTEN}
        self._sizes = dict.fromkeys(WRITTEN, 0)
        self.ends: list[int] = []
        self._tombstone = digest_of(NOTHING_LEFT)
        for number in WRITTEN:
            fd = directory.files.open(directory.at(PATHS[number] + NEW), write=True, create=True)
            self._fds[number] = fd
            directory.files.truncate(fd, 0)

    def add(self, number: int, data: bytes) -> int:
        """Append bytes to a file; return where they begin."""
        at = self._sizes[number]
        self._sizes[number] += len(data)
        self._waiting[number].append(data)
        if len(self._waiting[number]) >= _STEP:
            self._write(number)
        return at

    def _write(self, number: int) -> None:
        data = b"".join(self._waiting[number])
        self._waiting[number].clear()
        self._directory.files.pwrite(self._fds[number], data, self._sizes[number] - len(data))

    def blobs(self, gone: set[bytes]) -> None:
        """All blobs but those that are gone, and the one that stands for what was removed."""
        known = False
        for _at, data in self._directory.records(INDEX):
            entry = read_index_entry(data)
            if entry.digest in gone:
                continue
            known = known or entry.digest == self._tombstone
            size = BLOB_EXTRA + entry.stored_size
            record = self._directory.read_all(PACK, entry.offset, entry.offset + size)
            at = self.add(PACK, record)
            self.add(INDEX, index_entry(entry.digest, at, entry.raw_size, entry.stored_size, entry.codec))
        if not known:
            size = len(NOTHING_LEFT)
            at = self.add(PACK, blob_record(self._tombstone, size, RAW, NOTHING_LEFT))
            self.add(INDEX, index_entry(self._tombstone, at, size, size, RAW))

    def turns(self, kept: bytearray) -> None:
        """All turns; those that are removed without what they held."""
        for at, data in self._directory.records(LOG):
            record = read_turn(data)
            assert record is not None
            place = at // TURN_SIZE
            if kept[record.turn_id]:
                check = read_check(self._directory.read(CHECKS, CHECK_SIZE, place * CHECK_SIZE))
                if check is None or not check.meta_size:
                    raise damage_at(CHECKS, place * CHECK_SIZE, f"the location of turn {record.turn_id} is lost")
                self.add(META, self._directory.read(META, check.meta_size, check.meta_offset))
            else:
                data = turn_record(record.turn_id, record.parent, record.depth, self._tombstone, record.created_ms)
                self.add(META, meta_record(record.turn_id, REMOVED.encode(), 1, len(NOTHING_LEFT)))
            at = self.add(LOG, data)
            self.add(TURN_INDEX, TURN_INDEX_ENTRY.pack(record.turn_id, at))

    def heads(self, contexts: Collection[int]) -> None:
        """The heads of what stays; the newest context leaves an empty one, so that no id is given out twice."""
        newest = 0
        for context, _turn, data in _heads(self._directory):
            newest = max(newest, context)
            if context not in contexts:
                self.add(HEADS, data)
        if newest in contexts:
            self.add(HEADS, head_record(newest, 0, 0, 0))

    def roots(self, kept: bytearray) -> None:
        """The file trees of the turns that stay."""
        for _at, data in self._directory.records(ROOTS):
            if kept[ROOT.unpack_from(data)[0]]:
                self.add(ROOTS, data)

    def finish(self) -> None:
        """Make all of them durable."""
        for number in WRITTEN:
            self._write(number)
            self._directory.files.fdatasync(self._fds[number])
        self.ends = list(self._sizes.values())
        for folder in ("blobs", "turns", "fs"):
            self._directory.files.sync_folder(self._directory.at(folder))

    def close(self) -> None:
        """Close them."""
        for fd in self._fds.values():
            self._directory.files.close(fd)
