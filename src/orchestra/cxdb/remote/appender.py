"""Append over a connection that may fail, losing nothing and storing nothing twice (S20, S21).

Every turn is sent as a child of the context's head, so that a batch needs one round trip. When the connection is
lost, the turns that the context got since it was last read are compared with those that were sent, by their hashes;
the rest is sent again. Our own server knows the turns by their keys besides.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import NamedTuple

from orchestra.cxdb.format import frames
from orchestra.cxdb.format.frames import Frame, PayloadReader, WireTurn
from orchestra.cxdb.format.packing import digest_of
from orchestra.cxdb.remote.link import Lost, WireRequest
from orchestra.cxdb.remote.requests import Patience, Requests
from orchestra.cxdb.remote.responses import read_answer
from orchestra.errors import SessionNotFound, StoreError, StoreGone
from orchestra.ports.store import NewTurn, Turn

TOGETHER = 32 * 1024 * 1024
"""Bytes of a batch that is sent as one; a larger one is sent turn by turn."""

REFUSALS = 3
"""So often in a row a batch may end a new connection before it counts as refused."""

GONE_SECONDS = 1.0
"""How long the server may take to notice the end of a connection."""

MARGIN = 64
"""Turns that others may append while a context is read."""


class KnownHead(NamedTuple):
    """A context's head when it was last read, and the hash of its newest turn's payload."""

    turn_id: int
    depth: int
    digest: bytes

    @property
    def next_depth(self) -> int:
        """The depth of the next turn."""
        return self.depth + 1 if self.turn_id else 0


class StoredTurn(NamedTuple):
    """A turn of ours that is stored."""

    turn_id: int
    parent: int
    depth: int
    created_ms: int


class _HashedTurn(NamedTuple):
    new: NewTurn
    digest: bytes
    key: bytes


class Appender:
    """What this process writes a context with: one batch after another."""

    def __init__(self, requests: Requests, context_id: int) -> None:
        self._requests = requests
        self._context_id = context_id
        self._known: KnownHead | None = None
        self._losses = 0
        self._lock = asyncio.Lock()

    async def append(
        self, turns: Sequence[NewTurn], blobs: Sequence[bytes], keys: Sequence[bytes] = ()
    ) -> tuple[Turn, ...]:
        """Append a batch, however often the connection is lost meanwhile. Raises ``StoreError``.

        ``keys`` tell the turns from others where another process may have sent them too; else each gets a new one.
        """
        keys = keys or [os.urandom(16) for _ in turns]
        await self._requests.greet()
        async with self._lock, self._requests.patient() as patience:
            items = [_HashedTurn(new, digest_of(new.payload), key) for new, key in zip(turns, keys, strict=True)]
            known = await self._look(patience)
            landed = await self._write(known, items, blobs, patience) if turns or blobs else []
        return tuple(_turn(new, at) for new, at in zip(turns, landed, strict=True))

    async def _write(
        self, known: KnownHead, items: list[_HashedTurn], blobs: Sequence[bytes], patience: Patience
    ) -> list[StoredTurn]:
        landed: list[StoredTurn] = []
        refused = 0
        while True:
            try:
                return landed + await self._send(known, items[len(landed) :], blobs, patience)
            except Lost as lost:
                refused = refused + 1 if lost.connected else 0
                if refused > REFUSALS:
                    what = f"the CXDB server closes the connection on a batch for context {self._context_id}"
                    raise StoreError(what, fix="see the server's log") from lost
                await patience.wait(lost)
            since = await self._since(known, patience)
            found = _ours(since, items[len(landed) :])
            if found:
                landed += found
                refused = 0
            known = self._known = _head_of(since[-1]) if since else known
            if items and len(landed) == len(items):
                return landed

    async def _send(
        self, known: KnownHead, items: Sequence[_HashedTurn], blobs: Sequence[bytes], patience: Patience
    ) -> list[StoredTurn]:
        asks = self._asks(items, blobs)
        session = 0
        try:
            async with self._requests.pool.link(patience.left) as link:
                session = link.session_id
                answers = await link.exchange(asks, patience.left)
        except Lost:
            self._requests.drop_connections()
            if session:
                await self._requests.wait_until_closed(session, min(GONE_SECONDS, patience.left))
            raise
        self._losses = self._requests.losses
        for answer in answers:
            self._requests.payload(answer, f"context {self._context_id}")
        landed = _chain_places(known, [answer for answer in answers if answer.kind == frames.APPEND])
        if landed and landed[0].turn_id <= known.turn_id:
            raise self._data_loss(f"it assigned turn {landed[0].turn_id} after turn {known.turn_id}")
        if any(at.parent < 0 for at in landed):
            landed = await self._parents(known, landed, patience)
        if landed:
            self._known = KnownHead(landed[-1].turn_id, landed[-1].depth, items[-1].digest)
        return landed

    def _asks(self, items: Sequence[_HashedTurn], blobs: Sequence[bytes]) -> list[WireRequest]:
        size = sum(len(item.new.payload) for item in items) + sum(map(len, blobs))
        more = frames.MORE if size <= TOGETHER and items else 0
        asks = [WireRequest(frames.PUT_BLOB, frames.put_blob(digest_of(data), data), more) for data in blobs]
        for item in items:
            new = item.new
            plain = frames.plain_append(self._context_id, 0, new.type_id, new.type_version, new.payload)
            asks.append(WireRequest(frames.APPEND, frames.append(plain._replace(key=item.key)), more))
        if asks:
            asks[-1] = asks[-1]._replace(flags=0)
        return asks

    async def _parents(self, known: KnownHead, landed: list[StoredTurn], patience: Patience) -> list[StoredTurn]:
        """Others wrote meanwhile: read which turn each of ours follows."""
        parents = {turn.turn_id: turn.parent for turn in await self._since(known, patience)}
        try:
            return [at._replace(parent=parents[at.turn_id]) for at in landed]
        except KeyError as error:
            raise self._data_loss(f"turn {error} is not in its chain") from None

    async def _look(self, patience: Patience) -> KnownHead:
        """Where the context stands; looked up again after a connection was lost."""
        if self._known is None:
            newest = await self._newest(1, patience)
            self._known = _head_of(newest[-1]) if newest else KnownHead(0, 0, b"")
        elif self._losses != self._requests.losses:
            since = await self._since(self._known, patience)
            if since:
                self._known = _head_of(since[-1])
        self._losses = self._requests.losses
        return self._known

    async def _since(self, known: KnownHead, patience: Patience) -> list[WireTurn]:
        """Return the turns after ``known``, oldest first. Raises if ``known`` has changed (S21)."""
        newest = await self._read_newest(1, patience)
        head = newest[-1] if newest else None
        if head is None or head.turn_id <= known.turn_id:
            if (head.turn_id, head.digest) != (known.turn_id, known.digest) if head else known.turn_id:
                raise self._data_loss(f"turn {known.turn_id} does not exist")
            return []
        chain = await self._read_newest(max(1, head.depth - known.depth) + MARGIN, patience)
        places = [number for number, turn in enumerate(chain) if turn.turn_id == known.turn_id]
        if not known.turn_id:
            return chain
        if not places or chain[places[0]].digest != known.digest:
            raise self._data_loss(f"turn {known.turn_id} does not exist")
        return chain[places[0] + 1 :]

    async def _read_newest(self, limit: int, patience: Patience) -> list[WireTurn]:
        try:
            return await self._newest(limit, patience)
        except SessionNotFound:
            raise self._data_loss("it does not exist") from None

    async def _newest(self, limit: int, patience: Patience) -> list[WireTurn]:
        what = f"context {self._context_id}"
        request = frames.get_last(self._context_id, limit, payloads=False)
        answer = await self._requests.ask_within(patience, frames.GET_LAST, request, what)
        return read_answer(lambda payload: frames.read_page(payload, payloads=False), answer)

    def _data_loss(self, what: str) -> StoreGone:
        return StoreGone(
            f"the CXDB server at {self._requests.place} lost data or is another server: "
            f"context {self._context_id}: {what}",
            fix="the original CXDB server deletes its data at every start; see orchestra doctor",
        )


def _head_of(turn: WireTurn) -> KnownHead:
    return KnownHead(turn.turn_id, turn.depth, turn.digest)


def _ours(since: Sequence[WireTurn], items: Sequence[_HashedTurn]) -> list[StoredTurn]:
    """As many of our turns, from the first on, as are among those that the context got."""
    found: list[StoredTurn] = []
    for turn in since:
        if len(found) == len(items):
            break
        item = items[len(found)]
        if (turn.digest, turn.type_id, turn.type_version) == (item.digest, item.new.type_id, item.new.type_version):
            found.append(StoredTurn(turn.turn_id, turn.parent, turn.depth, 0))
    return found


def _chain_places(known: KnownHead, answers: Sequence[Frame]) -> list[StoredTurn]:
    """Where turns have landed; a parent of -1 is one that the answers do not tell."""
    found: list[StoredTurn] = []
    parent, depth = known.turn_id, known.next_depth
    for answer in answers:
        at = read_answer(frames.read_appended, answer.payload)
        cursor = PayloadReader(answer.payload[frames.APPENDED_SIZE :])
        created = cursor.u64() if cursor.left() >= 8 else 0
        found.append(StoredTurn(at.turn_id, parent if at.depth == depth else -1, at.depth, created))
        parent, depth = at.turn_id, at.depth + 1
    return found


def _turn(new: NewTurn, at: StoredTurn) -> Turn:
    return Turn(
        turn_id=at.turn_id,
        parent=at.parent,
        depth=at.depth,
        type_id=new.type_id,
        type_version=new.type_version,
        payload=new.payload,
        created_ms=at.created_ms,
    )
