"""The store as the engine sees it, and the values that pass through it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from msgspec import Struct


class NewTurn(Struct, frozen=True, kw_only=True):
    """A turn to append: a declared type and its payload (msgpack bytes, uncompressed).

    ``compression`` is how a client of the server sent it: 0 plain, 1 zstd; it says nothing of how it is stored.
    """

    type_id: str
    type_version: int
    payload: bytes
    compression: int = 0


class Turn(Struct, frozen=True, kw_only=True):
    """A turn as stored. ``depth`` is 0 for a chain's first; ``parent`` is 0 there too."""

    turn_id: int
    parent: int
    depth: int
    type_id: str
    type_version: int
    payload: bytes
    created_ms: int = 0
    """When it was appended, UTC milliseconds; 0 where the store does not tell."""
    compression: int = 0
    """The compression that its writer declared; 0 where the store does not tell."""


@dataclass(frozen=True, slots=True)
class Head:
    """A context's head: its newest turn (0: none yet) and that turn's depth."""

    context_id: int
    turn_id: int
    depth: int


class ContextRow(Struct, frozen=True, kw_only=True):
    """A context in a listing, with the metadata of its chain's first turn."""

    context_id: int
    head_turn: int
    head_depth: int
    created_ms: int
    appended_ms: int
    client_tag: str = ""
    title: str = ""
    labels: tuple[str, ...] = ()


class Hold(Protocol):
    """A lock on a session (S16), kept until released or until the process dies."""

    def release(self) -> None:
        """Release the lock. A second call does nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """A store's kind, its place, and what is wrong with it: findings, each with a fix."""

    kind: str
    place: str
    findings: tuple[tuple[str, str], ...] = ()


class Store(Protocol):
    """CXDB as the engine sees it (S2).

    Contexts hold chains of turns; turns are immutable and their ids are global, dense and from 1.
    Every method raises ``StoreError`` or one of its kinds, and nothing else for what the world
    does to it: ``SessionNotFound`` for an unknown context, turn or blob, ``StoreFull`` when no more
    can be written, ``Damaged`` for bytes that fail their check sum, ``StoreUnreachable`` otherwise.
    """

    async def create(self, base_turn: int = 0) -> Head:
        """A new context whose head is ``base_turn`` (0: empty). Durable when it returns."""

    async def fork(self, turn: int) -> Head:
        """A new context that continues from an existing turn; no turn is copied."""

    async def head(self, context_id: int) -> Head:
        """Return a context's current head, other processes' appends included."""

    async def append(
        self, context_id: int, turns: Sequence[NewTurn], *, blobs: Sequence[bytes] = ()
    ) -> tuple[Turn, ...]:
        """Append ``turns`` in order, and store ``blobs``, as one durable batch: all or nothing."""

    async def turns(self, context_id: int, *, before: int | None = None, limit: int = 64) -> list[Turn]:
        """A page of a context's chain, oldest first: the newest ``limit`` turns, or those before a turn.

        ``before`` is a turn of the chain; at the chain's beginning the page is empty.
        """

    async def turn(self, turn_id: int) -> Turn:
        """One turn whole."""

    async def contexts(
        self, *, label: str | None = None, before: int | None = None, limit: int | None = None
    ) -> list[ContextRow]:
        """Contexts by descending id, below ``before``; only those that carry ``label`` where one is given."""

    async def put_blob(self, data: bytes) -> bytes:
        """Store bytes durably; returns their BLAKE3-256 hash (32 bytes)."""

    async def get_blob(self, digest: bytes) -> bytes:
        """The bytes with that hash."""

    async def attach_fs(self, turn_id: int, root: bytes) -> None:
        """Attach a file tree (the hash of its stored root blob) to a turn; the last one wins."""

    def watch(self, context_id: int) -> AsyncIterator[Head]:
        """Yield a context's head now and after each change; quick changes may come as one."""

    async def publish_types(self, bundle_id: str, bundle: bytes) -> None:
        """Make a registry bundle (JSON) known; the same bytes twice are once."""

    @property
    def local(self) -> bool:
        """Whether only processes of this machine reach the store, so that ``hold`` is enough between them."""

    def hold(self, context_id: int, note: str) -> Hold:
        """Lock a session among the runners of this machine; on a server, among those of this process (S16).

        The lock ends with the process. Raises ``SessionTaken`` with the note of the holder.
        """

    def holder(self, context_id: int) -> str | None:
        """The note of the live process of this machine that holds a session, or None."""

    async def health(self) -> Health:
        """Return what is wrong with the store."""

    async def close(self) -> None:
        """Settle what was written and close. A second call does nothing."""
