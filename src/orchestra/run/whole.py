"""The whole state of a run as a checkpoint carries it, and back (S17)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from orchestra.run.codec import from_map
from orchestra.run.declare import BlobRef, Text
from orchestra.run.events import (
    CheckpointSaved,
    ContextValue,
)
from orchestra.run.state import RunState

WHOLE = "whole"
"""The key under which a checkpoint carries a reference to its state, where that is large."""


def whole_reference(event: CheckpointSaved) -> BlobRef | None:
    """Return the reference to a checkpoint's state in a blob (JSON); None if it holds it itself."""
    found = event.state.get(WHOLE) if event.state is not None else None
    return found if isinstance(found, BlobRef) else None


def dump(state: RunState) -> dict[str, Any]:
    """The whole state as plain data, for a checkpoint (S17)."""
    plain: dict[str, Any] = msgspec.to_builtins(
        replace(state, context={}, variables={}, dotfiles={}, dot="", simulation="")
    )
    for name in ("dot", "simulation"):
        text = getattr(state, name)
        plain[name] = text.as_map() if isinstance(text, BlobRef) else text
    for name in ("context", "variables", "dotfiles"):
        values: Mapping[str, ContextValue] = getattr(state, name)
        refs = {key: value.as_map() for key, value in values.items() if isinstance(value, BlobRef)}
        plain[name] = {key: value for key, value in values.items() if key not in refs}
        plain[f"{name}_refs"] = refs
    return plain


def load(plain: Mapping[str, Any]) -> RunState:
    """The state that ``dump`` wrote; ``ValueError`` where it is no such thing."""
    rest = dict(plain)
    try:
        context, variables, dotfiles = (_values(rest, name) for name in ("context", "variables", "dotfiles"))
        dot, simulation = _text(rest.pop("dot")), _text(rest.pop("simulation"))
        state = msgspec.convert(rest, RunState)
    except (KeyError, TypeError, AttributeError, ValueError, msgspec.ValidationError) as error:
        raise ValueError(f"not a run's state: {error}") from error
    return replace(state, context=context, variables=variables, dotfiles=dotfiles, dot=dot, simulation=simulation)


def _values(rest: dict[str, Any], name: str) -> dict[str, ContextValue]:
    return {**rest.pop(name), **{key: from_map(value) for key, value in rest.pop(f"{name}_refs").items()}}


def _text(value: object) -> Text:
    return value if isinstance(value, str) else from_map(value)
