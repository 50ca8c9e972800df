"""``report_outcome``: how an agent reports its node's outcome (A4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestra.agents.tools import FunctionTool, ToolContext, ToolResult
from orchestra.agents.tools.schemas import schema, text
from orchestra.graph.model import Graph
from orchestra.run.outcome import Json, Status, legal_words

NAME = "report_outcome"

_STATUSES = (Status.SUCCESS, Status.PARTIAL_SUCCESS, Status.FAIL, Status.RETRY)


def labels_of(graph: Graph, node: str) -> tuple[str, ...]:
    """The labels of a node's outgoing edges, which are what ``preferred_label`` chooses from."""
    return tuple(dict.fromkeys(edge.text("label") for edge in graph.outgoing(node) if edge.text("label")))


def report_tool(graph: Graph, node: str) -> FunctionTool:
    """The tool for one node, whose schema shows the node's own edge labels and status words."""
    return reporting(labels_of(graph, node), tuple(sorted(legal_words(graph, node))))


def reporting(labels: Sequence[str], words: Sequence[str] = ()) -> FunctionTool:
    """The tool for a node with these edge labels and these words of its own for a status."""
    statuses = list(dict.fromkeys((*(status.value for status in _STATUSES), *words)))
    properties = {
        "status": text("How it ended. fail where the work could not be done.", enum=statuses),
        "notes": text("One paragraph for readers of the run: what was done, or why it failed."),
        "context_updates": {
            "type": "object",
            "description": "Values for later nodes, by key.",
            "additionalProperties": True,
        },
    }
    if labels:
        properties["preferred_label"] = text("Which way to continue from here.", enum=list(labels))
    else:
        properties["preferred_label"] = text("Which way to continue; this node has no labels to choose from.")

    async def report(arguments: Mapping[str, Json], context: ToolContext) -> ToolResult:
        return ToolResult(text="recorded; now end your turn", outcome=dict(arguments))

    return FunctionTool(
        name=NAME,
        description="Report the outcome of your task. Call it once, when the work is done or cannot be done.",
        parameters=schema("status", **properties),
        function=report,
    )
