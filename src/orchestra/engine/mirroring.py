"""The sessions of one store, sent on to a server turn by turn (S22).

Only the server knows what it has: each mirrored session has a context of its own, listed by a turn that names
the session's context in the master, and the newest turn of its chain is compared with the master's before anything
is sent. Payloads stay byte for byte, so a chain that ends with a turn of the master's at the same depth is a
beginning of the master's chain. Nothing is remembered between two processes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from blake3 import blake3

from orchestra.engine.archives import blobs_of
from orchestra.engine.branch_contexts import BranchContexts
from orchestra.engine.gaps import map_listed
from orchestra.engine.loading import PAGE, backwards, newest_first, recorded_in, turn_of
from orchestra.engine.sessions import Row, listing_turn, rows
from orchestra.engine.wiring import RunnerProcess
from orchestra.errors import ConfigError, SessionNotFound, StoreError, StoreUnreachable
from orchestra.ports import Clock, NewTurn, Store, Turn
from orchestra.run.events import BranchMirrored, Meta, PipelineForked

BLOB_LIMIT = 63 * 1024 * 1024
"""Bytes of the largest blob that is sent: a frame of CXDB's protocol holds no more."""

PASSES = 10
"""How often everything is compared again because the server is not as it was."""


class Target(Store, Protocol):
    """A server that turns are sent to."""

    @property
    def losses(self) -> int:
        """How often a connection was lost; after each the server may be another one."""

    async def append_keyed(
        self, context_id: int, turns: Sequence[NewTurn], keys: Sequence[bytes]
    ) -> tuple[Turn, ...]:
        """Append turns; those whose key the context has already are not appended again, if keys are known."""


class Trees(Protocol):
    """The file trees of a store that is mirrored."""

    async def any(self) -> bool:
        """Whether one is attached to any turn."""

    async def root_of(self, turn_id: int) -> bytes | None:
        """The root that is attached to this very turn, or None."""

    def blobs_of(self, root: bytes) -> AsyncIterator[bytes]:
        """The blobs that a tree is made of, the root last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Master:
    """The store that is mirrored: ``name`` tells it from all others, ``place`` is what people call it."""

    store: Store
    trees: Trees
    name: str
    place: str


class _ServerChanged(Exception):
    """The server is not as it was when it was read: a connection was lost, or a killed sender's turns came late."""


class Mirror:
    """One store's mirror on one server. Its user keeps other processes from sending meanwhile.

    Everything raises ``StoreUnreachable`` where the server is away, or lost what it had; then another ``Mirror``
    starts again from what the server has.
    """

    def __init__(self, master: Master, server: Target, origin: RunnerProcess, clock: Clock) -> None:
        self.master = master
        self._store = master.store
        self._server = server
        self._origin = origin
        self._clock = clock
        self._listed: dict[int, Row] | None = None
        self._places: dict[int, Row] = {}
        self._known: dict[int, Row] = {}
        self._sent: set[bytes] = set()
        self._attached: set[int] = set()
        self._branches = BranchContexts(master.store)
        self._sent_to: dict[int, int] = {}
        self._listings: dict[int, dict[int, int]] = {}
        self._losses = server.losses
        self._forgot = False
        self.too_large = 0
        """Blobs that were passed over because no frame holds them."""

    async def sessions(self) -> list[Row]:
        """Return the sessions to mirror, newest first: all that are not mirrors themselves."""
        found = [row for row in await rows(self._store) if not row.mirror_of]
        self.learn(found)
        return found

    def learn(self, found: Sequence[Row]) -> None:
        """Add sessions to those that are known, so that the ones forked from them can be sent."""
        self._known.update({row.context_id: row for row in found})

    def server_changed(self) -> bool:
        """Whether the server may have changed since the last call; everything has to be compared again then."""
        changed, self._forgot = self._forgot or self._losses != self._server.losses, False
        if changed:
            self._forget()
        return changed

    def _forget(self) -> None:
        self._losses, self._listed = self._server.losses, None
        self._places.clear()
        self._sent_to.clear()
        self._listings.clear()
        self._attached.clear()
        self._sent.clear()

    async def behind(self, row: Row) -> int:
        """How many turns of a session are not on the server; nothing is written there."""
        await self._branches.look(self._known)
        head = await self._store.head(row.context_id)
        count = head.depth + 1 if head.turn_id else 0
        found = await self._find(row)
        if found is not None:
            count -= found[1]
        elif (fork := await self._fork(row)) is not None:
            count -= fork.depth
        for context, path in self._branches.of(row.session):
            count += await self._branch_behind(found[0] if found is not None else None, context, path)
        return count

    async def _branch_behind(self, place: Row | None, context: int, path: str) -> int:
        head = await self._store.head(context)
        listed = await self._listing(place) if place is not None else {}
        there = await self._there(context, listed[context]) if context in listed else None
        if there is None:
            fork = await self._branches.fork_of(context, path)
            there = fork.depth + 1 if fork is not None else 0
        return head.depth + 1 - there

    async def send(self, row: Row) -> int:
        """Send what is missing of a session, and first what it comes from; how many turns of it were sent."""
        for _ in range(PASSES):
            try:
                for above in self._above(row):
                    await self._send(above)
                return await self._send(row)
            except _ServerChanged:
                self._forgot = True
                self._forget()
        raise StoreUnreachable(
            f"the mirror changes while session {row.session} is sent, or loses its connections",
            fix="make sure that no other program writes there, then run: orchestra cxdb mirror",
        )

    def _above(self, row: Row) -> list[Row]:
        """The sessions that one comes from and that were not looked up yet, the oldest first."""
        found: list[Row] = []
        while row.context_id not in self._places and row.parent in self._known:
            row = self._known[row.parent]
            found.insert(0, row)
        return found

    async def _send(self, row: Row) -> int:
        found = await self._find(row)
        place, there = found if found is not None else await self._begin(row)
        sent = await self._send_chain(row.context_id, place.context_id, there)
        await self._branches.look(self._known)
        for context, path in self._branches.of(row.session):
            head = await self._store.head(context)
            if self._sent_to.get(context) != head.turn_id:
                sent += await self._send_branch(row, place, context, path)
                self._sent_to[context] = head.turn_id
        return sent

    async def _send_chain(self, source: int, target: int, there: int) -> int:
        """Send what follows the first ``there`` turns of a chain."""
        if there and source not in self._attached and await self.master.trees.any():
            await self._attach_missed(source, target, there)
        self._attached.add(source)
        sent = 0
        async for batch in self._missing(source, there):
            await self._put_blobs(batch)
            await self._append(source, target, batch)
            sent += len(batch)
        return sent

    async def branch_of(self, context: int) -> Row | None:
        """The session of which a context is a parallel branch, of those that are known."""
        session = await self._branches.session_of(context)
        return next((row for row in self._known.values() if row.session == session), None) if session else None

    async def _listing(self, place: Row) -> dict[int, int]:
        """The contexts there of a session's branches, by those here."""
        if place.mailbox not in self._listings:
            self._listings[place.mailbox] = await map_listed(self._server, place.mailbox)
        return self._listings[place.mailbox]

    async def _send_branch(self, row: Row, place: Row, context: int, path: str) -> int:
        listed = await self._listing(place)
        there = await self._there(context, listed[context]) if context in listed else None
        if there is None:
            there = await self._begin_branch(row, place, context, path)
        return await self._send_chain(context, listed[context], there)

    async def _begin_branch(self, row: Row, place: Row, context: int, path: str) -> int:
        """Fork a context for a branch, record which branch it is, and return how many turns it has."""
        listed = await self._listing(place)
        fork = await self._branches.fork_of(context, path)
        base = await self._branch_base(row, place, context, path, fork) if fork is not None else None
        if fork is None or base is None:
            raise StoreError(f"the turn at which branch {path} begins is not on the mirror")
        there = (await self._server.fork(base.turn_id)).context_id
        if self._losses != self._server.losses:
            raise _ServerChanged
        meta = Meta(session=row.session, epoch=1, sequence=len(listed) + 2, at=self._clock.now_ms())
        turn = turn_of(meta, BranchMirrored(branch_context=context, context=there))
        await self._server.append_keyed(place.mailbox, [turn], [blake3(turn.payload).digest()])
        listed[context] = there
        return base.depth + 1

    async def _branch_base(self, row: Row, place: Row, context: int, path: str, fork: Turn) -> Turn | None:
        """Return the server's turn that a branch follows, in its outer branch or in the session's chain."""
        listed = await self._listing(place)
        around = [listed[one] for one in self._branches.around(row.session, context, path) if one in listed]
        for above in (*around, place.context_id):
            theirs = await self._at(self._server, above, fork.depth)
            if theirs is not None and _same(fork, theirs):
                return theirs
        return None

    async def _find(self, row: Row) -> tuple[Row, int] | None:
        """Return the session as the server lists it, and how many turns of its chain it has."""
        place = self._places.get(row.context_id) or (await self._all_listed()).get(row.context_id)
        there = await self._there(row.context_id, place.context_id) if place is not None else None
        if place is None or there is None:
            return None
        self._places[row.context_id] = place
        return place, there

    async def _all_listed(self) -> dict[int, Row]:
        """What the server lists of this store, by the context in it; the newest listing of each session."""
        if self._listed is None:
            found = await rows(self._server, f"mirror:{self.master.name}")
            await self._refuse_itself()
            self._listed = {row.source: row for row in found}
        return self._listed

    async def _refuse_itself(self) -> None:
        """Raise ``ConfigError`` where the server serves the master itself: it has a session at its own place."""
        for row in list(self._known.values())[:1]:
            for other in await rows(self._server, f"id:{row.session}"):
                if not other.mirror_of and (other.context_id, other.mailbox) == (row.context_id, row.mailbox):
                    raise ConfigError(
                        f"the mirror serves {self.master.place} itself, or a copy of it",
                        fix="name another server as cxdb.mirror",
                    )

    async def _there(self, source: int, context: int) -> int | None:
        """Return how many turns a context of the server has; None if they differ from the original's."""
        try:
            newest = await self._server.turns(context, limit=1)
        except SessionNotFound:
            return None
        if not newest:
            return 0
        ours = await self._at(self._store, source, newest[-1].depth)
        return newest[-1].depth + 1 if ours is not None and _same(ours, newest[-1]) else None

    async def _at(self, store: Store, context: int, depth: int) -> Turn | None:
        """The turn at a depth of a chain, or None where the chain is shorter."""
        head = await store.head(context)
        if not head.turn_id or head.depth < depth:
            return None
        async for page in backwards(store, context, min(head.depth - depth + 1, PAGE)):
            if page[0].depth <= depth:
                return page[depth - page[0].depth]
        return None

    async def _begin(self, row: Row) -> tuple[Row, int]:
        """A new context for a session, listed, and how many turns it has: a fork has those that it shares."""
        if row.why == "fork" and row.parent in self._places:
            await self._send(self._known[row.parent])
        above = self._places.get(row.parent)
        base = await self._base(row, above) if above is not None else None
        if base is None:
            context = (await self._server.create()).context_id
        else:
            context = (await self._server.fork(base.turn_id)).context_id
        listing = (await self._server.create()).context_id
        if self._losses != self._server.losses:
            raise _ServerChanged
        place = replace(
            row,
            context_id=context,
            mailbox=listing,
            parent=above.context_id if above is not None else 0,
            mirror_of=self.master.place,
            source=row.context_id,
        )
        labels = [
            "kind:mirror",
            f"mirror:{self.master.name}",
            f"source:{row.context_id}",
            f"mirror-of:{self.master.place}",
        ]
        turn = listing_turn(place, self._origin, self._clock.now_ms(), labels)
        await self._server.append_keyed(listing, [turn], [blake3(turn.payload).digest()])
        self._places[row.context_id] = place
        return place, base.depth + 1 if base is not None else 0

    async def _base(self, row: Row, above: Row) -> Turn | None:
        """Return the server's turn that a fork follows; None for no fork, or if that turn is missing."""
        fork = await self._fork(row)
        if fork is None or fork.depth == 0:
            return None
        shared = await self._at(self._store, row.context_id, fork.depth - 1)
        theirs = await self._at(self._server, above.context_id, fork.depth - 1)
        return theirs if shared is not None and theirs is not None and _same(shared, theirs) else None

    async def _fork(self, row: Row) -> Turn | None:
        """A forked session's first turn of its own."""
        if row.why != "fork":
            return None
        async for turn in newest_first(self._store, row.context_id):
            recorded = recorded_in(turn)
            if recorded is not None and isinstance(recorded.event, PipelineForked):
                return turn
        return None

    async def _missing(self, source: int, there: int) -> AsyncIterator[list[Turn]]:
        """Yield the turns of a chain after the first ``there``, oldest first, page by page."""
        head = await self._store.head(source)
        missing = head.depth + 1 - there if head.turn_id else 0
        if missing <= 0:
            return
        newest: list[Turn] = []
        marks: list[int] = []
        async for page in backwards(self._store, source, min(missing, PAGE)):
            newest = newest or page
            if page[0].depth <= there:
                break
            marks.append(page[0].turn_id)
        for before in reversed(marks):
            page = await self._store.turns(source, before=before, limit=PAGE)
            yield [turn for turn in page if turn.depth >= there]
        yield [turn for turn in newest if turn.depth >= there]

    async def _put_blobs(self, batch: Sequence[Turn]) -> None:
        """Send what the turns refer to, before them, so that every turn on the server is complete."""
        async for data in blobs_of(self._store, batch):
            await self._put_blob(data)

    async def _put_blob(self, data: bytes) -> None:
        digest = blake3(data).digest()
        if digest in self._sent:
            return
        if len(data) > BLOB_LIMIT:
            self.too_large += 1
        else:
            await self._server.put_blob(data)
        self._sent.add(digest)

    async def _append(self, source: int, target: int, batch: Sequence[Turn]) -> None:
        turns = [NewTurn(type_id=t.type_id, type_version=t.type_version, payload=t.payload) for t in batch]
        keys = [self._key(source, turn) for turn in batch]
        landed = await self._server.append_keyed(target, turns, keys)
        if [turn.depth for turn in landed] != [turn.depth for turn in batch]:
            raise _ServerChanged
        for ours, theirs in zip(batch, landed, strict=True):
            await self._attach(ours, theirs.turn_id)

    async def _attach(self, ours: Turn, theirs: int) -> None:
        """Attach the file tree of a turn to that turn on the server."""
        root = await self.master.trees.root_of(ours.turn_id)
        if root is not None:
            async for data in self.master.trees.blobs_of(root):
                await self._put_blob(data)
            await self._server.attach_fs(theirs, root)

    async def _attach_missed(self, source: int, target: int, there: int) -> None:
        """Attach the trees of the newest batch on the server, whose sender may have been killed before it did."""
        last = await self._at(self._store, source, there - 1)
        assert last is not None
        for ours in (*await self._store.turns(source, before=last.turn_id, limit=PAGE - 1), last):
            if await self.master.trees.root_of(ours.turn_id) is not None:
                theirs = await self._at(self._server, target, ours.depth)
                if theirs is not None:
                    await self._attach(ours, theirs.turn_id)

    def _key(self, source: int, turn: Turn) -> bytes:
        """Return a key that is the same for a turn in every process that sends it."""
        return blake3(f"{self.master.name} {source} {turn.depth} ".encode() + turn.payload).digest()


def _same(one: Turn, other: Turn) -> bool:
    return (one.type_id, one.type_version, one.payload) == (other.type_id, other.type_version, other.payload)
