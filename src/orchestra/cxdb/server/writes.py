"""HTTP routes that write, and those that show one context, turn or blob."""

from __future__ import annotations

import binascii
from base64 import b64decode

import msgspec
from starlette.responses import Response

from orchestra.cxdb.format.frames import HASH_SIZE, Malformed
from orchestra.cxdb.format.packing import digest_of
from orchestra.cxdb.server.core import NO_SESSION, Core, refusing
from orchestra.cxdb.server.http import HttpRequest, answer, json_answer
from orchestra.cxdb.server.msgpack import unsigned
from orchestra.cxdb.server.types import TypeVersion
from orchestra.cxdb.server.views import LARGEST_U32, context_row, turn_rows
from orchestra.ports.store import Head, NewTurn


def _body(request: HttpRequest) -> dict[str, object]:
    if not request.body:
        return {}
    try:
        found = msgspec.json.decode(request.body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Malformed(422, f"invalid json: {error}") from None
    if not isinstance(found, dict):
        raise Malformed(422, "invalid json: not an object")
    return found


def _id(body: dict[str, object], name: str) -> int | None:
    """An id, as a number or as a text."""
    value = body.get(name)
    if value is None:
        return None
    found = unsigned(value) if isinstance(value, str) else value
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found < 1 << 64:
        raise Malformed(422, f"invalid {name}")
    return found


def _created_response(head: Head) -> Response:
    return json_answer(
        {
            "context_id": str(head.context_id),
            "head_turn_id": str(head.turn_id),
            "head_depth": head.depth,
        },
        201,
    )


async def create(core: Core, request: HttpRequest) -> Response:
    """A new context."""
    return _created_response(await core.create(NO_SESSION, _id(_body(request), "base_turn_id") or 0))


async def fork(core: Core, request: HttpRequest) -> Response:
    """Create a context that continues from a turn."""
    base = _id(_body(request), "base_turn_id")
    if not base:
        raise Malformed(422, "base_turn_id required")
    return _created_response(await core.create(NO_SESSION, base))


async def append(core: Core, request: HttpRequest) -> Response:
    """A turn: its payload as base64 of msgpack, or its data as JSON."""
    context_id = request.id("context_id")
    body = _body(request)
    type_id, number = body.get("type_id"), body.get("type_version")
    if not isinstance(type_id, str):
        raise Malformed(422, "type_id required")
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= LARGEST_U32:
        raise Malformed(422, "type_version required")
    payload = _payload(body, core.types().version(type_id, number))
    key = body.get("idempotency_key")
    mark = key.encode("utf-8", "replace") if isinstance(key, str) else b""
    done = await core.earlier_answer(context_id, mark, digest_of(payload))
    if done is None:
        new = NewTurn(type_id=type_id, type_version=number, payload=payload)
        (turn,) = await core.append(context_id, [new], parent=_id(body, "parent_turn_id") or 0)
        done = core.answer(context_id, mark, turn)
    return json_answer(
        {
            "context_id": str(context_id),
            "turn_id": str(done.turn_id),
            "depth": done.depth,
            "content_hash": done.digest.hex(),
        },
        201,
    )


def _payload(body: dict[str, object], version: TypeVersion | None) -> bytes:
    given = body.get("payload")
    if isinstance(given, str):
        try:
            return b64decode(given, validate=True)
        except (binascii.Error, ValueError):
            raise Malformed(422, "payload is not base64") from None
    data = body.get("data", given)
    if not isinstance(data, dict):
        raise Malformed(422, "data required")
    tags = {spec.name: tag for tag, spec in version.fields.items()} if version is not None else {}
    return msgspec.msgpack.encode(_by_tag(data, tags))


def _by_tag(data: dict[str, object], tags: dict[str, int]) -> dict[int | str, object]:
    """Fields by their tags, where the type names them or the key is a number."""
    out: dict[int | str, object] = {}
    for name, value in data.items():
        tag = tags.get(name, unsigned(name))
        out[name if tag is None else tag] = value
    return dict(sorted(out.items(), key=lambda item: (isinstance(item[0], str), item[0])))


async def one(core: Core, request: HttpRequest) -> Response:
    """One context."""
    context_id = request.id("context_id")
    rows = await core.store.contexts(before=context_id + 1, limit=1)
    if not rows or rows[0].context_id != context_id:
        raise Malformed(404, "context")
    return json_answer(context_row(rows[0], core.sessions.of(context_id)))


async def turn(core: Core, request: HttpRequest) -> Response:
    """One turn, in the view that is asked for."""
    turn_id = request.id("turn_id")
    with refusing("turn"):
        found = await core.store.turn(turn_id)
    return json_answer(turn_rows([found], request, core.types())[0])


async def blob(core: Core, request: HttpRequest) -> Response:
    """A blob's bytes."""
    try:
        digest = bytes.fromhex(request.path[2])
    except ValueError:
        digest = b""
    if len(digest) != HASH_SIZE:
        raise Malformed(422, "invalid blob hash length")
    with refusing("blob"):
        content = await core.store.get_blob(digest)
    return answer(content, kind="application/octet-stream")
