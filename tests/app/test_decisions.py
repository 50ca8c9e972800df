"""A cut-off attempt that asks for a decision: the same in a run, in its child, and in its branches (E4)."""

from __future__ import annotations

from pathlib import Path

import pytest
from nested import ENDS, SETTINGS, TEXTS, Clock, Work, compiled, new_rows, recorded, walked

from orchestra.app.pipelines import Pipeline
from orchestra.app.plans import ResumeChanges
from orchestra.app.runs import RunSetup, resume
from orchestra.cxdb.memory import MemoryStore
from orchestra.engine.loading import load_state
from orchestra.engine.running import Run
from orchestra.engine.sessions import rows
from orchestra.errors import Undecided
from orchestra.ports import Store
from orchestra.run.events import StageFailed

BRANCHED = f"""digraph parent {{ {ENDS} fan [shape=component] meet [shape=tripleoctagon]
    x [on_interrupt=ask] y start -> fan fan -> x -> meet fan -> y -> meet meet -> exit }}"""
WHERE = {
    "run": ("plan", {"parent": TEXTS["parent"].replace("plan done", "plan [on_interrupt=ask] done")}),
    "child": ("a", {"check": TEXTS["check"].replace(" a b", " a [on_interrupt=ask] b")}),
    "grandchild": ("y", {"deep": TEXTS["deep"].replace(" x y", " x y [on_interrupt=ask]")}),
    "branch": ("x", {"parent": BRANCHED}),
}


@pytest.fixture(params=list(WHERE))
async def cut(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Pipeline, MemoryStore, Run, str]:
    """A run that was interrupted at a node that asks, and that node."""
    node, texts = WHERE[request.param]
    pipeline, store = compiled(tmp_path, **texts), MemoryStore()
    return pipeline, store, await walked(pipeline, store, Work(pauses_at=node)), node


async def resumed(store: Store, session: str, interrupted: str = "") -> tuple[Run, Work]:
    work = Work()
    changes = ResumeChanges(interrupted=interrupted)
    run, _pipeline = await resume(
        RunSetup(store=store, settings=SETTINGS, clock=Clock(), more={"codergen": work}), session, changes=changes
    )
    await run.walk()
    return run, work


async def test_a_resume_asks_before_it_records_anything(cut: tuple[Pipeline, MemoryStore, Run, str]) -> None:
    _pipeline, store, run, node = cut
    before = {row.session: (await store.head(row.context_id)).turn_id for row in await rows(store)}
    with pytest.raises(Undecided) as raised:
        await resumed(store, run.session)
    assert (raised.value.session, raised.value.node) == (run.session, node)
    assert {row.session: (await store.head(row.context_id)).turn_id for row in await rows(store)} == before


async def test_a_decision_to_run_it_again_reaches_the_node_that_asks(
    cut: tuple[Pipeline, MemoryStore, Run, str],
) -> None:
    _pipeline, store, run, node = cut
    later, work = await resumed(store, run.session, "rerun")
    assert later.state.result is not None
    assert later.state.result.good
    assert work.done.count(node) == 1


async def test_a_decision_to_fail_it_fails_that_node_and_names_the_option(
    cut: tuple[Pipeline, MemoryStore, Run, str],
) -> None:
    _pipeline, store, run, node = cut
    _later, work = await resumed(store, run.session, "fail")
    assert node not in work.done
    chains = [context.context_id for context in await store.contexts()]
    failures = {
        event.node: event.failure_reason
        for chain in chains
        for _turn, event in await recorded(store, chain)
        if isinstance(event, StageFailed)
    }
    assert "--interrupted fail" in failures[node]
    assert [
        reason for name, reason in failures.items() if name != node and reason.startswith("it was cut off")
    ] == []


async def test_a_child_that_is_resumed_alone_asks_too(tmp_path: Path) -> None:
    node, texts = WHERE["child"]
    store = MemoryStore()
    run = await walked(compiled(tmp_path, **texts), store, Work(pauses_at=node))
    (child,) = [row for row in await new_rows(store, ()) if row.why == "child"]
    with pytest.raises(Undecided):
        await resumed(store, child.session)
    await resumed(store, child.session, "rerun")
    assert (await load_state(store, child.context_id)).result is not None
    later, work = await resumed(store, run.session)
    assert later.state.result is not None
    assert node not in work.done
