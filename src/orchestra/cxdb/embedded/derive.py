"""The turns.meta fields of a turn, derived from its payload (S8)."""

from __future__ import annotations

import msgspec

from orchestra.cxdb.format.layout import meta_record
from orchestra.run.declare import EVENTS

_decode = msgspec.msgpack.Decoder().decode


def derive_meta(turn_id: int, payload: bytes, compression: int = 0) -> bytes | None:
    """The record of turns.meta for one of our events, or None where the payload is not one of ours."""
    try:
        plain = _decode(payload)
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError):
        return None
    if not isinstance(plain, dict):
        return None
    name, version = plain.get(1), plain.get(2)
    declared = EVENTS.get(name) if isinstance(name, str) else None
    if declared is None or not isinstance(version, int) or not 0 <= version < 1 << 32:
        return None
    return meta_record(turn_id, declared.type_id.encode(), version, len(payload), compression)
