"""Contexts and turns as the HTTP API shows them."""

from __future__ import annotations

from collections.abc import Sequence

from orchestra.cxdb.format.frames import Malformed
from orchestra.cxdb.format.metadata import provenance_of
from orchestra.cxdb.format.packing import digest_of
from orchestra.cxdb.server.core import Core
from orchestra.cxdb.server.http import HttpRequest
from orchestra.cxdb.server.hub import Session
from orchestra.cxdb.server.projection import Rendering, bytes_as, project
from orchestra.cxdb.server.types import Types, TypeVersion
from orchestra.ports.store import ContextRow, Turn

LARGEST_U32 = (1 << 32) - 1


def stored_row(row: ContextRow, *, live: bool) -> dict[str, object]:
    """What is stored of a context: CXDB's members, then the title and labels that its page looks for.

    ``made_at_unix_ms`` is when it was made; ``created_at_unix_ms`` is when it was last appended to.
    """
    out: dict[str, object] = {
        "context_id": str(row.context_id),
        "head_turn_id": str(row.head_turn),
        "head_depth": row.head_depth,
        "created_at_unix_ms": row.appended_ms,
        "made_at_unix_ms": row.created_ms,
        "is_live": live,
        "labels": list(row.labels),
    }
    if row.title:
        out["title"] = row.title
    if row.client_tag:
        out["client_tag"] = row.client_tag
    return out


def context_row(row: ContextRow, session: Session | None) -> dict[str, object]:
    """A context in the list, with the connection that made it if that is still open."""
    out = stored_row(row, live=session is not None)
    if session is not None:
        if session.tag:
            out.setdefault("client_tag", session.tag)
        out["session_id"] = str(session.session_id)
        out["last_activity_at"] = session.active_ms
    return out


async def provenance(core: Core, head_turn: int, session: Session | None) -> dict[str, object] | None:
    """Where a context comes from, with its live peer's address where it names none."""
    if not head_turn:
        return None
    first = await core.store.first_turn(head_turn)
    found = provenance_of(first.payload)
    if found is not None and found["client_address"] is None and session is not None and session.peer:
        found["client_address"] = session.peer
    return found


def session_row(session: Session) -> dict[str, object]:
    """A connection in the list."""
    out: dict[str, object] = {
        "session_id": str(session.session_id),
        "client_tag": session.tag,
        "connected_at": session.connected_ms,
        "last_activity_at": session.active_ms,
        "context_count": len(session.contexts),
    }
    if session.peer:
        out["peer_addr"] = session.peer
    return out


def turn_rows(turns: Sequence[Turn], request: HttpRequest, types: Types) -> list[dict[str, object]]:
    """Return a page of turns in the requested view.

    Raises ``Malformed`` for the whole page, as CXDB does.
    """
    view = request.query.get("view", "typed")
    how = Rendering.of(request.query)
    rows = []
    for turn in turns:
        decoded = _decoding_type(turn, request, types)
        row: dict[str, object] = {
            "turn_id": str(turn.turn_id),
            "parent_turn_id": str(turn.parent),
            "depth": turn.depth,
            "declared_type": {"type_id": turn.type_id, "type_version": turn.type_version},
            "created_at_unix_ms": turn.created_ms,
        }
        if view in ("typed", "both"):
            row |= _typed_view(turn, decoded, types, how)
        if view in ("raw", "both"):
            row |= _raw(turn, how)
        rows.append(row)
    return rows


def _decoding_type(turn: Turn, request: HttpRequest, types: Types) -> tuple[str, int]:
    mode = request.query.get("type_hint_mode", "inherit")
    if mode == "explicit":
        type_id, number = request.query.get("as_type_id"), request.number("as_type_version", LARGEST_U32)
        if type_id is None:
            raise Malformed(422, "as_type_id required")
        if number is None:
            raise Malformed(422, "as_type_version required")
        return type_id, number
    if mode == "latest":
        latest = types.latest(turn.type_id)
        if latest is None:
            raise Malformed(424, "type descriptor")
        return turn.type_id, latest[0]
    return turn.type_id, turn.type_version


def _typed_view(turn: Turn, decoded: tuple[str, int], types: Types, how: Rendering) -> dict[str, object]:
    version: TypeVersion | None = types.version(*decoded)
    if version is None:
        raise Malformed(424, "type descriptor")
    data, unknown = project(turn.payload, version, types, how)
    out: dict[str, object] = {"decoded_as": {"type_id": decoded[0], "type_version": decoded[1]}, "data": data}
    if how.unknown:
        out["unknown"] = unknown
    return out


def _raw(turn: Turn, how: Rendering) -> dict[str, object]:
    name = {"hex": "bytes_hex", "len_only": "bytes_len"}.get(how.bytes_as, "bytes_b64")
    return {
        "content_hash_b3": digest_of(turn.payload).hex(),
        "encoding": 1,
        "compression": turn.compression,
        "uncompressed_len": len(turn.payload),
        name: bytes_as(turn.payload, how.bytes_as),
    }
