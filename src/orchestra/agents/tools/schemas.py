"""JSON Schemas of the built-in tools' arguments, and reading arguments that were checked against one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestra.run.outcome import Json


def schema(required: str, /, **properties: dict[str, Any]) -> dict[str, Json]:
    """Return the schema of an object with these properties only, of which the named are required."""
    return {
        "type": "object",
        "properties": {**properties},
        "required": list(required.split()),
        "additionalProperties": False,
    }


def text(description: str, **more: Any) -> dict[str, Any]:
    """A string."""
    return {"type": "string", "description": description, **more}


def count(description: str, least: int = 1) -> dict[str, Any]:
    """A whole number."""
    return {"type": "integer", "description": description, "minimum": least}


def flag(description: str) -> dict[str, Any]:
    """True or false."""
    return {"type": "boolean", "description": description}


def string(arguments: Mapping[str, Json], name: str, default: str = "") -> str:
    """A string argument; null counts as left out."""
    value = arguments.get(name)
    return default if value is None else str(value)


def number(arguments: Mapping[str, Json], name: str, default: int) -> int:
    """A whole number argument; null counts as left out."""
    value = arguments.get(name)
    return int(value) if isinstance(value, int | float) else default
