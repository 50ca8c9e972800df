"""What the first turn of a chain says of its contexts: title, labels and provenance (S13).

Keys may be integers or digit strings; members of a wrong type are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

METADATA = 30
CLIENT_TAG, TITLE, LABELS, PROVENANCE = 1, 2, 3, 10

_TEXTS: Mapping[int, str] = {
    2: "spawn_reason",
    10: "trace_id",
    11: "span_id",
    12: "correlation_id",
    20: "on_behalf_of",
    21: "on_behalf_of_source",
    22: "on_behalf_of_email",
    30: "writer_method",
    31: "writer_subject",
    32: "writer_issuer",
    40: "service_name",
    41: "service_version",
    42: "service_instance_id",
    44: "process_owner",
    45: "host_name",
    46: "host_arch",
    50: "client_address",
    70: "sdk_name",
    71: "sdk_version",
}
_UNSIGNED: Mapping[int, str] = {1: "parent_context_id", 3: "root_context_id"}
_NUMBERS: Mapping[int, str] = {43: "process_pid", 51: "client_port", 80: "captured_at"}
_ENVIRONMENT = 60


class ChainMetadata(NamedTuple):
    """The client tag, title and labels of a chain; empty where it names none."""

    client_tag: str = ""
    title: str = ""
    labels: tuple[str, ...] = ()


NO_METADATA = ChainMetadata()

_decode = msgspec.msgpack.Decoder().decode


def metadata_of(payload: bytes) -> ChainMetadata:
    """Return the metadata in the payload of a chain's first turn."""
    found = _metadata(payload)
    if found is None:
        return NO_METADATA
    tag, title, labels = (_member(found, key) for key in (CLIENT_TAG, TITLE, LABELS))
    return ChainMetadata(
        tag if isinstance(tag, str) else "",
        title if isinstance(title, str) else "",
        tuple(label for label in labels if isinstance(label, str)) if isinstance(labels, list) else (),
    )


def provenance_of(payload: bytes) -> dict[str, object] | None:
    """Return all 25 members of the provenance there, each None if missing; None if there is no provenance."""
    found = _member(_metadata(payload), PROVENANCE)
    if not isinstance(found, dict):
        return None
    out: dict[str, object] = {"env": _environment(_member(found, _ENVIRONMENT))}
    for tag, name in _TEXTS.items():
        value = _member(found, tag)
        out[name] = value if isinstance(value, str) else None
    for tag, name in (*_UNSIGNED.items(), *_NUMBERS.items()):
        value = _member(found, tag)
        fits = isinstance(value, int) and not isinstance(value, bool) and (value >= 0 or tag in _NUMBERS)
        out[name] = value if fits else None
    return out


def _metadata(payload: bytes) -> dict[Any, Any] | None:
    try:
        found = _member(_decode(payload), METADATA)
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _environment(value: object) -> dict[str, str] | None:
    if not isinstance(value, dict):
        return None
    return {key: item for key, item in value.items() if isinstance(key, str) and isinstance(item, str)}


def _member(plain: object, tag: int) -> object:
    return plain.get(tag, plain.get(str(tag))) if isinstance(plain, dict) else None
