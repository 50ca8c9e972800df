"""What an agent's recorded turns change in the state, and the conversation that they hold (A9, E35)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, cast

from msgspec.structs import replace

from orchestra.run.changes import on
from orchestra.run.conversation import Piece, read_messages
from orchestra.run.events import (
    AgentResponded,
    AgentToolEnded,
    AgentTurnCompleted,
    CommitMessageWritten,
    ConversationCompacted,
    Meta,
)
from orchestra.run.outcome import Json
from orchestra.run.state import RunningNode, RunState, Spent, spent_of

AgentEvent: TypeAlias = AgentResponded | AgentToolEnded | AgentTurnCompleted | ConversationCompacted
"""What a conversation is rebuilt from."""

Paid: TypeAlias = AgentResponded | AgentTurnCompleted | CommitMessageWritten | ConversationCompacted
"""What a model was paid for."""


def _on_agent_responded(state: RunState, meta: Meta, event: AgentResponded) -> dict[str, Any]:
    """A model was paid: its tokens count from here on, whatever becomes of the attempt."""
    return _count(state, event.node, spent_of(event), turns=1, calls=0, ended=False)


def _on_agent_turn_completed(state: RunState, meta: Meta, event: AgentTurnCompleted) -> dict[str, Any]:
    """The turn has ended; what its responses have not counted counts now."""
    stage = _stage(state, event.node)
    known = stage.open_turn if stage is not None else Spent()
    more = spent_of(event) - known
    first = 0 if stage is not None and stage.turn_open else 1
    return _count(state, event.node, more, turns=first, calls=len(event.tool_calls), ended=True)


def _on_commit_message_written(state: RunState, meta: Meta, event: CommitMessageWritten) -> dict[str, Any]:
    """A commit message was paid for: it counts as its node's, and is known for a repeat."""
    changes = _count_other_cost(state, meta, event)
    if "stage" in changes:
        changes["stage"] = replace(changes["stage"], message=event.text, message_for=event.change)
    return changes


def _count_other_cost(
    state: RunState, meta: Meta, event: CommitMessageWritten | ConversationCompacted
) -> dict[str, Any]:
    """A model was paid for something besides the agent's turns: it counts as the node's."""
    spent = spent_of(event)
    changes: dict[str, Any] = {"spent": state.spent + spent}
    stage = _stage(state, event.node)
    if stage is not None:
        changes["stage"] = replace(
            stage,
            visit_spent=stage.visit_spent + spent,
            counted=stage.counted + spent,
        )
    return changes


def _stage(state: RunState, node: str) -> RunningNode | None:
    return state.stage if state.stage is not None and state.stage.node == node else None


def _count(state: RunState, node: str, spent: Spent, *, turns: int, calls: int, ended: bool) -> dict[str, Any]:
    spent = replace(spent, turns=turns, tool_calls=calls)
    changes: dict[str, Any] = {"spent": state.spent + spent}
    stage = _stage(state, node)
    if stage is None:
        return changes
    changes["stage"] = replace(
        stage,
        talked=True,
        turn_open=not ended,
        visit_spent=stage.visit_spent + spent,
        counted=stage.counted + spent,
        open_turn=Spent() if ended else stage.open_turn + spent,
        recoveries=0 if ended else stage.recoveries,
    )
    return changes


def piece_of(event: AgentEvent, messages: Iterable[Any]) -> Piece:
    """What an event adds to its conversation; ``messages`` are its own, every reference resolved.

    Raises ``ValueError`` where they cannot be read.
    """
    read = read_messages(messages)
    match event:
        case AgentResponded():
            return Piece(
                turn=event.number, messages=read, fresh=event.fresh, responded=True, input_tokens=event.tokens_in
            )
        case AgentToolEnded():
            return Piece(turn=event.number, messages=read)
        case ConversationCompacted():
            return Piece(turn=event.number, messages=read, fresh=True)
        case AgentTurnCompleted():
            return Piece(
                turn=event.number,
                messages=read,
                fresh=event.fresh,
                completed=True,
                input_tokens=event.tokens_in,
                agent_state=cast("Mapping[str, Json]", event.agent_state),
            )


CHANGES = (
    on(AgentResponded, _on_agent_responded),
    on(AgentToolEnded),
    on(AgentTurnCompleted, _on_agent_turn_completed),
    on(CommitMessageWritten, _on_commit_message_written),
    on(ConversationCompacted, _count_other_cost),
)
