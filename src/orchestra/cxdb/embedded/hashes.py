"""Find blobs by hash: sorted runs on disk, the newest blobs in memory (S9).

blobs.idx has its entries in the order of writing. A run covers a stretch of them and holds one number per
entry, 36 bits of the hash above 28 bits of the entry's place, sorted; a look-up bisects in each run and
reads the entry and the blob's own header to be sure. Runs of like size are merged as they pile up, so
there are few, and each entry is merged a logarithmic number of times. They can be made again from
blobs.idx at any time.
"""

from __future__ import annotations

import mmap
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from zlib import crc32

from orchestra.cxdb.embedded.directory import Directory
from orchestra.cxdb.format.layout import (
    BLOB_HEADER,
    CRC,
    INDEX,
    INDEX_ENTRY,
    PACK,
    read_blob_header,
)

FOLDER = "orchestra"
NEWEST = 8192
"""How many blobs may be known in memory only before they become a run."""

_STEP = 1 << 18
"""How many entries are read at a time when runs are rebuilt."""

_LOOKS = 3

_PLACE_BITS = 28
_PLACES = (1 << _PLACE_BITS) - 1
_SIZE = INDEX_ENTRY.size


def _key(digest: bytes) -> int:
    return int.from_bytes(digest[:8], "big") >> _PLACE_BITS << _PLACE_BITS


class SortedRun:
    """A sorted run of entries from ``start`` to ``end``, in its file or in memory."""

    __slots__ = ("_map", "_numbers", "end", "name", "start")

    def __init__(self, name: str, start: int, end: int, numbers: memoryview, mapped: mmap.mmap | None) -> None:
        self.name = name
        self.start = start
        self.end = end
        self._map = mapped
        self._numbers = numbers

    def places(self, digest: bytes) -> Iterator[int]:
        """The entries that may have this hash, newest first within the run."""
        key = _key(digest)
        numbers = self._numbers
        at = bisect_left(numbers, key)
        while at < len(numbers) and numbers[at] >> _PLACE_BITS == key >> _PLACE_BITS:
            yield self.start + (numbers[at] & _PLACES)
            at += 1

    def keys(self) -> memoryview:
        """All numbers of the run."""
        return self._numbers

    def whole(self) -> bool:
        """Whether the file's check sum is right."""
        if self._map is None:
            return True
        data = memoryview(self._map)
        return bool(CRC.pack(crc32(data[:-4])) == data[-4:])

    def close(self) -> None:
        """Close the mapping."""
        self._numbers.release()
        if self._map is not None:
            self._map.close()


class Hashes:
    """Blobs of one store by their hash."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._runs: list[SortedRun] = []
        self._newest: dict[bytes, int] = {}
        self._covered = 0
        self._keep = False
        self._seen = 0
        """How many entries of blobs.idx are known, in a run or in memory."""

    def recent(self, digest: bytes) -> int | None:
        """The pack offset of a blob that is known in memory."""
        return self._newest.get(digest)

    def find_surely(self, digest: bytes) -> int | None:
        """Find a blob; if there is none, verify the runs, and search again in rebuilt ones if any is damaged."""
        offset = self.find(digest)
        if offset is None and not self.whole():
            self.load(trust=False)
            offset = self.find(digest)
        return offset

    def find(self, digest: bytes) -> int | None:
        """The pack offset of a blob, or None where the store has none with that hash."""
        offset = self._newest.get(digest)
        if offset is not None:
            return offset
        for run in self._runs:
            for place in run.places(digest):
                offset = self._offset(place, digest)
                if offset is not None:
                    return offset
        return None

    def _offset(self, place: int, digest: bytes) -> int | None:
        data = self._directory.read(INDEX, _SIZE, place * _SIZE)
        if len(data) < _SIZE:
            return None
        offset: int = INDEX_ENTRY.unpack(data)[1]
        header = read_blob_header(self._directory.read(PACK, BLOB_HEADER.size, offset))
        return offset if header is not None and header.digest == digest else None

    def add(self, digest: bytes, offset: int) -> None:
        """Note a blob that was written after the last known one."""
        self._newest[digest] = offset
        self._seen += 1

    def catch_up(self) -> None:
        """Read in the entries that were added since the last look."""
        directory = self._directory
        end = directory.state.lengths[INDEX] // _SIZE
        data = directory.read_all(INDEX, self._seen * _SIZE, end * _SIZE)
        newest = self._newest
        for digest, offset, _, _, _, _ in INDEX_ENTRY.iter_unpack(data[: len(data) // _SIZE * _SIZE]):
            newest[digest] = offset
        self._seen = max(end, self._seen)

    def load(self, *, keep: bool = False, trust: bool = True) -> None:
        """Map the runs that are there, and read in what they do not cover.

        Runs that are made meanwhile are written when ``keep`` (under the store's lock). Without ``trust``,
        those on disk are left alone.
        """
        self.close()
        self._newest.clear()
        self._keep = keep and not self._directory.read_only
        for _ in range(_LOOKS):
            if not trust or self._map_runs():
                break
        end = self._directory.state.lengths[INDEX] // _SIZE
        while end - self._covered > 2 * NEWEST:
            self._cover(min(end, self._covered + _STEP))
        self._keep = not self._directory.read_only
        self._seen = self._covered
        self.catch_up()

    def _map_runs(self) -> bool:
        """Map the runs; false if one disappeared because another process merged it."""
        self.close()
        for start, stop, name in _longest(self._names(), self._directory.state.lengths[INDEX] // _SIZE):
            run = self._open(name, start, stop)
            if run is None:
                return False
            self._runs.append(run)
            self._covered = stop
        return True

    def reload_if_changed(self) -> None:
        """Another process may have merged runs: look again."""
        if [run.name for run in self._runs] != [name for _, _, name in _longest(self._names(), self._seen)]:
            self.load()
        else:
            self.catch_up()

    def _names(self) -> list[tuple[int, int, str]]:
        directory = self._directory
        folder = directory.at(FOLDER)
        if not directory.files.exists(folder):
            return []
        found = []
        for name in directory.files.listdir(folder):
            kind, _, stretch = name.partition(".")
            start, _, end = stretch.partition("-")
            if kind == "hashes" and start.isdigit() and end.isdigit():
                found.append((int(start), int(end), name))
        return found

    def _open(self, name: str, start: int, end: int) -> SortedRun | None:
        files = self._directory.files
        try:
            fd = files.open(self._directory.at(f"{FOLDER}/{name}"), write=False)
        except FileNotFoundError:
            return None
        try:
            size = 8 * (end - start)
            if files.size(fd) != size + CRC.size:
                return None
            mapped = files.map(fd, size + CRC.size)
            return SortedRun(name, start, end, memoryview(mapped)[:size].cast("Q"), mapped)
        finally:
            files.close(fd)

    def save(self) -> None:
        """Make a run of what is in memory, if that is much. Under the store's lock."""
        if self._seen - self._covered >= NEWEST:
            self._cover(self._seen)
            self._newest.clear()

    def _cover(self, end: int) -> None:
        """Make a run of the entries up to ``end``, and merge with those before that are no longer."""
        directory = self._directory
        start = self._covered
        data = directory.read_all(INDEX, start * _SIZE, end * _SIZE)
        keys = [_key(entry[0]) | place for place, entry in enumerate(INDEX_ENTRY.iter_unpack(data))]
        merged = []
        while self._runs and self._runs[-1].end - self._runs[-1].start <= end - start:
            run = self._runs.pop()
            shift = start - run.start
            keys = [*run.keys(), *(key + shift for key in keys)]
            start = run.start
            merged.append(run)
        numbers = array("Q", sorted(keys))
        self._runs.append(self._make_run(f"hashes.{start}-{end}", start, end, numbers))
        self._covered = end
        for old in merged:
            old.close()
            path = directory.at(f"{FOLDER}/{old.name}")
            if self._keep and directory.files.exists(path):
                directory.files.unlink(path)

    def _make_run(self, name: str, start: int, end: int, numbers: array[int]) -> SortedRun:
        if self._keep:
            data, files, path = numbers.tobytes(), self._directory.files, self._directory.at(f"{FOLDER}/{name}")
            files.write_file(path + ".new", data + CRC.pack(crc32(data)))
            files.rename(path + ".new", path)
            run = self._open(name, start, end)
            if run is not None:
                return run
        return SortedRun(name, start, end, memoryview(numbers), None)

    def whole(self) -> bool:
        """Whether all runs have the right check sum."""
        return all(run.whole() for run in self._runs)

    def discard(self) -> None:
        """Delete the runs; the next ``save`` makes them again."""
        files = self._directory.files
        self.close()
        for _, _, name in self._names():
            files.unlink(self._directory.at(f"{FOLDER}/{name}"))
        self._newest.clear()
        self._seen = 0

    def close(self) -> None:
        """Close the runs."""
        for run in self._runs:
            run.close()
        self._runs = []
        self._covered = 0


def _longest(names: list[tuple[int, int, str]], limit: int) -> list[tuple[int, int, str]]:
    """Runs that follow one another from the first entry on, each the longest that begins there."""
    chosen: list[tuple[int, int, str]] = []
    at = 0
    while True:
        next_ = max((n for n in names if n[0] == at and at < n[1] <= limit), default=None, key=lambda n: n[1])
        if next_ is None:
            return chosen
        chosen.append(next_)
        at = next_[1]
