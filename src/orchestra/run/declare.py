"""One declaration per event: a frozen dataclass whose fields carry their CXDB tags (S10).

From the declaration come the codec, the registry bundle, the JSON form and the documentation.
Tags and type versions are never used again for something else. Several events may share one CXDB
type; the tag of a field then means the same in all of them, which ``declared`` checks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast, dataclass_transform

_E = TypeVar("_E")

FIELD_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "u32": int,
    "u64": int,
    "unix_ms": int,
    "bool": bool,
    "array": list,
    "text": (str, dict),
    "json": (dict, list),
}
"""Kinds of fields, and what msgpack gives for each. ``text`` and ``json`` may be carried by reference and are
shown as they are; CXDB's typed view knows the others by these names (cxdb.md 4.6)."""

METADATA_TAG = 30
"""Reserved in every type for the context metadata of a chain's first turn (S13)."""

FIRST_TAG = 10
"""Tags below belong to the envelope that all events share."""


@dataclass(frozen=True, slots=True)
class FieldTag:
    """The CXDB side of one field."""

    name: str
    tag: int
    type: str
    doc: str


@dataclass(frozen=True, slots=True)
class Declaration:
    """The CXDB side of one event class."""

    cls: type
    event: str
    type_id: str
    version: int
    fields: tuple[FieldTag, ...]


_REQUIRED: Any = object()


def tag(number: int, kind: str, doc: str, *, default: Any = _REQUIRED) -> Any:
    """A field with its tag, its CXDB type and what it means."""
    if kind not in FIELD_TYPES or number < FIRST_TAG or number == METADATA_TAG:
        raise ValueError(f"no such field: {number} {kind}")
    metadata = {"tag": number, "kind": kind, "doc": doc}
    if default is _REQUIRED:
        return dataclasses.field(metadata=metadata)
    if isinstance(default, dict):
        return dataclasses.field(metadata=metadata, default_factory=dict)
    return dataclasses.field(metadata=metadata, default=default)


EVENTS: dict[str, Declaration] = {}
"""Every event by its name."""

BY_CLASS: dict[type, Declaration] = {}
"""Every event by its class."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(tag,))
def event(type_name: str, name: str = "", version: int = 1) -> Callable[[type[_E]], type[_E]]:
    """Declare a dataclass as an event of the CXDB type ``dev.orchestra.<type_name>``."""

    def declare(cls: type[_E]) -> type[_E]:
        made = cast("type[_E]", dataclass(frozen=True, slots=True, kw_only=True)(cls))
        fields = tuple(
            sorted(
                (
                    FieldTag(f.name, f.metadata["tag"], f.metadata["kind"], f.metadata["doc"])
                    for f in dataclasses.fields(made)  # type: ignore[arg-type]
                ),
                key=lambda f: f.tag,
            )
        )
        declared = Declaration(made, name or cls.__name__, f"dev.orchestra.{type_name}", version, fields)
        EVENTS[declared.event] = declared
        BY_CLASS[made] = declared
        return made

    return declare


def types() -> dict[tuple[str, int], dict[int, FieldTag]]:
    """The fields of every CXDB type and version, all events of the type together.

    ``ValueError`` where two events give one tag two meanings.
    """
    found: dict[tuple[str, int], dict[int, FieldTag]] = {}
    for declared in EVENTS.values():
        fields = found.setdefault((declared.type_id, declared.version), {})
        for field in declared.fields:
            known = fields.setdefault(field.tag, field)
            if (known.name, known.type) != (field.name, field.type):
                raise ValueError(f"{declared.type_id}: tag {field.tag} is {known.name} and {field.name}")
    return found
