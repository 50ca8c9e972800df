"""Turns and blobs as they are stored, each verified when it is read (S8)."""

from __future__ import annotations

from zlib import crc32

from orchestra.cxdb.directory import Directory
from orchestra.cxdb.layout import (
    BLOB_EXTRA,
    BLOB_HEADER,
    CHECK_SIZE,
    CHECKS,
    LOG,
    META,
    NOWHERE,
    PACK,
    PATHS,
    TURN,
    TURN_SIZE,
    Check,
    MetaRecord,
    TurnRecord,
    intact,
    read_blob_header,
    read_check,
    read_meta,
    read_turn,
)
from orchestra.cxdb.packing import digest_of, unpack
from orchestra.errors import Damaged, SessionNotFound
from orchestra.ports import Turn

_FIX = "see what is affected: orchestra doctor --deep"


def damaged(file: int, offset: int, what: str) -> Damaged:
    """The exception for bytes that are not what was written."""
    name = PATHS[file]
    return Damaged(f"{name} at byte {offset}: {what}", file=name, offset=offset, fix=_FIX)


class Window:
    """Reads of one file that lie near one another, so that one system call serves many."""

    __slots__ = ("_data", "_directory", "_file", "_start", "_width")

    def __init__(self, directory: Directory, file: int, width: int) -> None:
        self._directory = directory
        self._file = file
        self._width = width
        self._data = b""
        self._start = 0

    def read(self, size: int, offset: int) -> bytes:
        """Bytes of the file; fewer where it ends. What lies before them is read too."""
        at = offset - self._start
        if at < 0 or at + size > len(self._data):
            self._start = max(0, offset - self._width)
            at = offset - self._start
            self._data = self._directory.read(self._file, at + size + self._width // 4, self._start)
        return self._data[at : at + size]


class Reader:
    """Reads one page: it remembers what it read, so it is for one call only."""

    def __init__(self, directory: Directory, places: Places, *, width: int) -> None:
        self._places = places
        self._log = Window(directory, LOG, TURN_SIZE * width)
        self._checks = Window(directory, CHECKS, CHECK_SIZE * width)
        self._meta = Window(directory, META, 64 * width)
        self._pack = Window(directory, PACK, 512 * width)

    def record(self, turn_id: int) -> tuple[int, TurnRecord]:
        """A turn's record in turns.log and its place, counted in records."""
        place = turn_id - 1
        data = self._log.read(TURN_SIZE, place * TURN_SIZE)
        record = read_turn(data)
        if record is None or record.turn_id != turn_id:
            place = self._places.of(turn_id)
            record = read_turn(self._log.read(TURN_SIZE, place * TURN_SIZE))
            if record is None or record.turn_id != turn_id:
                raise damaged(LOG, place * TURN_SIZE, "a turn's record fails its check sum")
        return place, record

    def check(self, place: int, turn_id: int) -> Check:
        """Our own record of a turn."""
        found = read_check(self._checks.read(CHECK_SIZE, place * CHECK_SIZE))
        if found is None or found.turn_id != turn_id:
            raise damaged(CHECKS, place * CHECK_SIZE, "a turn's check record is wrong")
        return found

    def meta(self, check: Check) -> MetaRecord:
        """A turn's record in turns.meta, compared with our check sum."""
        if not check.meta_size:
            raise damaged(META, 0, f"turn {check.turn_id} has no record")
        data = self._meta.read(check.meta_size, check.meta_offset)
        found = read_meta(data) if len(data) == check.meta_size and crc32(data) == check.meta_crc else None
        if found is None or found.turn_id != check.turn_id:
            raise damaged(META, check.meta_offset, f"the record of turn {check.turn_id} fails its check sum")
        return found

    def blob(self, offset: int, digest: bytes) -> bytes:
        """The blob at ``offset`` of the pack."""
        if offset == NOWHERE:
            raise damaged(PACK, 0, f"no blob {digest.hex()}")
        header = read_blob_header(self._pack.read(BLOB_HEADER.size, offset))
        if header is None or header.digest != digest:
            raise damaged(PACK, offset, f"there is no blob {digest.hex()}")
        data = self._pack.read(BLOB_EXTRA + header.stored_size, offset)
        if len(data) != BLOB_EXTRA + header.stored_size or not intact(data):
            raise damaged(PACK, offset, "a blob fails its check sum")
        raw = unpack(header.codec, data[BLOB_HEADER.size : -4], header.raw_size)
        if raw is None or digest_of(raw) != digest:
            raise damaged(PACK, offset, "a blob's bytes do not have its hash")
        return raw

    def turn(self, turn_id: int) -> Turn:
        """A turn whole."""
        place, record = self.record(turn_id)
        check = self.check(place, turn_id)
        meta = self.meta(check)
        return Turn(
            turn_id=turn_id,
            parent=record.parent,
            depth=record.depth,
            type_id=meta.type_id,
            type_version=meta.type_version,
            payload=self.blob(check.pack_offset, record.payload_hash),
            created_ms=record.created_ms,
        )

    def chain(self, turn_id: int, limit: int) -> list[Turn]:
        """The ``limit`` turns that end with ``turn_id``, oldest first."""
        found: list[Turn] = []
        while turn_id and len(found) < limit:
            turn = self.turn(turn_id)
            found.append(turn)
            turn_id = turn.parent
        found.reverse()
        return found


class Places:
    """Which record of turns.log a turn has.

    Ids are dense from 1 in what we write, so a turn's place is its id less one. A folder that two
    CXDB servers wrote at once, or that lost a record, may be otherwise: then all records are
    looked through once.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._known: dict[int, int] = {}
        self._seen = 0

    def of(self, turn_id: int) -> int:
        """The place of a turn whose record is not where it ought to be."""
        directory = self._directory
        end = directory.state.lengths[LOG] // TURN_SIZE
        if not 1 <= turn_id < directory.state.next_turn:
            raise SessionNotFound(f"no turn {turn_id}")
        check = read_check(directory.read(CHECKS, CHECK_SIZE, (turn_id - 1) * CHECK_SIZE))
        if check is not None and check.turn_id == turn_id:
            return turn_id - 1
        while self._seen < end:
            data = directory.read(LOG, TURN_SIZE, self._seen * TURN_SIZE)
            if intact(data):
                self._known[TURN.unpack_from(data)[0]] = self._seen
            self._seen += 1
        try:
            return self._known[turn_id]
        except KeyError:
            raise damaged(LOG, (turn_id - 1) * TURN_SIZE, f"turn {turn_id} is not there") from None
