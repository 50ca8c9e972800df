"""What installed packages add: handlers, lint rules, transforms, by entry point (E2, diagnostics.md)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from orchestra.errors import ConfigError, Diagnostic, OrchestraError
from orchestra.graph.model import Graph

HANDLERS = "orchestra.handlers"
LINT = "orchestra.lint"
TRANSFORMS = "orchestra.transforms"
TOOLS = "orchestra.tools"
BACKENDS = "orchestra.backends"
GROUPS = (HANDLERS, LINT, TRANSFORMS, TOOLS, BACKENDS)


@cache
def entry_points_of_ours() -> dict[str, tuple[EntryPoint, ...]]:
    """Our groups' entry points.

    Asking the standard library makes an object of every entry point of every installed package, several
    milliseconds at each start; so the files are searched for our groups' names first.
    """
    if not _has_plugins():
        return dict.fromkeys(GROUPS, ())
    every = entry_points()
    return {group: tuple(every.select(group=group)) for group in GROUPS}


def rules() -> tuple[Callable[[Graph], Iterable[Diagnostic]], ...]:
    """The lint rules of installed packages."""
    return tuple(_load_function(point, _all_diagnostics) for point in entry_points_of_ours()[LINT])


def transforms() -> tuple[Callable[[Graph], Graph], ...]:
    """The transforms of installed packages."""
    return tuple(_load_function(point, _as_it_is) for point in entry_points_of_ours()[TRANSFORMS])


def _load_function(point: EntryPoint, whole: Callable[[Any], Any]) -> Callable[[Graph], Any]:
    """Return what an entry point names, as a function whose faults name its package.

    ``whole`` has it do all its work inside, so that a generator's faults are named too.
    """
    offer = load_entry_point(point)

    def called(graph: Graph) -> Any:
        try:
            return whole(offer(graph))
        except OrchestraError:
            raise
        except Exception as error:
            raise ConfigError(
                f"{origin(point)} offers {point.value!r} under {point.group}, which failed on this pipeline: "
                f"{type(error).__name__}: {error}",
                fix="fix or uninstall that package",
            ) from error

    called.__qualname__ = getattr(offer, "__qualname__", type(offer).__qualname__)
    return called


def _all_diagnostics(found: Iterable[Any]) -> list[Diagnostic]:
    every = list(found)
    for one in every:
        if not isinstance(one, Diagnostic):
            raise TypeError(f"it has to return Diagnostics, not {type(one).__name__}")
    return every


def _as_it_is(value: Any) -> Any:
    return value


def load_entry_point(point: EntryPoint) -> Any:
    """What an entry point names. Raises ``ConfigError`` where it cannot be had."""
    try:
        return point.load()
    except Exception as error:
        raise ConfigError(
            f"{origin(point)} offers {point.value!r} under {point.group}, which cannot be loaded: "
            f"{type(error).__name__}: {error}",
            fix="fix or uninstall that package",
        ) from error


def origin(point: EntryPoint) -> str:
    """The package that offers something."""
    return (
        f"the package {point.dist.name} {point.dist.version}" if point.dist is not None else "an installed package"
    )


def _has_plugins() -> bool:
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
