"""The state of a run as a fold over its events (E3): run, resume, status and attach share it.

``evolve`` throws no dice and asks no clock: delays, ids and times are in the events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from orchestra.run.blobs import BlobRef, carried, preview_of
from orchestra.run.events import (
    CanaryPlanted,
    CheckpointSaved,
    ChildEnded,
    ChildStarted,
    ContextValue,
    ControlRequested,
    EdgeSelected,
    Event,
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
    Recorded,
    RunnerAsked,
    RunnerClaimed,
    RunnerReleased,
    SessionOpened,
    StageCompleted,
    StageFailed,
    StageRetrying,
    StageStarted,
    SteeringTaken,
    ToolExecuted,
    ToolStarted,
    WarningRaised,
)
from orchestra.run.outcome import GOOD
from orchestra.run.state import (
    NEW,
    ChildRecord,
    Ended,
    Following,
    Ledger,
    NodeRecord,
    Passed,
    Result,
    RunState,
    Spent,
    Stage,
)
from orchestra.run.whole import load, whole_reference

CHANGE_SHOWN = 1024
"""Characters above which a checkpoint shows a changed value by its beginning."""


def evolve(state: RunState, recorded: Recorded) -> RunState:
    """The state after one more event.

    Events of a runner that has been replaced, and repeats of one already seen, change nothing (S16).
    """
    meta, event = recorded.meta, recorded.event
    if not current(meta, state):
        return state
    changes = _changes(state, meta, event)
    changes["epoch"] = meta.epoch
    changes["sequence"] = meta.sequence
    changes["at"] = meta.at
    changes.setdefault("paused", "")
    return replace(state, **changes)


def _changes(state: RunState, meta: Meta, event: Event) -> dict[str, Any]:  # noqa: C901  one closed match
    match event:
        case StageStarted():
            return _started(state, meta, event)
        case StageCompleted() | StageFailed():
            return _ended(state, meta, event)
        case EdgeSelected():
            return _selected(state, event)
        case CheckpointSaved():
            return {}
        case StageRetrying():
            return _retrying(state, meta, event)
        case PipelineStarted():
            return _opened(meta, event)
        case PipelineCompleted():
            return _finished("success", event.status, event.node, meta)
        case PipelineFailed():
            return _finished("fail", event.error, event.node, meta)
        case PipelineRestarted():
            return _restarted(meta, event)
        case PipelinePaused():
            return {"paused": event.reason, **_heard(state, event.request)}
        case PipelineCanceled():
            result = Result(status="canceled", text=event.reason, node=event.node, ended_ms=meta.at)
            return {"result": result, **_heard(state, event.request)}
        case SteeringTaken():
            return {"steered": max(state.steered, event.request)}
        case PipelineResumed():
            return _resumed(state, meta, event)
        case ToolStarted():
            return _tool(state, event.marker, event.host)
        case ToolExecuted():
            return _tool(state, "", "")
        case ChildStarted():
            return _child_started(state, event)
        case ChildEnded():
            return _child_ended(state, event)
        case WarningRaised():
            return {"warnings": state.warnings + 1}
        case PipelineImported():
            return _imported(state, meta, event)
        case PipelineForked():
            return _forked(state, meta, event)
        case PipelineTaken():
            return {"paused": state.paused, **_unattended(state, meta)}
        case (
            SessionOpened()
            | ControlRequested()
            | RunnerClaimed()
            | RunnerReleased()
            | RunnerAsked()
            | CanaryPlanted()
        ):
            return {}


def _opened(meta: Meta, event: PipelineStarted) -> dict[str, Any]:
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
        **_carried(event.ledger),
    }


def _carried(ledger: Mapping[str, Any]) -> dict[str, Any]:
    """What a session goes on counting from the one before it (E35)."""
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


def _restarted(meta: Meta, event: PipelineRestarted) -> dict[str, Any]:
    following = Following(
        session=event.next_session,
        context_id=event.next_context,
        mailbox=event.next_mailbox,
        target=event.target,
    )
    text = f"goes on at {event.target} as {event.next_session}"
    return {**_finished("restarted", text, event.node, meta), "following": following}


def _finished(status: str, text: str, node: str, meta: Meta) -> dict[str, Any]:
    return {"result": Result(status=status, text=text, node=node, ended_ms=meta.at), "stage": None}


def _resumed(state: RunState, meta: Meta, event: PipelineResumed) -> dict[str, Any]:
    """A runner goes on: after a failure at the node it names, else where the run stood."""
    changes = {**_idle(state, meta), "void_until": max(state.void_until, event.void_until)}
    if event.dot:
        changes |= {"dot": event.dot, "file": event.file, "graph_hash": event.graph_hash}
    if event.dotfiles:
        changes["dotfiles"] = event.dotfiles
    if event.simulation:
        changes["simulation"] = event.simulation
    if event.secrets:
        changes["secrets"] = event.secrets
    if state.failed:
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


def _forked(state: RunState, meta: Meta, event: PipelineForked) -> dict[str, Any]:
    """Another identity from here on (S27); a pause is where it stands until somebody goes on.

    The children so far belong to the session that made them, and so does what is at work; a session that had
    restarted as another one is to restart itself.
    """
    changes = _idle(state, meta)
    if state.stage is not None:
        changes["stage"] = replace(changes["stage"], recoveries=0, tool="", tool_host="", elsewhere=True)
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
        "paused": f"forked from {event.parent}",
    }


def _imported(state: RunState, meta: Meta, event: PipelineImported) -> dict[str, Any]:
    """It goes on in another store, whose turns count from elsewhere: what was heard of there is behind it."""
    following = state.following
    if following is not None and event.next_context:
        following = replace(following, context_id=event.next_context, mailbox=event.next_mailbox)
    return {
        **_unattended(state, meta),
        "session": meta.session,
        "mailbox": event.mailbox,
        "parent_context": event.parent_context,
        "following": following if event.next_context else None,
        "children": _children_here(state, event),
        "heard": 0,
        "steered": 0,
        "void_until": 0,
        "paused": state.paused,
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


def _unattended(state: RunState, meta: Meta) -> dict[str, Any]:
    """The same for a session that may have ended, which counts only once it goes on."""
    return _idle(state, meta) if state.result is None else {}


def _idle(state: RunState, meta: Meta) -> dict[str, Any]:
    """Nobody ran it since its last event, or since its end: that time counts for no duration."""
    since = state.at if state.result is None else state.result.ended_ms
    idle = max(0, meta.at - since)
    changes: dict[str, Any] = {"idle_ms": state.idle_ms + idle}
    if state.stage is not None:
        changes["stage"] = replace(state.stage, entered_ms=state.stage.entered_ms + idle)
    return changes


def _heard(state: RunState, request: int) -> dict[str, Any]:
    return {"heard": max(state.heard, request)}


def _child_started(state: RunState, event: ChildStarted) -> dict[str, Any]:
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


def _child_ended(state: RunState, event: ChildEnded) -> dict[str, Any]:
    changes: dict[str, Any] = {
        "spent": state.spent.plus(event.tokens_in, event.tokens_out, event.cost_micros),
    }
    child = state.children.get(event.node)
    if child is not None:
        counted = child.counted.plus(event.tokens_in, event.tokens_out, event.cost_micros)
        ended = replace(child, status=event.status, counted=counted)
        changes["children"] = {**state.children, event.node: ended}
    return changes


def _started(state: RunState, meta: Meta, event: StageStarted) -> dict[str, Any]:
    old = state.nodes.get(event.node) or NodeRecord()
    stage = state.stage
    same_visit = stage is not None and stage.node == event.node and stage.visit == event.visit
    record = NodeRecord(
        visits=event.visit,
        executions=old.executions + 1,
        retries=old.retries if same_visit else 0,
        status=old.status,
        reason=old.reason,
        first_step=old.first_step or state.steps_carried + state.steps + 1,
        ended_ms=old.ended_ms,
        duration_ms=old.duration_ms,
        carried=old.carried,
        carried_executions=old.carried_executions,
    )
    entered = stage.entered_ms if stage is not None and same_visit else meta.at
    return {
        "stage": Stage(
            node=event.node,
            handler=event.handler,
            visit=event.visit,
            attempt=event.attempt,
            of=event.of,
            entered_ms=entered,
        ),
        "nodes": {**state.nodes, event.node: record},
        "current_node": event.node,
        "next_node": "",
    }


def _tool(state: RunState, marker: str, host: str) -> dict[str, Any]:
    return {} if state.stage is None else {"stage": replace(state.stage, tool=marker, tool_host=host)}


def _retrying(state: RunState, meta: Meta, event: StageRetrying) -> dict[str, Any]:
    record = state.nodes.get(event.node) or NodeRecord()
    entered = state.stage.entered_ms if state.stage is not None else meta.at
    return {
        "stage": Stage(
            node=event.node,
            handler=event.handler,
            visit=event.visit,
            attempt=event.attempt,
            of=event.of,
            entered_ms=entered,
            due=meta.at + event.delay_ms,
            delay_ms=event.delay_ms,
            reason=event.failure_reason,
        ),
        "nodes": {**state.nodes, event.node: replace(record, retries=event.attempt, status=event.status)},
        "spent": state.spent.plus(event.tokens_in, event.tokens_out, event.cost_micros),
    }


def _ended(state: RunState, meta: Meta, event: StageCompleted | StageFailed) -> dict[str, Any]:
    old = state.nodes.get(event.node) or NodeRecord()
    reason = event.failure_reason if isinstance(event, StageFailed) else ""
    word = event.word if isinstance(event, StageCompleted) else ""
    good = event.status in GOOD
    passing = event.handler == "conditional" and isinstance(event, StageCompleted)
    changed = context_changes(event)
    record = NodeRecord(
        visits=event.visit,
        executions=old.executions,
        retries=0 if good else old.retries,
        status=event.status,
        reason=reason,
        first_step=old.first_step or state.steps_carried + state.steps + 1,
        ended_ms=meta.at,
        duration_ms=old.duration_ms + event.duration_ms,
        carried=old.carried,
        carried_executions=old.carried_executions,
    )
    ended = Ended(
        node=event.node,
        status=event.status,
        word=word,
        preferred_label=event.preferred_label,
        suggested_next_ids=event.suggested_next_ids,
        edge=event.edge,
        failure_reason=state.passed.failure_reason if passing else reason,
        passing=passing,
        changes=shown_changes(changed),
    )
    changes: dict[str, Any] = {
        "stage": None,
        "ended": ended,
        "steps": state.steps + 1,
        "current_node": event.node,
        "next_node": "",
        "nodes": {**state.nodes, event.node: record},
        "context": {**state.context, **changed},
        "spent": state.spent.plus(event.tokens_in, event.tokens_out, event.cost_micros),
    }
    if not passing:
        changes["passed"] = Passed(
            status=event.status,
            word=word,
            preferred_label=event.preferred_label,
            failure_reason=reason,
        )
    return changes


def context_changes(event: StageCompleted | StageFailed) -> dict[str, ContextValue]:
    """What a node's end changes in the context: its updates, its response, and the engine's own keys.

    A skipped node leaves ``outcome`` as it was (E12); a conditional one passes everything on (E13).
    """
    changed: dict[str, ContextValue] = dict(event.context_updates)
    if event.response:
        changed["last_response"] = preview_of(event.response)
        changed[f"responses.{event.node}"] = carried(event.response)
    if event.handler == "conditional" and isinstance(event, StageCompleted):
        return changed
    changed["last_stage"] = event.node
    if event.status != "skipped":
        changed["outcome"] = (event.word if isinstance(event, StageCompleted) else "") or event.status
        changed["preferred_label"] = event.preferred_label
    return changed


def shown_changes(changed: Mapping[str, ContextValue]) -> dict[str, Any]:
    """Context changes as a checkpoint shows them: without the response, long texts cut; the node's turn has all."""
    return {
        key: _shown_change(value)
        for key, value in changed.items()
        if key != "last_response" and not key.startswith("responses.")
    }


def _shown_change(value: ContextValue) -> Any:
    if isinstance(value, BlobRef):
        return value.preview + "…"
    if isinstance(value, str) and len(value) > CHANGE_SHOWN:
        return value[:CHANGE_SHOWN] + "…"
    return value


def _selected(state: RunState, event: EdgeSelected) -> dict[str, Any]:
    changes: dict[str, Any] = {"ended": None, "next_node": event.target}
    if event.restart:
        changes["restarting"] = event.source
    if event.edge:
        changes["edges"] = {**state.edges, event.edge: state.edges.get(event.edge, 0) + 1}
    if event.gate:
        changes["gates"] = {**state.gates, event.gate: state.gates.get(event.gate, 0) + 1}
    return changes


def fold(events: Iterable[Recorded], state: RunState = NEW) -> RunState:
    """The state after all of ``events``; one that holds the whole state replaces what was folded so far.

    ``ValueError`` where the first of them is a checkpoint whose state is in a blob, or no state.
    """
    for recorded in events:
        event = recorded.event
        if isinstance(event, CheckpointSaved) and event.state is not None and current(recorded.meta, state):
            if whole_reference(event) is None:
                state = load(event.state)
            elif not state.sequence:
                raise ValueError("its state is in a blob, which was not read")
        state = evolve(state, recorded)
    return state


def current(meta: Meta, state: RunState) -> bool:
    """Whether an event is neither a replaced runner's nor a repeat (S16)."""
    return meta.epoch > state.epoch or (meta.epoch == state.epoch and meta.sequence > state.sequence)
