"""A store on a server that others have used before: ids are told as if nothing had been there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from msgspec.structs import replace

from orchestra.ports import ContextRow, Head, Health, Hold, NewTurn, Store, Turn


class Shifted:
    """Ids less those that were given out before."""

    def __init__(self, store: Store, context: int, turn: int) -> None:
        self._store = store
        self._context = context
        self._turn = turn

    @classmethod
    async def after_what_is_there(cls, store: Store) -> Shifted:
        context = (await store.create()).context_id
        (turn,) = await store.append(context, [NewTurn(type_id="com.x.Y", type_version=1, payload=b"\x80")])
        return cls(store, context, turn.turn_id)

    def _in(self, turn: int) -> int:
        """A turn's real id; those that are no ids stay so."""
        return turn + self._turn if turn > 0 else turn

    def _head(self, head: Head) -> Head:
        return Head(head.context_id - self._context, max(0, head.turn_id - self._turn), head.depth)

    def _out(self, turn: Turn) -> Turn:
        return replace(turn, turn_id=turn.turn_id - self._turn, parent=max(0, turn.parent - self._turn))

    async def create(self, base_turn: int = 0) -> Head:
        return self._head(await self._store.create(self._in(base_turn)))

    async def fork(self, turn: int) -> Head:
        return self._head(await self._store.fork(self._in(turn)))

    async def head(self, context_id: int) -> Head:
        return self._head(await self._store.head(context_id + self._context))

    async def append(
        self, context_id: int, turns: Sequence[NewTurn], *, blobs: Sequence[bytes] = ()
    ) -> tuple[Turn, ...]:
        added = await self._store.append(context_id + self._context, turns, blobs=blobs)
        return tuple(map(self._out, added))

    async def turns(self, context_id: int, *, before: int | None = None, limit: int = 64) -> list[Turn]:
        place = None if before is None else self._in(before)
        page = await self._store.turns(context_id + self._context, before=place, limit=limit)
        return list(map(self._out, page))

    async def turn(self, turn_id: int) -> Turn:
        return self._out(await self._store.turn(self._in(turn_id)))

    async def contexts(
        self, *, label: str | None = None, before: int | None = None, limit: int | None = None
    ) -> list[ContextRow]:
        place = None if before is None else before + self._context
        rows = await self._store.contexts(label=label, before=place, limit=limit)
        return [
            replace(row, context_id=row.context_id - self._context, head_turn=max(0, row.head_turn - self._turn))
            for row in rows
            if row.context_id > self._context
        ]

    async def put_blob(self, data: bytes) -> bytes:
        return await self._store.put_blob(data)

    async def get_blob(self, digest: bytes) -> bytes:
        return await self._store.get_blob(digest)

    async def attach_fs(self, turn_id: int, root: bytes) -> None:
        await self._store.attach_fs(self._in(turn_id), root)

    async def watch(self, context_id: int) -> AsyncIterator[Head]:
        async for head in self._store.watch(context_id + self._context):
            yield self._head(head)

    async def publish_types(self, bundle_id: str, bundle: bytes) -> None:
        await self._store.publish_types(bundle_id, bundle)

    def hold(self, context_id: int, note: str) -> Hold:
        return self._store.hold(context_id + self._context, note)

    def holder(self, context_id: int) -> str | None:
        return self._store.holder(context_id + self._context)

    async def health(self) -> Health:
        return await self._store.health()

    async def close(self) -> None:
        await self._store.close()
