"""Read files that CXDB wrote, in one pass, and rebuild our records beside them (S5, S8, S9).

From where the store stood before to where the files end: torn tails are cut off (kept in
``orchestra/lost``), and each turn gets its check record. A record that is damaged, but followed by whole
ones, stays where it is and is named when it is read. Nothing that is known is derived twice: a check
record that is whole and belongs to its turn stays.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from zlib import crc32

from orchestra.cxdb.embedded.directory import AT_ONCE, Directory
from orchestra.cxdb.embedded.hashes import Hashes
from orchestra.cxdb.embedded.reader import BlobPlaces, PageReader, derive_meta
from orchestra.cxdb.embedded.wal import State
from orchestra.cxdb.format.layout import (
    BLOB_EXTRA,
    BLOB_HEADER,
    CHECK_SIZE,
    CHECKS,
    HEAD,
    HEAD_SIZE,
    HEADS,
    INDEX,
    INDEX_ENTRY,
    LOG,
    META,
    META_FIXED,
    META_HEAD,
    NOWHERE,
    PACK,
    ROOT,
    ROOT_SIZE,
    ROOTS,
    STRIDES,
    TURN,
    TURN_INDEX,
    TURN_INDEX_ENTRY,
    TURN_SIZE,
    BlobHeader,
    check_record,
    head_record,
    index_entry,
    intact,
    read_blob_header,
    read_check,
    read_meta,
    strides,
)
from orchestra.errors import Damaged

Progress = Callable[[str, int, int], None]
"""Receives what is being done, how much of it is done, and how much there is."""

_CHUNK = 1 << 20


def quiet(_what: str, _done: int, _all: int) -> None:
    """Report no progress."""


def adopt(directory: Directory, known: State, progress: Progress) -> State:
    """Take over what follows ``known``; return the new state of the store.

    In a folder that may not be written nothing is cut or written: our records are kept in memory.
    """
    return _Adoption(directory, known, progress).run()


class _Adoption:
    """One pass over the ends of the files."""

    def __init__(self, directory: Directory, known: State, progress: Progress) -> None:
        self._directory = directory
        self._known = known
        self._progress = progress
        self._ends = list(directory.sizes())
        self._next_turn = known.next_turn
        self._next_context = known.next_context
        self._metas: dict[int, tuple[int, int, int]] = {}
        self._meta_end = known.lengths[META]
        self._anew: list[bytes] = []
        self._next_meta = self._walk_meta()
        self._blobs: dict[bytes, int] = {}
        self._older: Hashes | None = None
        self._walked = False
        self._pack_is_torn = False
        """Whether the pack has lost blobs at its end that blobs.idx names."""

    def run(self) -> State:
        """Take over file by file: what is named before what names it."""
        try:
            return self._run()
        finally:
            if self._older is not None:
                self._older.close()

    def _run(self) -> State:
        for number in (LOG, HEADS, ROOTS):
            self._cut_torn_records(number)
        self._index_blobs()
        self._check_turns()
        self._end_meta()
        self._index_turns()
        self._count_contexts()
        return self._known._replace(
            next_turn=self._next_turn,
            next_context=self._next_context,
            lengths=tuple(self._ends),
        )

    def _cut(self, number: int, offset: int) -> None:
        if offset < self._ends[number]:
            if not self._directory.read_only:
                self._directory.keep_aside(number, offset, self._ends[number])
            self._ends[number] = offset

    def _start(self, number: int) -> int:
        return self._known.lengths[number]

    def _cut_torn_records(self, number: int) -> None:
        """Bad records at the end of a file of fixed records are torn; bad ones before good ones are not."""
        stride = STRIDES[number]
        start, end = self._start(number), self._ends[number]
        end -= (end - start) % stride
        while end > start and not intact(self._directory.read(number, stride, end - stride)):
            end -= stride
        self._cut(number, end)

    def _index_blobs(self) -> None:
        """Know each blob's place; entries that blobs.idx lacks are made from the pack."""
        start, end = self._start(INDEX), self._ends[INDEX]
        self._cut(INDEX, end - (end - start) % INDEX_ENTRY.size)
        covered, step = self._start(PACK), INDEX_ENTRY.size * AT_ONCE
        for offset in range(start, self._ends[INDEX], step):
            self._progress("blobs", offset, self._ends[INDEX])
            data = self._directory.read_all(INDEX, offset, min(self._ends[INDEX], offset + step))
            for digest, at, _, stored_size, _, _ in INDEX_ENTRY.iter_unpack(data):
                self._blobs[digest] = at
                covered = max(covered, at + BLOB_EXTRA + stored_size)
        if covered > self._ends[PACK]:
            self._forget_blobs_beyond_the_pack()
            covered = self._start(PACK)
        self._index_pack(covered)

    def _forget_blobs_beyond_the_pack(self) -> None:
        """Cut entries off the end of blobs.idx whose blobs the pack has lost; others like them are damaged."""
        whole = self._start(INDEX)
        for offset, record in self._directory.records(INDEX, whole, self._ends[INDEX]):
            digest, at, _, stored_size, _, _ = INDEX_ENTRY.unpack(record)
            if at + BLOB_EXTRA + stored_size <= self._ends[PACK]:
                whole = offset + INDEX_ENTRY.size
            elif self._blobs.get(digest) == at:
                del self._blobs[digest]
        self._pack_is_torn = whole < self._ends[INDEX]
        self._cut(INDEX, whole)

    def _index_pack(self, offset: int) -> None:
        entries = []
        for at, header in self._pack_from(offset):
            if header.digest not in self._blobs:
                self._blobs[header.digest] = at
                entries.append(index_entry(header.digest, at, header.raw_size, header.stored_size, header.codec))
            offset = at + BLOB_EXTRA + header.stored_size
        self._append(INDEX, b"".join(entries))
        self._cut(PACK, offset)

    def _pack_from(self, offset: int) -> Iterator[tuple[int, BlobHeader]]:
        while True:
            header = read_blob_header(self._directory.read(PACK, BLOB_HEADER.size, offset))
            if header is None:
                return
            end = offset + BLOB_EXTRA + header.stored_size
            if end > self._ends[PACK] or not intact(self._directory.read_all(PACK, offset, end)):
                return
            yield offset, header
            offset = end

    def _append(self, number: int, data: bytes) -> None:
        if not data:
            return
        directory = self._directory
        if directory.read_only:
            start, before = directory.overlay.get(number, (self._ends[number], b""))
            directory.overlay[number] = (start, before + data)
        else:
            directory.files.pwrite(directory.fds[number], data, self._ends[number])
        self._ends[number] += len(data)

    def _check_turns(self) -> None:
        """Write a check record for each turn that has none."""
        start, end = self._start(LOG), self._ends[LOG]
        first = start // TURN_SIZE
        kept = self._directory.read_all(CHECKS, first * CHECK_SIZE, self._ends[CHECKS])
        self._ends[CHECKS] = first * CHECK_SIZE
        roots = _Roots(self._directory, self._known.next_turn)
        step = TURN_SIZE * (_CHUNK // TURN_SIZE)
        for offset in range(start, end, step):
            self._progress("turns", offset, end)
            data = self._directory.read_all(LOG, offset, min(end, offset + step))
            checks = []
            for at in range(0, len(data), TURN_SIZE):
                record = data[at : at + TURN_SIZE]
                if self._pack_is_torn and self._has_lost_its_payload(record):
                    self._cut_turns(offset + at, TURN.unpack_from(record)[0])
                    break
                old = kept[(offset + at - start) // TURN_SIZE * CHECK_SIZE :][:CHECK_SIZE]
                checks.append(self._check(record, old, roots))
            self._append(META, b"".join(self._anew))
            self._anew.clear()
            self._append(CHECKS, b"".join(checks))
            if self._ends[LOG] < end:
                break
        self._progress("turns", end, end)

    def _has_lost_its_payload(self, record: bytes) -> bool:
        return intact(record) and self._blob(TURN.unpack_from(record)[5]) == NOWHERE

    def _cut_turns(self, offset: int, turn_id: int) -> None:
        """Cut off a turn whose payload the pack has lost at its end, and all turns after it."""
        meta = self._meta_of(turn_id)
        if meta is not None:
            self._meta_end = meta[0]
        self._next_meta = iter(())
        self._cut(LOG, offset)
        whole = self._start(ROOTS)
        for at, attached in self._directory.records(ROOTS, whole, self._ends[ROOTS]):
            if ROOT.unpack_from(attached)[0] < turn_id:
                whole = at + ROOT_SIZE
        self._cut(ROOTS, whole)

    def _check(self, record: bytes, old: bytes, roots: _Roots) -> bytes:
        if not intact(record):
            return old if len(old) == CHECK_SIZE else bytes(CHECK_SIZE)
        turn_id, parent, _, _, _, digest, _, _ = TURN.unpack_from(record)
        self._next_turn = max(self._next_turn, turn_id + 1)
        root = roots.add(turn_id, parent)
        meta = self._meta_of(turn_id)
        known = read_check(old)
        if meta is not None and known is not None and known.turn_id == turn_id:
            return old
        blob = self._blob(digest)
        meta = meta or self._meta_anew(turn_id, digest, blob)
        if meta is None and known is not None and known.turn_id == turn_id:
            return old
        offset, size, check = meta or (0, 0, 0)
        return check_record(turn_id, root, offset, blob, size, check)

    def _blob(self, digest: bytes) -> int:
        """Where a payload is: among the new blobs, the old ones, or in the pack without an entry."""
        found = self._blobs.get(digest)
        if found is None:
            found = self._blobs[digest] = self._older_blob(digest)
        return found

    def _older_blob(self, digest: bytes) -> int:
        if self._known.lengths[INDEX]:
            if self._older is None:
                self._older = Hashes(self._directory)
                self._older.load()
            found = self._older.find(digest)
            if found is not None:
                return found
        if not self._walked:
            self._walked = True
            for at, header in self._pack_from(0):
                self._blobs.setdefault(header.digest, at)
        return self._blobs.get(digest, NOWHERE)

    def _meta_of(self, turn_id: int) -> tuple[int, int, int] | None:
        """Offset, size and check sum of a turn's record, if it has one; usually they come in turns' order."""
        while turn_id not in self._metas:
            found = next(self._next_meta, None)
            if found is None:
                return None
            self._metas[found[0]] = found[1:]
        return self._metas.pop(turn_id)

    def _meta_anew(self, turn_id: int, digest: bytes, blob: int) -> tuple[int, int, int] | None:
        """Write what a payload of ours repeats after the last whole record."""
        try:
            payload = PageReader(self._directory, BlobPlaces(self._directory), self._blobs.get, width=1).blob(
                blob, digest
            )
        except Damaged:
            return None
        data = derive_meta(turn_id, payload)
        if data is None:
            return None
        if not self._anew:
            self._cut(META, self._meta_end)
        self._anew.append(data)
        offset, self._meta_end = self._meta_end, self._meta_end + len(data)
        return offset, len(data), crc32(data)

    def _walk_meta(self) -> Iterator[tuple[int, int, int, int]]:
        offset, end = self._start(META), self._ends[META]
        start, data = offset, b""
        while offset < end:
            if offset - start + META_FIXED > len(data) or not _fits(data, offset - start):
                start, data = offset, self._directory.read_all(META, offset, min(end, offset + _CHUNK))
            record = read_meta(data, offset - start)
            if record is None:
                return
            piece = data[offset - start : offset - start + record.size]
            yield record.turn_id, offset, record.size, crc32(piece)
            offset += record.size
            self._meta_end = offset

    def _end_meta(self) -> None:
        for found in self._next_meta:
            self._metas[found[0]] = found[1:]
        self._cut(META, self._meta_end)

    def _index_turns(self) -> None:
        """Write turns.idx, which only CXDB reads, again if it is not as long as it should be."""
        count = self._ends[LOG] // TURN_SIZE
        wanted = count * TURN_INDEX_ENTRY.size
        if self._ends[TURN_INDEX] == wanted or self._directory.read_only:
            return
        self._directory.files.truncate(self._directory.fds[TURN_INDEX], 0)
        self._ends[TURN_INDEX] = 0
        step = TURN_SIZE * (_CHUNK // TURN_SIZE)
        for offset in range(0, self._ends[LOG], step):
            data = self._directory.read_all(LOG, offset, min(self._ends[LOG], offset + step))
            entries = [
                TURN_INDEX_ENTRY.pack(TURN.unpack_from(data, at)[0], offset + at)
                for at in range(0, len(data), TURN_SIZE)
            ]
            self._append(TURN_INDEX, b"".join(entries))

    def _count_contexts(self) -> None:
        """Know the next context id, and let heads that point nowhere fall back."""
        lost = set()
        for context_id, turn_id, _, _, _ in self._heads(self._start(HEADS)):
            self._next_context = max(self._next_context, context_id + 1)
            if turn_id >= self._next_turn:
                lost.add(context_id)
        if lost:
            self._fall_back(lost)

    def _heads(self, start: int) -> Iterator[tuple[int, int, int, int, int]]:
        end = self._ends[HEADS]
        step = HEAD_SIZE * AT_ONCE
        for offset in range(start, end, step):
            self._progress("contexts", offset, end)
            data = self._directory.read_all(HEADS, offset, min(end, offset + step))
            for _, record in strides(data, HEAD_SIZE):
                if intact(record):
                    yield HEAD.unpack_from(record)
        self._progress("contexts", end, end)

    def _fall_back(self, lost: set[int]) -> None:
        """Write the newest existing head again: lost turn ids will be used again."""
        newest = {
            context_id: head_record(context_id, turn_id, depth, at_ms)
            for context_id, turn_id, depth, _, at_ms in self._heads(0)
            if context_id in lost and turn_id < self._next_turn
        }
        self._append(HEADS, b"".join(newest.values()))


def _fits(data: bytes, offset: int) -> bool:
    length = META_HEAD.unpack_from(data, offset)[1]
    return offset + META_FIXED + int(length) <= len(data)


class _Roots:
    """The first turn of each turn's chain, kept for the turns of one pass."""

    def __init__(self, directory: Directory, first: int) -> None:
        self._directory = directory
        self._first = first
        self._roots = array("Q")

    def add(self, turn_id: int, parent: int) -> int:
        root = self._of(parent) if parent else turn_id
        place = turn_id - self._first
        if place == len(self._roots):
            self._roots.append(root)
        return root

    def _of(self, turn_id: int) -> int:
        place = turn_id - self._first
        if 0 <= place < len(self._roots):
            return self._roots[place]
        check = read_check(self._directory.read(CHECKS, CHECK_SIZE, (turn_id - 1) * CHECK_SIZE))
        return check.root if check is not None and check.turn_id == turn_id else turn_id
