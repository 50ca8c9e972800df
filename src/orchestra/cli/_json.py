"""Data as JSON on standard output: valid in every encoding, harmless on a terminal."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from orchestra.cli._terminal import say

SCHEMA = "orchestra.events.v1"
"""What the first line, or the one object, of a list of events names as its form."""

_STEERING = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]")
"""What could steer a terminal, hide itself, or not be written at all; the rest of it JSON escapes by itself."""


def say_json(data: Any, *, indent: int | None = None) -> None:
    """Write a value as JSON and a line break. Raises as ``say`` does."""
    say(as_line(data, indent=indent))


def as_line(data: Any, *, indent: int | None = None) -> str:
    """A value as JSON that standard output can show."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(data, ensure_ascii=not unicode, indent=indent, default=str)
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
