"""The store in memory (S1): for tests, and for runs that need not outlive their process."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence

from msgspec.structs import replace

from orchestra.cxdb.format.metadata import NO_METADATA, metadata_of
from orchestra.cxdb.format.packing import digest_of
from orchestra.errors import SessionNotFound, SessionTaken, StoreError
from orchestra.ports.store import ContextRow, Head, Health, Hold, NewTurn, Turn


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class MemoryStore:
    """Contexts, turns and blobs in dictionaries. One thread, one event loop."""

    def __init__(self, *, now_ms: Callable[[], int] = _now_ms) -> None:
        self._now_ms = now_ms
        self._turns: list[Turn] = []
        self._roots: list[int] = []
        self._contexts: dict[int, ContextRow] = {}
        self._blobs: dict[bytes, bytes] = {}
        self._indexed = 0
        """How many turns' payloads are among the blobs: they are added when a blob is looked for."""
        self._fs: dict[int, bytes] = {}
        self._bundles: dict[str, bytes] = {}
        self._holds = ProcessHolds()
        self._waiting: set[Callable[[], None]] = set()

    async def create(self, base_turn: int = 0) -> Head:
        """Make a context; one batch."""
        depth = self._turn(base_turn).depth if base_turn else 0
        known = metadata_of(self.first_turn_of(base_turn).payload) if base_turn else NO_METADATA
        context_id = len(self._contexts) + 1
        now = self._now_ms()
        self._contexts[context_id] = ContextRow(
            context_id=context_id,
            head_turn=base_turn,
            head_depth=depth,
            created_ms=now,
            appended_ms=now,
            client_tag=known.client_tag,
            title=known.title,
            labels=known.labels,
        )
        self._notify()
        return Head(context_id, base_turn, depth)

    async def fork(self, turn: int) -> Head:
        """Make a context that continues from a turn."""
        self._turn(turn)
        return await self.create(turn)

    async def head(self, context_id: int) -> Head:
        """Return a context's head."""
        row = self._row(context_id)
        return Head(context_id, row.head_turn, row.head_depth)

    async def append(
        self, context_id: int, turns: Sequence[NewTurn], *, blobs: Sequence[bytes] = ()
    ) -> tuple[Turn, ...]:
        """Append turns and store blobs as one batch."""
        row = self._row(context_id)
        for data in blobs:
            self._blobs.setdefault(digest_of(data), data)
        if not turns:
            return ()
        if not row.head_turn:
            tag, title, labels = metadata_of(turns[0].payload)
            row = replace(row, client_tag=tag, title=title, labels=labels)
        now = self._now_ms()
        added = self._chain(row, turns, now)
        newest = added[-1]
        self._contexts[context_id] = replace(
            row, head_turn=newest.turn_id, head_depth=newest.depth, appended_ms=now
        )
        self._notify()
        return tuple(added)

    def _chain(self, row: ContextRow, turns: Sequence[NewTurn], now: int) -> list[Turn]:
        parent, depth = row.head_turn, row.head_depth + 1 if row.head_turn else 0
        first = len(self._turns) + 1
        added = []
        for turn_id, new in enumerate(turns, first):
            added.append(
                Turn(
                    turn_id=turn_id,
                    parent=parent,
                    depth=depth,
                    type_id=new.type_id,
                    type_version=new.type_version,
                    payload=new.payload,
                    created_ms=now,
                    compression=new.compression,
                )
            )
            parent, depth = turn_id, depth + 1
        self._turns += added
        self._roots += [self._roots[row.head_turn - 1] if row.head_turn else first] * len(added)
        return added

    async def turns(self, context_id: int, *, before: int | None = None, limit: int = 64) -> list[Turn]:
        """A page of a chain."""
        row = self._row(context_id)
        at = self._turn(before).parent if before is not None else row.head_turn
        found: list[Turn] = []
        while at and len(found) < limit:
            turn = self._turn(at)
            found.append(turn)
            at = turn.parent
        return found[::-1]

    async def turn(self, turn_id: int) -> Turn:
        """One turn whole."""
        return self._turn(turn_id)

    async def contexts(
        self, *, label: str | None = None, before: int | None = None, limit: int | None = None
    ) -> list[ContextRow]:
        """Contexts by descending id."""
        found: list[ContextRow] = []
        for row in reversed(self._contexts.values()):
            if limit is not None and len(found) >= limit:
                break
            if (before is None or row.context_id < before) and (label is None or label in row.labels):
                found.append(row)
        return found

    async def put_blob(self, data: bytes) -> bytes:
        """Store a blob unless it is stored already."""
        digest = digest_of(data)
        self._blobs.setdefault(digest, data)
        return digest

    async def get_blob(self, digest: bytes) -> bytes:
        """A blob by its hash."""
        for turn in self._turns[self._indexed :]:
            self._blobs.setdefault(digest_of(turn.payload), turn.payload)
        self._indexed = len(self._turns)
        try:
            return self._blobs[digest]
        except KeyError:
            raise SessionNotFound(f"no blob {digest.hex()}") from None

    async def attach_fs(self, turn_id: int, root: bytes) -> None:
        """Attach a file tree to a turn."""
        self._turn(turn_id)
        await self.get_blob(root)
        self._fs[turn_id] = root

    async def fs_root(self, turn_id: int) -> bytes | None:
        """The file tree of a turn or of its nearest ancestor that has one, or None."""
        at = turn_id
        while at:
            if at in self._fs:
                return self._fs[at]
            at = self._turn(at).parent
        return None

    async def watch(self, context_id: int) -> AsyncIterator[Head]:
        """Yield a context's head now and after each change."""
        import asyncio  # only a watcher has a loop; others need not pay for the import

        moved = asyncio.Event()
        self._waiting.add(moved.set)
        try:
            last: Head | None = None
            while True:
                moved.clear()
                head = await self.head(context_id)
                if head != last:
                    last = head
                    yield head
                await moved.wait()
        finally:
            self._waiting.discard(moved.set)

    async def publish_types(self, bundle_id: str, bundle: bytes) -> None:
        """Keep a registry bundle."""
        if self._bundles.setdefault(bundle_id, bundle) != bundle:
            raise StoreError(
                f"bundle {bundle_id} already exists with other content", fix="publish it under another id"
            )

    @property
    def local(self) -> bool:
        """No other process reaches it."""
        return True

    def hold(self, context_id: int, note: str) -> Hold:
        """Lock a session."""
        return self._holds.take(context_id, note)

    def holder(self, context_id: int) -> str | None:
        """The note of the lock's holder."""
        return self._holds.holder(context_id)

    async def health(self) -> Health:
        """What works and what does not."""
        return Health(kind="memory", place="this process")

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""

    def _row(self, context_id: int) -> ContextRow:
        try:
            return self._contexts[context_id]
        except KeyError:
            raise SessionNotFound(f"no context {context_id}") from None

    def _turn(self, turn_id: int) -> Turn:
        if not 1 <= turn_id <= len(self._turns):
            raise SessionNotFound(f"no turn {turn_id}")
        return self._turns[turn_id - 1]

    def first_turn_of(self, turn_id: int) -> Turn:
        """The first turn of a turn's chain."""
        return self._turn(self._roots[self._turn(turn_id).turn_id - 1])

    def _notify(self) -> None:
        for tell in tuple(self._waiting):
            tell()


class ProcessHolds:
    """Locks of sessions among the runners of one process."""

    def __init__(self) -> None:
        self._notes: dict[int, str] = {}

    def take(self, context_id: int, note: str) -> Hold:
        """Lock a session. Raises ``SessionTaken`` with the note of the holder."""
        if context_id in self._notes:
            raise SessionTaken(f"the session is held by {self._notes[context_id]}")
        self._notes[context_id] = note
        return _ProcessHold(self._notes, context_id)

    def holder(self, context_id: int) -> str | None:
        """The note of the lock's holder."""
        return self._notes.get(context_id)


class _ProcessHold:
    def __init__(self, notes: dict[int, str], context_id: int) -> None:
        self._notes = notes
        self._context_id: int | None = context_id

    def release(self) -> None:
        if self._context_id is not None:
            del self._notes[self._context_id]
            self._context_id = None
