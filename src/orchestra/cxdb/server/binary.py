"""The binary protocol of the server: frames are answered in order.

Errors are answered with ERROR frames and the connection stays; only a frame that is too large ends it. If the
client's greeting asked for it, appends and blobs that carry ``MORE`` wait for the rest of their batch and are
stored with it, all or nothing.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from orchestra.cxdb.format import frames
from orchestra.cxdb.format.frames import Append, AppendAnswer, Frame, Malformed
from orchestra.cxdb.format.layout import ZSTD
from orchestra.cxdb.format.packing import digest_of, unpack, zstd_fault
from orchestra.cxdb.server.core import PAGE, Core, refusing
from orchestra.cxdb.server.hub import Session
from orchestra.ports.store import NewTurn, Turn

STALLED_SECONDS = 60.0
"""How long the rest of a frame may take, and a client to read its answers."""


async def converse(core: Core, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection until it ends."""
    peer = writer.get_extra_info("peername")
    session = core.sessions.connect(f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "")
    connection = Connection(core, session)
    try:
        while await _exchange(connection, reader, writer):
            core.sessions.touch(session)
    except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
        pass
    finally:
        core.leave(session)


async def _exchange(connection: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """One frame and its answers; false where the connection has to end."""
    data = await reader.readexactly(frames.HEADER.size)
    header = frames.read_header(data)
    try:
        frames.check_header(data)
    except Malformed as error:
        writer.write(_error(header.request, error))
        await writer.drain()
        return False
    async with asyncio.timeout(STALLED_SECONDS):
        payload = await reader.readexactly(header.length)
        answers = await connection.take(Frame(header.kind, header.flags, header.request, payload))
        if answers:
            writer.write(answers)
            await writer.drain()
    return True


def _error(request: int, error: Malformed) -> bytes:
    return frames.frame(frames.ERROR, frames.error(error.code, error.text), request)


def _token(payload: bytes) -> str:
    """The token in a greeting's JSON; empty where there is none."""
    try:
        meta = msgspec.json.decode(frames.read_hello(payload).meta or "null")
    except (Malformed, msgspec.DecodeError, RecursionError):
        return ""
    token = meta.get(frames.TOKEN) if isinstance(meta, dict) else None
    return token if isinstance(token, str) else ""


async def _unknown(_frame: Frame) -> bytes:
    raise Malformed(422, "unknown msg_type")


class Connection:
    """Takes frames, gives answers."""

    def __init__(self, core: Core, session: Session) -> None:
        self._core = core
        self._session = session
        self._batch: list[Frame] = []
        self._held = 0
        self._times = self._batches = False
        self._locked = core.token is not None
        self._acts: dict[int, Callable[[Frame], Awaitable[bytes]]] = {
            frames.HELLO: self._hello,
            frames.CREATE: self._create,
            frames.FORK: self._create,
            frames.GET_HEAD: self._get_head,
            frames.APPEND: self._append,
            frames.GET_LAST: self._get_last,
            frames.GET_BLOB: self._get_blob,
            frames.ATTACH_FS: self._attach_fs,
            frames.PUT_BLOB: self._put_blob,
        }

    async def take(self, frame: Frame) -> bytes:
        """The answers that are due after a frame; none while a batch is not complete."""
        if self._locked:
            return await self._unlock(frame)
        batched = frame.kind in (frames.APPEND, frames.PUT_BLOB)
        if batched and self._batches and frame.flags & frames.MORE:
            return self._hold(frame)
        if not self._batch:
            return await self._one(frame)
        held, self._batch, self._held = self._batch, [], 0
        if batched:
            return await self._all([*held, frame])
        broken = Malformed(422, "a batch was not ended")
        return b"".join(_error(each.request, broken) for each in held) + await self._one(frame)

    async def _unlock(self, frame: Frame) -> bytes:
        """Only a greeting that knows the token is answered, until there was one."""
        if frame.kind == frames.HELLO and self._core.token is not None:
            given = _token(frame.payload)
            if hmac.compare_digest(given.encode(), self._core.token.encode()):
                self._locked = False
                return await self._one(frame)
        return _error(frame.request, Malformed(401, "token"))

    def _hold(self, frame: Frame) -> bytes:
        self._batch.append(frame)
        self._held += len(frame.payload)
        if self._held <= frames.LARGEST:
            return b""
        held, self._batch, self._held = self._batch, [], 0
        return b"".join(_error(each.request, Malformed(422, "the batch is too large")) for each in held)

    async def _one(self, frame: Frame) -> bytes:
        act = self._acts.get(frame.kind, _unknown)
        try:
            return frames.frame(frame.kind, await act(frame), frame.request)
        except Malformed as error:
            self._core.meters.error("binary")
            return _error(frame.request, error)

    async def _hello(self, frame: Frame) -> bytes:
        greeting = frames.read_hello(frame.payload)
        self._core.greet(self._session, greeting.tag)
        self._times = frames.TIMES in greeting.meta
        self._batches = frames.BATCHES in greeting.meta
        return frames.hello_answer(self._session.session_id)

    async def _create(self, frame: Frame) -> bytes:
        head = await self._core.create(self._session, frames.read_number(frame.payload))
        return frames.head(frames.WireHead(head.context_id, head.turn_id, head.depth))

    async def _get_head(self, frame: Frame) -> bytes:
        with refusing("context"):
            head = await self._core.store.head(frames.read_number(frame.payload))
        return frames.head(frames.WireHead(head.context_id, head.turn_id, head.depth))

    async def _get_last(self, frame: Frame) -> bytes:
        request = frames.read_get_last(frame.payload)
        with refusing("context"), self._core.meters.get_last.timing():
            turns = await newest(self._core, request.context_id, request.limit)
        page = frames.page([_wire(turn, request.payloads) for turn in turns])
        return page + self._creation_times(turns)

    def _creation_times(self, turns: Sequence[Turn]) -> bytes:
        """Return when turns were appended, eight bytes each, for clients that ask for it."""
        return b"".join(frames.number(turn.created_ms) for turn in turns) if self._times else b""

    async def _get_blob(self, frame: Frame) -> bytes:
        digest = frames.read_get_blob(frame.payload)
        with refusing("blob"), self._core.meters.get_blob.timing():
            found = await self._core.store.get_blob(digest)
        return frames.blob(found)

    async def _attach_fs(self, frame: Frame) -> bytes:
        turn_id, root = frames.read_attach_fs(frame.payload)
        with refusing("turn"):
            await self._core.store.turn(turn_id)
        with refusing("fs root tree blob"):
            await self._core.store.attach_fs(turn_id, root)
        return frames.attach_fs(turn_id, root)

    async def _put_blob(self, frame: Frame) -> bytes:
        digest, data = frames.read_put_blob(frame.payload)
        store = self._core.store
        before = store.counts().blobs
        with refusing("blob"):
            await store.put_blob(data)
        return frames.put_blob_answer(digest, store.counts().blobs > before)

    async def _append(self, frame: Frame) -> bytes:
        (answer,) = await self._store([frame])
        return answer

    async def _all(self, batch: list[Frame]) -> bytes:
        """Store a batch as one; where it cannot be, each of its frames is answered with the reason."""
        try:
            answers = await self._store(batch)
        except Malformed as error:
            return b"".join(_error(frame.request, error) for frame in batch)
        return b"".join(
            frames.frame(frame.kind, answer, frame.request) for frame, answer in zip(batch, answers, strict=True)
        )

    async def _store(self, batch: list[Frame]) -> list[bytes]:
        blobs = [frames.read_put_blob(frame.payload) for frame in batch if frame.kind == frames.PUT_BLOB]
        read = [turn_of(frame) for frame in batch if frame.kind == frames.APPEND]
        _check_chain([request for request, _ in read])
        known = [await self._core.earlier_answer(each.context_id, each.key, each.digest) for each, _ in read]
        fresh = [item for item, answer in zip(read, known, strict=True) if answer is None]
        turns = iter(await self._append_all(fresh, [data for _, data in blobs]) if fresh else ())
        appended = iter(
            [
                self._answer(request, next(turns)) if answer is None else self._known_answer(answer)
                for (request, _), answer in zip(read, known, strict=True)
            ]
        )
        stored = iter([frames.put_blob_answer(digest, True) for digest, _ in blobs])
        return [next(stored if frame.kind == frames.PUT_BLOB else appended) for frame in batch]

    async def _append_all(self, read: list[tuple[Append, NewTurn]], blobs: list[bytes]) -> tuple[Turn, ...]:
        first, new = read[0][0], [turn for _, turn in read]
        trees = {number: request.root for number, (request, _) in enumerate(read) if request.root is not None}
        return await self._core.append(first.context_id, new, parent=first.parent, blobs=blobs, trees=trees)

    def _answer(self, request: Append, turn: Turn) -> bytes:
        answer = self._core.answer(request.context_id, request.key, turn)
        return frames.append_answer(answer) + self._creation_times([turn])

    def _known_answer(self, answer: AppendAnswer) -> bytes:
        return frames.append_answer(answer) + (frames.number(0) if self._times else b"")


def _check_chain(requests: list[Append]) -> None:
    if not requests:
        raise Malformed(422, "a batch has to append a turn")
    if any(request.context_id != requests[0].context_id or request.parent for request in requests[1:]):
        raise Malformed(422, "a batch has to be one chain")


async def newest(core: Core, context_id: int, limit: int) -> list[Turn]:
    """The newest turns of a context; fewer than asked for where an answer would be too large."""
    pages: list[list[Turn]] = []
    left, room = limit, frames.LARGEST
    before: int | None = None
    await core.store.head(context_id)
    while left > 0:
        page = await core.store.turns(context_id, before=before, limit=min(left, PAGE))
        kept = _fitting(page, room)
        pages.append(kept)
        room -= sum(map(_size, kept))
        left -= len(kept)
        if not page or len(kept) < len(page) or page[0].parent == 0:
            break
        before = page[0].turn_id
    return [turn for page in reversed(pages) for turn in page]


def _fitting(page: list[Turn], room: int) -> list[Turn]:
    """The end of a page that there is room for."""
    first = len(page)
    while first and room >= _size(page[first - 1]):
        room -= _size(page[first - 1])
        first -= 1
    return page[first:]


def _size(turn: Turn) -> int:
    return len(turn.payload) + 4 * len(turn.type_id) + 128


def turn_of(frame: Frame) -> tuple[Append, NewTurn]:
    """An append's request and its turn, decompressed and verified."""
    request = frames.read_append(frame.payload, frame.flags)
    payload = raw_payload(request)
    new = NewTurn(
        type_id=request.type_id,
        type_version=request.type_version,
        payload=payload,
        compression=request.compression,
    )
    return request, new


def raw_payload(request: Append) -> bytes:
    """The bytes of an append, uncompressed; never more than a frame could carry. Raises ``Malformed``."""
    if request.compression > ZSTD:
        raise Malformed(422, f"unsupported compression: {request.compression}")
    if request.encoding != 1:
        raise Malformed(422, f"unsupported encoding: {request.encoding}")
    if request.raw_size > frames.LARGEST:
        raise Malformed(422, f"uncompressed length {request.raw_size} exceeds maximum {frames.LARGEST}")
    payload = unpack(request.compression, request.payload, request.raw_size)
    if payload is None and request.compression == ZSTD and (why := zstd_fault(request.payload, request.raw_size)):
        raise Malformed(422, f"zstd decode failed: {why}")
    if payload is None:
        raise Malformed(422, "uncompressed length mismatch")
    if digest_of(payload) != request.digest:
        raise Malformed(422, "content hash mismatch")
    return payload


def _wire(turn: Turn, payloads: bool) -> frames.WireTurn:
    return frames.WireTurn(
        turn.turn_id,
        turn.parent,
        turn.depth,
        turn.type_id,
        turn.type_version,
        1,
        0 if payloads else turn.compression,
        len(turn.payload),
        digest_of(turn.payload),
        turn.payload if payloads else None,
    )
