"""The metadata of a context, from the first turn of its chain (S13)."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

METADATA = 30
CLIENT_TAG, TITLE, LABELS = 1, 2, 3


class ChainMetadata(NamedTuple):
    """The client tag, title and labels of a chain; empty where it names none."""

    client_tag: str = ""
    title: str = ""
    labels: tuple[str, ...] = ()


NO_METADATA = ChainMetadata()

_decode = msgspec.msgpack.Decoder().decode


def metadata_of(payload: bytes) -> ChainMetadata:
    """The metadata in a depth-0 turn's payload.

    Keys may be integers or digit strings; members of a wrong type are ignored.
    """
    try:
        plain = _decode(payload)
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError):
        return NO_METADATA
    found = _member(plain, METADATA)
    if not isinstance(found, dict):
        return NO_METADATA
    labels = _member(found, LABELS)
    return ChainMetadata(
        _text(_member(found, CLIENT_TAG)),
        _text(_member(found, TITLE)),
        tuple(label for label in labels if isinstance(label, str)) if isinstance(labels, list) else (),
    )


def _member(plain: object, tag: int) -> object:
    if not isinstance(plain, dict):
        return None
    return plain.get(tag, plain.get(str(tag)))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
