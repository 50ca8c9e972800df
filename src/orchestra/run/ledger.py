"""The ledger: what counts over a whole chain of sessions, whatever each begins afresh (E35)."""

from __future__ import annotations

from typing import Any

from orchestra.graph.model import Graph
from orchestra.run.state import NodeRecord, RunState


def ledger_of(graph: Graph, state: RunState) -> dict[str, Any]:
    """What the next session of a chain goes on counting from: gate outcomes, visits, steps, restarts.

    Of nodes that are no goal gates the counts go along and the outcome does not: the next session begins afresh.
    """
    return {
        "restarts": state.restarts + 1,
        "steps": state.steps_carried + state.steps,
        "steps_before": state.steps_before,
        "nodes": {node: _counts(graph, node, record) for node, record in state.nodes.items()},
        "edges": dict(state.edges),
        "gates": dict(state.gates),
    }


def _counts(graph: Graph, node: str, record: NodeRecord) -> dict[str, Any]:
    counts: dict[str, Any] = {
        "visits": record.visits,
        "executions": record.executions,
        "first_step": record.first_step,
        "carried": record.visits,
        "carried_executions": record.executions,
    }
    if node in graph.nodes and graph.nodes[node].flag("goal_gate"):
        counts |= {"status": record.status, "reason": record.reason}
    return counts
