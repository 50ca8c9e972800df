"""A batch being prepared: what it adds to each of the store's files (S6). Computes only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from zlib import crc32

from orchestra.cxdb.embedded.contexts import ContextHead
from orchestra.cxdb.embedded.wal import FILES, State
from orchestra.cxdb.format.layout import (
    BLOB_EXTRA,
    CHECKS,
    HEAD_SIZE,
    HEADS,
    INDEX,
    INDEX_ENTRY,
    LOG,
    META,
    PACK,
    ROOT_SIZE,
    ROOTS,
    TURN_INDEX,
    TURN_INDEX_ENTRY,
    TURN_SIZE,
    blob_record,
    check_record,
    head_record,
    index_entry,
    meta_record,
    root_record,
    turn_record,
)
from orchestra.cxdb.format.packing import LARGEST, digest_of
from orchestra.errors import StoreError
from orchestra.ports.store import Head, NewTurn, Turn

Find = Callable[[bytes], int | None]
"""Returns the pack offset of a stored blob, or None."""


TURN_ABOUT = 400
"""Bytes that a turn adds to the files, its payload apart."""


def check_sizes(blobs: Sequence[bytes], turns: Sequence[NewTurn] = ()) -> None:
    """Raise ``StoreError`` where the format cannot hold one of the blobs or payloads."""
    for data in blobs:
        if len(data) > LARGEST:
            raise StoreError(f"a blob of {len(data)} bytes is larger than CXDB allows")
    for new in turns:
        if len(new.payload) > LARGEST:
            raise StoreError(f"a payload of {len(new.payload)} bytes is larger than CXDB allows")


class Batch:
    """The bytes to append to the files after ``state``."""

    def __init__(self, state: State, now_ms: int, pack: Callable[[bytes], tuple[int, bytes]]) -> None:
        self.now_ms = now_ms
        self.next_turn = state.next_turn
        self.next_context = state.next_context
        self.heads: dict[int, tuple[int, int]] = {}
        """Where each context stands after the batch: its newest turn and that turn's depth."""
        self.blobs: dict[bytes, int] = {}
        """New blobs and their pack offsets."""
        self.roots: dict[int, int] = {}
        """The first turn of the chain of each turn at which a context stands after the batch."""
        self.begun: list[Turn] = []
        """First turns of chains."""
        self.size = 0
        """About how many bytes it adds; 0 for none."""
        self._pack = pack
        self._parts: list[list[bytes]] = [[] for _ in range(FILES)]
        self._pack_end = state.lengths[PACK]
        self._log_end = state.lengths[LOG]
        self._meta_end = state.lengths[META]

    def parts(self) -> list[bytes]:
        """The bytes to add, one string per file."""
        return [b"".join(part) for part in self._parts]

    def create(self, base_turn: int, depth: int) -> Head:
        """A new context."""
        context_id = self.next_context
        self.next_context += 1
        self._parts[HEADS].append(head_record(context_id, base_turn, depth, self.now_ms))
        self.heads[context_id] = base_turn, depth
        self.size += HEAD_SIZE
        return Head(context_id, base_turn, depth)

    def blob(self, data: bytes, find: Find) -> bytes:
        """A blob, unless it is stored already; its hash."""
        digest = digest_of(data)
        self._store(data, digest, find)
        return digest

    def append(self, head: ContextHead, root: int, turns: Sequence[NewTurn], find: Find) -> tuple[Turn, ...]:
        """Turns at the end of a context's chain, whose first turn is ``root``, 0 where it has none yet."""
        context_id, parent, depth = head.context_id, head.turn_id, head.depth
        depth = depth + 1 if parent else 0
        now_ms, turn_id = self.now_ms, self.next_turn
        log_end, meta_end = self._log_end, self._meta_end
        added: list[Turn] = []
        records, places, metas, checks, heads = [
            self._parts[number].append for number in (LOG, TURN_INDEX, META, CHECKS, HEADS)
        ]
        for new in turns:
            payload, type_id, version = new.payload, new.type_id, new.type_version
            digest = digest_of(payload)
            place = self._store(payload, digest, find)
            meta = meta_record(turn_id, type_id.encode(), version, len(payload), new.compression)
            root = root or turn_id
            records(turn_record(turn_id, parent, depth, digest, now_ms))
            places(TURN_INDEX_ENTRY.pack(turn_id, log_end))
            metas(meta)
            checks(check_record(turn_id, root, meta_end, place, len(meta), crc32(meta)))
            heads(head_record(context_id, turn_id, depth, now_ms))
            added.append(
                Turn(
                    turn_id=turn_id,
                    parent=parent,
                    depth=depth,
                    type_id=type_id,
                    type_version=version,
                    payload=payload,
                    created_ms=now_ms,
                    compression=new.compression,
                )
            )
            log_end += TURN_SIZE
            meta_end += len(meta)
            parent = turn_id
            depth += 1
            turn_id += 1
        if not head.turn_id:
            self.begun.append(added[0])
        self.next_turn, self._log_end, self._meta_end = turn_id, log_end, meta_end
        self.heads[context_id] = parent, depth - 1
        self.roots[parent] = root
        self.size += len(added) * TURN_ABOUT
        return tuple(added)

    def attach(self, turn_id: int, root: bytes) -> None:
        """A file tree at a turn."""
        self._parts[ROOTS].append(root_record(turn_id, root))
        self.size += ROOT_SIZE

    def _store(self, data: bytes, digest: bytes, find: Find) -> int:
        place = self.blobs.get(digest)
        if place is None:
            place = find(digest)
        if place is not None:
            return place
        codec, stored = self._pack(data)
        place = self._pack_end
        self._parts[PACK].append(blob_record(digest, len(data), codec, stored))
        self._parts[INDEX].append(index_entry(digest, place, len(data), len(stored), codec))
        self._pack_end += BLOB_EXTRA + len(stored)
        self.size += BLOB_EXTRA + len(stored) + INDEX_ENTRY.size
        self.blobs[digest] = place
        return place
