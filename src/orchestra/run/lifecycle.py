"""How a session's own events change its state: begun, resumed, forked, its children, ended (E3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from orchestra.run.changes import on
from orchestra.run.events import (
    ChildEnded,
    ChildStarted,
    ControlRequested,
    Meta,
    PipelineCanceled,
    PipelineCompleted,
    PipelineFailed,
    PipelineForked,
    PipelineImported,
    PipelinePaused,
    PipelineRestarted,
    PipelineResumed,
    PipelineStarted,
    PipelineTaken,
    RunnerAsked,
    RunnerClaimed,
    RunnerReleased,
    SessionOpened,
)
from orchestra.run.ledger import Ledger
from orchestra.run.parallel import Fan
from orchestra.run.state import ChildRecord, Result, RunState, Spent, Successor, spent_of
from orchestra.run.workspace import code_carried


def _on_pipeline_started(state: RunState, meta: Meta, event: PipelineStarted) -> dict[str, Any]:
    """A session begins, with the counts of the previous one."""
    return {
        "session": meta.session,
        "mailbox": event.mailbox,
        "pipeline": event.pipeline,
        "goal": event.goal,
        "label": event.label,
        "file": event.file,
        "graph_hash": event.graph_hash,
        "dot": event.dot,
        "simulation": event.simulation,
        "backend": event.backend,
        "variables": event.variables,
        "secrets": event.secrets,
        "context": dict(event.variables),
        "started_ms": meta.at,
        "next_node": event.begins,
        "parent": event.parent,
        "parent_context": event.parent_context,
        "why": event.why,
        "dotfiles": event.dotfiles,
        "workdir": event.workdir,
        "max_cost_micros": event.max_cost_micros,
        "workspace": code_carried(event.workspace) if event.workspace else {},
        **_carry(event.ledger),
    }


def _carry(ledger: Mapping[str, Any]) -> dict[str, Any]:
    """Return the counts that a session takes over from the previous one (E35)."""
    try:
        known = msgspec.convert(ledger, Ledger)
    except msgspec.ValidationError:
        return {}
    return {
        "restarts": known.restarts,
        "steps_carried": known.steps,
        "steps_before": known.steps_before,
        "spent": known.spent,
        "nodes": known.nodes,
        "edges": known.edges,
        "gates": known.gates,
    }


def _on_pipeline_restarted(state: RunState, meta: Meta, event: PipelineRestarted) -> dict[str, Any]:
    """The run continues in another session (E14)."""
    following = Successor(
        session=event.next_session,
        context_id=event.next_context,
        mailbox=event.next_mailbox,
        target=event.target,
    )
    text = f"restarted at {event.target} as session {event.next_session}"
    return {**_fold_end("restarted", text, event.node, meta), "following": following}


def _on_pipeline_completed(state: RunState, meta: Meta, event: PipelineCompleted) -> dict[str, Any]:
    return _fold_end("success", event.status, event.node, meta)


def _on_pipeline_failed(state: RunState, meta: Meta, event: PipelineFailed) -> dict[str, Any]:
    return _fold_end("fail", event.error, event.node, meta)


def _on_pipeline_canceled(state: RunState, meta: Meta, event: PipelineCanceled) -> dict[str, Any]:
    result = Result(status="canceled", text=event.reason, node=event.node, ended_ms=meta.at)
    return {"result": result, "heard": max(state.heard, event.request)}


def _on_pipeline_paused(state: RunState, meta: Meta, event: PipelinePaused) -> dict[str, Any]:
    heard = max(state.heard, event.request)
    return {"paused": event.reason, "waiting": event.waiting, "limit": event.limit, "heard": heard}


def _fold_end(status: str, text: str, node: str, meta: Meta) -> dict[str, Any]:
    """The run has ended."""
    return {"result": Result(status=status, text=text, node=node, ended_ms=meta.at), "stage": None}


_TAKES_OVER = ("pipeline", "dot", "file", "graph_hash", "dotfiles", "simulation", "max_cost_micros", "secrets")
"""What a resume may replace."""


def _on_pipeline_resumed(state: RunState, meta: Meta, event: PipelineResumed) -> dict[str, Any]:
    """A runner continues: after a failure at the node that it names, else at the current node."""
    changes = {**_idle(state, meta), "void_until": max(state.void_until, event.void_until)}
    given = [name for name in _TAKES_OVER if getattr(event, name)]
    if event.pipeline:
        given.append("goal")
    changes |= {name: getattr(event, name) for name in given}
    if state.failed and event.granted != "route":
        changes |= {"result": None, "ended": None, "next_node": event.node}
    else:
        changes["result"] = None
    if not state.failed and state.stage is not None:
        changes["stage"] = replace(
            changes.get("stage") or state.stage,
            again=event.again,
            recoveries=event.recovery,
            refused=event.refused,
            tool="",
            tool_host="",
            elsewhere=False,
        )
    if event.granted == "visit":
        visits = state.nodes[event.node].visits if event.node in state.nodes else 0
        changes["granted"] = {**state.granted, event.node: visits + 1}
    elif event.granted == "steps":
        changes["steps_before"] = state.steps_carried + state.steps
    return changes


def _on_pipeline_forked(state: RunState, meta: Meta, event: PipelineForked) -> dict[str, Any]:
    """The session has another identity from here on (S27), and is paused until it is resumed.

    The children so far belong to the session that made them, and so does what is running; a session that had
    restarted as another one is to restart itself.
    """
    changes = _idle(state, meta)
    if state.stage is not None:
        changes["stage"] = replace(changes["stage"], recoveries=0, tool="", tool_host="", elsewhere=True, asked={})
    if state.result is not None and state.result.status == "restarted":
        changes |= {"result": None, "following": None}
    until = event.until or event.from_turn
    return {
        **changes,
        "session": meta.session,
        "mailbox": event.mailbox,
        "label": event.label or state.label,
        "variables": {**state.variables, **event.variables},
        "context": {**state.context, **event.variables, **event.values},
        "parent": event.parent,
        "parent_context": event.parent_context,
        "why": event.why,
        "started_ms": meta.at,
        "idle_ms": 0,
        "children": {node: replace(child, seen=child.seen or until) for node, child in state.children.items()},
        "fans": {node: replace(fan, seen=fan.seen or until) for node, fan in state.fans.items()},
        "paused": f"forked from {event.parent}",
    }


COPIED = "a copy: when it was exported, it was still being run"
"""The reason of a session that was imported while its original was running: nobody should run it twice."""


def _on_pipeline_imported(state: RunState, meta: Meta, event: PipelineImported) -> dict[str, Any]:
    """The session continues in another store, whose turns have other ids; old requests are done.

    A branch without a result that did not come along starts again here. The command of the running node belongs to
    the original.
    """
    following = state.following
    if following is not None and event.next_context:
        following = replace(following, context_id=event.next_context, mailbox=event.next_mailbox)
    changes = _fold_unattended(state, meta)
    if (stage := changes.get("stage", state.stage)) is not None:
        changes["stage"] = replace(stage, tool="", tool_host="")
    return {
        **changes,
        "session": meta.session,
        "mailbox": event.mailbox,
        "parent_context": event.parent_context,
        "following": following if event.next_context else None,
        "children": _children_here(state, event),
        "fans": {node: _fan_here(fan, event) for node, fan in state.fans.items()},
        "branch": replace(state.branch, steered=()) if state.branch is not None else None,
        "heard": 0,
        "steered": 0,
        "steered_apart": (),
        "void_until": 0,
        "paused": f"{COPIED} by {event.holder}" if event.holder and state.result is None else state.paused,
        "waiting": state.waiting,
    }


def _children_here(state: RunState, event: PipelineImported) -> dict[str, ChildRecord]:
    """The children with their ids here; one that did not come along belongs to the other store."""
    found: dict[str, ChildRecord] = {}
    for node, child in state.children.items():
        match event.children.get(child.session):
            case [int(context), int(mailbox)]:
                found[node] = replace(child, context_id=context, mailbox=mailbox)
            case _:
                pass
    return found


def _fan_here(fan: Fan, event: PipelineImported) -> Fan:
    """A fan-out whose branches are those that came along, all of them this session's own now."""
    here = {branch: event.branches.get(str(context)) for branch, context in fan.opened.items()}
    opened = {branch: context for branch, context in here.items() if isinstance(context, int)}
    return replace(fan, opened=opened, from_turn=0, seen=0, mine=())


def _on_pipeline_taken(state: RunState, meta: Meta, event: PipelineTaken) -> dict[str, Any]:
    return {"paused": state.paused, "waiting": state.waiting, **_fold_unattended(state, meta)}


def _fold_unattended(state: RunState, meta: Meta) -> dict[str, Any]:
    """The same for a session that may have ended, which counts only once it continues."""
    return _idle(state, meta) if state.result is None else {}


def _idle(state: RunState, meta: Meta) -> dict[str, Any]:
    """Nobody ran it since its last event, or since its end: that time counts for no duration."""
    since = state.at if state.result is None else state.result.ended_ms
    idle = max(0, meta.at - since)
    changes: dict[str, Any] = {"idle_ms": state.idle_ms + idle}
    if state.stage is not None:
        changes["stage"] = replace(state.stage, entered_ms=state.stage.entered_ms + idle)
    return changes


def _on_child_started(state: RunState, meta: Meta, event: ChildStarted) -> dict[str, Any]:
    """A node's child begins or continues."""
    known = state.children.get(event.node)
    goes_on = known is not None and (event.until or event.again)
    child = ChildRecord(
        session=event.child_session,
        context_id=event.child_context,
        mailbox=event.child_mailbox,
        visit=event.visit,
        attempt=event.attempt,
        until=event.until,
        again=event.again,
        counted=known.counted if known is not None and goes_on else Spent(),
    )
    return {"children": {**state.children, event.node: child}}


def _on_child_ended(state: RunState, meta: Meta, event: ChildEnded) -> dict[str, Any]:
    """A child ended, and its cost counts for its parent (E35)."""
    changes: dict[str, Any] = {"spent": state.spent + spent_of(event)}
    child = state.children.get(event.node)
    if child is not None:
        ended = replace(child, status=event.status, counted=child.counted + spent_of(event))
        changes["children"] = {**state.children, event.node: ended}
    return changes


CHANGES = (
    on(PipelineStarted, _on_pipeline_started),
    on(PipelineTaken, _on_pipeline_taken),
    on(PipelineResumed, _on_pipeline_resumed),
    on(PipelinePaused, _on_pipeline_paused),
    on(PipelineCanceled, _on_pipeline_canceled),
    on(PipelineCompleted, _on_pipeline_completed),
    on(PipelineFailed, _on_pipeline_failed),
    on(PipelineRestarted, _on_pipeline_restarted),
    on(PipelineForked, _on_pipeline_forked),
    on(PipelineImported, _on_pipeline_imported),
    on(ChildStarted, _on_child_started),
    on(ChildEnded, _on_child_ended),
    on(SessionOpened),
    on(ControlRequested),
    on(RunnerClaimed),
    on(RunnerReleased),
    on(RunnerAsked),
)
