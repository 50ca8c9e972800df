"""Values that are too large for a turn and are carried by reference (S11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from blake3 import blake3

FIELD_LIMIT = 64 * 1024
"""Bytes of UTF-8 above which an event's text field goes to a blob of its own."""

VALUE_LIMIT = 16 * 1024
"""Bytes of JSON above which a context value goes to a blob (engine.md#the-context)."""

PREVIEW = 200
"""Characters of a large text that are kept beside its reference."""


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


def from_map(value: object) -> BlobRef:
    """The reference that a turn's map stands for; ``ValueError`` where it is none."""
    match value:
        case {"hash": str(digest), "size": int(size), "preview": str(preview), **rest}:
            return BlobRef(digest, size, preview, bool(rest.get("json", False)))
        case _:
            raise ValueError("not a blob reference")


def output_name(parts: Sequence[BlobRef]) -> str:
    """Return the name of a whole output: the beginning of its first part's hash (A32)."""
    return parts[0].hash[:8]


def preview_of(text: Text) -> str:
    """The first characters of a text, whole or not."""
    return text.preview if isinstance(text, BlobRef) else text[:PREVIEW]


def refer(data: bytes, preview: str, *, json: bool = False) -> BlobRef:
    """The reference to a blob with these bytes."""
    return BlobRef(blake3(data).hexdigest(), len(data), preview[:PREVIEW], json)


def to_text(text: Text) -> Text:
    """Return a text as the context carries it: by reference if it has over ``VALUE_LIMIT`` bytes."""
    if isinstance(text, BlobRef) or len(text) * 4 <= VALUE_LIMIT:
        return text
    data = utf8(text)
    return refer(data, text) if len(data) > VALUE_LIMIT else text


def utf8(text: str) -> bytes:
    """The bytes under which a text is stored as a blob."""
    return text.encode("utf-8", "surrogatepass")
