"""The state of a run as a fold over its events (E3): run, resume, status and attach share it.

``evolve`` throws no dice and asks no clock: delays, ids and times are in the events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from orchestra.run.blobs import BlobRef, preview_of, to_text
from orchestra.run.branching import (
    branch_completed,
    branch_ended,
    branch_opened,
    branch_started,
    contribute,
    fan_completed,
    fan_left,
    fan_started,
    instruct,
    joining,
    touch,
)
from orchestra.run.events import (
    AgentCommitCreated,
    AgentResponded,
    AgentToolEnded,
    AgentTurnCompleted,
    BranchMirrored,
    CanaryPlanted,
    CheckpointSaved,
    ChildEnded,
    ChildStarted,
    CleanupCompleted,
    CommitMessageWritten,
    ContextValue,
    ControlRequested,
    ConversationCompacted,
    EdgeSelected,
    Event,
    InterviewCompleted,
    InterviewStarted,
    InterviewTimeout,
    Meta,
    ParallelBranchCompleted,
    ParallelBranchEnded,
    ParallelBranchOpened,
    ParallelBranchStarted,
    ParallelCompleted,
    ParallelStarted,
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
    RepoCloned,
    RepoFetched,
    RunnerAsked,
    RunnerClaimed,
    RunnerReleased,
    SessionBranchCreated,
    SessionBranchPushed,
    SessionBranchPushFailed,
    SessionOpened,
    StageCompleted,
    StageFailed,
    StageRetrying,
    StageStarted,
    SteeringTaken,
    ToolExecuted,
    ToolStarted,
    WarningRaised,
    WorkspaceSnapshot,
    WorktreeCreated,
    WorktreeMergeConflict,
    WorktreeMerged,
)
from orchestra.run.interviews import fold_answer, fold_question
from orchestra.run.lifecycle import (
    child_ended,
    child_started,
    fold_end,
    fold_fork,
    fold_import,
    fold_request,
    fold_restart,
    fold_resume,
    fold_start,
    unattended,
)
from orchestra.run.outcome import GOOD
from orchestra.run.state import (
    NEW,
    NodeEnd,
    NodeRecord,
    Passed,
    Result,
    RunningNode,
    RunState,
    Spent,
)
from orchestra.run.turns import count_other_cost, count_response, message_written, turn_completed
from orchestra.run.whole import load, whole_reference
from orchestra.run.workspace import code_moved

FAILURE = 4
"""The routing rule by which a failed node jumps to its retry target."""

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
    changes.setdefault("waiting", False)
    if not changes["paused"] and state.limit:
        changes["limit"] = ""
    return replace(state, **changes)


def _changes(state: RunState, meta: Meta, event: Event) -> dict[str, Any]:  # noqa: C901  one closed match
    match event:
        case StageStarted():
            return _stage_started(state, meta, event)
        case StageCompleted() | StageFailed():
            return _stage_ended(state, meta, event)
        case EdgeSelected():
            return _edge_selected(state, event)
        case CheckpointSaved():
            return {}
        case StageRetrying():
            return _retrying(state, meta, event)
        case PipelineStarted():
            return fold_start(meta, event)
        case PipelineCompleted():
            return fold_end("success", event.status, event.node, meta)
        case PipelineFailed():
            return fold_end("fail", event.error, event.node, meta)
        case PipelineRestarted():
            return fold_restart(meta, event)
        case PipelinePaused():
            return {
                "paused": event.reason,
                "waiting": event.waiting,
                "limit": event.limit,
                **fold_request(state, event.request),
            }
        case PipelineCanceled():
            result = Result(status="canceled", text=event.reason, node=event.node, ended_ms=meta.at)
            return {"result": result, **fold_request(state, event.request)}
        case SteeringTaken():
            return instruct(state, event.request)
        case PipelineResumed():
            return fold_resume(state, meta, event)
        case ToolStarted():
            return _tool(state, event.marker, event.host)
        case ToolExecuted():
            return _tool(state, "", "")
        case AgentResponded():
            return count_response(state, event)
        case AgentTurnCompleted():
            return turn_completed(state, event)
        case AgentToolEnded():
            return {}
        case CommitMessageWritten():
            return message_written(state, event)
        case ConversationCompacted():
            return count_other_cost(state, event)
        case ChildStarted():
            return child_started(state, event)
        case ChildEnded():
            return child_ended(state, event)
        case (
            SessionBranchCreated()
            | WorktreeCreated()
            | AgentCommitCreated()
            | WorkspaceSnapshot()
            | WorktreeMerged()
            | WorktreeMergeConflict()
        ):
            return {"workspace": code_moved(state.workspace, event)}
        case InterviewStarted():
            return fold_question(state, meta, event)
        case InterviewCompleted():
            return fold_answer(state, event)
        case InterviewTimeout():
            return {}
        case WarningRaised():
            return {"warnings": state.warnings + 1}
        case ParallelStarted():
            return fan_started(state, event)
        case ParallelBranchStarted():
            return branch_started(state, event)
        case ParallelBranchOpened():
            return branch_opened(state, meta, event)
        case ParallelBranchEnded():
            return branch_ended(meta, event)
        case ParallelBranchCompleted():
            return branch_completed(state, event)
        case ParallelCompleted():
            return fan_completed(state, event)
        case PipelineImported():
            return fold_import(state, meta, event)
        case PipelineForked():
            return fold_fork(state, meta, event)
        case PipelineTaken():
            return {"paused": state.paused, "waiting": state.waiting, **unattended(state, meta)}
        case (
            SessionOpened()
            | BranchMirrored()
            | ControlRequested()
            | RunnerClaimed()
            | RunnerReleased()
            | RunnerAsked()
            | CanaryPlanted()
            | RepoCloned()
            | RepoFetched()
            | SessionBranchPushed()
            | SessionBranchPushFailed()
            | CleanupCompleted()
        ):
            return {}


def _stage_started(state: RunState, meta: Meta, event: StageStarted) -> dict[str, Any]:
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
        failing=old.failing,
    )
    entered = stage.entered_ms if stage is not None and same_visit else meta.at
    return {
        "stage": RunningNode(
            node=event.node,
            handler=event.handler,
            visit=event.visit,
            attempt=event.attempt,
            of=event.of,
            entered_ms=entered,
            **(_of_the_visit(stage) if stage is not None and same_visit else {}),
        ),
        "nodes": {**state.nodes, event.node: record},
        "current_node": event.node,
        "next_node": "",
        **(touch(state, event.node, old) if state.branch is not None else {}),
    }


def _of_the_visit(stage: RunningNode) -> dict[str, Any]:
    """What a further attempt keeps of those before it."""
    return {
        "visit_spent": stage.visit_spent,
        "talk": stage.talk,
        "talked": stage.talked,
        "failed_before": stage.failed_before,
        "failed_class": stage.failed_class,
    }


def _tool(state: RunState, marker: str, host: str) -> dict[str, Any]:
    return {} if state.stage is None else {"stage": replace(state.stage, tool=marker, tool_host=host)}


def _retrying(state: RunState, meta: Meta, event: StageRetrying) -> dict[str, Any]:
    record = state.nodes.get(event.node) or NodeRecord()
    entered = state.stage.entered_ms if state.stage is not None else meta.at
    return {
        "stage": RunningNode(
            node=event.node,
            handler=event.handler,
            visit=event.visit,
            attempt=event.attempt,
            of=event.of,
            entered_ms=entered,
            due=meta.at + event.delay_ms,
            delay_ms=event.delay_ms,
            reason=event.failure_reason,
            **{
                **(_of_the_visit(state.stage) if state.stage is not None else {}),
                "failed_before": event.failure_reason or event.status,
                "failed_class": event.failure_class,
                **({} if event.failure_class == "transient" else {"talk": event.attempt + 1, "talked": False}),
            },
        ),
        "nodes": {**state.nodes, event.node: replace(record, retries=event.attempt, status=event.status)},
        "spent": _with_the_rest(state, event),
    }


def _with_the_rest(state: RunState, event: StageCompleted | StageFailed | StageRetrying) -> Spent:
    """What is spent with what an attempt tells in its end and no turn of its agent has told before."""
    known = state.stage.counted if state.stage is not None and state.stage.node == event.node else Spent()
    rest = Spent(tokens_in=event.tokens_in, tokens_out=event.tokens_out, cost_micros=event.cost_micros).minus(known)
    return state.spent.plus(rest.tokens_in, rest.tokens_out, rest.cost_micros)


def _stage_ended(state: RunState, meta: Meta, event: StageCompleted | StageFailed) -> dict[str, Any]:
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
        failing=old.failing + 1 if isinstance(event, StageFailed) else 0,
    )
    ended = NodeEnd(
        node=event.node,
        status=event.status,
        word=word,
        preferred_label=event.preferred_label,
        suggested_next_ids=event.suggested_next_ids,
        edge=event.edge,
        failure_reason=state.passed.failure_reason if passing else reason,
        passing=passing,
        changes=show_changes(changed),
    )
    changes: dict[str, Any] = {
        "stage": None,
        "ended": ended,
        "steps": state.steps + 1,
        "current_node": event.node,
        "next_node": "",
        "nodes": {**state.nodes, event.node: record},
        "context": {**state.context, **changed},
        "spent": _with_the_rest(state, event),
    }
    if state.branch is not None:
        changes |= contribute(state, event, changed)
    if event.node in state.fans:
        changes |= fan_left(state, event.node)
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
        changed[f"responses.{event.node}"] = to_text(event.response)
    if event.handler == "conditional" and isinstance(event, StageCompleted):
        return changed
    changed["last_stage"] = event.node
    if event.status != "skipped":
        changed["outcome"] = (event.word if isinstance(event, StageCompleted) else "") or event.status
        changed["preferred_label"] = event.preferred_label
    return changed


def show_changes(changed: Mapping[str, ContextValue]) -> dict[str, Any]:
    """Context changes as a checkpoint shows them: without the response, long texts cut; the node's turn has all."""
    return {
        key: _show_change(value)
        for key, value in changed.items()
        if key != "last_response" and not key.startswith("responses.")
    }


def _show_change(value: ContextValue) -> Any:
    if isinstance(value, BlobRef):
        return value.preview + "…"
    if isinstance(value, str) and len(value) > CHANGE_SHOWN:
        return value[:CHANGE_SHOWN] + "…"
    return value


def _edge_selected(state: RunState, event: EdgeSelected) -> dict[str, Any]:
    changes: dict[str, Any] = {
        "ended": None,
        "next_node": event.target,
        "arrived_by": event.edge,
        "arrived_from": event.source,
        "joining": joining(state, event.source, event.target) if state.fans else "",
    }
    if event.restart:
        changes["restarting"] = event.source
    if event.edge:
        changes["edges"] = {**state.edges, event.edge: state.edges.get(event.edge, 0) + 1}
    if event.rule == FAILURE and not event.edge and not event.gate:
        changes["jumps"] = {**state.jumps, event.source: state.jumps.get(event.source, 0) + 1}
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
