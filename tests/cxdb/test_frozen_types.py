"""Stores hold the types of events: what is frozen never changes, and what is new is frozen with it."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

TOOL = Path(__file__).parents[2] / "tools" / "freeze_types.py"
spec = importlib.util.spec_from_file_location("freeze_types", TOOL)
assert spec is not None
assert spec.loader is not None
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


def test_no_frozen_type_has_changed() -> None:
    assert tool.changes(tool.frozen(), tool.current()) == []


def test_every_type_and_version_is_frozen() -> None:
    """If this fails after an addition: python tools/freeze_types.py"""
    assert tool.joined(tool.frozen(), tool.current()) == tool.frozen()


def test_a_changed_field_is_distinguished_from_a_new_version() -> None:
    before, now = tool.frozen(), copy.deepcopy(tool.frozen())
    fields = now["dev.orchestra.NodeExecution"].pop("1")
    now["dev.orchestra.NodeExecution"]["2"] = {**fields, "99": {"name": "new", "type": "string"}}
    assert tool.changes(before, now) == []
    assert set(tool.joined(before, now)["dev.orchestra.NodeExecution"]) == {"1", "2"}
    now["dev.orchestra.NodeExecution"]["1"] = {**fields, "10": {"name": "other", "type": "string"}}
    assert tool.changes(before, now) == [
        "dev.orchestra.NodeExecution v1 has changed: give its events the next version"
    ]
