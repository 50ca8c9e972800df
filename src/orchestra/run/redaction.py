"""Secrets never leave the engine: they are replaced in every event before it is recorded (S18)."""

from __future__ import annotations

from typing import Any

from orchestra.run.declare import BY_CLASS, changed
from orchestra.run.events import CheckpointSaved, Event
from orchestra.run.secrets import Redactor

OURS = frozenset(
    "node handler status source target edge gate graph_hash config_hash backend version pipeline "
    "current_node next_node kind failure_class rule".split()
)
"""String fields that hold names and ids of ours or of the pipeline's text, which was searched before the run
(S18); every other string may hold a person's or a model's words."""


# a checkpoint renders the state, which is folded from events that went through here
_SEARCHED: dict[type, tuple[str, ...]] = {
    cls: tuple(
        field.name
        for field in declared.fields
        if cls is not CheckpointSaved
        and (field.type in {"text", "json", "array"} or (field.type == "string" and field.name not in OURS))
    )
    for cls, declared in BY_CLASS.items()
}


def redacted(event: Event, redactor: Redactor) -> Event:
    """The event without secrets; names and ids of ours are left as they are."""
    cleaned: dict[str, Any] = {}
    for name in _SEARCHED[type(event)]:
        value = getattr(event, name)
        if value and (new := redactor.value(value)) is not value:
            cleaned[name] = new
    return changed(event, **cleaned) if cleaned else event
