"""Titles and labels of chains, cached so that a listing reads no payloads (S9).

A file of records that only grows, one per first turn; whatever it lacks is read from the turn itself.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import msgspec

from orchestra.cxdb.embedded.directory import Directory
from orchestra.cxdb.format.layout import CRC, intact, with_checksum
from orchestra.cxdb.format.metadata import ChainMetadata

PATH = "orchestra/titles"

_HEAD = struct.Struct("<QI")
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[str, str, tuple[str, ...]]).decode


class Titles:
    """What the first turns of chains say of their contexts."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._known: dict[int, ChainMetadata] = {}
        self._new: dict[int, ChainMetadata] = {}
        self._end = 0
        self._loaded = False

    def of(self, root: int, read: Callable[[], ChainMetadata]) -> ChainMetadata:
        """The metadata of the chain that begins with turn ``root``; ``read`` gives it where it is not known."""
        if not self._loaded:
            self._load()
        found = self._known.get(root)
        if found is None:
            found = self._known[root] = self._new[root] = read()
        return found

    def add(self, root: int, metadata: ChainMetadata) -> None:
        """A chain has begun."""
        self._known[root] = self._new[root] = metadata

    def _load(self) -> None:
        self._loaded = True
        try:
            fd = self._directory.files.open(self._directory.at(PATH), write=False)
        except FileNotFoundError:
            return
        try:
            self._read_on(fd)
        finally:
            self._directory.files.close(fd)

    def _read_on(self, fd: int) -> None:
        """Read the whole records after those that were read before."""
        files = self._directory.files
        data = files.pread(fd, files.size(fd), self._end)
        at = 0
        while at + _HEAD.size <= len(data):
            root, size = _HEAD.unpack_from(data, at)
            end = at + _HEAD.size + size + CRC.size
            if end > len(data) or not intact(data[at:end]):
                break
            self._known.setdefault(root, ChainMetadata(*_unpack(data[at + _HEAD.size : end - CRC.size])))
            at = end
        self._end += at

    def save(self) -> None:
        """Append what is new, unsynced. Under the store's lock."""
        if not self._new:
            return
        files = self._directory.files
        fd = files.open(self._directory.at(PATH), write=True, create=True)
        try:
            self._read_on(fd)
            records = []
            for root, metadata in self._new.items():
                body = _pack(metadata)
                records.append(with_checksum(_HEAD.pack(root, len(body)) + body))
            data = b"".join(records)
            files.truncate(fd, self._end)
            files.pwrite(fd, data, self._end)
            self._end += len(data)
        finally:
            files.close(fd)
        self._loaded = True
        self._new.clear()
