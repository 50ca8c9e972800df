"""Goal gates: which one is not met, and where it sends the run back (E11)."""

from __future__ import annotations

from orchestra.graph.model import Graph
from orchestra.run.events import WarningRaised
from orchestra.run.outcome import GOOD
from orchestra.run.state import NodeRecord, RunState


def unmet_gate(graph: Graph, state: RunState) -> str | None:
    """The first unmet goal gate in the order of first visits, or None (E11)."""
    visited = sorted(
        (record.first_step, node_id)
        for node_id, record in state.nodes.items()
        if record.status and node_id in graph.nodes and graph.nodes[node_id].flag("goal_gate")
    )
    for _step, node_id in visited:
        if state.nodes[node_id].status not in GOOD:
            return node_id
    if graph.text("goal_gates") == "all":
        return next(iter(_unvisited_gates(graph, state)), None)
    return None


def _unvisited_gates(graph: Graph, state: RunState) -> tuple[str, ...]:
    return tuple(
        node_id
        for node_id, node in graph.nodes.items()
        if node.flag("goal_gate") and node_id != graph.exit and not _is_visited(state, node_id)
    )


def _is_visited(state: RunState, node_id: str) -> bool:
    return node_id in state.nodes and state.nodes[node_id].status != ""


def gate_target(graph: Graph, gate: str) -> str:
    """The node to which an unmet gate sends the run back; empty where there is none (E11)."""
    node = graph.nodes[gate]
    names = (
        node.text("retry_target"),
        node.text("fallback_retry_target"),
        graph.text("retry_target"),
        graph.text("fallback_retry_target"),
    )
    return next((name for name in names if name in graph.nodes), "")


def bypassed_gates(graph: Graph, state: RunState) -> tuple[WarningRaised, ...]:
    """Return a warning for each gate that was never visited."""
    return tuple(
        WarningRaised(message=f"goal gate {gate} was never visited", rule="goal_gates", node=gate)
        for gate in _unvisited_gates(graph, state)
    )


def describe_gate(record: NodeRecord) -> str:
    """How the gate ended last."""
    return f"{record.status}: {record.reason}" if record.reason else record.status
