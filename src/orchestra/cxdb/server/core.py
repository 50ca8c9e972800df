"""Operations that the server's binary protocol and HTTP API share, and their events."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from orchestra.cxdb.embedded.store import NO_TREES
from orchestra.cxdb.format.frames import AppendAnswer, Malformed
from orchestra.cxdb.format.metadata import metadata_of, provenance_of
from orchestra.cxdb.format.packing import digest_of
from orchestra.cxdb.server.hub import Events, Session, Sessions
from orchestra.cxdb.server.idempotency import AppendResult, IdempotencyKeys
from orchestra.cxdb.server.meters import Meters, TreeSizes, now_ms
from orchestra.cxdb.server.servable import ServableStore
from orchestra.cxdb.server.types import Types
from orchestra.errors import Damaged, SessionNotFound, StoreError, StoreFull
from orchestra.ports.store import Head, NewTurn, Turn

PAGE = 256
"""Turns that are read at a time."""

POLL_SECONDS = 0.1
"""How often the store is read for what other processes did."""

NO_SESSION = Session(0, "")
"""The author of what another process or HTTP request added."""


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Raise the store's errors as what a client is told; ``what`` names what may not be found."""
    try:
        yield
    except SessionNotFound as error:
        raise Malformed(404, what) from error
    except StoreFull as error:
        raise Malformed(507, error.message) from error
    except Damaged as error:
        raise Malformed(500, error.message) from error
    except StoreError as error:
        raise Malformed(503, error.message) from error


class Core:
    """One served store."""

    def __init__(self, store: ServableStore, *, token: str | None) -> None:
        self.store = store
        self.token = token
        self.meters = Meters()
        self.sessions = Sessions(now_ms)
        self.events = Events()
        self.trees = TreeSizes(store)
        self.started_ms = now_ms()
        self._types = Types()
        self._types_of: int | None = None
        self._seen = 0
        self._newest = 0
        self._keys = IdempotencyKeys(store.folder())

    async def create(self, session: Session, base_turn: int) -> Head:
        """A new context; the session is listed from then on."""
        with refusing("base turn"):
            head = await self.store.create(base_turn)
        if session is not NO_SESSION:
            self.sessions.register(session, "")
            self.sessions.context_made(session, head.context_id)
        await self.pump()
        return head

    def greet(self, session: Session, tag: str) -> None:
        """Register a connection by its HELLO; only the first one counts."""
        if self.sessions.register(session, tag):
            self.events.publish("client_connected", session_id=str(session.session_id), client_tag=tag)

    def leave(self, session: Session) -> None:
        """Remove a closed connection."""
        self.sessions.leave(session)
        if session.registered:
            self.events.publish(
                "client_disconnected",
                session_id=str(session.session_id),
                client_tag=session.tag,
                contexts=[str(context_id) for context_id in session.contexts],
            )

    async def append(
        self,
        context_id: int,
        turns: Sequence[NewTurn],
        *,
        parent: int = 0,
        blobs: Sequence[bytes] = (),
        trees: Mapping[int, bytes] = NO_TREES,
    ) -> tuple[Turn, ...]:
        """Append a batch. Raises ``Malformed`` in CXDB's words for what is not there."""
        with refusing("fs root tree blob" if trees else "context"), self.meters.append.timing():
            await self.store.head(context_id)
            if parent:
                with refusing("parent turn"):
                    await self.store.turn(parent)
            added = await self.store.append(context_id, turns, parent=parent, blobs=blobs, trees=trees)
        await self.pump()
        return added

    async def earlier_answer(self, context_id: int, key: bytes, digest: bytes) -> AppendAnswer | None:
        """The answer that an append with this key has had. Raises ``Malformed`` where it was another append."""
        known = self._keys.find(context_id, key) if key else None
        if known is None or not await self._is_there(known):
            return None
        if known.digest != digest:
            raise Malformed(409, "idempotency key was used for another payload")
        return AppendAnswer(context_id, known.turn_id, known.depth, known.digest)

    async def _is_there(self, known: AppendResult) -> bool:
        """Whether a power cut has left the turn that a key names."""
        try:
            turn = await self.store.turn(known.turn_id)
        except StoreError:
            return False
        return digest_of(turn.payload) == known.digest

    def answer(self, context_id: int, key: bytes, turn: Turn) -> AppendAnswer:
        """The answer to an append, remembered under its key."""
        answer = AppendAnswer(context_id, turn.turn_id, turn.depth, digest_of(turn.payload))
        if key:
            self._keys.note(context_id, key, AppendResult(answer.digest, answer.turn_id, answer.depth))
        return answer

    def types(self) -> Types:
        """What is in the registry now, other processes' bundles included; of one that does not fit, what does.

        One type that two programs describe differently so costs no page the types beside it.
        """
        changed = self.store.bundles_changed()
        if changed != self._types_of:
            found = Types()
            for raw in self.store.bundles():
                try:
                    found = found.put(raw)[1] or found
                except Malformed:
                    found = found.with_what_fits(raw)
            self._types, self._types_of = found, changed
        return self._types

    async def put_bundle(self, raw: bytes) -> tuple[str, bool]:
        """Store a bundle; return its id, and whether it is new. Raises ``Malformed``."""
        bundle_id, after = self.types().put(raw)
        if after is None:
            return bundle_id, False
        try:
            await self.store.publish_types(bundle_id, raw)
        except StoreError as error:
            raise Malformed(422, error.message) from error
        self._types, self._types_of = after, self.store.bundles_changed()
        self.meters.registry_ingest.add(0)
        return bundle_id, True

    def listen(self) -> None:
        """Start to publish events; called before a reader is added."""
        if not self.events.readers:
            self._seen = self.store.place()
            self._newest = self.store.counts().turns

    async def report_other_processes(self) -> None:
        """Publish what other processes do, until canceled; where the store fails, event streams end."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self.pump()
            except StoreError:
                self.events.end()

    async def pump(self) -> None:
        """Publish what happened since the last call, in this process or another."""
        if not self.events.readers:
            return
        heads, self._seen = self.store.moves(self._seen)
        for head in heads:
            if head.turn_id > self._newest:
                self._newest = head.turn_id
                await self._tell_turn(head)
            else:
                self._tell_context(head)

    def _tell_context(self, head: Head) -> None:
        session = self.sessions.of(head.context_id) or NO_SESSION
        self.events.publish(
            "context_created",
            context_id=str(head.context_id),
            session_id=str(session.session_id),
            client_tag=session.tag,
            created_at=now_ms(),
        )

    async def _tell_turn(self, head: Head) -> None:
        turn = await self.store.turn(head.turn_id)
        self.events.publish(
            "turn_appended",
            context_id=str(head.context_id),
            turn_id=str(turn.turn_id),
            parent_turn_id=str(turn.parent),
            depth=turn.depth,
            declared_type_id=turn.type_id,
            declared_type_version=turn.type_version,
        )
        if turn.depth == 0:
            self._tell_metadata(head.context_id, turn.payload)

    def _tell_metadata(self, context_id: int, payload: bytes) -> None:
        known, provenance = metadata_of(payload), provenance_of(payload)
        found = {"client_tag": known.client_tag, "title": known.title, "labels": list(known.labels)}
        told = {name: value for name, value in found.items() if value}
        if told or provenance is not None:
            self.events.publish(
                "context_metadata_updated",
                context_id=str(context_id),
                has_provenance=provenance is not None,
                **told,
            )
