"""What installed packages add: handlers, lint rules, transforms, by entry point (E2, language.md 6)."""

from __future__ import annotations

import os
import sys
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from orchestra.errors import ConfigError

HANDLERS = "orchestra.handlers"
LINT = "orchestra.lint"
TRANSFORMS = "orchestra.transforms"


@cache
def offered() -> dict[str, tuple[EntryPoint, ...]]:
    """Our groups' entry points.

    Asking the standard library makes an object of every entry point of every installed package, several
    milliseconds at each start; so the files are searched for our groups' names first.
    """
    if not _mentioned():
        return {HANDLERS: (), LINT: (), TRANSFORMS: ()}
    every = entry_points()
    return {group: tuple(every.select(group=group)) for group in (HANDLERS, LINT, TRANSFORMS)}


def load(group: str) -> tuple[Any, ...]:
    """What a group's entry points name."""
    return tuple(loaded(point) for point in offered()[group])


def loaded(point: EntryPoint) -> Any:
    """What an entry point names. Raises ``ConfigError`` where it cannot be had."""
    try:
        return point.load()
    except Exception as error:
        raise ConfigError(
            f"{origin(point)} offers {point.value!r} under {point.group}, which cannot be loaded: "
            f"{type(error).__name__}: {error}",
            fix="mend or uninstall that package",
        ) from error


def origin(point: EntryPoint) -> str:
    """The package that offers something."""
    return (
        f"the package {point.dist.name} {point.dist.version}" if point.dist is not None else "an installed package"
    )


def _mentioned() -> bool:
    """Whether any installed package's entry points may be ours; a doubt counts as yes."""
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208  a Path per name is what this avoids
        except NotADirectoryError:
            return True  # a zip file: let the standard library look
        except OSError:
            continue
        for name in names:
            if name.endswith((".dist-info", ".egg-info", ".egg")) and _file_mentions(f"{folder or '.'}/{name}"):
                return True
    return False


def _file_mentions(folder: str) -> bool:
    try:
        with open(f"{folder}/entry_points.txt", "rb") as file:
            return b"[orchestra." in file.read()
    except OSError:
        return folder.endswith(".egg")
