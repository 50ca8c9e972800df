"""The values that a tool's command names: looked up in the context, and how they reach the shell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from orchestra.errors import ConfigError
from orchestra.graph.conditions import text_of
from orchestra.graph.paths import descend, parts_of
from orchestra.graph.shell import Expression, expressions
from orchestra.ports import Scope
from orchestra.run.state import END_KEYS, Context

LONGEST = 128 * 1024 - 64
"""Bytes of one environment variable, its name included, that the system passes on to a program."""

MOST = 512 * 1024
"""Bytes of all of them together, well below what systems allow."""


def expressions_in(command: str) -> tuple[Expression, ...]:
    """Return the expressions in a command.

    Raises ``ConfigError`` for one whose value the shell would run as code.
    """
    found = expressions(command)
    for expression in found:
        if expression.hazard and not expression.raw:
            raise ConfigError(
                f"{{{{ {expression.name} }}}} is in {expression.hazard}, where its value would be run as code"
            )
    return found


async def look_up_values(found: Sequence[Expression], context: Context, scope: Scope) -> dict[str, str]:
    """Every value by its name, as conditions print it (L32).

    Raises ``ConfigError`` for a name without a value: a command with a hole in it could do anything.
    """
    values: dict[str, str] = {}
    for name in dict.fromkeys(expression.name for expression in found):
        known, value = await _value(name, context, scope)
        if not known and name not in END_KEYS:
            raise ConfigError(f"{{{{ {name} }}}} has no value in the context", fix=_suggestion(name, context))
        text = text_of(value)
        if "\0" in text:
            raise ConfigError(f"the value of {name!r} contains a NUL character, which no shell accepts")
        values[name] = text
    return values


async def _value(name: str, context: Context, scope: Scope) -> tuple[bool, Any]:
    """Return whether a name has a value, and the value: a context key, a variable, or a part of one (L31).

    The prefix ``context.`` is optional.
    """
    exact = [(key, "") for key in (name, name.removeprefix("context."), f"run.vars.{name}")]
    for key, rest in (*exact, *parts_of(name)):
        if key in context:
            found, value = descend(rest, await scope.resolve(context[key]))
            return found and (value is not None or not rest), value
    return False, None


def _suggestion(name: str, context: Context) -> str:
    """The key that may be meant, and how to write braces that are not ours."""
    name = name.removeprefix("context.")
    if name == "goal":
        return "write {{ graph.goal }}"
    near = get_close_matches(name, list(context), n=1)
    if near:
        return f"did you mean {near[0]}?"
    if "." in name:
        return "no node that has run set it"
    return f"give it as a variable: orchestra run … {name}=VALUE"


def split_by_size(values: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Values that travel in the environment, and those that are too large for it and travel by file."""
    small: dict[str, str] = {}
    large: dict[str, str] = {}
    room = MOST
    for name, value in sorted(values.items(), key=lambda item: len(item[1])):
        size = len(name) + len(value.encode("utf-8", "surrogatepass")) + 2
        if size > LONGEST or size > room:
            large[name] = value
        else:
            small[name] = value
            room -= size
    return small, large


def reading(files: Mapping[str, str]) -> str:
    """Return shell text that reads variables from files exactly; ``$( )`` alone drops final newlines."""
    return "".join(
        f"{name}=$(cat <'{path}' && printf x) && {name}=${{{name}%x}} || exit 127; " for name, path in files.items()
    )
