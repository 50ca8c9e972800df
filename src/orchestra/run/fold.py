"""The state of a run as a fold over its events (E3): run, resume, status and attach share it.

``evolve`` is deterministic: delays, ids and times are in the events. What each event changes is in the table of its
family; together they have every event. A node's events are here: entered, retried, ended, its edge taken (E10-E22).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from orchestra.run import branching, interviews, lifecycle, turns, workspace
from orchestra.run.branching import contribute, fan_left, joining, touch
from orchestra.run.changes import Change, on
from orchestra.run.codec import preview_of, to_text
from orchestra.run.declare import BlobRef
from orchestra.run.events import (
    CheckpointSaved,
    ContextValue,
    EdgeSelected,
    Meta,
    Recorded,
    StageCompleted,
    StageFailed,
    StageRetrying,
    StageStarted,
    ToolExecuted,
    ToolStarted,
    WarningRaised,
)
from orchestra.run.outcome import GOOD
from orchestra.run.routing import RoutingRule
from orchestra.run.state import (
    NEW,
    NO_EXPENSE,
    NodeEnd,
    NodeRecord,
    PassedOutcome,
    RunningNode,
    RunState,
    Spent,
    spent_of,
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
    change = CHANGES[type(event)]
    changes = change(state, meta, event) if change is not None else {}
    changes["epoch"] = meta.epoch
    changes["sequence"] = meta.sequence
    changes["at"] = meta.at
    changes.setdefault("paused", "")
    changes.setdefault("waiting", False)
    if not changes["paused"] and state.limit:
        changes["limit"] = ""
    return replace(state, **changes)


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


def _on_stage_started(state: RunState, meta: Meta, event: StageStarted) -> dict[str, Any]:
    """A node is entered, or tried once more."""
    old = state.nodes.get(event.node) or NodeRecord()
    stage = state.stage
    same_visit = stage is not None and stage.node == event.node and stage.visit == event.visit
    record = replace(
        old,
        visits=event.visit,
        executions=old.executions + 1,
        retries=old.retries if same_visit else 0,
        first_step=old.first_step or state.steps_carried + state.steps + 1,
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


def _on_tool_started(state: RunState, meta: Meta, event: ToolStarted) -> dict[str, Any]:
    return {} if state.stage is None else {"stage": replace(state.stage, tool=event.marker, tool_host=event.host)}


def _on_tool_executed(state: RunState, meta: Meta, event: ToolExecuted) -> dict[str, Any]:
    return {} if state.stage is None else {"stage": replace(state.stage, tool="", tool_host="")}


def _on_warning_raised(state: RunState, meta: Meta, event: WarningRaised) -> dict[str, Any]:
    return {"warnings": state.warnings + 1}


def _on_stage_retrying(state: RunState, meta: Meta, event: StageRetrying) -> dict[str, Any]:
    """An attempt ended, and another one follows after a while."""
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
    if not (event.tokens_in or event.tokens_out or event.cost_micros):
        return state.spent
    known = state.stage.counted if state.stage is not None and state.stage.node == event.node else NO_EXPENSE
    return state.spent + (spent_of(event) - known)


def _on_stage_ended(state: RunState, meta: Meta, event: StageCompleted | StageFailed) -> dict[str, Any]:
    """A node has its outcome."""
    reason = event.failure_reason if isinstance(event, StageFailed) else ""
    word = event.word if isinstance(event, StageCompleted) else ""
    passing = event.handler == "conditional" and isinstance(event, StageCompleted)
    changed = context_changes(event)
    outcome = NodeEnd(
        node=event.node,
        status=event.status,
        word=word,
        preferred_label=event.preferred_label,
        suggested_next_ids=event.suggested_next_ids,
        edge=event.edge,
        failure_reason=state.passed.failure_reason if passing else reason,
        failure_class=event.failure_class if isinstance(event, StageFailed) else "",
        passing=passing,
        changes=show_changes(changed),
    )
    changes: dict[str, Any] = {
        "stage": None,
        "ended": outcome,
        "steps": state.steps + 1,
        "current_node": event.node,
        "next_node": "",
        "nodes": {**state.nodes, event.node: _record_of(state, meta, event)},
        "context": {**state.context, **changed},
        "spent": _with_the_rest(state, event),
    }
    if state.branch is not None:
        changes |= contribute(state, event, changed)
    if event.node in state.fans:
        changes |= fan_left(state, event.node)
    if not passing:
        changes["passed"] = PassedOutcome(
            status=event.status,
            word=word,
            preferred_label=event.preferred_label,
            failure_reason=reason,
        )
    return changes


def _record_of(state: RunState, meta: Meta, event: StageCompleted | StageFailed) -> NodeRecord:
    """What is known of the node now."""
    old = state.nodes.get(event.node) or NodeRecord()
    failed = isinstance(event, StageFailed)
    return replace(
        old,
        visits=event.visit,
        retries=0 if event.status in GOOD else old.retries,
        status=event.status,
        reason=event.failure_reason if isinstance(event, StageFailed) else "",
        failure_class=event.failure_class if isinstance(event, StageFailed) else "",
        first_step=old.first_step or state.steps_carried + state.steps + 1,
        ended_ms=meta.at,
        duration_ms=old.duration_ms + event.duration_ms,
        failing=old.failing + 1 if failed else 0,
    )


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
    """Return context changes for a checkpoint: without the response, long texts cut.

    The node's turn has all of them.
    """
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


def _on_edge_selected(state: RunState, meta: Meta, event: EdgeSelected) -> dict[str, Any]:
    """An edge, or a jump, leads to the next node."""
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
    if event.rule == RoutingRule.FAILURE and not event.edge and not event.gate:
        changes["jumps"] = {**state.jumps, event.source: state.jumps.get(event.source, 0) + 1}
    if event.gate:
        changes["gates"] = {**state.gates, event.gate: state.gates.get(event.gate, 0) + 1}
    return changes


CHANGES: Mapping[type, Change | None] = dict(
    (
        on(StageStarted, _on_stage_started),
        on(StageCompleted, _on_stage_ended),
        on(StageFailed, _on_stage_ended),
        on(StageRetrying, _on_stage_retrying),
        on(EdgeSelected, _on_edge_selected),
        on(CheckpointSaved),
        on(ToolStarted, _on_tool_started),
        on(ToolExecuted, _on_tool_executed),
        on(WarningRaised, _on_warning_raised),
        *lifecycle.CHANGES,
        *branching.CHANGES,
        *turns.CHANGES,
        *interviews.CHANGES,
        *workspace.CHANGES,
    )
)
"""What each event changes; None for those that change nothing."""
