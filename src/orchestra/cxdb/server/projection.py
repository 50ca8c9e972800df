"""Payloads as typed data: values that do not fit become null, and only maps can be shown."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import TypeAlias

from orchestra.cxdb.format.frames import Malformed
from orchestra.cxdb.server.msgpack import Pairs, Value, read_value, unsigned
from orchestra.cxdb.server.types import FieldSpec, Types, TypeVersion

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST_SIGNED = (1 << 63) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """How values are written; the defaults are CXDB's."""

    bytes_as: str = "base64"
    u64_as: str = "string"
    enum_as: str = "label"
    time_as: str = "iso"
    unknown: bool = False

    @classmethod
    def of(cls, parameters: Mapping[str, str]) -> Rendering:
        """What a query asks for; words that are not known count as the default."""
        return cls(
            bytes_as=parameters.get("bytes_render", ""),
            u64_as=parameters.get("u64_format", ""),
            enum_as=parameters.get("enum_render", ""),
            time_as=parameters.get("time_render", ""),
            unknown=parameters.get("include_unknown") == "1",
        )


def project(payload: bytes, version: TypeVersion, types: Types, how: Rendering) -> tuple[Plain, Plain]:
    """A payload as typed data, and what its type does not name. Raises ``Malformed``."""
    tags = _tags(read_value(payload))
    if tags is None:
        raise Malformed(422, "payload is not a map")
    projection = _Projection(types, how)
    unknown: dict[str, Plain] = {}
    if how.unknown:
        unknown = {str(tag): projection.generic(value) for tag, value in tags.items() if tag not in version.fields}
    return projection.fields(tags, version), unknown


def bytes_as(data: bytes, how: str) -> str | int:
    """Bytes as text, or how many they are."""
    if how == "hex":
        return data.hex()
    return len(data) if how == "len_only" else b64encode(data).decode()


def _tags(value: Value) -> dict[int, Value] | None:
    if not isinstance(value, Pairs):
        return None
    found: dict[int, Value] = {}
    for key, item in value.items:
        tag = unsigned(key) if isinstance(key, str) else _unsigned(key)
        if tag is not None:
            found[tag] = item
    return found


def _unsigned(value: Value) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _signed(value: Value) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and isinstance(value, int) and value <= _LARGEST_SIGNED else None


class _Projection:
    """One payload's way through the types."""

    def __init__(self, types: Types, how: Rendering) -> None:
        self._types = types
        self._how = how

    def fields(self, tags: dict[int, Value], version: TypeVersion) -> dict[str, Plain]:
        """The members that a type names."""
        return {spec.name: self._field(tags[tag], spec) for tag, spec in version.fields.items() if tag in tags}

    def _field(self, value: Value, spec: FieldSpec) -> Plain:
        if spec.enum is not None:
            number = _unsigned(value)
            label = None if number is None else self._types.label(spec.enum, number)
            if label is not None:
                return self._enum(label, number)
        if spec.type == "ref" and spec.ref is not None:
            return self._ref(value, spec.ref)
        if spec.type == "array":
            return self._array(value, spec)
        return self._simple(value, spec.type)

    def _enum(self, label: str, number: int | None) -> Plain:
        if self._how.enum_as == "number":
            return number
        return {"label": label, "value": number} if self._how.enum_as == "both" else label

    def _ref(self, value: Value, target: str) -> Plain:
        latest, tags = self._types.latest(target), _tags(value)
        return self.generic(value) if latest is None or tags is None else self.fields(tags, latest[1])

    def _array(self, value: Value, spec: FieldSpec) -> Plain:
        if not isinstance(value, list):
            return None
        if spec.items_ref is not None:
            target = spec.items_ref
            return [self._ref(item, target) for item in value]
        if spec.items is None:
            return [self.generic(item) for item in value]
        inner = FieldSpec(name="", type=spec.items)
        return [self._field(item, inner) for item in value]

    def _simple(self, value: Value, kind: str) -> Plain:
        render = _KINDS.get(kind)
        return self.generic(value) if render is None else render(self, value)

    def _u64(self, value: Value) -> Plain:
        number = _unsigned(value)
        return number if number is None or self._how.u64_as == "number" else str(number)

    def _int(self, value: Value) -> Plain:
        return _signed(value)

    def _string(self, value: Value) -> Plain:
        return value if isinstance(value, str) else None

    def _bool(self, value: Value) -> Plain:
        return value if isinstance(value, bool) else None

    def _bytes(self, value: Value) -> Plain:
        return bytes_as(value, self._how.bytes_as) if isinstance(value, bytes) else None

    def _time(self, value: Value) -> Plain:
        ms = _signed(value)
        if ms is None or self._how.time_as == "unix_ms":
            return ms
        try:
            at = _EPOCH + timedelta(milliseconds=ms)
        except OverflowError:
            return None
        return at.isoformat(timespec="milliseconds" if ms % 1000 else "seconds")

    def generic(self, value: Value) -> Plain:
        """Return a value without a declared type."""
        if isinstance(value, bool) or value is None or isinstance(value, str):
            return value
        if isinstance(value, int):
            return self._u64(value) if value >= 0 else value
        if isinstance(value, float):
            return value if isfinite(value) else 0
        if isinstance(value, bytes):
            return self._bytes(value)
        if isinstance(value, list):
            return [self.generic(item) for item in value]
        if isinstance(value, Pairs):
            return {_key(key): self.generic(item) for key, item in value.items}
        return None


def _key(key: Value) -> str:
    if isinstance(key, str):
        return key
    number = _unsigned(key)
    return "" if number is None else str(number)


_Render: TypeAlias = Callable[[_Projection, Value], Plain]

_KINDS: Mapping[str, _Render] = {
    **dict.fromkeys(("u64", "uint64", "int64"), _Projection._u64),
    **dict.fromkeys(("u32", "uint32", "u8", "uint8", "int32"), _Projection._int),
    "string": _Projection._string,
    "bool": _Projection._bool,
    **dict.fromkeys(("bytes", "typed_blob"), _Projection._bytes),
    **dict.fromkeys(("unix_ms", "time_ms", "timestamp_ms"), _Projection._time),
}
