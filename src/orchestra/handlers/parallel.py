"""The parallel node: a fan-out of branches and its verdict (E30-E33, E36)."""

from __future__ import annotations

from typing import Any

import msgspec

from orchestra.graph.conditions import resolve
from orchestra.graph.joins import fan_ins, upstream
from orchestra.graph.model import Graph, Node
from orchestra.graph.report import plural
from orchestra.ports import FanPlan, Scope
from orchestra.run.events import ParallelCompleted
from orchestra.run.outcome import FailureClass, Json, Outcome, Status, failed_outcome
from orchestra.run.parallel import (
    MOST_NESTED,
    BranchPlan,
    BranchResult,
    Fan,
    Policy,
    is_decided,
    policy_of,
    results_to_keep,
    verdict,
)
from orchestra.run.routing import edge_keys
from orchestra.run.state import Context


async def parallel(node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
    """Walk a branch for every outgoing edge that applies, or for every item, and judge the results (E32)."""
    if scope.branch is not None and scope.branch.depth >= MOST_NESTED:
        return failed_outcome(
            f"parallel nodes are nested more than {MOST_NESTED} levels deep", FailureClass.TERMINAL
        )
    branches = await _items(node, context, graph, scope) if node.text("for_each") else None
    if branches is None:
        branches = await _edges(node, context, graph, scope)
    if isinstance(branches, str):
        return failed_outcome(branches, FailureClass.TERMINAL)
    policy = _policy(node, len(branches))
    if isinstance(policy, str):
        return failed_outcome(policy, FailureClass.TERMINAL)
    plan = FanPlan(
        branches=branches,
        fan_in=fan_ins(graph)[node.id],
        upstream=upstream(graph, node.id),
        join_policy=policy.join,
        error_policy=policy.errors,
        limit=node.integer("max_parallel"),
    )
    fan = await scope.fan_out(plan, lambda found, total: is_decided(_policy_for(node, policy, total), found, total))
    return await _judge(node, _policy_for(node, policy, len(fan.branches)), fan, scope)


def _policy(node: Node, branches: int) -> Policy | str:
    k = node.integer("k") if node.has("k") else None
    quorum = node.number("quorum") if node.has("quorum") else None
    if not branches:
        return Policy(join=node.text("join_policy"), errors=node.text("error_policy"))
    return policy_of(node.text("join_policy"), node.text("error_policy"), branches, k, quorum)


def _policy_for(node: Node, policy: Policy, branches: int) -> Policy:
    """Return the policy for the recorded number of branches, which the graph may not have now."""
    found = _policy(node, branches)
    return policy if isinstance(found, str) else found


async def _edges(node: Node, context: Context, graph: Graph, scope: Scope) -> tuple[BranchPlan, ...] | str:
    """Return a branch for every edge whose condition holds, by weight, then target id (E31).

    The second edge to one target is ``target#2``.
    """
    keys = {name for edge in graph.outgoing(node.id) for name in edge.condition.keys}
    known = await context.reading(keys, scope.resolve)
    previous = scope.previous

    def lookup(key: str) -> object:
        return resolve(key, previous.shown, previous.preferred_label, known)

    chosen = [
        (edge, key)
        for edge, key in zip(graph.outgoing(node.id), edge_keys(graph, node.id), strict=True)
        if not edge.condition or edge.condition.holds(lookup)
    ]
    if not chosen:
        return f"no branch to start: {node.id} has no outgoing edge whose condition is true"
    chosen.sort(key=lambda pair: (-pair[0].weight, pair[0].target))
    seen: dict[str, int] = {}
    found = []
    for edge, key in chosen:
        seen[edge.target] = number = seen.get(edge.target, 0) + 1
        name = edge.target if number == 1 else f"{edge.target}#{number}"
        found.append(BranchPlan(id=name, target=edge.target, edge=key))
    return tuple(found)


async def _items(node: Node, context: Context, graph: Graph, scope: Scope) -> tuple[BranchPlan, ...] | str:
    """Return a branch for every item of the list that ``for_each`` names (E36)."""
    edges = graph.outgoing(node.id)
    if len(edges) != 1:
        return f"for_each needs exactly one outgoing edge; {node.id} has {len(edges)}"
    name = node.text("for_each")
    key = next((k for k in (name, name.removeprefix("context.")) if k in context), None)
    if key is None:
        return f"for_each: the context has no {name!r}"
    items = list_items(await scope.resolve(context[key]))
    if items is None:
        return f"for_each: {name} is neither a list nor text"
    most = node.integer("max_items")
    if len(items) > most:
        return f"for_each: {name} has {len(items)} items, more than max_items ({most})"
    target, edge = edges[0].target, edge_keys(graph, node.id)[0]
    return tuple(
        BranchPlan(id=f"{target}[{index}]", target=target, edge=edge, item=item) for index, item in enumerate(items)
    )


def list_items(value: Json) -> list[Any] | None:
    """Return the items of a list, of a JSON list in a text, else the lines that are not blank."""
    if isinstance(value, list):
        return value
    if not isinstance(value, str):
        return None
    if value.lstrip().startswith("["):
        try:
            found = msgspec.json.decode(value)
        except msgspec.DecodeError:
            found = None
        if isinstance(found, list):
            return found
    return [line for line in value.replace("\r\n", "\n").split("\n") if line.strip()]


async def _judge(node: Node, policy: Policy, fan: Fan, scope: Scope) -> Outcome:
    results, total = fan.results(), len(fan.branches)
    seen = results_to_keep(policy, results)
    good = sum(result.good for result in seen)
    status, reason = ("skipped", "") if not total else verdict(policy, results, total)
    scope.record(
        ParallelCompleted(
            node=node.id,
            status=status,
            failure_reason=reason,
            success_count=good,
            failure_count=len(seen) - good,
        )
    )
    return Outcome(
        status=Status(status),
        failure_reason=reason,
        notes=f"{good} of {plural(total, 'branch', 'branches')} succeeded"
        if total
        else f"{node.text('for_each')} is empty",
        context_updates={
            "parallel.results": [await _result_value(result, scope) for result in seen],
            "parallel.success_count": good,
            "parallel.failure_count": len(seen) - good,
        },
    )


async def _result_value(result: BranchResult, scope: Scope) -> dict[str, Json]:
    """A result as templates and conditions see it (E31)."""
    updates: dict[str, Json] = dict(result.updates)
    for key, reference in result.refs.items():
        updates[key] = await scope.resolve(reference)
    return {
        "id": result.id,
        "status": result.status,
        "notes": result.notes,
        "failure_reason": result.failure_reason,
        "updates": updates,
        "response": await scope.resolve(result.response),
        "score": result.score,
        "duration_ms": result.duration_ms,
        "context_id": result.context_id,
        "turns": result.turns,
        "branch": result.branch,
        **({"commits": dict(result.commits)} if result.commits else {}),
    }
