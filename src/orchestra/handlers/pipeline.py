"""Sub-pipelines: a child pipeline, run once in a session of its own (engine.md#child-pipelines)."""

from __future__ import annotations

from collections.abc import Mapping

from orchestra.graph.model import Graph, Node
from orchestra.ports import Child, Scope, Telemetry
from orchestra.run.outcome import FailureClass, Json, Outcome, Status
from orchestra.run.state import Context

LONG_SECONDS = 3600.0
"""How long a child is waited for at a time; it is woken by the child's end."""


async def pipeline(node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
    """Run the node's child and wait for its end; its final context comes back under the node's id."""
    async with scope.child() as child:
        while not (seen := child.telemetry()).ended:
            await child.wait_for_change(LONG_SECONDS)
        return await came_back(node, child, seen)


async def came_back(node: Node, child: Child, seen: Telemetry) -> Outcome:
    """The node's outcome where its child has ended; a failure carries the child's reason."""
    updates: Mapping[str, Json] = {f"{node.id}.{key}": value for key, value in (await child.context()).items()}
    if seen.status == "success":
        return Outcome(status=Status.SUCCESS, context_updates=updates, notes=f"session {seen.session}")
    return Outcome(
        status=Status.FAIL,
        context_updates=updates,
        failure_reason=f"session {seen.session} {ENDS[seen.status]} at {seen.node}: {seen.reason}",
        failure_class=FailureClass.CANCELED if seen.status == "canceled" else None,
    )


ENDS = {"fail": "failed", "canceled": "was canceled"}
"""How a child that did not succeed ended, in words."""
