"""One declaration per event: a frozen class whose fields carry their CXDB tags (S10).

From the declaration come the codec, the registry bundle, the JSON form and the documentation.
Tags and type versions are never used again for something else. Several events may share one CXDB
type; the tag of a field then means the same in all of them, which ``declared`` checks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, TypeAlias, TypeVar, cast, dataclass_transform

import msgspec
import msgspec.structs

_E = TypeVar("_E")


@dataclass(frozen=True, slots=True)
class BlobRef:
    """A reference to a stored blob: BLAKE3-256 in hex, its size in bytes, the first characters.

    ``json`` says that the blob is a JSON text of a context value rather than plain text.
    """

    hash: str
    size: int
    preview: str
    json: bool = False

    def as_map(self) -> dict[str, object]:
        """The form it has in a turn."""
        plain: dict[str, object] = {"hash": self.hash, "size": self.size, "preview": self.preview}
        if self.json:
            plain["json"] = True
        return plain


Text: TypeAlias = str | BlobRef
"""A text field of an event: whole, or by reference."""

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
shown as they are; CXDB's typed view knows the others by these names."""

METADATA_TAG = 30
"""Reserved in every type for the context metadata of a chain's first turn (S13)."""

FIRST_TAG = 10
"""Tags below belong to the envelope that all events share."""


@dataclass(frozen=True, slots=True)
class FieldTag:
    """The CXDB side of one field; ``default`` is ``msgspec.NODEFAULT`` where it must be given."""

    name: str
    tag: int
    type: str
    doc: str
    default: Any

    @property
    def required(self) -> bool:
        """Whether every event of the class gives it."""
        return self.default is msgspec.NODEFAULT


@dataclass(frozen=True, slots=True)
class Declaration:
    """The CXDB side of one event class; its fields stand in the order of the class and of their tags."""

    cls: type
    event: str
    type_id: str
    version: int
    fields: tuple[FieldTag, ...]


@dataclass(frozen=True, slots=True)
class _Tagged:
    number: int
    kind: str
    doc: str
    default: Any


def tag(number: int, kind: str, doc: str, *, default: Any = msgspec.NODEFAULT) -> Any:
    """A field with its tag, its CXDB type and what it means."""
    if kind not in FIELD_TYPES or number < FIRST_TAG or number == METADATA_TAG:
        raise ValueError(f"no such field: {number} {kind}")
    return _Tagged(number, kind, doc, default)


EVENTS: dict[str, Declaration] = {}
"""Every event by its name."""

BY_CLASS: dict[type, Declaration] = {}
"""Every event by its class."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(tag,))
def event(type_name: str, name: str = "", version: int = 1) -> Callable[[type[_E]], type[_E]]:
    """Declare a class as an event of the CXDB type ``dev.orchestra.<type_name>``.

    What comes of it is a frozen, keyword-only ``Struct`` with the same fields: four events are made for every node.
    """

    def declare(cls: type[_E]) -> type[_E]:
        tagged: dict[str, _Tagged] = {field: cls.__dict__[field] for field in cls.__annotations__}
        made = msgspec.defstruct(
            cls.__name__,
            [(field, Any, _default(t.default)) for field, t in tagged.items()],
            module=cls.__module__,
            namespace={"__doc__": cls.__doc__},
            frozen=True,
            kw_only=True,
        )
        fields = tuple(FieldTag(field, t.number, t.kind, t.doc, t.default) for field, t in tagged.items())
        if any(a.tag >= b.tag for a, b in pairwise(fields)):
            raise ValueError(f"{cls.__name__}: its tags do not ascend")
        declared = Declaration(made, name or cls.__name__, f"dev.orchestra.{type_name}", version, fields)
        EVENTS[declared.event] = declared
        BY_CLASS[made] = declared
        return cast("type[_E]", made)

    return declare


def _default(value: Any) -> Any:
    return msgspec.field(default_factory=dict) if isinstance(value, dict) else value


values: Callable[[Any], tuple[Any, ...]] = msgspec.structs.astuple
"""The values of an event's fields, in order."""


class _Replacing(Protocol):
    def __call__(self, made: _E, /, **fields: Any) -> _E:
        """Return the copy."""


change = cast("_Replacing", msgspec.structs.replace)
"""A copy of an event with other values in some fields."""
