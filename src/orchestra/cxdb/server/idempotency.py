"""Idempotency keys in use, so that an append sent twice is stored once (S30).

They are kept in ``orchestra/keys`` beside the store's files, which CXDB does not read: one record per keyed
append, written before its answer is sent, not synced. A server that is killed remembers them; a power cut may
cost the last ones.
"""

from __future__ import annotations

import os
import struct
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from orchestra.cxdb.format.layout import intact, with_checksum
from orchestra.cxdb.format.packing import digest_of

MOST = 100_000
"""IdempotencyKeys that are remembered; the oldest are forgotten first."""

_RECORD = struct.Struct("<Q16s32sQI")
_SIZE = _RECORD.size + 4


class AppendResult(NamedTuple):
    """The result of an append."""

    digest: bytes
    turn_id: int
    depth: int


class IdempotencyKeys:
    """The keys of one store, other servers' over the same folder included; ``folder`` is None in memory."""

    def __init__(self, folder: str | None) -> None:
        self._path = None if folder is None else Path(folder) / "orchestra" / "keys"
        self._known: OrderedDict[tuple[int, bytes], AppendResult] = OrderedDict()
        self._seen = 0
        self._shorten()

    def find(self, context_id: int, key: bytes) -> AppendResult | None:
        """Return the result of the append with this key."""
        self._catch_up()
        return self._known.get((context_id, _short(key)))

    def note(self, context_id: int, key: bytes, known: AppendResult) -> None:
        """Remember a key."""
        self._put(context_id, _short(key), known)
        if self._path is not None:
            record = with_checksum(_RECORD.pack(context_id, _short(key), *known))
            with suppress(OSError):  # the turn is stored; only the next server would not know its key
                fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
                try:
                    os.write(fd, record)
                finally:
                    os.close(fd)

    def _put(self, context_id: int, key: bytes, known: AppendResult) -> None:
        self._known[context_id, key] = known
        if len(self._known) > MOST:
            self._known.popitem(last=False)

    def _catch_up(self) -> None:
        if self._path is None or not self._path.exists():
            return
        size = self._path.stat().st_size
        if size < self._seen:
            self._seen = 0
        if size == self._seen:
            return
        with self._path.open("rb") as file:
            file.seek(self._seen)
            data = file.read(size - self._seen)
        for at in range(0, len(data) - _SIZE + 1, _SIZE):
            record = data[at : at + _SIZE]
            if intact(record):
                context_id, key, digest, turn_id, depth = _RECORD.unpack_from(record)
                self._put(context_id, key, AppendResult(digest, turn_id, depth))
        self._seen += len(data) - len(data) % _SIZE

    def _shorten(self) -> None:
        """Drop what will not be remembered, and a record that is not whole, when a server begins."""
        self._catch_up()
        if self._path is None or not self._path.exists():
            return
        size = self._path.stat().st_size
        if size % _SIZE == 0 and size <= 2 * MOST * _SIZE:
            return
        fresh = self._path.with_name("keys.new")
        fresh.write_bytes(
            b"".join(with_checksum(_RECORD.pack(*name, *known)) for name, known in self._known.items())
        )
        fresh.replace(self._path)
        self._seen = self._path.stat().st_size


def _short(key: bytes) -> bytes:
    return digest_of(key)[:16]
