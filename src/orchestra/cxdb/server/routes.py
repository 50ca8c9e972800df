"""The routes of the HTTP API."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

import msgspec
from blake3 import blake3
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request as Received
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from orchestra.cxdb.format.frames import LARGEST, Malformed
from orchestra.cxdb.server import trees, writes
from orchestra.cxdb.server.core import PAGE, Core, refusing
from orchestra.cxdb.server.cql import CqlError, parse, search
from orchestra.cxdb.server.http import Guard, HttpRequest, Stream, answer, error_answer, json_answer, whole
from orchestra.cxdb.server.http import application as guarded
from orchestra.cxdb.server.hub import EventReader
from orchestra.cxdb.server.metrics import snapshot
from orchestra.cxdb.server.msgpack import unsigned
from orchestra.cxdb.server.types import describe
from orchestra.cxdb.server.views import LARGEST_U32, context_row, provenance, session_row, stored_row, turn_rows
from orchestra.errors import StoreError
from orchestra.ports.store import Turn

HEARTBEAT_SECONDS = 20.0
"""After so many seconds without an event a stream sends a comment, so that its reader knows that it lives."""

Handler = Callable[[Core, HttpRequest], Awaitable[Response]]


class _AnyText(StringConvertor):
    """A part of a path, also an empty one: CXDB says of that what is wrong with it."""

    regex = "[^/]*"


register_url_convertor("any", _AnyText())


def application(core: Core, guard: Guard) -> ASGIApp:
    """The HTTP API over a store."""

    def route(path: str, handler: Handler, method: str = "GET") -> Route:
        async def endpoint(received: Received) -> Response:
            try:
                request = await whole(received)
            except Malformed as error:  # the rest of it would be taken for the next request
                left = error_answer(error)
                left.headers["Connection"] = "close"
                return left
            began = time.monotonic()
            try:
                with refusing("context"):
                    return await handler(core, request)
            finally:
                core.meters.http_req.add((time.monotonic() - began) * 1000)

        made = Route(path, endpoint, methods=[method])
        made.methods = {method}  # HEAD is no route of CXDB's
        return made

    async def refused(_received: Received, error: Exception) -> Response:
        core.meters.http_errors.add(0)
        core.meters.error("http")
        return error_answer(error if isinstance(error, Malformed) else Malformed(404, "route"))

    routes = [route(path, handler, method) for method, path, handler in ROUTES]
    return guarded(routes, guard, {Malformed: refused, HTTPException: refused})


async def _healthy(_core: Core, _request: HttpRequest) -> Response:
    return answer(b"ok", kind="text/plain")


async def _contexts(core: Core, request: HttpRequest) -> Response:
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


async def _search(core: Core, request: HttpRequest) -> Response:
    text = request.query.get("q", "")
    if not text:
        return json_answer({"error": "Missing required 'q' parameter"}, 400)
    try:
        query = parse(text)
        found, elapsed = await search(core, query)
    except CqlError as error:
        return json_answer(error.as_json(), 400)
    limit = request.number("limit", LARGEST_U32)
    return json_answer(
        {
            "contexts": [
                stored_row(row, live=core.sessions.of(row.context_id) is not None) for row in found[:limit]
            ],
            "total_count": len(found),
            "elapsed_ms": elapsed,
            "query": text,
        }
    )


async def _provenance(core: Core, request: HttpRequest) -> Response:
    context_id = request.id("context_id")
    try:
        head = await core.store.head(context_id)
        found = await provenance(core, head.turn_id, core.sessions.of(context_id))
    except StoreError:
        found = None
    return json_answer({"context_id": str(context_id), "provenance": found})


async def _turns(core: Core, request: HttpRequest) -> Response:
    context_id = request.id("context_id")
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
        with refusing("before turn" if before else "context"):
            page = await core.store.turns(context_id, before=before or None, limit=min(limit - len(found), PAGE))
        found[:0] = page
        room -= sum(len(turn.payload) for turn in page)
        if not page or page[0].parent == 0:
            break
        before = page[0].turn_id
    if before and limit == 0:
        with refusing("before turn"):
            await core.store.turn(before)
    return found


async def _put_bundle(core: Core, request: HttpRequest) -> Response:
    bundle_id, new = await core.put_bundle(request.body)
    return json_answer({"bundle_id": bundle_id}, 201) if new else answer(status=204)


async def _get_bundle(core: Core, request: HttpRequest) -> Response:
    raw = core.types().bundles.get(request.path[3])
    if raw is None:
        raise Malformed(404, "bundle")
    tag = f'"{blake3(raw).hexdigest()}"'
    if request.headers.get("if-none-match") == tag:
        return answer(status=304)
    return answer(raw, kind="application/json", headers={"ETag": tag})


async def _type_version(core: Core, request: HttpRequest) -> Response:
    number = unsigned(request.path[5], LARGEST_U32)
    if number is None:
        raise Malformed(422, "invalid version")
    found = core.types().version(request.path[3], number)
    if found is None:
        raise Malformed(404, "type version")
    return json_answer(describe(found))


async def _renderers(core: Core, _request: HttpRequest) -> Response:
    return json_answer({"renderers": core.types().renderers()})


async def _metrics(core: Core, _request: HttpRequest) -> Response:
    return json_answer(snapshot(core, await core.trees.total()))


async def _events(core: Core, _request: HttpRequest) -> Stream:
    return Stream(_stream(core), "text/event-stream")


async def _stream(core: Core) -> AsyncGenerator[bytes, None]:
    core.listen()
    reader = EventReader()
    core.events.readers.add(reader)
    try:
        yield b"event: connected\ndata: {}\n\n"
        async for event in reader.events(HEARTBEAT_SECONDS):
            if event is None:
                yield b":heartbeat\n\n"
            else:
                yield b"event: %s\ndata: %s\n\n" % (event.name.encode(), _json(event.data))
    finally:
        core.events.readers.discard(reader)


def _json(value: object) -> bytes:
    return msgspec.json.encode(value, order="sorted")


ROUTES: Sequence[tuple[str, str, Handler]] = (
    ("GET", "/healthz", _healthy),
    ("GET", "/v1/contexts", _contexts),
    ("GET", "/v1/contexts/search", _search),
    ("GET", "/v1/registry/renderers", _renderers),
    ("GET", "/v1/metrics", _metrics),
    ("GET", "/v1/events", _events),
    ("POST", "/v1/contexts", writes.create),
    ("POST", "/v1/contexts/create", writes.create),
    ("POST", "/v1/contexts/fork", writes.fork),
    ("GET", "/v1/turns/{turn:any}/fs", trees.listing),
    ("GET", "/v1/turns/{turn:any}/fs/{path:path}", trees.file),
    ("GET", "/v1/contexts/{context:any}/provenance", _provenance),
    ("GET", "/v1/contexts/{context:any}/turns", _turns),
    ("POST", "/v1/contexts/{context:any}/append", writes.append),
    ("POST", "/v1/contexts/{context:any}/turns", writes.append),
    ("GET", "/v1/registry/bundles/{bundle:any}", _get_bundle),
    ("PUT", "/v1/registry/bundles/{bundle:any}", _put_bundle),
    ("GET", "/v1/registry/types/{type:any}/versions/{version:any}", _type_version),
    ("GET", "/v1/contexts/{context}", writes.one),
    ("GET", "/v1/turns/{turn}", writes.turn),
    ("GET", "/v1/blobs/{blob}", writes.blob),
)
"""Every route by its method; those that name more of the path come first."""
