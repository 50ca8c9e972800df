"""``compile`` refuses what ``run`` refuses, without settings too."""

from __future__ import annotations

from pathlib import Path

import pytest
from calls import call

from orchestra.graph.attributes import NODE

PIPELINE = "digraph g { start [shape=Mdiamond]; exit [shape=Msquare]; j [ATTRIBUTES]; start -> j -> exit }"


@pytest.mark.parametrize("key", sorted(NODE.entries))
def test_compile_ends_as_run_does_whatever_a_node_says(tmp_path: Path, key: str) -> None:
    attributes = f'"{key}"="missing.txt"' + ("" if key == "prompt" else ', prompt="x"')
    (tmp_path / "p.dot").write_text(PIPELINE.replace("ATTRIBUTES", attributes))
    if call(tmp_path, "compile", "p.dot").returncode == 0:
        ran = call(tmp_path, "run", "p.dot", "--no-input", "--store", "memory", "-q")
        assert ran.returncode != 3, ran.stderr
