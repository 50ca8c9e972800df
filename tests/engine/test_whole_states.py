"""A large state is stored in a blob, and what it holds is what the fold of everything gives (S11, S17)."""

from __future__ import annotations

import pytest

from orchestra.cxdb.memory import MemoryStore
from orchestra.engine.loading import PAGE, event_of, fold_around, history, load, load_state
from orchestra.engine.sessions import find
from orchestra.errors import StoreError
from orchestra.graph.model import Graph, Node
from orchestra.ports import Scope
from orchestra.run.codec import FIELD_LIMIT
from orchestra.run.events import CheckpointSaved, Recorded
from orchestra.run.fold import evolve, fold
from orchestra.run.outcome import Outcome, Status
from orchestra.run.state import NEW, Context
from orchestra.run.whole import whole_reference
from support import CountingStore, Session, opened, ran, reopened, resumed

NODES = 40
LOOP = (
    f"max_steps=600 start -> {' -> '.join(f'n{i}' for i in range(NODES))} -> n0 "
    f"n{NODES - 1} -> exit [condition=never, weight=1]"
)


async def wordy(node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
    scope.response(f"{node.id} at {scope.visit}: " + "words " * 500)
    return Outcome(status=Status.SUCCESS, context_updates={"at": scope.visit})


async def long_run() -> Session:
    return await ran(LOOP, store=CountingStore(), more={"codergen": wordy})


def recorded(turns: list[object]) -> list[Recorded]:
    found = [event_of(turn) for turn in turns]  # type: ignore[arg-type]
    assert all(isinstance(event, Recorded) for event in found)
    return found  # type: ignore[return-value]


async def test_every_prefix_with_a_large_state_in_it_loads_as_the_fold_of_all_its_events() -> None:
    session = await long_run()
    turns = await history(session.store, session.context_id)
    events = recorded(list(turns))
    wholes = [i for i, r in enumerate(events) if isinstance(r.event, CheckpointSaved) and r.event.state is not None]
    large = [i for i in wholes if isinstance(e := events[i].event, CheckpointSaved) and whole_reference(e)]
    assert len(large) >= 3
    state = NEW
    for place, (turn, event) in enumerate(zip(turns, events, strict=True)):
        state = evolve(state, event)
        if place in large or place - 1 in large or place % 97 == 0:
            head = await session.store.fork(turn.turn_id)
            assert await load_state(session.store, head.context_id) == state
    assert fold(events) == state


async def test_no_turn_is_large_and_large_states_are_rare() -> None:
    session = await long_run()
    assert isinstance(session.store, CountingStore)
    turns = [turn for _, batch in session.store.batches for turn in batch]
    assert max(len(turn.payload) for turn in turns) < FIELD_LIMIT + 1024
    refs = [whole_reference(e) for e in session.events if isinstance(e, CheckpointSaved)]
    blobs = sum(ref.size for ref in refs if ref is not None)
    assert 0 < blobs < 0.4 * sum(len(turn.payload) for turn in turns)


async def test_a_fold_cannot_begin_at_a_state_that_is_in_a_blob() -> None:
    session = await long_run()
    events = recorded(list(await history(session.store, session.context_id)))
    place = next(
        i for i, r in enumerate(events) if isinstance(r.event, CheckpointSaved) and whole_reference(r.event)
    )
    with pytest.raises(ValueError, match="blob"):
        fold(events[place:])


async def test_the_next_runner_continues_from_a_large_state() -> None:
    undisturbed = await long_run()
    store = CountingStore(fail_only=450)
    session = await opened(LOOP, store=store, more={"codergen": wordy})
    with pytest.raises(StoreError):
        await session.walk()
    later = await (await resumed(session)).walk()
    assert later.result is not None
    assert undisturbed.result is not None
    assert later.result.text == undisturbed.result.text
    assert later.state.context == undisturbed.state.context
    assert later.state.nodes == undisturbed.state.nodes


async def test_who_takes_a_session_reads_no_more_than_the_turns_since_its_last_whole_state() -> None:
    session = await long_run()
    assert isinstance(session.store, CountingStore)
    turns = await history(session.store, session.context_id)
    whole = max(
        r.depth for r in recorded(list(turns)) if isinstance(r.event, CheckpointSaved) and r.event.state is not None
    )
    await session.hold.release()
    session.store.turns_read = 0
    loaded = await load(session.store, session.context_id)
    await reopened(session.store, session.clock, await find(session.store, session.name), loaded)
    assert len(turns) > 2000
    assert session.store.turns_read < turns[-1].depth - whole + PAGE + 64


async def test_a_loaded_state_and_later_events_equal_the_fold_of_all_events() -> None:
    session = await long_run()
    turns = await history(session.store, session.context_id)
    for place in range(0, len(turns), 211):
        before = await session.store.fork(turns[place].turn_id)
        loaded = await load(session.store, before.context_id)
        since = await load(session.store, session.context_id, base=loaded)
        assert since == await load(session.store, session.context_id)


async def test_a_chain_whose_first_readable_turn_is_a_large_checkpoint_folds_like_all_of_it() -> None:
    session = await long_run()
    events = recorded(list(await history(session.store, session.context_id)))
    large = next(
        i for i, r in enumerate(events) if isinstance(r.event, CheckpointSaved) and r.event.state is not None
    )
    assert await fold_around(session.store, events[large:]) == fold(events)
    elsewhere = await fold_around(MemoryStore(), events[large:])
    assert elsewhere.result == fold(events).result
    assert await fold_around(session.store, []) == NEW
