"""A session's chain: events are folded as they are recorded, and stored in durable batches (E3, E4).

``record`` folds an event and keeps it; ``flush`` stores everything kept as one batch. The runner flushes
before it acts on anything, so what it acts on is durable, and events that belong together cost one
durable write.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Protocol

import msgspec
from blake3 import blake3
from msgspec.structs import replace

from orchestra.engine.loading import LoadedSession
from orchestra.engine.wiring import Listener as Listener
from orchestra.engine.wiring import Wiring
from orchestra.ports import NewTurn
from orchestra.run.codec import FIELD_LIMIT, blob_value, encode, externalize, in_unicode, redact_event, refer
from orchestra.run.declare import BY_CLASS, BlobRef, change
from orchestra.run.events import CheckpointSaved, Event, LiveEvent, Meta, Recorded, ToolOutput
from orchestra.run.fold import evolve
from orchestra.run.outcome import Json
from orchestra.run.state import RunningNode
from orchestra.run.whole import WHOLE, dump

_json = msgspec.json.Encoder().encode
_log = logging.getLogger(__name__)

WHOLE_EVERY = 64 * 1024
"""Payload bytes since the last whole checkpoint below which no whole one is written (S17)."""

WHOLE_FACTOR = 4
"""Nor below this many times the last whole checkpoint's size."""


class Owner(Protocol):
    """The lock on a session under which a journal writes: ``engine.holding.Holding``.

    It is certain until ``sure_until`` by the boot clock, in seconds; after that it is checked before each batch.
    """

    session: str
    epoch: int
    sure_until: float

    async def check(self) -> None:
        """Make sure that this process still owns the session. Raises ``SessionTaken``."""


class Journal:
    """The only writer of a chain: a session's, or a parallel branch's.

    It continues the history in ``loaded``. ``branch`` is the branch's path, empty for the main walk; the journals
    of a session share its ``owner``. ``turn_id`` and ``depth`` are those of the newest turn that it has stored, 0
    before the first.
    """

    def __init__(
        self, wiring: Wiring, owner: Owner, context_id: int, loaded: LoadedSession, branch: str = ""
    ) -> None:
        self.owner = owner
        self.context_id = context_id
        self.turn_id = self.depth = 0
        self.redactor = wiring.redactor
        self.store = wiring.store
        self._clock = wiring.clock
        self._listeners = list(wiring.listeners)
        self._branch = branch
        self.continue_from(loaded)
        self._kept: list[Recorded] = []
        self._turns: list[NewTurn] = []
        self._blobs: list[bytes] = []
        self._leaving: list[bytes] = []
        self._durable = self._sequence
        self._storing = False
        self._stored = asyncio.Event()

    def continue_from(self, loaded: LoadedSession) -> None:
        """Continue the history in ``loaded``: nothing that was recorded is left to be stored."""
        self.state = loaded.state
        self._sequence = loaded.state.sequence if loaded.state.epoch == self.owner.epoch else 0
        self._bytes = loaded.bytes_since_whole
        self._whole_size = loaded.whole_size

    @property
    def running(self) -> RunningNode:
        """The node that a walk of this chain runs, as its state has it until the node's end is recorded."""
        running = self.state.stage
        assert running is not None
        return running

    def record(self, event: Event, metadata: Mapping[int, object] | None = None) -> None:
        """Fold an event, secrets removed, and keep it for the next batch."""
        try:
            self._record(event, metadata)
        except UnicodeEncodeError:  # a file's name may be any bytes
            self._record(in_unicode(event), metadata)

    def _record(self, event: Event, metadata: Mapping[int, object] | None) -> None:
        event, blobs = externalize(redact_event(event, self.redactor))
        meta = self._meta(self._sequence + 1)
        if isinstance(event, CheckpointSaved) and self._bytes > max(WHOLE_EVERY, WHOLE_FACTOR * self._whole_size):
            event, blobs = self._whole(event)
        payload = encode(meta, event, metadata)
        recorded = Recorded(meta, event)
        self.state = evolve(self.state, recorded)
        self._sequence += 1
        self._bytes += len(payload)
        if isinstance(event, CheckpointSaved) and event.state is not None:
            self._whole_size, self._bytes = len(payload) + sum(map(len, blobs)), 0
        declared = BY_CLASS[type(event)]
        self._kept.append(recorded)
        self._turns.append(NewTurn(type_id=declared.type_id, type_version=declared.version, payload=payload))
        self._blobs.extend(blobs)

    async def flush(self) -> None:
        """Store what is kept as one durable batch, then tell the listeners. Raises ``StoreError``.

        Before that the runner's right to the session is made sure of (S16); ``SessionTaken`` where it is gone. Of
        several who flush at once each returns when what it recorded is durable.
        """
        wanted = self._sequence
        while self._storing:
            await self._stored.wait()
            if self._durable >= wanted:
                return
        self._storing = True
        self._stored.clear()
        try:
            if self._clock.boot_seconds() > self.owner.sure_until:
                await self.owner.check()
            await self._store_batch()
        finally:
            self._storing = False
            self._stored.set()

    async def _store_batch(self) -> None:
        if not self._kept:
            return
        kept, new, blobs = self._kept, self._turns, self._blobs
        self._kept, self._turns, self._blobs = [], [], []
        self._leaving = blobs
        try:
            turns = await self.store.append(self.context_id, new, blobs=tuple(blobs))
        except BaseException:
            self._kept[:0], self._turns[:0], self._blobs[:0] = kept, new, blobs
            raise
        finally:
            self._leaving = []
        self.turn_id, self.depth = turns[-1].turn_id, turns[-1].depth
        self._durable = kept[-1].meta.sequence
        for recorded, turn in zip(kept, turns, strict=True) if self._listeners else ():
            self._tell(Recorded(recorded.meta, recorded.event, turn.turn_id, turn.depth, turn.parent))

    def show(self, output: ToolOutput) -> None:
        """Tell the listeners what is not recorded, secrets removed (E3)."""
        self._tell(LiveEvent(self._meta(0), replace(output, text=self.redactor.text(output.text))))

    def _meta(self, sequence: int) -> Meta:
        return Meta(
            session=self.owner.session,
            epoch=self.owner.epoch,
            sequence=sequence,
            at=self._clock.now_ms(),
            branch=self._branch,
        )

    async def keep(self, data: bytes) -> BlobRef:
        """Store bytes that are too many for an event, secrets removed (S18)."""
        cleaned = self.redactor.data(data)
        return BlobRef((await self.store.put_blob(cleaned)).hex(), len(cleaned), "")

    async def read_bytes(self, ref: BlobRef) -> bytes:
        """Return the bytes of a reference, from the next batch, else from the store."""
        for data in (*self._blobs, *self._leaving):
            if len(data) == ref.size and blake3(data).hexdigest() == ref.hash:
                return data
        return await self.store.get_blob(bytes.fromhex(ref.hash))

    async def resolve(self, value: object) -> Json:
        """Return a context value; a reference is read from the next batch, else from the store."""
        if not isinstance(value, BlobRef):
            return value  # type: ignore[return-value]
        return blob_value(value, await self.read_bytes(value))  # type: ignore[no-any-return]

    def _whole(self, event: CheckpointSaved) -> tuple[CheckpointSaved, tuple[bytes, ...]]:
        """The checkpoint with the whole state, which goes to a blob of its own where it is large (S11, S17)."""
        state = dump(self.state)
        data = _json(state)
        if len(data) <= FIELD_LIMIT:
            return change(event, state=state), ()
        return change(event, state={WHOLE: refer(data, "", json=True)}), (data,)

    def _tell(self, recorded: Recorded | LiveEvent) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(recorded)
            except Exception:  # noqa: BLE001  a listener that raises is cut off; it never stops a run
                self._listeners.remove(listener)
                _log.exception("a listener failed and was removed")
