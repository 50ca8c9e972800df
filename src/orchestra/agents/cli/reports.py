"""The status file of a command-line agent: instructions and meaning (A4, Attractor appendix C)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestra.agents.tools.reporting import labels_of
from orchestra.graph.model import Graph, Node

STATUS_FILE, CONTEXT_FILE = "ORCHESTRA_STATUS_FILE", "ORCHESTRA_CONTEXT_FILE"
LARGEST = 4 * 1024 * 1024
"""Bytes of a status file that are read."""

_NAMES = {"outcome": "status", "preferred_next_label": "preferred_label"}
"""The names of Attractor's appendix C, and ours."""


def wants_report(graph: Graph, node: Node) -> bool:
    """Whether anything depends on what the agent reports."""
    edges = graph.outgoing(node.id)
    return node.flag("goal_gate") or len(edges) > 1 or any(edge.text("condition") for edge in edges)


def file_instructions(graph: Graph, node: Node, file: Path) -> str:
    """Return the instructions for reporting that follow the prompt."""
    labels = labels_of(graph, node.id)
    ways = f'"preferred_label" (which way to continue: one of {json.dumps(labels)}), ' if labels else ""
    return (
        f"When you are done, or cannot do it, report the outcome: write a JSON object to the file {file} (its path "
        f'is in ${STATUS_FILE} too), with "status" (success, partial_success, fail or retry), {ways}"notes" (one '
        'paragraph: what was done, or why it failed) and, where later steps need values, "context_updates" (an '
        "object)."
    )


def missing_report_prompt(graph: Graph, node: Node, file: Path) -> str:
    """What a goal gate's agent is asked once, where it did not report."""
    return (
        "You have not reported the outcome. Report status success only where the task is done and you have made "
        f"sure of it, else status fail and the reason in notes. {file_instructions(graph, node, file)}"
    )


def read_report(file: Path) -> tuple[Mapping[str, Any] | None, str]:
    """Return the content of a status file, None without one, or what is wrong with it."""
    try:
        data = file.read_bytes() if file.stat().st_size <= LARGEST else b"too large"
    except OSError:
        return None, ""
    if not data.strip():
        return None, ""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        return None, f"the agent wrote no JSON object to ${STATUS_FILE}"
    return {_NAMES.get(str(key), str(key)): value for key, value in found.items()}, ""
