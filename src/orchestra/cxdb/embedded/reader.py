"""Read turns, blobs and attached file trees, verifying each (S8)."""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

import msgspec

from orchestra.cxdb.embedded.directory import Directory
from orchestra.cxdb.format.layout import (
    BLOB_EXTRA,
    BLOB_HEADER,
    CHECK_SIZE,
    CHECKS,
    LOG,
    META,
    META_FIXED,
    META_HEAD,
    NOWHERE,
    PACK,
    PATHS,
    RAW,
    ROOT,
    ROOT_SIZE,
    ROOTS,
    TURN,
    TURN_SIZE,
    ZSTD,
    CheckRecord,
    MetaRecord,
    TurnRecord,
    intact,
    meta_record,
    read_blob_header,
    read_check,
    read_meta,
    read_turn,
    strides,
)
from orchestra.cxdb.format.packing import digest_of, unpack
from orchestra.errors import Damaged, SessionNotFound
from orchestra.ports.store import Turn
from orchestra.run.declare import EVENTS

Find = Callable[[bytes], int | None]
"""The pack offset of a blob, by its hash."""

_decode = msgspec.msgpack.Decoder().decode

_FIX = "find all damage: orchestra doctor --deep"


def damage_at(file: int, offset: int, what: str) -> Damaged:
    """The exception for bytes that are not what was written."""
    name = PATHS[file]
    return Damaged(f"{name} at byte {offset}: {what}", file=name, offset=offset, fix=_FIX)


def derive_meta(turn_id: int, payload: bytes, compression: int = 0) -> bytes | None:
    """Return the turns.meta record that the payload of one of our events implies; None for another payload."""
    try:
        plain = _decode(payload)
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError):
        return None
    if not isinstance(plain, dict):
        return None
    name, version = plain.get(1), plain.get(2)
    declared = EVENTS.get(name) if isinstance(name, str) else None
    if declared is None or not isinstance(version, int) or not 0 <= version < 1 << 32:
        return None
    return meta_record(turn_id, declared.type_id.encode(), version, len(payload), compression)


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


class PageReader:
    """Reads one page: it remembers what it read, so it is for one call only."""

    def __init__(self, directory: Directory, places: BlobPlaces, find: Find, *, width: int) -> None:
        self._places = places
        self._find = find
        self._log = Window(directory, LOG, TURN_SIZE * width)
        self._checks = Window(directory, CHECKS, CHECK_SIZE * width)
        self._meta = Window(directory, META, 64 * width)
        self._pack = Window(directory, PACK, 512 * width)

    def record(self, turn_id: int) -> tuple[int, TurnRecord]:
        """A turn's record in turns.log and its place, counted in records."""
        place = turn_id - 1
        record = read_turn(self._log.read(TURN_SIZE, place * TURN_SIZE))
        if record is None or record.turn_id != turn_id:
            place = self._places.of(turn_id)
            record = read_turn(self._log.read(TURN_SIZE, place * TURN_SIZE))
            if record is None or record.turn_id != turn_id:
                raise damage_at(LOG, place * TURN_SIZE, "a turn's record has a wrong checksum")
        return place, record

    def check(self, place: int, record: TurnRecord) -> CheckRecord:
        """Return our own record of a turn, rebuilt if it is damaged."""
        found = read_check(self._checks.read(CHECK_SIZE, place * CHECK_SIZE))
        if found is not None and found.turn_id == record.turn_id:
            return found
        return self._check_anew(place, record)

    def _check_anew(self, place: int, record: TurnRecord) -> CheckRecord:
        offset = self._meta_behind(place)
        root = record.turn_id if not record.parent else self.root(record.parent)
        blob = self._find(record.payload_hash)
        while True:
            size = self._meta_size(offset)
            data = self._meta.read(size, offset)
            meta = read_meta(data) if len(data) == size else None
            if meta is None:
                raise damage_at(CHECKS, place * CHECK_SIZE, f"the location of turn {record.turn_id} is lost")
            if meta.turn_id == record.turn_id:
                where = NOWHERE if blob is None else blob
                return CheckRecord(record.turn_id, root, offset, where, size, crc32(data))
            offset += size

    def _meta_behind(self, place: int) -> int:
        """Where in turns.meta the records of ``place`` and those after it begin."""
        while place > 0:
            place -= 1
            before = read_check(self._checks.read(CHECK_SIZE, place * CHECK_SIZE))
            if before is not None and before.meta_size:
                return before.meta_offset + before.meta_size
        return 0

    def _meta_size(self, offset: int) -> int:
        head = self._meta.read(META_HEAD.size, offset)
        return META_FIXED + int(META_HEAD.unpack(head)[1]) if len(head) == META_HEAD.size else META_FIXED

    def root(self, turn_id: int) -> int:
        """The first turn of a turn's chain."""
        found = read_check(self._checks.read(CHECK_SIZE, (turn_id - 1) * CHECK_SIZE))
        if found is not None and found.turn_id == turn_id:
            return found.root
        while True:
            place, record = self.record(turn_id)
            found = read_check(self._checks.read(CHECK_SIZE, place * CHECK_SIZE))
            if found is not None and found.turn_id == turn_id:
                return found.root
            if not record.parent:
                return turn_id
            turn_id = record.parent

    def meta(self, check: CheckRecord, payload: bytes) -> MetaRecord:
        """A turn's record in turns.meta, compared with our check sum; rebuilt for our own types."""
        data = self._meta.read(check.meta_size, check.meta_offset)
        if len(data) != check.meta_size or crc32(data) != check.meta_crc:
            made = (derive_meta(check.turn_id, payload, compression) or b"" for compression in (RAW, ZSTD))
            data = next((each for each in made if crc32(each) == check.meta_crc), b"")
            if not data:
                raise damage_at(META, check.meta_offset, f"the record of turn {check.turn_id} has a wrong checksum")
        found = read_meta(data)
        if found is None or found.turn_id != check.turn_id:
            raise damage_at(META, check.meta_offset, f"turn {check.turn_id} has no record")
        return found

    def blob(self, offset: int, digest: bytes) -> bytes:
        """The blob at ``offset`` of the pack."""
        if offset == NOWHERE:
            raise damage_at(PACK, 0, f"no blob {digest.hex()}")
        header = read_blob_header(self._pack.read(BLOB_HEADER.size, offset))
        if header is None or header.digest != digest:
            raise damage_at(PACK, offset, f"blob {digest.hex()} does not exist")
        data = self._pack.read(BLOB_EXTRA + header.stored_size, offset)
        if len(data) != BLOB_EXTRA + header.stored_size or not intact(data):
            raise damage_at(PACK, offset, "a blob has a wrong checksum")
        raw = unpack(header.codec, data[BLOB_HEADER.size : -4], header.raw_size)
        if raw is None or digest_of(raw) != digest:
            raise damage_at(PACK, offset, "a blob does not match its hash")
        return raw

    def turn(self, turn_id: int) -> Turn:
        """A turn whole. Raises ``Damaged``, which names the turn."""
        try:
            return self._turn(turn_id)
        except Damaged as error:
            error.turn_id = turn_id
            raise

    def _turn(self, turn_id: int) -> Turn:
        place, record = self.record(turn_id)
        check = self.check(place, record)
        payload = self.blob(check.pack_offset, record.payload_hash)
        meta = self.meta(check, payload)
        return Turn(
            turn_id=turn_id,
            parent=record.parent,
            depth=record.depth,
            type_id=meta.type_id,
            type_version=meta.type_version,
            payload=payload,
            created_ms=record.created_ms,
            compression=meta.compression,
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


class BlobPlaces:
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
        if not 1 <= turn_id < directory.state.next_turn:
            raise SessionNotFound(f"no turn {turn_id}")
        check = read_check(directory.read(CHECKS, CHECK_SIZE, (turn_id - 1) * CHECK_SIZE))
        if check is not None and check.turn_id == turn_id:
            return turn_id - 1
        self._look_through(directory.state.lengths[LOG])
        try:
            return self._known[turn_id]
        except KeyError:
            raise damage_at(LOG, (turn_id - 1) * TURN_SIZE, f"turn {turn_id} does not exist") from None

    def _look_through(self, end: int) -> None:
        for offset, record in self._directory.records(LOG, self._seen, end):
            if intact(record):
                self._known[TURN.unpack_from(record)[0]] = offset // TURN_SIZE
        self._seen = max(end, self._seen)


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
