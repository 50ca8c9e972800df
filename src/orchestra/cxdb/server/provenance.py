"""The provenance of a context, from the first turn of its chain."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

_METADATA, _PROVENANCE = 30, 10

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

_decode = msgspec.msgpack.Decoder().decode


def provenance_of(payload: bytes) -> dict[str, object] | None:
    """All 25 members, None where one is not there; None altogether where the payload has none."""
    try:
        plain = _decode(payload)
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError):
        return None
    found = _member(_member(plain, _METADATA), _PROVENANCE)
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


def _environment(value: object) -> dict[str, str] | None:
    if not isinstance(value, dict):
        return None
    return {key: item for key, item in value.items() if isinstance(key, str) and isinstance(item, str)}


def _member(plain: object, tag: int) -> object:
    if not isinstance(plain, dict):
        return None
    return plain.get(tag, plain.get(str(tag)))
