"""A pipeline node runs a child in a session of its own, waits for it, and finds it again after a crash."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from orchestra.app.pipelines import Pipeline, compile_pipeline, read
from orchestra.app.runs import RunSetup, resume, start
from orchestra.clock import SystemClock
from orchestra.config.settings import Settings
from orchestra.cxdb.memory import MemoryStore
from orchestra.engine.archives import take_out
from orchestra.engine.loading import event_of, history, load_state
from orchestra.engine.running import Run
from orchestra.engine.sessions import rows
from orchestra.errors import ConfigError, Severity, Source, StoreError
from orchestra.ports import Clock, Head, Store, Turn
from orchestra.run.events import ChildEnded, ChildStarted, Event, Recorded, StageStarted
from orchestra.run.state import RunState
from support import CountingStore, FixedClock

SETTINGS = Settings(store=None)
PARENT = """digraph parent {
  start [shape=Mdiamond] exit [shape=Msquare] plan
  check [type=pipeline, stack.child_dotfile="parts/check.dot"]
  start -> plan -> check -> exit
}"""
CHILD = """digraph check {
  goal="no faults"
  start [shape=Mdiamond] exit [shape=Msquare] lint types
  start -> lint -> types -> exit
}"""
SCORED = """nodes:
  plan: {cost: 1}
children:
  check:
    nodes:
      lint: {text: clean, updates: {score: 9}, cost: 0.25, tokens_in: 7}
"""
SLOW = """children:
  check:
    nodes:
      lint: {delay: 30s}
"""


class Later(FixedClock):
    """A clock whose ids are other ones."""

    def display_id(self) -> str:
        return f"t{super().display_id()[1:]}"


def compiled(folder: Path, parent: str = PARENT, **children: str) -> Pipeline:
    """A parent with its children's files beside it; ``check`` where no other is given."""
    (folder / "parts").mkdir(exist_ok=True)
    for name, text in (children or {"check": CHILD}).items():
        (folder / "parts" / f"{name}.dot").write_text(text)
    (folder / "parent.dot").write_text(parent)
    source, found = read(folder / "parent.dot")
    return compile_pipeline(source, found, variables={}, secrets={})


async def begun(pipeline: Pipeline, store: Store, script: str = SCORED, clock: Clock | None = None) -> Run:
    return await start(
        RunSetup(store=store, settings=SETTINGS, clock=clock or FixedClock()),
        pipeline,
        variables={"colour": "blue"},
        simulation=Source("script.yaml", script),
    )


async def sessions(store: Store) -> list[RunState]:
    """The sessions of the store, oldest first."""
    return [await load_state(store, row.context_id) for row in reversed(await rows(store))]


async def events(store: Store, context_id: int) -> list[Event]:
    found = map(event_of, await history(store, context_id))
    return [recorded.event for recorded in found if isinstance(recorded, Recorded)]


def rules(pipeline: Pipeline) -> list[str]:
    return [d.rule for d in pipeline.diagnostics if d.severity is Severity.ERROR]


async def test_a_child_runs_in_a_session_of_its_own_and_its_context_comes_back_under_the_nodes_id(
    tmp_path: Path,
) -> None:
    store = MemoryStore()
    run = await begun(compiled(tmp_path), store)
    result = await run.walk()
    assert result is not None
    assert result.good
    parent, child = await sessions(store)
    assert (child.pipeline, child.parent, child.why) == ("check", parent.session, "child")
    assert child.context["colour"] == "blue"
    assert parent.context["check.score"] == 9
    assert parent.context["check.last_response"] == "[Simulated] Response for stage: types"


async def test_parent_and_child_name_one_another(tmp_path: Path) -> None:
    store = MemoryStore()
    await (await begun(compiled(tmp_path), store)).walk()
    below, above = await rows(store)
    (linked,) = [e for e in await events(store, above.context_id) if isinstance(e, ChildStarted)]
    assert (linked.child_session, linked.child_context) == (below.session, below.context_id)
    assert (below.parent, below.why) == (above.context_id, "child")


async def test_what_a_child_spent_counts_for_its_parent_once(tmp_path: Path) -> None:
    store = MemoryStore()
    await (await begun(compiled(tmp_path), store)).walk()
    parent, child = await sessions(store)
    assert (child.spent.cost_micros, child.spent.tokens_in) == (250_000, 7)
    assert (parent.spent.cost_micros, parent.spent.tokens_in) == (1_250_000, 7)


async def test_a_failure_carries_the_childs_reason(tmp_path: Path) -> None:
    store = MemoryStore()
    script = "children:\n  check:\n    nodes:\n      lint: {status: fail, reason: 3 faults}\n"
    run = await begun(compiled(tmp_path), store, script)
    result = await run.walk()
    assert result is not None
    _parent, child = await sessions(store)
    assert result.text == f"session {child.session} failed at lint: 3 faults"


async def test_each_attempt_has_a_child_of_its_own_and_its_own_script(tmp_path: Path) -> None:
    store = MemoryStore()
    script = """children:
      check:
        - {nodes: {lint: {status: fail}}}
        - {nodes: {lint: {text: clean}}}
    """
    parent = PARENT.replace("type=pipeline,", "type=pipeline, max_retries=2,")
    result = await (await begun(compiled(tmp_path, parent), store, script)).walk()
    assert result is not None
    assert result.good
    assert len(await rows(store)) == 3


async def test_a_child_may_restart_and_have_children(tmp_path: Path) -> None:
    middle = """digraph check { start [shape=Mdiamond] exit [shape=Msquare] judge
      deep [type=pipeline, stack.child_dotfile="deep.dot"]
      start -> deep -> judge
      judge -> exit [condition="outcome=success"]
      judge -> deep [condition="outcome=fail", loop_restart=true]
    }"""
    deep = "digraph deep { start [shape=Mdiamond] exit [shape=Msquare] d start -> d -> exit }"
    script = """children:
      check:
        nodes: {judge: [{status: fail}, {updates: {again: true}}]}
        children: {deep: {nodes: {d: {cost: 1}}}}
    """
    store = MemoryStore()
    result = await (await begun(compiled(tmp_path, check=middle, deep=deep), store, script)).walk()
    assert result is not None
    assert result.good
    parent = (await sessions(store))[0]
    assert parent.context["check.again"] is True
    assert parent.spent.cost_micros == 2_000_000
    assert [row.why for row in reversed(await rows(store))] == ["", "child", "child", "restart", "child"]


async def test_wherever_the_store_is_lost_a_resume_comes_to_the_same_end_with_one_child(tmp_path: Path) -> None:
    pipeline = compiled(tmp_path)
    whole = CountingStore()
    await (await begun(pipeline, whole)).walk()
    expected = [(state.steps, state.spent.cost_micros) for state in await sessions(whole)]
    for cut in range(3, whole.appends + 1):
        inner = MemoryStore()
        run = await begun(pipeline, CountingStore(inner, fail_from=cut))
        with contextlib.suppress(StoreError):
            await run.walk()
        first = (await rows(inner))[-1].session
        (tmp_path / "parts" / "check.dot").unlink(missing_ok=True)  # the recorded text is what counts
        again, _pipeline = await resume(RunSetup(store=inner, settings=SETTINGS, clock=Later()), first)
        result = await again.walk()
        assert result is not None, cut
        assert result.good, (cut, result.text)
        assert [(state.steps, state.spent.cost_micros) for state in await sessions(inner)] == expected, cut
        ends = [e for e in await events(inner, (await rows(inner))[-1].context_id) if isinstance(e, ChildEnded)]
        assert len(ends) == 1, cut


async def working(run: Run, store: Store) -> asyncio.Task[object]:
    """Walk until the child is at its node ``lint``."""
    task = asyncio.create_task(run.walk())
    for _ in range(500):
        found = await rows(store)
        if len(found) == 2 and any(
            isinstance(e, StageStarted) and e.node == "lint" for e in await events(store, found[0].context_id)
        ):
            return task
        await asyncio.sleep(0.01)
    raise AssertionError("the child never began")


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_pause_of_the_parent_pauses_the_child_and_a_resume_continues_with_it(
    tmp_path: Path, at_once: bool
) -> None:
    store = MemoryStore()
    script = SLOW.replace("30s", "30s" if at_once else "300ms")
    run = await begun(compiled(tmp_path), store, script, SystemClock())
    task = await working(run, store)
    if at_once:
        run.control.interrupt("enough")
    else:
        run.control.pause("enough")
    assert await task is None
    parent, child = await sessions(store)
    assert (parent.paused, child.paused) == ("enough", "enough")
    assert (child.stage is None) is not at_once
    again, _pipeline = await resume(RunSetup(store=store, settings=SETTINGS, clock=Later()), run.session)
    result = await again.walk()
    assert result is not None
    assert result.good
    assert len(await rows(store)) == 2


async def test_cancelling_the_parent_cancels_the_child(tmp_path: Path) -> None:
    store = MemoryStore()
    run = await begun(compiled(tmp_path), store, SLOW, SystemClock())
    task = await working(run, store)
    run.control.cancel("by somebody")
    await task
    assert [state.result and state.result.status for state in await sessions(store)] == ["canceled", "canceled"]


async def test_a_child_whose_node_times_out_is_stopped(tmp_path: Path) -> None:
    store = MemoryStore()
    parent = PARENT.replace("type=pipeline,", "type=pipeline, timeout=200ms,")
    run = await begun(compiled(tmp_path, parent), store, SLOW, SystemClock())
    result = await run.walk()
    _parent, child = await sessions(store)
    assert result is not None
    assert "timeout" in result.text
    assert child.result is not None
    assert child.result.status == "canceled"


async def test_a_child_that_is_paused_by_itself_is_waited_for_and_may_continue_elsewhere(tmp_path: Path) -> None:
    store = MemoryStore()
    run = await begun(compiled(tmp_path), store, SLOW, SystemClock())
    task = await working(run, store)
    from orchestra.engine.mailbox import INTERRUPT, send

    child = (await rows(store))[0]
    await send(store, child.mailbox, child.session, INTERRUPT, who="a test", now_ms=0)
    for _ in range(500):
        if (await load_state(store, child.context_id)).paused:
            break
        await asyncio.sleep(0.01)
    again, _pipeline = await resume(RunSetup(store=store, settings=SETTINGS, clock=Later()), child.session)
    assert (await again.walk()) is not None
    result = await task
    assert result is not None
    assert (await sessions(store))[0].context["check.outcome"] == "success"


# --- what is refused when the parent is compiled ---------------------------------------------------


def test_a_missing_childs_file_is_the_parents_error(tmp_path: Path) -> None:
    pipeline = compiled(tmp_path, PARENT.replace("check.dot", "chekc.dot"))
    assert rules(pipeline) == ["child_dotfile"]
    (found,) = [d for d in pipeline.diagnostics if d.rule == "child_dotfile"]
    assert "check.dot" in found.fix
    assert found.span is not None
    assert found.span.source.text[found.span.start : found.span.end] == '"parts/chekc.dot"'


def test_an_error_in_a_child_is_the_parents_with_the_childs_place(tmp_path: Path) -> None:
    pipeline = compiled(tmp_path, check=CHILD.replace("-> exit", '-> exit [condition="outcome == x"]'))
    assert not pipeline.valid
    (found,) = [d for d in pipeline.diagnostics if d.rule == "condition_syntax"]
    assert found.span is not None
    assert found.span.source.name.endswith("parts/check.dot")


def test_a_cycle_of_files_is_refused(tmp_path: Path) -> None:
    back = PARENT.replace("parts/check.dot", "../parent.dot")
    assert rules(compiled(tmp_path, check=back)) == ["child_cycle"]


@pytest.mark.parametrize(("levels", "refused"), [(5, []), (6, ["child_cycle"])])
def test_children_nest_at_most_five_deep(tmp_path: Path, levels: int, refused: list[str]) -> None:
    made = {f"c{n}": PARENT.replace("parts/check.dot", f"c{n + 1}.dot") for n in range(1, levels)}
    made[f"c{levels}"] = CHILD
    assert rules(compiled(tmp_path, PARENT.replace("check.dot", "c1.dot"), **made)) == refused


@pytest.mark.parametrize(
    "script",
    [
        "children:\n  plan:\n    nodes: {}\n",
        "children:\n  check:\n    nodes: {nobody: {text: a}}\n",
        "nodes:\n  check: {text: a}\n",
        "children: [check]\n",
    ],
)
async def test_a_script_for_what_is_not_there_is_refused(tmp_path: Path, script: str) -> None:
    store = MemoryStore()
    with pytest.raises(ConfigError):
        await begun(compiled(tmp_path), store, script)
    assert await rows(store) == []


async def test_from_every_prefix_of_the_parents_record_its_child_is_found_again(tmp_path: Path) -> None:
    """A batch that was cut between the child's end and the node's runs no second child, and counts none twice."""
    store = MemoryStore()
    await (await begun(compiled(tmp_path), store)).walk()
    below, above = await rows(store)
    turns = await history(store, above.context_id)
    named = next(
        n
        for n, t in enumerate(turns)
        if isinstance(e := event_of(t), Recorded) and isinstance(e.event, ChildStarted)
    )
    ended = next(
        n for n, t in enumerate(turns) if isinstance(e := event_of(t), Recorded) and isinstance(e.event, ChildEnded)
    )
    for cut in range(named, ended + 1):
        fork = await store.fork(turns[cut].turn_id)
        moved = Moved(store, above.context_id, fork.context_id)
        again, _pipeline = await resume(RunSetup(store=moved, settings=SETTINGS, clock=Later()), above.session)
        result = await again.walk()
        assert result is not None, cut
        assert result.good, cut
        assert again.state.spent.cost_micros == 1_250_000, cut
        assert again.state.children["check"].session == below.session, cut


class Moved(CountingStore):
    """A store in which a session's context ends earlier than it does: another context stands for it."""

    def __init__(self, inner: MemoryStore, instead_of: int, context_id: int) -> None:
        super().__init__(inner)
        self._at = {instead_of: context_id}

    async def append(  # type: ignore[no-untyped-def]
        self, context_id: int, turns, *, blobs=()
    ):
        return await super().append(self._at.get(context_id, context_id), turns, blobs=blobs)

    async def head(self, context_id: int) -> Head:
        return await super().head(self._at.get(context_id, context_id))

    async def turns(self, context_id: int, *, before: int | None = None, limit: int = 64) -> list[Turn]:
        return await super().turns(self._at.get(context_id, context_id), before=before, limit=limit)


async def test_a_childs_commands_run_in_the_folder_that_is_named_for_it_else_in_its_files(tmp_path: Path) -> None:
    tool = (
        'digraph check { start [shape=Mdiamond] exit [shape=Msquare] here [shape=parallelogram, tool_command="pwd"]'
    )
    for attribute, folder in (("", "parts"), ('stack.child_workdir="elsewhere",', "elsewhere")):
        (tmp_path / folder).mkdir(exist_ok=True)
        parent = PARENT.replace("type=pipeline,", f"type=pipeline, {attribute}")
        pipeline = compiled(tmp_path, parent, check=f"{tool} start -> here -> exit }}")
        store = MemoryStore()
        result = await (await begun(pipeline, store, "", SystemClock())).walk()
        assert result is not None
        assert result.good
        child = (await sessions(store))[1]
        assert child.context["tool.output"] == str(tmp_path / folder)


async def test_a_child_of_a_node_in_a_branch_belongs_to_the_session_and_is_exported_with_it(tmp_path: Path) -> None:
    fan = """digraph parent { start [shape=Mdiamond] exit [shape=Msquare] fan [shape=component]
      meet [shape=tripleoctagon] check [type=pipeline, stack.child_dotfile="parts/check.dot"] other [prompt="o"]
      start -> fan -> {check other} -> meet -> exit }"""
    store = MemoryStore()
    run = await begun(compiled(tmp_path, fan), store, "nodes: {}")
    await run.walk()
    child, parent = await rows(store)
    assert (child.parent, child.why) == (parent.context_id, "child")
    assert [one.row.session for one in await take_out(store, run.session)] == [parent.session, child.session]
