"""Pass values to a shell command without making them part of its text (engine.md#tool-nodes).

Each value travels in an environment variable; the text names the variable in the way that fits the quotes it
stands in. Only ``| raw`` puts a value into the text itself.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from orchestra.graph.shell import Expression

PREFIX = "ORCHESTRA_V"
"""The prefix of variables, numbered in the order in which the command first names their values."""


def variables(found: Sequence[Expression]) -> dict[str, str]:
    """The environment variable of every value that does not enter the text, by the value's name."""
    names = dict.fromkeys(expression.name for expression in found if not expression.raw)
    return {name: f"{PREFIX}{number}" for number, name in enumerate(names, 1)}


def substitute(command: str, found: Sequence[Expression], raw: Mapping[str, str]) -> str:
    """The command with each expression replaced by its variable, or by its value where it is ``| raw``.

    ``found`` are the command's expressions in order; none of those that are not raw may have a hazard.
    """
    named = variables(found)
    parts: list[str] = []
    at = 0
    for expression in found:
        parts.append(command[at : expression.start])
        parts.append(raw[expression.name] if expression.raw else _reference(expression, named[expression.name]))
        at = expression.end
    parts.append(command[at:])
    return "".join(parts)


_REFERENCE = re.compile(rf"""'"\$({PREFIX}\d+)"'|"\$({PREFIX}\d+)"|\$\{{({PREFIX}\d+)\}}""")


def with_values(command: str, values: Mapping[str, object]) -> str:
    """A substituted command as a person reads it: with the values, by variable, that are short texts."""

    def value_of(found: re.Match[str]) -> str:
        value = values.get(found[1] or found[2] or found[3])
        if not isinstance(value, str):
            return found[0]
        return shlex.quote(value) if found[2] else value

    return _REFERENCE.sub(value_of, command)


def _reference(expression: Expression, variable: str) -> str:
    match expression.place:
        case "bare":
            return f'"${variable}"'
        case "double":
            return f"${{{variable}}}"
        case "single":
            return f"'\"${variable}\"'"
