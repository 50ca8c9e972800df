"""The door through which foreign values enter the context: JSON, of a bounded depth, in clean Unicode."""

from __future__ import annotations

import math
from collections.abc import Mapping

from orchestra.run.outcome import Json

MAX_DEPTH = 64
_MAX_INT = 2**63


def clean(text: str) -> str:
    """The text itself without lone surrogates, which no UTF-8 file or payload can hold; never a subclass."""
    if type(text) is not str:
        text = str.__str__(text)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def plain_json(value: object, depth: int = 0) -> Json:
    """The same value as JSON; ``ValueError`` says why it is none."""
    if isinstance(value, str):
        return clean(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not -_MAX_INT <= value < _MAX_INT:
            raise ValueError("an integer of more than 64 bits")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a JSON number")
        return float(value)
    if depth >= MAX_DEPTH:
        raise ValueError(f"nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, Mapping):
        return {_key(key): plain_json(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(item, depth + 1) for item in value]
    raise ValueError(f"a {type(value).__name__} is not a JSON value")


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise ValueError(f"a key of type {type(key).__name__}; JSON keys are strings")
    return clean(key)
