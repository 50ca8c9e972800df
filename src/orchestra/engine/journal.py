"""A session's own chain: events are folded as they are recorded, and stored in durable batches (E3, E4).

``record`` folds an event and keeps it; ``flush`` stores everything kept as one batch. The runner flushes
before it acts on anything, so what it acts on is durable, and events that belong together cost one
durable write.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import msgspec
from blake3 import blake3
from msgspec.structs import replace

from orchestra.engine.loading import Loaded
from orchestra.engine.talks import conversation
from orchestra.ports import Clock, NewTurn, Store
from orchestra.run.blobs import FIELD_LIMIT, BlobRef, refer
from orchestra.run.codec import blob_value, encode, externalize
from orchestra.run.conversation import Conversation
from orchestra.run.declare import BY_CLASS, changed
from orchestra.run.events import CheckpointSaved, Event, Live, Meta, Recorded, ToolOutput
from orchestra.run.fold import evolve
from orchestra.run.outcome import Json
from orchestra.run.redaction import redacted
from orchestra.run.secrets import Redactor
from orchestra.run.state import NEW, RunState
from orchestra.run.whole import WHOLE, dump

_json = msgspec.json.Encoder().encode
_log = logging.getLogger(__name__)

WHOLE_EVERY = 64 * 1024
"""Payload bytes since the last whole checkpoint below which no whole one is written (S17)."""

WHOLE_FACTOR = 4
"""Nor below this many times the last whole checkpoint's size."""

Listener: TypeAlias = Callable[[Recorded | Live], None]
"""Is told each event once it is durable, and what is only shown as it happens."""


Guard: TypeAlias = Callable[[], Awaitable[None]]
"""Makes sure that this runner still has the session, or raises ``SessionTaken``."""


class Journal:
    """One runner's pen on one chain: the only writer of a session's chain, or of a branch's.

    ``branch`` is the branch's path, empty for the main walk's chain. ``turn_id`` and ``depth`` are those of the
    newest turn that it has stored, 0 before.
    """

    def __init__(
        self,
        *,
        store: Store,
        context_id: int,
        session: str,
        epoch: int,
        clock: Clock,
        redactor: Redactor,
        listeners: tuple[Listener, ...],
        state: RunState = NEW,
        bytes_since_whole: int = 0,
        whole_size: int = 0,
        guard: Guard | None = None,
        branch: str = "",
    ) -> None:
        self.state = state
        self.turn_id = self.depth = 0
        self.context_id = context_id
        self._store = store
        self._session = session
        self._epoch = epoch
        self._sequence = state.sequence if state.epoch == epoch else 0
        self._clock = clock
        self.redactor = redactor
        self._listeners = list(listeners)
        self._kept: list[Recorded] = []
        self._turns: list[NewTurn] = []
        self._blobs: list[bytes] = []
        self._storing: list[bytes] = []
        self._bytes = bytes_since_whole
        self._whole_size = whole_size
        self._guard = guard
        self._branch = branch
        self._writing = asyncio.Lock()

    def on_branch(self, context_id: int, branch: str, loaded: Loaded) -> Journal:
        """The same runner's pen on the chain of a branch, which continues what was ``loaded``."""
        return Journal(
            store=self._store,
            context_id=context_id,
            session=self._session,
            epoch=self._epoch,
            clock=self._clock,
            redactor=self.redactor,
            listeners=tuple(self._listeners),
            state=loaded.state,
            bytes_since_whole=loaded.bytes_since_whole,
            whole_size=loaded.whole_size,
            guard=self._guard,
            branch=branch,
        )

    def record(self, event: Event, metadata: Mapping[int, object] | None = None) -> None:
        """Fold an event, secrets removed, and keep it for the next batch."""
        event, blobs = externalize(redacted(event, self.redactor))
        self._sequence += 1
        meta = self._meta(self._sequence)
        if isinstance(event, CheckpointSaved) and self._bytes > max(WHOLE_EVERY, WHOLE_FACTOR * self._whole_size):
            event, blobs = self._whole(event)
        recorded = Recorded(meta, event)
        self.state = evolve(self.state, recorded)
        payload = encode(meta, event, metadata)
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
        async with self._writing:
            if self._guard is not None:
                await self._guard()
            if not self._kept:
                return
            kept, new, blobs = self._kept, self._turns, self._blobs
            self._kept, self._turns, self._blobs = [], [], []
            self._storing = blobs
            try:
                turns = await self._store.append(self.context_id, new, blobs=tuple(blobs))
            except BaseException:
                self._kept[:0], self._turns[:0], self._blobs[:0] = kept, new, blobs
                raise
            finally:
                self._storing = []
            self.turn_id, self.depth = turns[-1].turn_id, turns[-1].depth
            for recorded, turn in zip(kept, turns, strict=True):
                self._tell(Recorded(recorded.meta, recorded.event, turn.turn_id, turn.depth, turn.parent))

    def show(self, output: ToolOutput) -> None:
        """Tell the listeners what is not recorded, secrets removed (engine.md 7)."""
        self._tell(Live(self._meta(0), replace(output, text=self.redactor.text(output.text))))

    def _meta(self, sequence: int) -> Meta:
        return Meta(
            session=self._session,
            epoch=self._epoch,
            sequence=sequence,
            at=self._clock.now_ms(),
            branch=self._branch,
        )

    async def keep(self, data: bytes) -> BlobRef:
        """Store bytes that are too many for an event, secrets removed (S18)."""
        cleaned = self.redactor.data(data)
        return BlobRef((await self._store.put_blob(cleaned)).hex(), len(cleaned), "")

    async def conversation(self, thread: str) -> Conversation:
        """A conversation as the chain holds it (A9)."""
        return await conversation(self._store, self.context_id, thread)

    async def reserve(self) -> tuple[int, int]:
        """Two empty contexts for a session to come: its mailbox, and the session itself."""
        return (await self._store.create()).context_id, (await self._store.create()).context_id

    async def resolve(self, value: object) -> Json:
        """What a context value stands for: a reference is read from the next batch, else from the store."""
        if not isinstance(value, BlobRef):
            return value  # type: ignore[return-value]
        for data in (*self._blobs, *self._storing):
            if len(data) == value.size and blake3(data).hexdigest() == value.hash:
                return blob_value(value, data)  # type: ignore[no-any-return]
        return blob_value(value, await self._store.get_blob(bytes.fromhex(value.hash)))  # type: ignore[no-any-return]

    def _whole(self, event: CheckpointSaved) -> tuple[CheckpointSaved, tuple[bytes, ...]]:
        """The checkpoint with the whole state, which goes to a blob of its own where it is large (S11, S17)."""
        state = dump(self.state)
        data = _json(state)
        if len(data) <= FIELD_LIMIT:
            return changed(event, state=state), ()
        return changed(event, state={WHOLE: refer(data, "", json=True)}), (data,)

    def _tell(self, recorded: Recorded | Live) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(recorded)
            except Exception:  # noqa: BLE001  a listener that raises is cut off; it never stops a run
                self._listeners.remove(listener)
                _log.exception("a listener failed and was cut off")
