"""The form of the tables from which the fold is made: an event, and what it changes in the state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from orchestra.run.events import Meta
from orchestra.run.state import RunState

_E = TypeVar("_E")

Change: TypeAlias = Callable[[RunState, Meta, Any], dict[str, Any]]
"""The fields of the state that an event gives other values; the fold makes a new state of them."""


def on(
    event: type[_E], change: Callable[[RunState, Meta, _E], dict[str, Any]] | None = None
) -> tuple[type, Change | None]:
    """One row of a table; without a function, of an event that is only told."""
    return event, change
