"""What a node gives its agent besides the prompt: files (A30), and the form of the answer (A4)."""

from __future__ import annotations

import base64
import json
import mimetypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestra.errors import ConfigError
from orchestra.graph.model import Node
from orchestra.run.outcome import Json

LARGEST = 5 * 1024 * 1024
"""Bytes of an attached file that the providers take."""

_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


def names_of(node: Node) -> tuple[str, ...]:
    """The files and patterns that a node attaches."""
    return tuple(word.strip() for word in node.text("attach").split(",") if word.strip())


def find_files(name: str, folders: Sequence[Path]) -> list[Path]:
    """Return the files of a name or pattern in the first folder that has any, sorted.

    Raises ``ConfigError`` if none has.
    """
    for folder in folders:
        try:
            found = sorted(path for path in folder.glob(name) if path.is_file())
        except (OSError, ValueError, IndexError, NotImplementedError):  # no file can have that name
            found = []
        inside = [path for path in found if path.resolve().is_relative_to(folder.resolve())]
        if inside:
            return inside
    places = ", ".join(str(folder) for folder in folders)
    raise ConfigError(f"no file {name!r} in {places}", fix="name files relative to the pipeline's folder")


def attachments(node: Node, folders: Sequence[Path]) -> tuple[tuple[Json, ...], list[str]]:
    """A node's files: images and PDFs as parts of the message, texts as text. Raises ``ConfigError``."""
    parts: list[Json] = []
    texts: list[str] = []
    for name in names_of(node):
        for path in find_files(name, folders):
            data = path.read_bytes()
            if len(data) > LARGEST:
                raise ConfigError(f"attach: {path} has {len(data)} bytes; at most {LARGEST} can be attached")
            kind = mimetypes.guess_type(path.name)[0] or ""
            if kind in _IMAGES or kind == "application/pdf":
                parts.append(_part(path.name, kind, data))
            else:
                texts.append(_text(path.name, data))
    return tuple(parts), texts


def _part(name: str, kind: str, data: bytes) -> Json:
    """A content block in the form that LangChain turns into each provider's own."""
    block: dict[str, Json] = {
        "type": "image" if kind.startswith("image/") else "file",
        "source_type": "base64",
        "mime_type": kind,
        "data": base64.b64encode(data).decode(),
    }
    return block if kind.startswith("image/") else {**block, "filename": name}


def _text(name: str, data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"attach: {name} is neither text nor an image or a PDF") from None
    return f"File {name}:\n{text}"


def read_schema(text: str, folders: Sequence[Path]) -> Mapping[str, Any]:
    """A JSON Schema, given as JSON or as the name of a file. Raises ``ConfigError``."""
    from jsonschema import Draft202012Validator, SchemaError  # only a node with a schema pays for it

    where = "output_schema"
    if not text.lstrip().startswith("{"):
        path = find_files(text, folders)[0]
        where, text = str(path), path.read_text(encoding="utf-8")
    try:
        schema = json.loads(text)
        Draft202012Validator.check_schema(schema)
    except (ValueError, SchemaError) as error:
        told = error.message if isinstance(error, SchemaError) else str(error)
        raise ConfigError(f"{where} is not a JSON Schema: {told}") from error
    if not isinstance(schema, dict):
        raise ConfigError(f"{where} is not a JSON Schema: an object is needed")
    return schema
