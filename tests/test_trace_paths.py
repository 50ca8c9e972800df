"""How much code a reader of one node and of one resume has to follow does not grow unnoticed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

TOOL = Path(__file__).parents[1] / "tools" / "trace_paths.py"
MOST = {
    "node": (14, 3860),
    "resume": (25, 6280),
}
"""Files and lines. What is aimed at is less: ``TARGETS`` of the tool."""


def test_the_paths_of_a_node_and_of_a_resume_are_no_longer_than_they_were() -> None:
    spec = importlib.util.spec_from_file_location("trace_paths", TOOL)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    for what, found in tool.measured().items():
        files, lines = MOST[what]
        assert len(found) <= files, (what, sorted(found))
        assert sum(found.values()) <= lines, (what, found)
