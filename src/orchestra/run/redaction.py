"""Secrets never leave the engine: they are replaced in every event before it is recorded (S18)."""

from __future__ import annotations

import dataclasses
from typing import Any

from orchestra.run.declare import BY_CLASS
from orchestra.run.events import Event
from orchestra.run.secrets import Redactor

FREE_TEXT = frozenset({"goal", "label", "notes", "failure_reason", "error", "reason", "message", "title"})
"""Plain string fields that hold a person's or a model's words; the others are names and ids of ours."""


_FREE: dict[type, tuple[str, ...]] = {
    cls: tuple(
        field.name
        for field in declared.fields
        if field.type in {"text", "json"} or (field.type == "string" and field.name in FREE_TEXT)
    )
    for cls, declared in BY_CLASS.items()
}


def redacted(event: Event, redactor: Redactor) -> Event:
    """The event without secrets; names and ids of ours are left as they are."""
    changed: dict[str, Any] = {}
    for name in _FREE[type(event)]:
        value = getattr(event, name)
        if value and (new := redactor.value(value)) is not value:
            changed[name] = new
    return dataclasses.replace(event, **changed) if changed else event
