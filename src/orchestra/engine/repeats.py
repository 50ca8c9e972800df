"""Nodes that fail again and again in the same way, and agents that run again and again (E15)."""

from __future__ import annotations

from orchestra.graph.model import Graph
from orchestra.graph.visits import has_own_bound
from orchestra.run.events import StageCompleted, StageFailed, WarningRaised

OFTEN = 20
"""Failures in a row after which a warning is raised, and again after as many more."""

WITHIN_MS = 1000
"""Milliseconds between two failures that count as one after the other."""

ROUNDS = 50
"""Visits of an agent after which a warning is raised, and again after twice, four times, ... as many."""


class Repeats:
    """Counts, for each node of a walk, its visits in a row that failed with one reason."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._failed: dict[str, tuple[str, int, int]] = {}

    def warning(self, ended: StageCompleted | StageFailed, now_ms: int) -> WarningRaised | None:
        """Take the end of a visit; return a warning where it is time for one."""
        return self._failing(ended, now_ms) or self._paid_loop(ended)

    def _failing(self, ended: StageCompleted | StageFailed, now_ms: int) -> WarningRaised | None:
        if not isinstance(ended, StageFailed):
            self._failed.pop(ended.node, None)
            return None
        reason, at, count = self._failed.get(ended.node, ("", 0, 0))
        count = count + 1 if reason == ended.failure_reason and now_ms - at < WITHIN_MS else 1
        self._failed[ended.node] = ended.failure_reason, now_ms, count
        if count % OFTEN:
            return None
        return WarningRaised(
            node=ended.node,
            message=f"{ended.node!r} has failed {count} times in a row with one reason, less than a second apart;"
            " max_visits allows fewer visits, and orchestra pause --now stops the run",
        )

    def _paid_loop(self, ended: StageCompleted | StageFailed) -> WarningRaised | None:
        """What is said of an agent in a loop that nothing counts."""
        rounds, rest = divmod(ended.visit, ROUNDS)
        if ended.handler != "codergen" or rest or rounds & (rounds - 1):
            return None
        if has_own_bound(self._graph, self._graph.nodes[ended.node]):
            return None
        return WarningRaised(
            node=ended.node,
            message=f"the agent {ended.node!r} has run {ended.visit} times and its node has no max_visits;"
            " orchestra pause stops the run, limits.run.cost or --max-cost bounds what it spends",
        )
