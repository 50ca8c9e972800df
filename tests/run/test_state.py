"""The fold: state from events, whole or from the last whole checkpoint on (E3, S16, S17)."""

from __future__ import annotations

import msgspec
import pytest

from orchestra.agents.simulation import ScriptedResult
from orchestra.engine.loading import event_of, history, load_state
from orchestra.errors import UnknownEvent
from orchestra.ports import NewTurn
from orchestra.run.codec import decode, encode
from orchestra.run.declare import BY_CLASS, BlobRef
from orchestra.run.events import (
    CheckpointSaved,
    Meta,
    PipelineForked,
    PipelineImported,
    PipelineResumed,
    PipelineStarted,
    Recorded,
    StageCompleted,
    StageFailed,
    StageStarted,
    ToolStarted,
)
from orchestra.run.fold import CHANGES, evolve, fold
from orchestra.run.state import NEW, RunState
from orchestra.run.whole import dump, load
from support import Session, opened, ran

LOOP = """
default_max_retries=0
a b [max_retries=1] judge [shape=diamond] g [goal_gate=true]
start -> g -> a -> b -> judge
judge -> a [condition="outcome=fail"]
judge -> a [weight=1, max_visits=60]
judge -> exit
"""
LONG = "w" * 700
SCRIPT = {
    "a": [
        ScriptedResult(text=LONG, updates={"n": 1, "list": [1, {"k": None}]}),
        ScriptedResult(text=LONG + "2", label="On"),
    ],
    "b": [
        ScriptedResult(text=LONG),
        "retry",
        "fail",
        ScriptedResult(text="x" * 20_000, updates={"big": "y" * 20_000}),
    ],
    "g": ["partial_success"],
}


async def turns_of(session: Session) -> list[Recorded]:
    found = [event_of(turn) for turn in await history(session.store, session.context_id)]
    assert all(isinstance(event, Recorded) for event in found)
    return found  # type: ignore[return-value]


@pytest.fixture(scope="module")
def looped() -> list[Recorded]:
    """The events of a long run as they stand in the store."""
    import asyncio

    async def run() -> list[Recorded]:
        return await turns_of(await ran(LOOP, SCRIPT))

    return asyncio.run(run())


def wholes(events: list[Recorded]) -> list[int]:
    return [i for i, r in enumerate(events) if isinstance(r.event, CheckpointSaved) and r.event.state is not None]


def test_every_prefix_folds_to_the_last_whole_checkpoint_and_the_rest(
    looped: list[Recorded],
) -> None:
    places = wholes(looped)
    assert len(places) >= 2, "the loop is too short to show anything"
    state, whole = NEW, 0
    for end, recorded in enumerate(looped):
        state = evolve(state, recorded)
        if end in places:
            whole = end
        assert fold(looped[whole : end + 1]) == state
    assert state == fold(looped)


def test_whole_checkpoints_are_rare(looped: list[Recorded]) -> None:
    sizes = [len(encode(r.meta, r.event)) for r in looped]
    for place in wholes(looped):
        before = [i for i in wholes(looped) if i < place]
        since = sizes[(before[-1] + 1 if before else 0) : place]
        assert sum(since) > 4 * (sizes[before[-1]] if before else 0)
        assert sum(since) > 60_000


def test_the_state_is_the_runners_own_at_every_durable_moment(looped: list[Recorded]) -> None:
    state = fold(looped)
    assert state.result is not None
    assert state.steps == len([r for r in looped if isinstance(r.event, StageCompleted | StageFailed)])
    assert state.nodes["a"].visits == state.nodes["a"].executions
    assert state.context["n"] == 1
    assert isinstance(state.context["big"], BlobRef)
    assert isinstance(state.context["responses.b"], BlobRef)
    assert state.nodes["b"].executions > state.nodes["b"].visits


def test_a_dumped_state_loads_as_it_was_at_every_turn(looped: list[Recorded]) -> None:
    state = NEW
    for recorded in looped[:120]:
        state = evolve(state, recorded)
        plain = msgspec.msgpack.decode(msgspec.msgpack.encode(dump(state)))
        assert load(plain) == state


def test_a_repeat_changes_nothing(looped: list[Recorded]) -> None:
    state = NEW
    for recorded in looped[:100]:
        state = evolve(state, recorded)
        assert evolve(state, recorded) is state
    doubled = [r for pair in zip(looped, looped, strict=True) for r in pair]
    assert fold(doubled) == fold(looped)


def test_events_of_a_runner_that_was_replaced_change_nothing(looped: list[Recorded]) -> None:
    state = fold(looped[:50])
    taken = evolve(state, at_epoch(looped[50], 2, 1))
    assert taken.epoch == 2
    for recorded in looped[50:90]:
        assert evolve(taken, recorded) is taken


def test_a_whole_checkpoint_of_a_runner_that_was_replaced_changes_nothing(looped: list[Recorded]) -> None:
    place = wholes(looped)[0]
    state = evolve(fold(looped[:50]), at_epoch(looped[50], 2, 1))
    assert fold([looped[place]], state) is state


def test_the_next_runner_counts_from_one(looped: list[Recorded]) -> None:
    state = fold(looped[:50])
    assert state.sequence > 1
    assert evolve(state, at_epoch(looped[50], 2, 1)).sequence == 1


def at_epoch(recorded: Recorded, epoch: int, sequence: int) -> Recorded:
    meta = recorded.meta
    return Recorded(Meta(session=meta.session, epoch=epoch, sequence=sequence, at=meta.at), recorded.event)


@pytest.mark.parametrize(
    "plain",
    [{}, {"context": 1}, {**dump(NEW), "steps": "many"}, {**dump(NEW), "nodes": [1]}, {**dump(NEW), "dot": 5}],
)
def test_what_is_no_state_does_not_load(plain: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="state"):
        load(plain)


async def test_a_chain_whose_whole_state_is_spoilt_is_refused_in_our_words() -> None:
    session = await opened("a start -> a -> exit")
    session.journal.record(
        CheckpointSaved(current_node="a", completed=1, mailbox=1, started_ms=0, state={"steps": "many"})
    )
    await session.journal.flush()
    with pytest.raises(UnknownEvent):
        await load_state(session.store, session.context_id)


async def test_a_whole_checkpoint_that_a_replaced_runner_left_behind_is_passed_over_in_loading() -> None:
    session = await ran(LOOP, SCRIPT)
    taken = Meta(session=session.name, epoch=2, sequence=1, at=session.state.at + 5)
    stale = (await turns_of(session))[wholes(await turns_of(session))[0]]
    late = Meta(session=session.name, epoch=1, sequence=session.state.sequence + 1, at=session.state.at + 9)
    for meta, event in ((taken, PipelineResumed(node="a")), (late, stale.event)):
        declared = BY_CLASS[type(event)]
        new = NewTurn(type_id=declared.type_id, type_version=1, payload=encode(meta, event))
        await session.store.append(session.context_id, [new])
    state = await load_state(session.store, session.context_id)
    assert (state.epoch, state.sequence, state.steps) == (2, 1, session.state.steps)


async def test_loading_reads_no_further_back_than_the_last_whole_checkpoint(looped: list[Recorded]) -> None:
    session = await ran(LOOP, SCRIPT)
    assert await load_state(session.store, session.context_id) == session.state
    assert session.state == fold(await turns_of(session))


def test_the_state_does_not_grow_with_the_length_of_the_run(looped: list[Recorded]) -> None:
    def size(state: RunState) -> int:
        return len(msgspec.msgpack.encode(dump(state)))

    assert size(fold(looped)) < size(fold(looped[: len(looped) // 3])) * 1.2


def test_values_that_look_like_references_stay_values_in_a_dumped_state() -> None:
    sham = {"hash": "0" * 64, "size": 1, "preview": "x"}
    events = [
        PipelineStarted(pipeline="t", dot="", graph_hash="", mailbox=1),
        StageStarted(node="a", handler="h", visit=1),
        StageCompleted(node="a", handler="h", visit=1, status="success", context_updates={"k": sham}),
    ]
    state = fold(
        Recorded(Meta(session="s", epoch=1, sequence=n, at=n), event) for n, event in enumerate(events, start=1)
    )
    assert load(dump(state)).context["k"] == sham


def test_an_old_turn_reads_through_the_codec_into_the_same_state(looped: list[Recorded]) -> None:
    again = []
    for recorded in looped:
        declared = BY_CLASS[type(recorded.event)]
        found = decode(declared.type_id, declared.version, encode(recorded.meta, recorded.event))
        assert isinstance(found, Recorded)
        again.append(found)
    assert fold(again) == fold(looped)


def test_an_old_whole_checkpoint_that_comes_again_changes_nothing(looped: list[Recorded]) -> None:
    state = fold(looped)
    for place in wholes(looped):
        assert fold([looped[place]], state) is state


@pytest.mark.parametrize(
    "event",
    [
        PipelineForked(mailbox=1, parent="s", parent_context=1, from_turn=1),
        PipelineImported(mailbox=1, holder="process 7 on vm"),
    ],
    ids=["fork", "import"],
)
def test_a_copy_is_at_no_command_that_its_original_began(
    event: PipelineForked | PipelineImported, looped: list[Recorded]
) -> None:
    """A resume of the copy ends what a dead runner left running: what runs for another session is not that."""
    state = fold(looped)
    events = [
        StageStarted(node="a", handler="tool", visit=9),
        ToolStarted(node="a", command="x", marker="m", host="h"),
    ]
    for number, begun in enumerate(events, start=1):
        state = evolve(state, Recorded(Meta(session="s", epoch=9, sequence=number, at=0), begun))
    state = evolve(state, Recorded(Meta(session="t", epoch=10, sequence=1, at=0), event))
    assert state.stage is not None
    assert (state.stage.tool, state.stage.tool_host, state.stage.recoveries) == ("", "", 0)


def test_the_fold_knows_every_event() -> None:
    assert set(CHANGES) == set(BY_CLASS)
