"""Paths into the context: ``parallel.results[0].response`` is a part of a value (L31)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_STEP = re.compile(r"\.?([\w-]+)|\[([0-9]+)\]", re.ASCII)
_END = re.compile(r"(?:\.[^.\[]*|\[[0-9]*\])\Z")
_PREFIX = "context."


def parts_of(path: str) -> Iterator[tuple[str, str]]:
    """Yield each key that a path may begin with, the longest first, and the rest of the path.

    The prefix ``context.`` is optional.
    """
    end = len(path)
    while end:
        key = path[:end]
        yield key, path[end:]
        if key.startswith(_PREFIX):
            yield key[len(_PREFIX) :], path[end:]
        match = _END.search(key)
        end = match.start() if match is not None else 0


def keys_of(path: str) -> Iterator[str]:
    """The keys that a path may begin with."""
    return (key for key, _rest in parts_of(path))


def descend(rest: str, value: object) -> tuple[bool, object]:
    """Return whether the rest of a path exists in a value, and its value."""
    for word, index in _STEP.findall(rest):
        step = word or index
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, list | tuple) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return False, ""
    return True, value


def look_up(path: str, context: Mapping[str, object]) -> tuple[bool, object]:
    """Whether the context has a value by that name, and the value: a key's, or a part of one."""
    for key, rest in parts_of(path):
        if key in context:
            return descend(rest, context[key])
    return False, ""
