"""Events as plain data, for ``--json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import asdict

from orchestra.run.declare import BY_CLASS, BlobRef
from orchestra.run.events import LiveEvent, Recorded


def plain(recorded: Recorded) -> dict[str, Any]:
    """Return an event as plain data for ``--json``: envelope, turn, and fields other than defaults."""
    meta, declared = recorded.meta, BY_CLASS[type(recorded.event)]
    out: dict[str, Any] = {
        "event": declared.event,
        "session": meta.session,
        "turn": recorded.turn_id,
        "depth": recorded.depth,
        "at": meta.at,
        "epoch": meta.epoch,
        "sequence": meta.sequence,
    }
    if meta.branch:
        out["branch"] = meta.branch
    for field in declared.fields:
        value = getattr(recorded.event, field.name)
        if value != field.default:
            out[field.name] = _plain_value(value)
    return out


def plain_live(live: LiveEvent) -> dict[str, Any]:
    """What is shown and not recorded, in the same form: no turn holds it."""
    return {
        "event": type(live.event).__name__,
        "session": live.meta.session,
        "at": live.meta.at,
        **asdict(live.event),
    }


def _plain_value(value: object) -> object:
    if isinstance(value, BlobRef):
        return value.as_map()
    if isinstance(value, Mapping):
        return {key: _plain_value(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain_value(item) for item in value]
    return value
