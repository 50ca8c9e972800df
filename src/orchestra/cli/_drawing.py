"""A pipeline drawn by Graphviz' own program."""

from __future__ import annotations

import shutil
import subprocess

from orchestra.cli._errors import USAGE
from orchestra.cli._terminal import complain, deliver
from orchestra.errors import ConfigError
from orchestra.graph import render, report
from orchestra.graph.model import Graph

LAYOUT_LIMIT = 300
"""Seconds that Graphviz may take for a drawing."""


def draw(graph: Graph) -> int:
    """Write the graph as SVG to standard output; the exit code says whether that worked."""
    program = shutil.which("dot")
    if program is None:
        raise ConfigError(
            "no Graphviz found: `compile --format svg` needs its program `dot`",
            fix="apt install graphviz, or use --format dot and draw it elsewhere",
        )
    try:
        done = subprocess.run(
            [program, "-Tsvg"],
            input=render.to_drawing(graph).encode("utf-8", "replace"),
            capture_output=True,
            timeout=LAYOUT_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        complain(f"error: dot did not finish within {LAYOUT_LIMIT} s")
        return USAGE
    if done.returncode:
        complain(f"error: dot failed: {report.safe(done.stderr.decode('utf-8', 'replace').strip())}")
        return USAGE
    deliver(done.stdout.decode("utf-8", "replace"))
    return 0
