"""A loop_restart edge ends the session and begins the next, with a fresh context and the same ledger (E14, E35)."""

from __future__ import annotations

import contextlib

import pytest

from orchestra.app.pipelines import compile_pipeline
from orchestra.app.runs import RunSetup, resume, start
from orchestra.config.settings import Settings
from orchestra.cxdb.memory import MemoryStore
from orchestra.engine.loading import event_of, history, load_state
from orchestra.engine.running import Run
from orchestra.engine.sessions import rows, summarize
from orchestra.errors import Source, StoreError
from orchestra.ports import Store
from orchestra.run.events import PipelineRestarted, PipelineStarted, Recorded
from orchestra.run.state import Context, RunState
from orchestra.run.views import Phase
from support import START_MS, CountingStore, FixedClock

SETTINGS = Settings(store=None)

LOOP = """digraph loop {
  goal="ship it"
  start [shape=Mdiamond] exit [shape=Msquare]
  plan build [goal_gate=true, retry_target=build] review
  start -> plan -> build -> review
  review -> exit [condition="outcome=success"]
  review -> plan [condition="outcome=fail", loop_restart=true]
}"""
TWICE = """nodes:
  plan: [{text: a, updates: {seen: 1}}, {text: b}]
  review: [{status: fail}, {status: fail}, {text: good}]
"""


async def begun(store: Store, text: str = LOOP, script: str = TWICE, **variables: str) -> Run:
    pipeline = compile_pipeline(Source("loop.dot", text), variables=variables, secrets={})
    return await start(
        RunSetup(store=store, settings=SETTINGS, clock=FixedClock()),
        pipeline,
        variables=variables,
        simulation=Source("loop.yaml", script),
    )


async def chain(store: Store) -> list[RunState]:
    """The sessions of the store, oldest first."""
    return [await load_state(store, row.context_id) for row in reversed(await rows(store))]


async def test_each_restart_is_a_session_of_its_own_and_the_run_ends_in_the_last() -> None:
    store = MemoryStore()
    run = await begun(store)
    result = await run.walk()
    first, second, third = await chain(store)
    assert result is not None
    assert result.good
    assert run.session == third.session
    assert [state.result and state.result.status for state in (first, second, third)] == [
        "restarted",
        "restarted",
        "success",
    ]


async def test_the_links_go_both_ways() -> None:
    store = MemoryStore()
    await (await begun(store)).walk()
    first, second, third = await chain(store)
    listed = {row.session: row for row in await rows(store)}
    assert first.following is not None
    assert second.following is not None
    assert (first.following.session, second.following.session) == (second.session, third.session)
    assert (second.parent, second.why) == (first.session, "restart")
    assert listed[third.session].parent == listed[second.session].context_id
    assert listed[third.session].why == "restart"


async def test_the_next_session_begins_at_the_target_with_graph_attributes_and_variables_only() -> None:
    store = MemoryStore()
    run = await begun(store, colour="blue")
    await run.walk()
    _first, second, _third = await chain(store)
    turns = await history(store, (await rows(store))[1].context_id)
    starts = [e.event for e in map(event_of, turns) if isinstance(e, Recorded)]
    assert isinstance(starts[0], PipelineStarted)
    assert starts[0].begins == "plan"
    assert second.context["colour"] == "blue"
    assert "seen" not in second.context
    graph = compile_pipeline(Source("loop.dot", LOOP), variables={}, secrets={}).checked_graph()
    assert Context(graph, second)["graph.goal"] == "ship it"


async def test_visits_steps_and_the_place_in_the_script_go_along() -> None:
    store = MemoryStore()
    await (await begun(store)).walk()
    _first, _second, third = await chain(store)
    assert third.nodes["plan"].visits == 3
    assert third.nodes["plan"].visits - third.nodes["plan"].carried == 1
    assert (third.steps, third.steps_carried) == (4, 7)


async def test_max_visits_counts_over_the_chain() -> None:
    store = MemoryStore()
    run = await begun(store, LOOP.replace("plan build", "plan [max_visits=2] build"))
    result = await run.walk()
    assert result is not None
    assert not result.good
    assert "max_visits" in result.text


async def test_max_steps_counts_over_the_chain() -> None:
    store = MemoryStore()
    run = await begun(store, LOOP.replace('goal="ship it"', "max_steps=6"))
    result = await run.walk()
    assert result is not None
    assert "max_steps" in result.text


async def test_a_goal_gate_that_failed_before_a_restart_blocks_the_exit_after_it() -> None:
    text = """digraph g {
      start [shape=Mdiamond] exit [shape=Msquare] gate [goal_gate=true] over
      start -> gate
      gate -> over [condition="outcome=fail", loop_restart=true]
      gate -> exit [condition="outcome=success"]
      over -> exit
    }"""
    store = MemoryStore()
    run = await begun(store, text, "nodes:\n  gate: [{status: fail, reason: red}]\n")
    result = await run.walk()
    assert result is not None
    assert not result.good
    assert "gate" in result.text
    assert "red" in result.text


@pytest.mark.parametrize(("attribute", "restarts"), [("", 50), ("default_max_visits=3", 3)])
async def test_a_chain_restarts_only_so_often(attribute: str, restarts: int) -> None:
    text = f"""digraph g {{ {attribute}
      start [shape=Mdiamond] exit [shape=Msquare] a [max_visits=0]
      start -> a
      a -> exit [condition="outcome=fail"]
      a -> a [loop_restart=true]
    }}"""
    store = MemoryStore()
    run = await begun(store, text, "")
    result = await run.walk()
    assert result is not None
    assert f"{restarts} times" in result.text
    assert len(await rows(store)) == restarts + 1


async def test_wherever_the_store_is_lost_a_resume_of_the_first_session_comes_to_the_same_end() -> None:
    whole = CountingStore()
    await (await begun(whole)).walk()
    expected = [(s.steps, s.steps_carried) for s in await chain(whole)]
    for cut in range(3, whole.appends + 1):
        inner = MemoryStore()
        run = await begun(CountingStore(inner, fail_from=cut))
        with contextlib.suppress(StoreError):
            await run.walk()
        first = (await rows(inner))[-1].session
        again, _pipeline = await resume(RunSetup(store=inner, settings=SETTINGS, clock=Later()), first)
        result = await again.walk()
        assert result is not None, cut
        assert result.good, cut
        ended = await chain(inner)
        assert len(ended) == 3, cut
        assert [(s.steps, s.steps_carried) for s in ended] == expected, cut
        restarts = [s.following.session for s in ended if s.following is not None]
        assert restarts == [s.session for s in ended[1:]], cut


class Later(FixedClock):
    """A clock whose ids are other ones."""

    def display_id(self) -> str:
        return f"t{super().display_id()[1:]}"


async def test_a_session_whose_successor_never_began_counts_as_crashed() -> None:
    inner = MemoryStore()
    seen: list[str] = []

    class Cut(CountingStore):
        async def append(self, context_id, turns, *, blobs=()):  # type: ignore[no-untyped-def]
            if seen:
                raise StoreError("gone")
            found = await super().append(context_id, turns, blobs=blobs)
            events = [event_of(turn) for turn in found]
            seen.extend("cut" for e in events if isinstance(e, Recorded) and isinstance(e.event, PipelineRestarted))
            return found

    run = await begun(Cut(inner))
    with pytest.raises(StoreError):
        await run.walk()
    (row,) = await rows(inner)
    summary = await summarize(inner, row, START_MS)
    assert summary.phase is Phase.CRASHED
    again, _pipeline = await resume(RunSetup(store=inner, settings=SETTINGS, clock=Later()), row.session)
    assert (await again.walk()) is not None
    assert (await summarize(inner, row, START_MS)).phase is Phase.RESTARTED


async def test_tokens_and_cost_count_over_retries_and_restarts() -> None:
    script = """nodes:
      plan: [{tokens_in: 100, tokens_out: 10, cost: 0.5}]
      build: [{status: fail, tokens_in: 1}, {tokens_in: 2}]
      review: [{status: fail}, {text: good}]
    """
    store = MemoryStore()
    run = await begun(store, LOOP.replace("retry_target=build", "max_retries=1"), script)
    await run.walk()
    first, second = await chain(store)
    assert (first.spent.tokens_in, first.spent.cost_micros) == (103, 500_000)
    assert (second.spent.tokens_in, second.spent.tokens_out, second.spent.cost_micros) == (205, 20, 1_000_000)
