"""The HTTP routes: which request is whose, and the answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

import msgspec
from blake3 import blake3

from orchestra.cxdb.format.frames import LARGEST, Malformed
from orchestra.cxdb.server import trees, writes
from orchestra.cxdb.server.core import Core, refusal
from orchestra.cxdb.server.cql import CqlError, parse, search
from orchestra.cxdb.server.http import Answer, Request, Stream, json_answer
from orchestra.cxdb.server.hub import Reader
from orchestra.cxdb.server.metrics import snapshot
from orchestra.cxdb.server.msgpack import unsigned
from orchestra.cxdb.server.types import describe
from orchestra.cxdb.server.views import LARGEST_U32, context_row, provenance, session_row, turn_rows
from orchestra.errors import StoreError
from orchestra.ports import ContextRow, Turn

PAGE = 256
"""Turns that are read at a time."""

HEARTBEAT_SECONDS = 20.0
POLL_SECONDS = 0.1
"""How often a stream looks for what other processes did."""

Route = Callable[[Core, Request], Awaitable[Answer | Stream]]


async def answer(core: Core, request: Request) -> Answer | Stream:
    """The answer to a request. Raises ``Malformed``."""
    route = _route(request)
    if route is None:
        raise Malformed(404, "route")
    try:
        return await route(core, request)
    except StoreError as error:
        raise refusal(error, "context") from error


def _route(request: Request) -> Route | None:
    fixed = _FIXED.get((request.method, request.path))
    if fixed is not None:
        return fixed
    match request.method, request.path:
        case "GET", ("v1", "turns", _, "fs"):
            return trees.listing
        case "GET", ("v1", "turns", _, "fs", *_):
            return trees.file
        case method, ("v1", first, second, third):
            return _LAST.get((method, first, third)) or _BY_ID.get((method, first, second))
        case method, ("v1", first, name) if name:
            return _ONE.get((method, first))
        case "GET", ("v1", "registry", "types", _, "versions", _):
            return _type_version
        case _:
            return None


# --- contexts --------------------------------------------------------------------------------------


async def _healthy(_core: Core, _request: Request) -> Answer:
    return Answer(body=b"ok", kind="text/plain")


async def _contexts(core: Core, request: Request) -> Answer:
    limit = request.number("limit", LARGEST_U32)
    rows = await core.store.contexts()
    rows.sort(key=lambda row: (row.appended_ms, row.context_id), reverse=True)
    wanted = request.query.get("tag")
    found = []
    for row in rows[: 20 if limit is None else limit]:
        session = core.sessions.of(row.context_id)
        shown = context_row(row, session)
        if wanted is not None and shown.get("client_tag", "") != wanted:
            continue
        if request.query.get("include_provenance") == "1":
            come_from = await provenance(core, row.head_turn, session)
            if come_from is not None:
                shown["provenance"] = come_from
        found.append(shown)
    active = core.sessions.active()
    return json_answer(
        {
            "contexts": found,
            "count": len(found),
            "active_sessions": [session_row(session) for session in active],
            "active_tags": sorted({session.tag for session in active if session.tag}),
        }
    )


async def _search(core: Core, request: Request) -> Answer:
    text = request.query.get("q", "")
    if not text:
        return json_answer({"error": "Missing required 'q' parameter"}, 400)
    try:
        query = parse(text)
        found, elapsed = await search(core, query)
    except CqlError as error:
        return json_answer(error.shown(), 400)
    limit = request.number("limit", LARGEST_U32)
    return json_answer(
        {
            "contexts": [_found_row(core, row) for row in found[:limit]],
            "total_count": len(found),
            "elapsed_ms": elapsed,
            "query": text,
        }
    )


def _found_row(core: Core, row: ContextRow) -> dict[str, object]:
    out: dict[str, object] = {
        "context_id": str(row.context_id),
        "head_turn_id": str(row.head_turn),
        "head_depth": row.head_depth,
        "created_at_unix_ms": row.appended_ms,
        "made_at_unix_ms": row.created_ms,
        "is_live": core.sessions.of(row.context_id) is not None,
        "labels": list(row.labels),
    }
    if row.client_tag:
        out["client_tag"] = row.client_tag
    if row.title:
        out["title"] = row.title
    return out


async def _provenance(core: Core, request: Request) -> Answer:
    context_id = _context_id(request)
    try:
        head = await core.store.head(context_id)
        found = await provenance(core, head.turn_id, core.sessions.of(context_id))
    except StoreError:
        found = None
    return json_answer({"context_id": str(context_id), "provenance": found})


def _context_id(request: Request) -> int:
    found = unsigned(request.path[2])
    if found is None:
        raise Malformed(422, "invalid context_id")
    return found


async def _turns(core: Core, request: Request) -> Answer:
    context_id = _context_id(request)
    limit = request.number("limit", LARGEST_U32)
    before = request.number("before_turn_id", (1 << 64) - 1) or 0
    head = await core.store.head(context_id)
    turns = await _page(core, context_id, before, 64 if limit is None else limit) if head.turn_id else []
    types = core.types()
    return json_answer(
        {
            "meta": {
                "context_id": str(context_id),
                "head_turn_id": str(head.turn_id),
                "head_depth": head.depth,
                "registry_bundle_id": types.newest,
            },
            "turns": turn_rows(turns, request, types),
            "next_before_turn_id": str(turns[0].turn_id) if turns else None,
        }
    )


async def _page(core: Core, context_id: int, before: int, limit: int) -> list[Turn]:
    """A page of turns; a shorter one where the answer would be too large."""
    found: list[Turn] = []
    room = LARGEST
    while len(found) < limit and room > 0:
        try:
            page = await core.store.turns(context_id, before=before or None, limit=min(limit - len(found), PAGE))
        except StoreError as error:
            raise refusal(error, "before turn" if before else "context") from error
        found[:0] = page
        room -= sum(len(turn.payload) for turn in page)
        if not page or page[0].parent == 0:
            break
        before = page[0].turn_id
    if before and limit == 0:
        try:
            await core.store.turn(before)
        except StoreError as error:
            raise refusal(error, "before turn") from error
    return found


# --- the registry ----------------------------------------------------------------------------------


async def _put_bundle(core: Core, request: Request) -> Answer:
    bundle_id, new = await core.put_bundle(request.body)
    return json_answer({"bundle_id": bundle_id}, 201) if new else Answer(status=204)


async def _get_bundle(core: Core, request: Request) -> Answer:
    raw = core.types().bundles.get(request.path[3])
    if raw is None:
        raise Malformed(404, "bundle")
    tag = f'"{blake3(raw).hexdigest()}"'
    if request.headers.get("if-none-match") == tag:
        return Answer(status=304)
    return Answer(body=raw, headers={"ETag": tag})


async def _type_version(core: Core, request: Request) -> Answer:
    number = unsigned(request.path[5], LARGEST_U32)
    if number is None:
        raise Malformed(422, "invalid version")
    found = core.types().version(request.path[3], number)
    if found is None:
        raise Malformed(404, "type version")
    return json_answer(describe(found))


async def _renderers(core: Core, _request: Request) -> Answer:
    return json_answer({"renderers": core.types().renderers()})


async def _metrics(core: Core, _request: Request) -> Answer:
    return json_answer(snapshot(core, await core.trees.total()))


# --- events ----------------------------------------------------------------------------------------


async def _events(core: Core, _request: Request) -> Stream:
    return Stream(pieces=_told(core), kind="text/event-stream")


async def _told(core: Core) -> AsyncGenerator[bytes, None]:
    core.listen()
    reader = Reader()
    core.events.readers.add(reader)
    try:
        yield b"event: connected\ndata: {}\n\n"
        quiet = 0.0
        async for event in reader.events(POLL_SECONDS):
            if event is not None:
                quiet = 0.0
                yield b"event: %s\ndata: %s\n\n" % (event.name.encode(), _json(event.data))
                continue
            await core.pump()
            quiet += POLL_SECONDS
            beat = quiet >= HEARTBEAT_SECONDS
            quiet = 0.0 if beat else quiet
            yield b":heartbeat\n\n" if beat else b""
    finally:
        core.events.readers.discard(reader)


def _json(value: object) -> bytes:
    return msgspec.json.encode(value, order="sorted")


# --- the table -------------------------------------------------------------------------------------

_FIXED: Mapping[tuple[str, tuple[str, ...]], Route] = {
    ("GET", ("healthz",)): _healthy,
    ("GET", ("v1", "contexts")): _contexts,
    ("GET", ("v1", "contexts", "search")): _search,
    ("GET", ("v1", "registry", "renderers")): _renderers,
    ("GET", ("v1", "metrics")): _metrics,
    ("GET", ("v1", "events")): _events,
    ("POST", ("v1", "contexts")): writes.create,
    ("POST", ("v1", "contexts", "create")): writes.create,
    ("POST", ("v1", "contexts", "fork")): writes.fork,
}
_LAST: Mapping[tuple[str, str, str], Route] = {
    ("GET", "contexts", "provenance"): _provenance,
    ("GET", "contexts", "turns"): _turns,
    ("POST", "contexts", "append"): writes.append,
    ("POST", "contexts", "turns"): writes.append,
}
_BY_ID: Mapping[tuple[str, str, str], Route] = {
    ("GET", "registry", "bundles"): _get_bundle,
    ("PUT", "registry", "bundles"): _put_bundle,
}
_ONE: Mapping[tuple[str, str], Route] = {
    ("GET", "contexts"): writes.one,
    ("GET", "turns"): writes.turn,
    ("GET", "blobs"): writes.blob,
}
