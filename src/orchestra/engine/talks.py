"""Conversations as a session's chain holds them: recorded turn by turn, read backwards (A9)."""

from __future__ import annotations

from orchestra.engine.loading import backwards, recorded_in, resolve
from orchestra.ports import Store
from orchestra.run.conversation import Conversation, Piece, rebuild
from orchestra.run.events import AgentResponded, AgentTurnCompleted, ConversationCompacted, Recorded, StageStarted
from orchestra.run.turns import AgentEvent, piece_of
from orchestra.run.views import counting

PAST = 400
"""Events that a summary of earlier work looks at."""

PAGE = 32
"""Turns read at a time: a running agent's own are the newest."""


async def conversation(store: Store, context_id: int, thread: str) -> Conversation:
    """The conversation ``thread`` as it is recorded; empty where nothing was said in it.

    The chain is read backwards as far as the turn in which it began.
    """
    found: list[Recorded] = []
    async for page in backwards(store, context_id, PAGE):
        found[:0] = filter(None, map(recorded_in, page))
        if any(_begins(one, thread) for one in found[: len(page)]):
            break
    talk = [one.event for one in counting(found) if isinstance(one.event, AgentEvent)]
    return rebuild([await _piece(store, event) for event in talk if event.thread == thread])


def _begins(recorded: Recorded, thread: str) -> bool:
    event = recorded.event
    if isinstance(event, AgentResponded | AgentTurnCompleted):
        return event.fresh and event.thread == thread
    return isinstance(event, ConversationCompacted) and event.thread == thread


async def past(store: Store, context_id: int, until: tuple[str, int], most: int = PAST) -> list[Recorded]:
    """Return a session's newest events before visit ``until`` of a node, oldest first, about ``most``."""
    found: list[Recorded] = []
    async for page in backwards(store, context_id, PAGE):
        found[:0] = filter(None, map(recorded_in, page))
        if len(found) >= most:
            break
    for place in range(len(found) - 1, -1, -1):
        one = found[place].event
        if isinstance(one, StageStarted) and (one.node, one.visit) == until:
            found = found[:place]
    return counting(found)[-most:]


async def _piece(store: Store, event: AgentEvent) -> Piece:
    return piece_of(event, [await resolve(store, message) for message in event.messages])
