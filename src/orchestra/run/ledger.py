"""The ledger: what counts over a whole chain of sessions, whatever each begins afresh (E35)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from orchestra.graph.model import Graph
from orchestra.run.state import NodeRecord, RunState, Spent


class Ledger(Struct, frozen=True, kw_only=True):
    """What counts over a whole chain of sessions, whatever each begins afresh (E35)."""

    restarts: int = 0
    steps: int = 0
    steps_before: int = 0
    spent: Spent = Spent()
    nodes: Mapping[str, NodeRecord] = field(default_factory=dict)
    edges: Mapping[str, int] = field(default_factory=dict)
    gates: Mapping[str, int] = field(default_factory=dict)


def ledger_of(graph: Graph, state: RunState) -> dict[str, Any]:
    """Return the counts for the next session of a chain: gates, visits, steps, tokens, cost, restarts.

    Of nodes that are no goal gates the counts go along and the outcome does not: the next session begins afresh.
    """
    ledger = Ledger(
        restarts=state.restarts + 1,
        steps=state.steps_carried + state.steps,
        steps_before=state.steps_before,
        spent=state.spent,
        nodes={node: _counts(graph, node, record) for node, record in state.nodes.items()},
        edges=state.edges,
        gates=state.gates,
    )
    plain: dict[str, Any] = msgspec.to_builtins(ledger)
    return plain


def _counts(graph: Graph, node: str, record: NodeRecord) -> NodeRecord:
    gate = node in graph.nodes and graph.nodes[node].flag("goal_gate")
    return NodeRecord(
        visits=record.visits,
        executions=record.executions,
        status=record.status if gate else "",
        reason=record.reason if gate else "",
        first_step=record.first_step,
        carried=record.visits,
        carried_executions=record.executions,
    )
