"""Any prefix of what was stored goes on to the same end: the state is the fold, and nothing beside it (E3, E4)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from msgspec import structs

from orchestra.agents.simulation import ScriptedResult
from orchestra.engine.loading import event_of, history, load_state
from orchestra.ports import Turn
from orchestra.run.codec import VALUE_LIMIT
from orchestra.run.declare import BlobRef
from orchestra.run.events import (
    CheckpointSaved,
    EdgeSelected,
    Event,
    PipelineCompleted,
    Recorded,
    StageCompleted,
    StageFailed,
)
from orchestra.run.whole import dump, load
from support import Session, opened, ran, resumed

TEXT = """
a [max_retries=1] judge [shape=diamond, max_visits=2] b g [goal_gate=true, retry_target=b] loose
start -> a -> judge
judge -> b [condition="outcome=success && context.size!=large"]
judge -> a
judge -> b [condition="outcome=fail && context.size=\\"\\""]
b -> g -> exit
g -> loose [condition=never] loose -> exit
"""

SCRIPT: dict[str, Any] = {
    "a": [
        ScriptedResult(status="retry", reason="not yet"),
        ScriptedResult(
            status="fail", reason="still not", updates={"size": "large", "text": "t" * (VALUE_LIMIT + 1)}
        ),
        ScriptedResult(status="fail", reason="no"),
        ScriptedResult(updates={"size": "small", "outcome": "mine", "long": "l" * 2000}),
    ],
    "g": ["skipped", ScriptedResult(status="partial_success", label="Done", suggest=("exit",))],
}


async def told(session: Session) -> list[Event]:
    """The events that say what was done; a prefix that ends in an attempt has that one's start twice at most."""
    found = [event_of(turn) for turn in await history(session.store, session.context_id)]
    kinds = StageCompleted | StageFailed | EdgeSelected | CheckpointSaved | PipelineCompleted
    return [r.event for r in found if isinstance(r, Recorded) and isinstance(r.event, kinds)]


def plainly(events: list[Event]) -> list[Event]:
    """Events without the times they took; a last checkpoint that was written again counts once."""
    kinds = StageCompleted | StageFailed | PipelineCompleted
    timeless = [structs.replace(e, duration_ms=0) if isinstance(e, kinds) else e for e in events]
    return [e for place, e in enumerate(timeless) if place == 0 or e != timeless[place - 1]]


async def cut_off_from_its_checkpoint(session: Session, last: Turn) -> Event | None:
    """The one event that a prefix loses: a checkpoint whose edge is stored already. It only renders the state."""
    chain = await history(session.store, session.context_id)
    following = event_of(chain[last.depth + 1])
    edge = event_of(last)
    assert isinstance(following, Recorded)
    assert isinstance(edge, Recorded)
    lost = isinstance(edge.event, EdgeSelected) and isinstance(following.event, CheckpointSaved)
    return following.event if lost else None


def test_a_run_continues_from_every_turn_to_the_same_end_and_says_the_same_of_it() -> None:
    async def everywhere() -> None:
        whole = await ran(TEXT, SCRIPT)
        assert whole.result is not None
        assert whole.result.good, whole.result.text
        expected = plainly(await told(whole))
        for turn in (await history(whole.store, whole.context_id))[:-1]:
            head = await whole.store.fork(turn.turn_id)
            later = await resumed(replace(whole, context_id=head.context_id))
            lost = await cut_off_from_its_checkpoint(whole, turn)
            await later.walk()
            assert plainly(await told(later)) == [e for e in expected if e != lost], turn.depth
            assert later.state.context == whole.state.context

    asyncio.run(everywhere())


def test_a_checkpoint_shows_the_changes_without_what_the_nodes_own_turn_has_whole() -> None:
    async def run() -> Session:
        return await ran(TEXT, SCRIPT)

    events = asyncio.run(run()).events
    shown = [e.changes for e in events if isinstance(e, CheckpointSaved) and e.current_node == "a"]
    assert shown[0]["size"] == "large"
    assert shown[0]["text"] == "t" * 200 + "…"
    assert shown[-1]["long"] == "l" * 1024 + "…"
    assert not any(key.startswith(("responses", "last_response")) for changes in shown for key in changes)


async def test_a_large_variable_is_read_by_conditions_under_both_names_and_survives_a_whole_state() -> None:
    text = 'a b start -> a a -> exit [condition="run.vars.big contains needle && big contains needle"] a -> b'
    session = await opened(text, variables={"big": "needle" + "h" * VALUE_LIMIT})
    assert isinstance(session.state.variables["big"], BlobRef)
    assert load(dump(session.state)) == session.state
    await session.walk()
    assert session.path == ["start", "a", "exit"]
    assert await load_state(session.store, session.context_id) == session.state
