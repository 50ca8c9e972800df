"""What an event says in one line, for pages that show a turn by one field, as CXDB's own does (S13)."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from orchestra.run.blobs import BlobRef
from orchestra.run.declare import BY_CLASS

LONGEST = 160
"""Characters of a description."""

_SUBJECTS = ("node", "current_node", "pipeline", "repo", "branch", "branch_id")
_DETAILS = (
    "status",
    "tool",
    "number",
    "action",
    "choice",
    "label",
    "failure_reason",
    "error",
    "reason",
    "message",
    "text",
    "said",
    "response",
    "command",
)
"""The fields that are said, in this order, where an event has them and they are not empty."""


def description(event: Any) -> str:
    """Say an event in at most ``LONGEST`` characters: ``stage completed: work, success, All tests pass``."""
    words, fields = _plan(event.__class__)
    said = [_line(value) for name in fields if (value := getattr(event, name))]
    if hasattr(event, "target") and hasattr(event, "source"):
        said.insert(0, f"{event.source} -> {event.target}")
    text = f"{words}: {', '.join(said)}" if said else words
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


@cache
def _plan(cls: type) -> tuple[str, tuple[str, ...]]:
    """An event's name in words, and the fields that are said of it."""
    declared = BY_CLASS[cls]
    known = {field.name for field in declared.fields}
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", declared.event).lower()
    return words, tuple(name for name in (*_SUBJECTS, *_DETAILS) if name in known)


def _line(value: object) -> str:
    """The first line of a value, short."""
    text = value.preview if isinstance(value, BlobRef) else str(value)
    first = text[:LONGEST].strip().partition("\n")[0].strip()
    return first if first.isascii() else first.encode("utf-8", "replace").decode("utf-8")
