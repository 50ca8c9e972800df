"""A session as the run directory of Attractor: each file's content, from the events (S28)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from orchestra.run.declare import Text
from orchestra.run.events import (
    ContextValue,
    PipelineStarted,
    Recorded,
    StageCompleted,
    StageFailed,
    StageRetrying,
    WarningRaised,
)
from orchestra.run.state import RunState

ARTIFACT_BYTES = 100 * 1024
"""Bytes of a context value above which it is a file of its own under ``artifacts``."""


class Folder(Struct, frozen=True, kw_only=True):
    """A node's folder: its last ended visit, and its last attempt with an agent."""

    status: Mapping[str, ContextValue] | None = None
    prompt: Text = ""
    response: Text = ""


def folders(events: Sequence[Recorded]) -> dict[str, Folder]:
    """The folders of the nodes that were run, in the order in which they first were."""
    found: dict[str, Folder] = {}
    for recorded in events:
        event = recorded.event
        if not isinstance(event, StageRetrying | StageCompleted | StageFailed):
            continue
        folder = found.get(event.node, Folder())
        if event.prompt or event.response:
            folder = replace(folder, prompt=event.prompt, response=event.response)
        if not isinstance(event, StageRetrying):
            folder = replace(folder, status=_status(event))
        found[event.node] = folder
    return found


def _status(event: StageCompleted | StageFailed) -> dict[str, Any]:
    """The fields of Attractor's appendix C; a failure's reason and an agent's own word beside them."""
    status: dict[str, Any] = {
        "outcome": event.status,
        "preferred_label": event.preferred_label,
        "suggested_next_ids": list(event.suggested_next_ids),
        "context_updates": dict(event.context_updates),
        "notes": event.notes,
    }
    if isinstance(event, StageFailed):
        status["failure_reason"] = event.failure_reason
    elif event.word:
        status["word"] = event.word
    return status


def checkpoint(events: Sequence[Recorded], state: RunState, context: Mapping[str, ContextValue]) -> dict[str, Any]:
    """The checkpoint of the session as it stands."""
    ends = [r.event.node for r in events if isinstance(r.event, StageCompleted | StageFailed)]
    return {
        "timestamp": iso(state.at),
        "current_node": ends[-1] if ends else "",
        "completed_nodes": ends,
        "node_retries": {node: record.retries for node, record in state.nodes.items() if record.here},
        "context": dict(context),
        "logs": [entry for recorded in events if (entry := _entry(recorded))],
    }


def _entry(recorded: Recorded) -> str:
    match recorded.event:
        case StageCompleted(node=node, notes=notes) if notes:
            text = f"{node}: {notes}"
        case StageFailed(node=node, failure_reason=reason):
            text = f"{node} failed: {reason}"
        case StageRetrying(node=node, attempt=attempt, of=of, failure_reason=reason):
            text = f"{node}, attempt {attempt} of {of}: {reason}"
        case WarningRaised(message=message):
            text = f"warning: {message}"
        case _:
            return ""
    return f"{iso(recorded.meta.at)} {text}"


def manifest(events: Sequence[Recorded], state: RunState) -> dict[str, Any]:
    """What the session is."""
    version = next((r.event.version for r in events if isinstance(r.event, PipelineStarted)), "")
    return {
        "name": state.pipeline,
        "goal": state.goal,
        "start_time": iso(state.started_ms),
        "label": state.label,
        "session": state.session,
        "file": state.file,
        "graph_hash": state.graph_hash,
        "status": state.result.status if state.result is not None else "unfinished",
        "orchestra": version,
    }


def iso(at_ms: int) -> str:
    """A time as ISO 8601 has it, in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
