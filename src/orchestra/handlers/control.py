"""The nodes that do no work of their own: start, exit, conditional."""

from __future__ import annotations

from orchestra.graph.model import Graph, Node
from orchestra.ports import Scope
from orchestra.run.outcome import Outcome, Status
from orchestra.run.state import Context


async def start(node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
    """The entry point: success at once."""
    return Outcome(status=Status.SUCCESS)


async def exit_(node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
    """The end: success at once. The engine has checked the goal gates before (E11)."""
    return Outcome(status=Status.SUCCESS)


async def conditional(node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
    """Passes on the status and preferred label of the node before it (E13)."""
    return scope.previous
