"""What the events of fan-outs and of their branches change in the state of a walk (E30-E36)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from orchestra.run.changes import on
from orchestra.run.events import (
    BranchMirrored,
    Meta,
    ParallelBranchCompleted,
    ParallelBranchEnded,
    ParallelBranchOpened,
    ParallelBranchStarted,
    ParallelCompleted,
    ParallelStarted,
    StageCompleted,
    StageFailed,
    SteeringTaken,
)
from orchestra.run.parallel import CANCELED, Branch, BranchPlan, BranchResult, Fan, NodeCounts, split_references
from orchestra.run.state import ENGINE_KEYS, NodeRecord, Result, RunState, spent_of


def _on_parallel_started(state: RunState, meta: Meta, event: ParallelStarted) -> dict[str, Any]:
    """A parallel node has decided which branches it starts."""
    fan = Fan(
        visit=event.visit,
        attempt=event.attempt,
        fan_in=event.fan_in,
        branches=_plans(event),
        upstream=event.upstream,
        join=event.join_policy,
    )
    return {"fans": {**state.fans, event.node: fan}}


def _plans(event: ParallelStarted) -> tuple[BranchPlan, ...]:
    try:
        return tuple(msgspec.convert(plan, BranchPlan) for plan in event.branches)
    except msgspec.ValidationError:
        return ()


def _on_parallel_branch_started(state: RunState, meta: Meta, event: ParallelBranchStarted) -> dict[str, Any]:
    """A branch has a context of its own."""
    fan = state.fans.get(event.node)
    if fan is None:
        return {}
    opened = {**fan.opened, event.branch_id: event.branch_context}
    mine = (*fan.mine, event.branch_id) if fan.seen else ()
    return {"fans": {**state.fans, event.node: replace(fan, opened=opened, from_turn=event.from_turn, mine=mine)}}


def _on_parallel_branch_opened(state: RunState, meta: Meta, event: ParallelBranchOpened) -> dict[str, Any]:
    """From here on the chain is a branch's: it begins at the target with a copy of the context (E30)."""
    branch = Branch(
        path=event.path,
        node=event.node,
        id=event.branch_id,
        index=event.index,
        fan_in=event.fan_in,
        upstream=event.upstream,
        began_ms=meta.at,
        steps=state.steps,
        tokens_in=state.spent.tokens_in,
        tokens_out=state.spent.tokens_out,
        cost_micros=state.spent.cost_micros,
    )
    return {
        "branch": branch,
        "stage": None,
        "ended": None,
        "next_node": event.target,
        "result": None,
        "fans": {},
        "joining": "",
        "children": {},
        "context": {**state.context, **event.values},
    }


def _on_parallel_branch_ended(state: RunState, meta: Meta, event: ParallelBranchEnded) -> dict[str, Any]:
    """The walk of the branch has ended."""
    result = Result(status=event.status, text=event.failure_reason, node=event.node, ended_ms=meta.at)
    return {"result": result, "stage": None}


def _on_parallel_branch_completed(state: RunState, meta: Meta, event: ParallelBranchCompleted) -> dict[str, Any]:
    """A result, and the branch's share of the ledger (E35)."""
    fan = state.fans.get(event.node)
    if fan is None:
        return {}
    updates, refs = split_references(event.updates)
    score = event.score.get("value")
    result = BranchResult(
        id=event.branch_id,
        status=event.status,
        notes=event.notes,
        failure_reason=event.failure_reason,
        updates=updates,
        refs=refs,
        response=event.response,
        score=float(score) if isinstance(score, int | float) else None,
        duration_ms=event.duration_ms,
        context_id=event.branch_context,
        turns=event.turns,
        branch=event.git_branch,
        commits=event.git_commits,
        ended_at=event.ended_at,
    )
    return {
        "fans": {**state.fans, event.node: replace(fan, done={**fan.done, event.branch_id: result})},
        "steps": state.steps + event.steps,
        "nodes": {**state.nodes, **_count(state, event)},
        **_touch_outer(state, event.nodes, event.steered),
        "steered_apart": tuple({*state.steered_apart, *event.steered}) if state.branch is None else (),
        "spent": state.spent + spent_of(event),
    }


def _on_steering_taken(state: RunState, meta: Meta, event: SteeringTaken) -> dict[str, Any]:
    """Note that an agent got an instruction; in a branch it is known by its own turn (S15).

    Another branch may have had a newer instruction before.
    """
    request = event.request
    if state.branch is not None:
        return {"branch": replace(state.branch, steered=(*state.branch.steered, request))}
    apart = tuple(one for one in state.steered_apart if one > request)
    return {"steered": max(state.steered, request), "steered_apart": apart}


def _touch_outer(state: RunState, nodes: Iterable[str], steered: tuple[int, ...]) -> dict[str, Any]:
    """In a nested fan-out what a branch did counts for the branch around it, too."""
    for node in nodes if state.branch is not None else ():
        entered = touch(state, node, state.nodes.get(node) or NodeRecord())
        state = replace(state, **entered)
    if state.branch is None:
        return {}
    return {"branch": replace(state.branch, steered=(*state.branch.steered, *steered))}


def _count(state: RunState, event: ParallelBranchCompleted) -> dict[str, NodeRecord]:
    """Return a branch's nodes for the ledger: counts are added; a canceled branch's outcomes do not count."""
    found: dict[str, NodeRecord] = {}
    for node, given in event.nodes.items():
        added = _record(given)
        old = state.nodes.get(node) or NodeRecord()
        kept = event.status == CANCELED or not added.status
        found[node] = replace(
            old,
            visits=old.visits + added.visits,
            executions=old.executions + added.executions,
            duration_ms=old.duration_ms + added.duration_ms,
            status=old.status if kept else added.status,
            reason=old.reason if kept else added.reason,
            first_step=old.first_step or added.first_step,
            ended_ms=max(old.ended_ms, added.ended_ms),
        )
    return found


def _record(given: object) -> NodeRecord:
    try:
        return msgspec.convert(given, NodeRecord)
    except msgspec.ValidationError:
        return NodeRecord()


def _on_parallel_completed(state: RunState, meta: Meta, event: ParallelCompleted) -> dict[str, Any]:
    """The verdict."""
    fan = state.fans.get(event.node) or Fan(visit=0, attempt=0)
    ends = tuple(dict.fromkeys(r.ended_at for r in fan.results() if r.status != CANCELED))
    decided = replace(fan, status=event.status, reason=event.failure_reason, ends=ends)
    return {"fans": {**state.fans, event.node: decided}}


def fan_left(state: RunState, node: str) -> dict[str, Any]:
    """A parallel node has ended: its results are in the context from now on."""
    fan = state.fans.get(node)
    if fan is None:
        return {}
    return {"fans": {**state.fans, node: replace(fan, done={}, branches=(), opened={}, mine=())}}


def joining(state: RunState, source: str, target: str) -> str:
    """The parallel node whose fan-in is entered from it; empty for any other way (E30)."""
    fan = state.fans.get(source)
    return source if fan is not None and fan.fan_in and fan.fan_in == target else ""


def touch(state: RunState, node: str, old: NodeRecord) -> dict[str, Any]:
    """A branch enters a node: how it was counted before."""
    branch = state.branch
    if branch is None or node in branch.touched:
        return {}
    before = NodeCounts(visits=old.visits, executions=old.executions, duration_ms=old.duration_ms)
    return {"branch": replace(branch, touched={**branch.touched, node: before})}


def contribute(state: RunState, event: StageCompleted | StageFailed, changed: Mapping[str, Any]) -> dict[str, Any]:
    """What a node's end adds to the result of its branch."""
    entered = touch(state, event.node, state.nodes.get(event.node) or NodeRecord())  # one that was refused
    branch = entered.get("branch") or state.branch
    if branch is None:
        return {}
    updates, refs = split_references({key: value for key, value in changed.items() if _is_handed_on(key)})
    plain = {key: value for key, value in branch.updates.items() if key not in refs}
    by_reference = {key: value for key, value in branch.refs.items() if key not in updates}
    return {
        "branch": replace(
            branch,
            updates={**plain, **updates},
            refs={**by_reference, **refs},
            response=event.response or branch.response,
            notes=event.notes or branch.notes,
        )
    }


def _is_handed_on(key: str) -> bool:
    """Whether a branch passes a context value on: not its own position, nor inner fan-outs."""
    return key not in ENGINE_KEYS and not key.startswith("parallel.")


def share(state: RunState) -> dict[str, Any]:
    """Return what a branch adds to the counts of its nodes, for ``ParallelBranchCompleted``."""
    branch = state.branch
    assert branch is not None
    found: dict[str, Any] = {}
    for node, before in branch.touched.items():
        record = state.nodes[node]
        found[node] = msgspec.to_builtins(
            replace(
                record,
                visits=record.visits - before.visits,
                executions=record.executions - before.executions,
                duration_ms=record.duration_ms - before.duration_ms,
                retries=0,
                carried=0,
                carried_executions=0,
            )
        )
    return found


CHANGES = (
    on(ParallelStarted, _on_parallel_started),
    on(ParallelBranchStarted, _on_parallel_branch_started),
    on(ParallelBranchOpened, _on_parallel_branch_opened),
    on(ParallelBranchEnded, _on_parallel_branch_ended),
    on(ParallelBranchCompleted, _on_parallel_branch_completed),
    on(ParallelCompleted, _on_parallel_completed),
    on(SteeringTaken, _on_steering_taken),
    on(BranchMirrored),
)
