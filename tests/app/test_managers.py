"""A manager loop supervises a child: observes, steers, stops it, and ends as it ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from orchestra.app.pipelines import Pipeline, compile_pipeline, read
from orchestra.app.runs import RunSetup, resume, start
from orchestra.clock import SystemClock
from orchestra.config.settings import Settings
from orchestra.cxdb.memory import MemoryStore
from orchestra.engine.loading import event_of, history, load_state
from orchestra.engine.running import Run
from orchestra.engine.sessions import rows
from orchestra.errors import Source
from orchestra.ports import Store
from orchestra.run.events import Event, Recorded, StageCompleted, SteeringTaken
from orchestra.run.state import Result, RunState

SETTINGS = Settings(store=None)
PARENT = """digraph parent {
  start [shape=Mdiamond] exit [shape=Msquare]
  lead [shape=house, stack.child_dotfile="work.dot", prompt="Keep it short", ATTRIBUTES manager.poll_interval=20ms]
  start -> lead -> exit
}"""
WORK = """digraph work {
  start [shape=Mdiamond] exit [shape=Msquare] dig [prompt="Dig"] rest [prompt="Rest"]
  start -> dig -> rest -> exit
}"""


def compiled(folder: Path, attributes: str = "", work: str = WORK) -> Pipeline:
    (folder / "work.dot").write_text(work)
    (folder / "parent.dot").write_text(PARENT.replace("ATTRIBUTES", attributes))
    source, found = read(folder / "parent.dot")
    return compile_pipeline(source, found, variables={}, secrets={})


async def begun(pipeline: Pipeline, store: Store, script: str = "") -> Run:
    return await start(
        RunSetup(store=store, settings=SETTINGS, clock=SystemClock()),
        pipeline,
        variables={},
        simulation=Source("script.yaml", script),
    )


async def walked(pipeline: Pipeline, store: Store, script: str = "") -> Result:
    result = await (await begun(pipeline, store, script)).walk()
    assert result is not None
    return result


async def sessions(store: Store) -> list[RunState]:
    """The sessions of the store, oldest first."""
    return [await load_state(store, row.context_id) for row in reversed(await rows(store))]


async def events(store: Store, number: int) -> list[Event]:
    """What happened in a session, counted from the oldest."""
    row = list(reversed(await rows(store)))[number]
    found = map(event_of, await history(store, row.context_id))
    return [recorded.event for recorded in found if isinstance(recorded, Recorded)]


def children(**nodes: str) -> str:
    listed = "\n".join(f"      {node}: {result}" for node, result in nodes.items())
    return f"children:\n  lead:\n    nodes:\n{listed}\n"


async def test_a_child_that_succeeds_is_the_managers_success_and_its_state_is_in_the_context(
    tmp_path: Path,
) -> None:
    store = MemoryStore()
    result = await walked(compiled(tmp_path), store, children(rest="{text: rested}"))
    parent, child = await sessions(store)
    assert result.good
    assert {key: parent.context[f"stack.child.{key}"] for key in ("status", "outcome", "completed", "retries")} == {
        "status": "completed",
        "outcome": "success",
        "completed": 4,
        "retries": 0,
    }
    assert parent.context["stack.child.session"] == child.session
    assert parent.context["stack.child.last_response"] == "rested"


async def test_a_child_that_fails_is_the_managers_failure_with_its_reason(tmp_path: Path) -> None:
    store = MemoryStore()
    result = await walked(compiled(tmp_path), store, children(dig="{status: fail, reason: rock}"))
    parent, child = await sessions(store)
    assert result.text == f"session {child.session} failed at dig: rock"
    assert parent.context["stack.child.status"] == "failed"


async def test_the_wait_ends_early_when_the_child_does(tmp_path: Path) -> None:
    pipeline = compiled(tmp_path, "manager.max_cycles=3,")
    text = pipeline.source.text.replace("20ms", "1h")
    pipeline = compile_pipeline(Source(pipeline.source.name, text), variables={}, secrets={})
    async with asyncio.timeout(20):
        assert (await walked(pipeline, MemoryStore(), children(dig="{delay: 50ms}"))).good


async def test_a_stop_condition_ends_the_child_well(tmp_path: Path) -> None:
    store = MemoryStore()
    attributes = 'manager.stop_condition="context.stack.child.node=rest && context.stack.child.completed > 1",'
    result = await walked(compiled(tmp_path, attributes), store, children(rest="{delay: 30s}"))
    parent, child = await sessions(store)
    assert result.good
    assert child.result is not None
    assert child.result.status == "canceled"
    assert parent.context["stack.child.status"] == "canceled"


async def test_cycles_used_up_stop_the_child_and_fail(tmp_path: Path) -> None:
    store = MemoryStore()
    result = await walked(compiled(tmp_path, "manager.max_cycles=2,"), store, children(dig="{delay: 30s}"))
    _parent, child = await sessions(store)
    assert "2 cycles" in result.text
    assert child.result is not None
    assert child.result.status == "canceled"


async def test_the_managers_agent_steers_the_childs_next_agent(tmp_path: Path) -> None:
    store = MemoryStore()
    attributes = 'manager.actions="observe,steer,wait", manager.steer_cooldown=30ms,'
    script = "nodes:\n  lead: [{text: dig deeper}, {text: stop soon}]\n" + children(dig="{delay: 400ms}")
    assert (await walked(compiled(tmp_path, attributes), store, script)).good
    told = [e.text for e in await events(store, 1) if isinstance(e, SteeringTaken)]
    assert told[:2] == ["dig deeper", "stop soon"]
    (rest,) = [e for e in await events(store, 1) if isinstance(e, StageCompleted) and e.node == "rest"]
    assert "dig deeper" in str(rest.prompt)


async def test_no_instruction_is_sent_before_the_cooldown_has_ended(tmp_path: Path) -> None:
    store = MemoryStore()
    attributes = 'manager.actions="observe,steer,wait", manager.steer_cooldown=1h,'
    await walked(compiled(tmp_path, attributes), store, children(dig="{delay: 100ms}"))
    assert [e for e in await events(store, 1) if isinstance(e, SteeringTaken)] == []


async def test_a_manager_watches_a_session_that_another_process_runs(tmp_path: Path) -> None:
    store = MemoryStore()
    pipeline = compiled(tmp_path)
    source, found = read(tmp_path / "work.dot")
    script = "nodes:\n  dig: {delay: 400ms}\n"
    other = await begun(compile_pipeline(source, found, variables={}, secrets={}), store, script)
    text = pipeline.source.text.replace(
        "shape=house,", f"shape=house, stack.child_autostart=false, stack.child_session={other.session},"
    )
    watching = compile_pipeline(Source("parent.dot", text), variables={}, secrets={})
    async with asyncio.TaskGroup() as group:
        work = group.create_task(other.walk())
        result = await walked(watching, store)
    assert result.good
    assert work.result() is not None
    assert len(await rows(store)) == 2


@pytest.mark.parametrize(("named", "why"), [("abcxyz", "no session 'abcxyz'"), ("last", "the session of the node")])
async def test_a_manager_of_a_session_that_it_cannot_watch_fails(tmp_path: Path, named: str, why: str) -> None:
    store = MemoryStore()
    text = compiled(tmp_path).source.text.replace(
        "shape=house,", f"shape=house, stack.child_autostart=false, stack.child_session={named},"
    )
    result = await walked(compile_pipeline(Source("parent.dot", text), variables={}, secrets={}), store)
    assert not result.good
    assert why in result.text


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_paused_manager_continues_with_the_same_child(tmp_path: Path, at_once: bool) -> None:
    store = MemoryStore()
    run = await begun(compiled(tmp_path), store, children(dig="{delay: 300ms}"))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(run.walk())
        await asyncio.sleep(0.1)
        (run.control.interrupt if at_once else run.control.pause)("enough")
    assert task.result() is None
    again, _pipeline = await resume(RunSetup(store=store, settings=SETTINGS), run.session)
    result = await again.walk()
    assert result is not None
    assert result.good
    assert len(await rows(store)) == 2
