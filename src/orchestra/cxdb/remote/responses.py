"""Parse answers of a CXDB server defensively: it may be older, newer, or another program."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

import msgspec

from orchestra.cxdb.format import frames
from orchestra.cxdb.format.frames import Malformed, WireTurn
from orchestra.cxdb.format.packing import digest_of
from orchestra.cxdb.remote.requests import refusal
from orchestra.cxdb.remote.web import Reply
from orchestra.errors import StoreError
from orchestra.ports.store import Turn

T = TypeVar("T")


def read_answer(reader: Callable[[bytes], T], payload: bytes) -> T:
    """An answer of the binary protocol. Raises ``StoreError`` where it is none."""
    try:
        return reader(payload)
    except Malformed as error:
        raise StoreError(f"the CXDB server's answer cannot be read: {error}") from None


def json_of(reply: Reply, what: str) -> Any:
    """The body of an answer. Raises ``StoreError`` where it is an error, or no JSON."""
    if reply.status != 200:
        raise refusal(reply.status, message_of(reply), what)
    try:
        return msgspec.json.decode(reply.body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise StoreError(f"the CXDB server's answer for {what} is not JSON: {error}") from None


def message_of(reply: Reply) -> str:
    """What an error says."""
    try:
        error = msgspec.json.decode(reply.body)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, RecursionError):
        return f"status {reply.status}"


def member_list(body: Any, name: str) -> list[Any]:
    """A list in an answer."""
    found = body.get(name) if isinstance(body, dict) else None
    if not isinstance(found, list):
        raise StoreError(f"the CXDB server's answer has no {name}")
    return found


def number(row: Any, name: str) -> int:
    """A number, given as one or as a text; 0 where there is none."""
    value = row.get(name, 0) if isinstance(row, dict) else 0
    try:
        return int(value)
    except (TypeError, ValueError):
        raise StoreError(f"the CXDB server's answer has a {name} that is not a number") from None


def raw_turn(row: Any) -> Turn:
    """A turn of the raw view; its payload is verified where the server names its hash."""
    try:
        payload = b64decode(row["bytes_b64"])
        declared = row["declared_type"]
        type_id, version = str(declared["type_id"]), int(declared["type_version"])
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"the CXDB server's turn cannot be read: {error!r}") from None
    turn_id = number(row, "turn_id")
    if row.get("content_hash_b3", digest_of(payload).hex()) != digest_of(payload).hex():
        raise refusal(500, "it does not match its hash", f"turn {turn_id}")
    return Turn(
        turn_id=turn_id,
        parent=number(row, "parent_turn_id"),
        depth=number(row, "depth"),
        type_id=type_id,
        type_version=version,
        payload=payload,
        created_ms=number(row, "created_at_unix_ms"),
    )


def page_of(payload: bytes) -> list[Turn]:
    """Return the turns of a get-last answer, with the times of appending that our own server adds."""
    try:
        turns, rest = frames.read_page_and_rest(payload)
    except Malformed as error:
        raise StoreError(f"the CXDB server's page cannot be read: {error}") from None
    times: Iterator[int] = iter(())
    if len(rest) == 8 * len(turns):
        times = (int.from_bytes(rest[at : at + 8], "little") for at in range(0, len(rest), 8))
    return [_wire_turn(turn, next(times, 0)) for turn in turns]


def _wire_turn(turn: WireTurn, created_ms: int) -> Turn:
    payload = turn.payload or b""
    if digest_of(payload) != turn.digest:
        raise refusal(500, "it does not match its hash", f"turn {turn.turn_id}")
    return Turn(
        turn_id=turn.turn_id,
        parent=turn.parent,
        depth=turn.depth,
        type_id=turn.type_id,
        type_version=turn.type_version,
        payload=payload,
        created_ms=created_ms,
    )


def bundle_refusal(bundle_id: str, bundle: bytes, message: str) -> StoreError:
    """Why a bundle was refused; a registry may be spoiled by another program's bundle."""
    named = message.partition("for type ")[2].partition(" ")[0]
    if message.startswith("missing enum") and f'"{named}"'.encode() not in bundle:
        return StoreError(
            f"the CXDB server accepts no bundle: another program's type {named} names an enum that does not exist",
            fix="publish a bundle that defines the enum, or restart the server; runs can be read without types",
        )
    return StoreError(
        f"the CXDB server refuses the types of {bundle_id}: {message}",
        fix="another version of Orchestra, or another program, registered other fields: use that version, or "
        "another server; existing runs can be read without types",
    )


async def contexts_in_stream(pieces: AsyncIterator[bytes]) -> AsyncIterator[int]:
    """The contexts that an event stream names."""
    buffer = b""
    async for piece in pieces:
        buffer += piece
        *events, buffer = buffer.split(b"\n\n")
        for event in events:
            data = next((line[6:] for line in event.split(b"\n") if line.startswith(b"data: ")), b"{}")
            try:
                context_id = number(msgspec.json.decode(data), "context_id")
            except (msgspec.DecodeError, StoreError):
                continue
            if context_id:
                yield context_id
