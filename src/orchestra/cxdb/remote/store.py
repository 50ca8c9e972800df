"""The store on a CXDB server (S2).

What is read is decoded by our own codec: the server's typed view is never asked for, so one foreign or damaged
turn spoils nothing. Ids are taken as numbers and as texts, and routes of later servers only where they are.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from orchestra.cxdb.format import frames
from orchestra.cxdb.format.metadata import NO_METADATA, ChainMetadata, metadata_of
from orchestra.cxdb.format.packing import digest_of
from orchestra.cxdb.memory import ProcessHolds
from orchestra.cxdb.remote.appender import Appender
from orchestra.cxdb.remote.link import Lost
from orchestra.cxdb.remote.requests import (
    FIRST_CONTACT,
    TAG,
    TELL_SECONDS,
    Requests,
    ServerPlace,
    TellSilence,
    refusal,
)
from orchestra.cxdb.remote.responses import (
    bundle_refusal,
    contexts_in_stream,
    json_of,
    member_list,
    message_of,
    number,
    page_of,
    raw_turn,
    read_answer,
)
from orchestra.errors import SessionNotFound
from orchestra.ports.store import ContextRow, Head, Health, Hold, NewTurn, Turn

ALL = (1 << 32) - 1
POLL_SECONDS = 1.0
"""How often a watcher looks where there is no event stream."""

DEEP = 512
"""Turns of a context whose first one is still read for its metadata, where the server does not list it."""


class RemoteStore:
    """Contexts, turns and blobs on a server.

    ``hold`` keeps two runners of this process apart, not those of different ones: on a server the right to
    a session is a claim in its mailbox (S16).
    """

    def __init__(self, place: ServerPlace, *, patience: float = 60.0, connect_seconds: float = 5.0) -> None:
        self._requests = Requests(place, patience=patience, connect_seconds=connect_seconds)
        self._appenders: dict[int, Appender] = {}
        self._metadata: dict[int, ChainMetadata] = {}
        self._holds = ProcessHolds()
        self._by_turn = True

    async def create(self, base_turn: int = 0) -> Head:
        """Make a context."""
        if base_turn < 0:
            raise SessionNotFound(f"no turn {base_turn}")
        request = frames.number(base_turn)
        answer = await self._requests.ask(frames.CREATE, request, f"turn {base_turn}")
        return Head(*read_answer(frames.read_head, answer))

    async def fork(self, turn: int) -> Head:
        """Make a context that continues from a turn."""
        if turn <= 0:
            raise SessionNotFound(f"no turn {turn}")
        return await self.create(turn)

    async def append(
        self, context_id: int, turns: Sequence[NewTurn], *, blobs: Sequence[bytes] = ()
    ) -> tuple[Turn, ...]:
        """Append turns and store blobs, in one round trip."""
        appender = self._appenders.get(context_id)
        if appender is None:
            appender = self._appenders[context_id] = Appender(self._requests, context_id)
        return await appender.append(turns, blobs)

    async def append_keyed(
        self, context_id: int, turns: Sequence[NewTurn], keys: Sequence[bytes]
    ) -> tuple[Turn, ...]:
        """Append turns that another process may send too; a server with keys stores them once (S22)."""
        return await Appender(self._requests, context_id).append(turns, (), keys)

    async def put_blob(self, data: bytes) -> bytes:
        """Store a blob."""
        digest = digest_of(data)
        await self._requests.ask(frames.PUT_BLOB, frames.put_blob(digest, data), f"a blob of {len(data)} bytes")
        return digest

    async def attach_fs(self, turn_id: int, root: bytes) -> None:
        """Attach a file tree to a turn."""
        what = f"turn {turn_id} or blob {root.hex()}"
        await self._requests.ask(frames.ATTACH_FS, frames.attach_fs(turn_id, root), what)

    async def publish_types(self, bundle_id: str, bundle: bytes) -> None:
        """Make a registry bundle known."""
        reply = await self._requests.http("PUT", "/v1/registry/bundles/bundle", bundle)
        if reply.status in NOT_OF_THE_BUNDLE:
            raise refusal(reply.status, message_of(reply), f"the types of {bundle_id}")
        if reply.status not in (201, 204):
            raise bundle_refusal(bundle_id, bundle, message_of(reply))

    async def head(self, context_id: int) -> Head:
        """Return a context's head."""
        answer = await self._requests.ask(frames.GET_HEAD, frames.number(context_id), f"context {context_id}")
        return Head(*read_answer(frames.read_head, answer))

    async def turns(self, context_id: int, *, before: int | None = None, limit: int = 64) -> list[Turn]:
        """A page of a chain."""
        if before is not None:
            return await self._older(context_id, before, limit)
        request = frames.get_last(context_id, min(limit, ALL))
        found = page_of(await self._requests.ask(frames.GET_LAST, request, f"context {context_id}"))
        if found and len(found) < limit and found[0].parent:
            return [*await self._older(context_id, found[0].turn_id, limit - len(found)), *found]
        return found

    async def _older(self, context_id: int, before: int, limit: int) -> list[Turn]:
        if before <= 0:
            raise SessionNotFound(f"no turn {before}")
        found: list[Turn] = []
        while True:
            page = await self._older_page(context_id, before, limit - len(found))
            found[:0] = page
            if not page or page[0].parent == 0 or len(found) >= limit:
                return found
            before = page[0].turn_id

    async def _older_page(self, context_id: int, before: int, limit: int) -> list[Turn]:
        target = f"/v1/contexts/{context_id}/turns?view=raw&limit={limit}&before_turn_id={before}"
        body = json_of(await self._requests.get(target), f"context {context_id}, or turn {before} in it")
        return [raw_turn(row) for row in member_list(body, "turns")]

    async def turn(self, turn_id: int) -> Turn:
        """One turn whole; CXDB has no request for one, so it is read through a context made for that."""
        if turn_id <= 0:
            raise SessionNotFound(f"no turn {turn_id}")
        if self._by_turn:
            reply = await self._requests.get(f"/v1/turns/{turn_id}?view=raw")
            if reply.status != 404 or message_of(reply) != "route":
                return raw_turn(json_of(reply, f"turn {turn_id}"))
            self._by_turn = False
        head = await self.fork(turn_id)
        (found,) = await self.turns(head.context_id, limit=1)
        return found

    async def get_blob(self, digest: bytes) -> bytes:
        """A blob by its hash; its bytes are verified."""
        what = f"blob {digest.hex()}"
        data = read_answer(frames.read_blob, await self._requests.ask(frames.GET_BLOB, digest, what))
        if digest_of(data) != digest:
            raise refusal(500, "it does not match its hash", what)
        return data

    async def contexts(
        self, *, label: str | None = None, before: int | None = None, limit: int | None = None
    ) -> list[ContextRow]:
        """Contexts by descending id."""
        if label is None:
            body = json_of(await self._requests.get(f"/v1/contexts?limit={ALL}"), "list of contexts")
        else:
            query = quote(f'label = "{label.translate(_QUOTED)}"', safe="")
            body = json_of(await self._requests.get(f"/v1/contexts/search?q={query}"), "search")
        rows = [(number(row, "context_id"), row) for row in member_list(body, "contexts")]
        rows = [(key, row) for key, row in rows if before is None or key < before]
        rows.sort(key=lambda item: -item[0])
        return [await self._row(row) for _, row in rows[:limit]]

    async def _row(self, row: Mapping[str, Any]) -> ContextRow:
        context_id, head_turn = number(row, "context_id"), number(row, "head_turn_id")
        depth, appended = number(row, "head_depth"), number(row, "created_at_unix_ms")
        if "labels" in row:
            labels = tuple(label for label in row["labels"] if isinstance(label, str))
            tag = str(row.get("client_tag", ""))
            known = ChainMetadata("" if tag == TAG else tag, str(row.get("title", "")), labels)
        else:
            known = await self._metadata_of(context_id, head_turn, depth)
        return ContextRow(
            context_id=context_id,
            head_turn=head_turn,
            head_depth=depth,
            created_ms=number(row, "made_at_unix_ms") or appended,
            appended_ms=appended,
            client_tag=known.client_tag if head_turn else "",
            title=known.title,
            labels=known.labels,
        )

    async def _metadata_of(self, context_id: int, head_turn: int, depth: int) -> ChainMetadata:
        """What a chain's first turn says; it never changes."""
        if not head_turn or depth >= DEEP:
            return NO_METADATA
        known = self._metadata.get(context_id)
        if known is None:
            chain = await self.turns(context_id, limit=depth + 1)
            known = metadata_of(chain[0].payload) if chain and not chain[0].parent else NO_METADATA
            self._metadata[context_id] = known
        return known

    async def watch(self, context_id: int) -> AsyncIterator[Head]:
        """Yield a context's head now and after each change: read again at each event, or where there are none."""
        last: Head | None = None
        async for _ in self._changes(context_id):
            head = await self.head(context_id)
            if head != last:
                last = head
                yield head

    async def _changes(self, context_id: int) -> AsyncIterator[None]:
        """Yield when a context's head may have changed."""
        yield
        while True:
            try:
                async with self._requests.web.stream("/v1/events") as pieces:
                    yield
                    async for changed in contexts_in_stream(pieces):
                        if changed == context_id:
                            yield
            except Lost:
                yield
            await asyncio.sleep(POLL_SECONDS)

    @property
    def local(self) -> bool:
        """Runners of other machines reach it."""
        return False

    def hold(self, context_id: int, note: str) -> Hold:
        """Lock a session within this process."""
        return self._holds.take(context_id, note)

    def holder(self, context_id: int) -> str | None:
        """The note of the lock's holder in this process."""
        return self._holds.holder(context_id)

    @property
    def losses(self) -> int:
        """How often a connection was lost; after each, the server may be another one."""
        return self._requests.losses

    async def answers(self) -> None:
        """Check that both ports answer. Raises ``StoreUnreachable`` if one does not."""
        try:
            await self._requests.pool.probe(FIRST_CONTACT)
        except Lost as lost:
            raise await self._requests.trouble(lost) from lost
        json_of(await self._requests.get("/v1/contexts?limit=1"), "list of contexts")

    async def knows_later_routes(self) -> bool:
        """Whether the server has routes that came after CXDB c7bab7c; all that is needed works without them."""
        reply = await self._requests.get("/v1/turns/1?view=raw")
        return reply.status != 404 or message_of(reply) != "route"

    async def health(self) -> Health:
        """Check whether both addresses answer."""
        findings: list[tuple[str, str]] = []
        place = self._requests.place
        try:
            began = time.monotonic()
            reply = await self._requests.web.request("GET", "/healthz", seconds=FIRST_CONTACT)
            await self._requests.pool.probe(FIRST_CONTACT)
            took = time.monotonic() - began
            if reply.status != 200:
                findings.append((f"/healthz answers {reply.status}", "see the server's log"))
            if took > SLOW_SECONDS:
                findings.append((f"the server took {took:.1f} s to answer", "use a closer server"))
        except Lost as lost:
            trouble = await self._requests.trouble(lost)
            findings.append((trouble.message, trouble.fix))
        return Health(kind="remote", place=str(place), findings=tuple(findings))

    def hurry(self, seconds: float) -> None:
        """From now on wait for a silent server at most so many seconds, also where it is being waited for."""
        self._requests.hurry(seconds)

    def on_silence(self, tell: TellSilence, after: float = TELL_SECONDS) -> None:
        """Call a function when the server has been silent for ``after`` seconds, and when it answers again."""
        self._requests.waits.tell, self._requests.waits.after = tell, after

    async def close(self) -> None:
        """Close all connections."""
        self._requests.close()


SLOW_SECONDS = 1.0
NOT_OF_THE_BUNDLE = (401, 403, 503, 507)
"""Answers to a bundle that say nothing of the bundle: who asks, and how the server is."""
_QUOTED = {ord('"'): '\\"', ord("\\"): "\\\\"}
