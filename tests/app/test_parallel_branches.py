"""Parallel branches: walks over forks, several at once (E30-E36)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from faults import CountingFiles, RefusedFiles
from orchestra.agents.simulation import ScriptedResult, Simulation
from orchestra.app.pipelines import Pipeline, compile_pipeline
from orchestra.app.plans import ResumeChanges
from orchestra.app.rewalking import rewalk
from orchestra.app.runs import Future, RunSetup, replay, resume, start
from orchestra.clock import SystemClock
from orchestra.config.model import Config, LimitSettings, RunLimit
from orchestra.config.settings import Settings
from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.cxdb.memory import MemoryStore
from orchestra.engine.archives import all_turns, blobs_of, put_in, take_out
from orchestra.engine.control import Control, SessionControl
from orchestra.engine.following import FollowedSession
from orchestra.engine.forking import TurnChoice
from orchestra.engine.gaps import context_of_branch, with_branches
from orchestra.engine.loading import event_of, history
from orchestra.engine.mailbox import STEER, send
from orchestra.engine.running import Run
from orchestra.engine.sessions import Row, find
from orchestra.engine.shared import Interviews
from orchestra.engine.wiring import AT_ONCE, RunnerProcess
from orchestra.errors import SessionNotFound, Source, StoreFull
from orchestra.graph.model import Graph, Node
from orchestra.handlers.fan_in import FanIn
from orchestra.ports import Scope, Store, Turn
from orchestra.run.events import (
    Event,
    ParallelBranchCompleted,
    ParallelBranchStarted,
    ParallelCompleted,
    PipelineCanceled,
    PipelinePaused,
    Recorded,
    StageCompleted,
    StageFailed,
    WarningRaised,
)
from orchestra.run.outcome import Outcome, Status
from orchestra.run.questions import Answer, Question, QuestionType
from orchestra.run.state import Context
from support import agents_on

SETTINGS = Settings(store=None)
ENDS = "start [shape=Mdiamond] exit [shape=Msquare]"
THREE = """split [shape=component POLICY] meet [shape=tripleoctagon MEET] after
    start -> split split -> a -> meet split -> b -> meet split -> c -> meet meet -> after -> exit"""


def fan(policy: str = "", meet: str = "") -> str:
    return THREE.replace(" POLICY", f", {policy}" if policy else "").replace(" MEET", f", {meet}" if meet else "")


def pipeline_of(body: str) -> Pipeline:
    source = Source("fan.dot", f"digraph fan {{ {ENDS} {body} }}")
    pipeline = compile_pipeline(source, variables={}, secrets={})
    pipeline.checked_graph()
    return pipeline


@dataclass
class Work:
    """A handler that does at nodes what is said of them, and says what it saw."""

    does: Mapping[str, Callable[[Scope, Context], Any]] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    canceled: list[str] = field(default_factory=list)
    running: int = 0
    most: int = 0

    async def __call__(self, node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        self.seen.append(node.id)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            found = self.does.get(node.id, lambda _scope, _context: None)(scope, context)
            if asyncio.iscoroutine(found):
                found = await found
        except asyncio.CancelledError:
            self.canceled.append(node.id)
            raise
        finally:
            self.running -= 1
        self.ended.append(node.id)
        if isinstance(found, Outcome):
            return found
        return Outcome(status=Status.SUCCESS, context_updates=found or {})


def failing(_scope: Scope, _context: Context) -> Outcome:
    return Outcome(status=Status.FAIL, failure_reason="no")


def sleeping(seconds: float, **updates: Any) -> Callable[[Scope, Context], Any]:
    async def sleep(_scope: Scope, _context: Context) -> dict[str, Any]:
        await asyncio.sleep(seconds)
        return updates

    return sleep


async def ran(
    body: str, work: Work | None = None, *, store: Store | None = None, control: Control | None = None, **more: Any
) -> Run:
    run = await start(
        RunSetup(
            store=store or MemoryStore(),
            settings=SETTINGS,
            clock=SystemClock(),
            control=control or Control(),
            more={"codergen": work or Work(), **more},
        ),
        pipeline_of(body),
        variables={},
    )
    await run.walk()
    return run


async def resumed(run: Run, store: Store, work: Work) -> Run:
    again, _pipeline = await resume(
        RunSetup(store=store, settings=SETTINGS, clock=SystemClock(), more={"codergen": work}), run.session
    )
    await again.walk()
    return again


async def events(store: Store, context_id: int) -> list[Event]:
    turns = await history(store, context_id)
    return [found.event for turn in turns if isinstance(found := event_of(turn), Recorded)]


async def by_branch(store: Store, run: Run) -> dict[str, list[Event]]:
    """The events of each branch's chain."""
    found = {}
    for event in await events(store, run.context_id):
        if isinstance(event, ParallelBranchStarted):
            found[event.branch_id] = await events(store, event.branch_context)
    return found


def outcome(run: Run) -> tuple[str, str]:
    result = run.state.result
    assert result is not None
    return result.status, result.text


# --- results and context --------------------------------------------------------------------------


async def test_results_are_in_branch_order_whatever_order_they_finished_in() -> None:
    run = await ran(fan(), Work({"a": sleeping(0.05, made="a"), "b": sleeping(0.0, made="b")}))
    assert [r["id"] for r in run.state.context["parallel.results"]] == ["a", "b", "c"]
    assert [r["updates"] for r in run.state.context["parallel.results"]] == [{"made": "a"}, {"made": "b"}, {}]
    assert run.state.context["parallel.success_count"] == 3
    assert outcome(run) == ("success", "success")


async def test_a_branch_sees_neither_the_others_nor_changes_the_context_of_its_parent() -> None:
    seen: dict[str, Any] = {}

    def looking(_scope: Scope, context: Context) -> dict[str, Any]:
        seen["made"] = context.get("made")
        return {}

    body = "x split [shape=component, max_parallel=1] meet [shape=tripleoctagon] start -> x -> split"
    run = await ran(
        f"{body} split -> a -> meet split -> b -> meet meet -> exit",
        Work({"x": lambda *_: {"made": "before"}, "a": lambda *_: {"made": "a"}, "b": looking}),
    )
    assert seen == {"made": "before"}
    assert run.state.context["made"] == "before"


@pytest.mark.parametrize(("merge", "made"), [("none", None), ("best", "b"), ("all", "c")])
async def test_a_fan_in_takes_over_the_updates_that_merge_names(merge: str, made: str | None) -> None:
    work = Work(
        {"a": lambda *_: {"made": "a"}, "b": lambda *_: {"made": "b", "score": 3}, "c": lambda *_: {"made": "c"}}
    )
    run = await ran(fan(meet=f"merge={merge}"), work)
    assert run.state.context.get("made") == made
    assert run.state.context["parallel.fan_in.best_id"] == "b"


async def test_the_ledger_counts_what_branches_did() -> None:
    def paying(scope: Scope, _context: Context) -> None:
        scope.spend(tokens_in=10, cost_micros=5)

    run = await ran(fan(), Work({"a": paying, "b": paying}))
    assert (run.state.spent.tokens_in, run.state.spent.cost_micros) == (20, 10)
    assert {node: run.state.nodes[node].visits for node in ("a", "b", "c", "split", "meet")} == dict.fromkeys(
        ("a", "b", "c", "split", "meet"), 1
    )
    assert run.state.steps == 8


# --- policies -------------------------------------------------------------------------------------


async def test_at_most_max_parallel_branches_run_at_once_in_order_of_weight_then_id() -> None:
    work = Work(dict.fromkeys("abcd", sleeping(0.01)))
    body = """split [shape=component, max_parallel=2] meet [shape=tripleoctagon] start -> split
        split -> a -> meet split -> b -> meet split -> c -> meet split -> d [weight=5] d -> meet meet -> exit"""
    await ran(body, work)
    assert work.most == 2
    assert work.seen[:4] == ["d", "a", "b", "c"]


async def test_no_more_nodes_of_branches_work_at_once_than_the_session_has_places() -> None:
    body = "x split [shape=component, for_each=files, max_items=500, max_parallel=200] meet [shape=tripleoctagon]"
    work = Work({"x": lambda *_: {"files": [str(n) for n in range(50)]}, "a": sleeping(0.002)})
    await ran(f"{body} start -> x -> split -> a -> meet -> exit", work)
    assert work.most == AT_ONCE


async def test_a_fan_out_inside_a_branch_does_not_wait_for_a_place_that_its_parent_holds() -> None:
    outer = " ".join(
        f"o -> i{n} i{n} [shape=component] i{n} -> x{n} -> n{n} n{n} [shape=tripleoctagon] n{n} -> m"
        for n in range(20)
    )
    body = f"o [shape=component, max_parallel=20] m [shape=tripleoctagon] start -> o {outer} m -> exit"
    run = await ran(body, Work({f"x{n}": sleeping(0.001) for n in range(20)}))
    assert outcome(run)[0] == "success"


async def test_the_first_success_cancels_the_others_which_leave_no_result() -> None:
    store, work = MemoryStore(), Work({"a": sleeping(30), "b": sleeping(0.01), "c": sleeping(30)})
    run = await ran(fan("join_policy=first_success"), work, store=store)
    assert sorted(work.canceled) == ["a", "c"]
    assert [r["id"] for r in run.state.context["parallel.results"]] == ["b"]
    assert outcome(run)[0] == "success"
    ends = {
        event.branch_id: event.status
        for event in await events(store, run.context_id)
        if isinstance(event, ParallelBranchCompleted)
    }
    assert ends == {"a": "canceled", "b": "success", "c": "canceled"}


async def test_of_two_winners_in_one_instant_the_join_runs_once_and_a_later_one_is_no_result() -> None:
    go = asyncio.Event()

    async def together(_scope: Scope, _context: Context) -> None:
        await go.wait()

    async def starting(_scope: Scope, _context: Context) -> None:
        go.set()
        await asyncio.sleep(30)

    store, work = MemoryStore(), Work({"a": together, "b": together, "c": starting})
    run = await ran(fan("join_policy=first_success"), work, store=store)
    assert outcome(run)[0] == "success"
    assert [
        event.status for event in await events(store, run.context_id) if isinstance(event, ParallelCompleted)
    ] == ["success"]
    results = [event for event in await events(store, run.context_id) if isinstance(event, ParallelBranchCompleted)]
    assert sorted(event.branch_id for event in results) == ["a", "b", "c"]
    assert {event.branch_id: event.status for event in results}["c"] == "canceled"
    assert work.seen.count("after") == 1


async def test_a_loop_inside_a_branch_that_never_reaches_the_fan_in_ends_by_max_steps() -> None:
    body = """graph [max_steps=40] split [shape=component] meet [shape=tripleoctagon] start -> split split -> a
        a -> b [condition="outcome=fail"] a -> meet b -> a split -> c -> meet meet -> exit"""
    work = Work({"a": failing})
    run = await ran(body, work)
    status, why = outcome(run)
    assert (status, why.partition(";")[0]) == ("fail", "max_steps exceeded: 40 nodes executed")
    assert len(work.seen) < 40


async def test_an_exception_while_another_branch_writes_leaves_the_store_whole(tmp_path: Path) -> None:
    store = EmbeddedStore.open(tmp_path / "store")
    writing = asyncio.Event()

    async def writes(scope: Scope, _context: Context) -> None:
        for number in range(10_000):
            scope.record(WarningRaised(message=f"{number}", node="b"))
            writing.set()
            await asyncio.gather(scope.settle(), scope.keep(b"x" * 500 + b"%d" % number))

    async def breaks(_scope: Scope, _context: Context) -> None:
        await writing.wait()
        raise RuntimeError("broken")

    run = await ran(fan("error_policy=fail_fast"), Work({"a": breaks, "b": writes}), store=store)
    assert outcome(run)[0] == "fail"
    assert isinstance((await by_branch(store, run))["b"][-1], PipelineCanceled)
    assert await store.deep_check() == []
    again = await resumed(run, store, Work())
    assert outcome(again)[0] == "success"
    await store.close()


async def test_a_disk_that_fills_up_with_branches_in_flight_loses_nothing(quick_path: Path) -> None:
    lanes = " ".join(f"split -> a{n} -> b{n} -> meet" for n in range(4))
    body = f"split [shape=component] meet [shape=tripleoctagon] start -> split {lanes} meet -> exit"
    counted = CountingFiles()
    store = EmbeddedStore.open(quick_path / "counted", files=counted, capacity=1 << 17)
    before = len(counted.calls)
    await ran(body, store=store)
    changes = len(counted.calls)
    await store.close()
    for at in range(before, changes, 4):
        folder, first, later = quick_path / f"{at}", Work(), Work()
        store = EmbeddedStore.open(folder, files=RefusedFiles(at, errno.ENOSPC, times=10_000), capacity=1 << 17)
        run = None
        with contextlib.suppress(StoreFull):
            run = await start(
                RunSetup(store=store, settings=SETTINGS, clock=SystemClock(), more={"codergen": first}),
                pipeline_of(body),
                variables={},
            )
            await run.walk()
        with contextlib.suppress(StoreFull):
            await store.close()
        if run is None or run.state.result is not None:
            continue
        store = EmbeddedStore.open(folder, capacity=1 << 17)
        again = await resumed(run, store, later)
        assert outcome(again)[0] == "success"
        assert {*first.seen, *later.seen} >= {f"{name}{n}" for n in range(4) for name in "ab"}
        main = await events(store, run.context_id)
        assert sum(isinstance(event, ParallelCompleted) for event in main) == 1
        assert sum(isinstance(event, ParallelBranchCompleted) for event in main) == 4
        assert await store.deep_check() == []
        await store.close()


async def test_fail_fast_cancels_the_rest_and_fails() -> None:
    work = Work({"a": sleeping(30), "b": failing, "c": sleeping(30)})
    run = await ran(fan("error_policy=fail_fast"), work)
    assert sorted(work.canceled) == ["a", "c"]
    assert outcome(run) == ("fail", "a branch failed: b: no (error_policy=fail_fast)")


async def test_an_unmet_join_policy_is_not_masked_by_an_edge_of_the_fan_in() -> None:
    work = Work({"a": failing, "b": failing})
    run = await ran(fan("join_policy=k_of_n, k=2"), work)
    assert outcome(run)[0] == "fail"
    assert "join policy not met: 1 of 2 needed" in outcome(run)[1]
    assert "after" not in work.seen


@pytest.mark.parametrize(
    ("quorum", "status"), [("0.5", "success"), ("0.6", "success"), ("1", "fail"), ("0", "success")]
)
async def test_a_quorum_asks_for_a_share_of_the_branches(quorum: str, status: str) -> None:
    run = await ran(fan(f"join_policy=quorum, quorum={quorum}"), Work({"a": failing}))
    assert outcome(run)[0] == status


async def test_a_run_that_failed_by_its_join_policy_is_resumed_at_the_parallel_node() -> None:
    store = MemoryStore()
    run = await ran(fan("join_policy=k_of_n, k=3"), Work({"a": failing}), store=store)
    assert outcome(run)[0] == "fail"
    again = Work()
    assert outcome(await resumed(run, store, again))[0] == "success"
    assert sorted(again.seen) == ["a", "after", "b", "c"]


async def test_a_failed_fan_out_goes_to_its_retry_target() -> None:
    tries: list[str] = []

    def second(_scope: Scope, _context: Context) -> Outcome | None:
        tries.append("a")
        return failing(_scope, _context) if len(tries) == 1 else None

    body = """fix split [shape=component, join_policy=k_of_n, k=2, retry_target=fix] meet [shape=tripleoctagon]
        start -> fix -> split split -> a -> meet split -> b -> meet meet -> exit"""
    work = Work({"a": second})
    run = await ran(body, work)
    assert work.seen == ["fix", "a", "b", "fix", "a", "b"]
    assert outcome(run)[0] == "success"


async def test_an_exception_in_one_branch_is_that_branch_s_failure() -> None:
    def raising(_scope: Scope, _context: Context) -> None:
        raise RuntimeError("lost")

    run = await ran(fan(), Work({"a": raising, "b": sleeping(0.02)}))
    first = run.state.context["parallel.results"][0]
    assert (first["status"], first["failure_reason"]) == ("fail", "RuntimeError: lost")
    assert outcome(run)[0] == "success"


# --- where branches begin and end ------------------------------------------------------------------


async def test_branches_start_only_along_edges_whose_condition_holds() -> None:
    body = """x split [shape=component] meet [shape=tripleoctagon] start -> x -> split
        split -> a [condition="context.deep=yes"] split -> b [condition="context.deep=no"]
        a -> meet b -> meet meet -> exit"""
    work = Work({"x": lambda *_: {"deep": "yes"}})
    await ran(body, work)
    assert work.seen == ["x", "a"]
    run = await ran(body, Work())
    assert outcome(run)[0] == "fail"
    assert "no outgoing edge whose condition is true" in outcome(run)[1]


async def test_two_edges_to_one_target_are_two_branches() -> None:
    body = """split [shape=component] meet [shape=tripleoctagon] start -> split split -> a split -> a
        a -> meet meet -> exit"""
    run = await ran(body)
    assert [r["id"] for r in run.state.context["parallel.results"]] == ["a", "a#2"]
    assert run.state.nodes["a"].visits == 2


async def test_a_branch_that_leads_back_before_its_parallel_node_fails() -> None:
    body = """x split [shape=component] meet [shape=tripleoctagon] start -> x -> split
        split -> a -> x split -> b -> meet a -> meet [condition="context.never=1"] meet -> exit"""
    run = await ran(body)
    results = {r["id"]: (r["status"], r["failure_reason"]) for r in run.state.context["parallel.results"]}
    assert results == {"a": ("fail", "left its branch: a goes back to x"), "b": ("success", "")}


async def test_a_loop_restart_inside_a_branch_ends_it_as_failed() -> None:
    body = """split [shape=component] meet [shape=tripleoctagon] start -> split
        split -> a -> a [loop_restart=true] a -> meet [condition="context.never=1"]
        split -> b -> meet meet -> exit"""
    run = await ran(body)
    assert run.state.context["parallel.results"][0]["failure_reason"].startswith("left its branch")


async def test_a_fan_in_entered_by_a_stray_edge_fails() -> None:
    run = await ran("a meet [shape=tripleoctagon] start -> a -> meet -> exit")
    assert outcome(run) == ("fail", "no parallel results: it was not reached from its parallel node")


async def test_branches_that_all_end_at_the_exit_lead_there_and_others_meet_nowhere() -> None:
    run = await ran("split [shape=component] start -> split split -> a -> exit split -> b -> exit")
    assert outcome(run) == ("success", "success")
    run = await ran("split [shape=component] c start -> split split -> a -> exit split -> c")
    assert outcome(run) == ("fail", "the branches of split do not meet")


async def test_an_unmet_goal_gate_inside_a_branch_sends_the_run_back_to_the_outermost_parallel_node() -> None:
    tries: list[int] = []

    def second(_scope: Scope, _context: Context) -> Outcome | None:
        tries.append(1)
        return failing(_scope, _context) if len(tries) == 1 else None

    body = """split [shape=component] meet [shape=tripleoctagon] g [goal_gate=true, retry_target=a]
        start -> split split -> a -> g split -> b -> meet g -> meet meet -> exit
        g -> meet [condition="outcome=fail"]"""
    work = Work({"g": second})
    run = await ran(body, work)
    assert outcome(run)[0] == "success"
    assert sorted(work.seen) == ["a", "a", "b", "b", "g", "g"]


@pytest.mark.parametrize("size", [10, 40_000], ids=["small", "by reference"])
async def test_a_condition_after_the_fan_in_reads_a_part_of_the_results(size: int) -> None:
    def says(scope: Scope, _context: Context) -> None:
        scope.response("good " * size)

    first = "parallel.results[0].response"
    body = f"""split [shape=component] meet [shape=tripleoctagon]
        start -> split split -> a -> meet split -> b -> meet
        meet -> yes [condition="{first} contains good && parallel.success_count=2"]
        meet -> no [condition="{first}!=x && parallel.success_count!=2"] yes -> exit no -> exit"""
    work = Work({"a": says})
    run = await ran(body, work)
    assert outcome(run)[0] == "success"
    assert work.seen[-1] == "yes"


async def test_a_diamond_may_be_the_first_node_of_a_branch() -> None:
    body = """x split [shape=component] meet [shape=tripleoctagon] j [shape=diamond] start -> x -> split
        split -> j j -> a [condition="outcome=success"] j -> b a -> meet b -> meet
        split -> c -> meet meet -> exit"""
    work = Work()
    await ran(body, work)
    assert sorted(work.seen) == ["a", "c", "x"]


# --- one branch per item (E36) ---------------------------------------------------------------------

EACH = """x split [shape=component, for_each="context.files", MORE] meet [shape=tripleoctagon]
    start -> x -> split -> a -> meet -> exit"""


@pytest.mark.parametrize(
    "files", [["one.py", "two.py"], "one.py\r\n\n  two.py\n".replace("  ", ""), '["one.py", "two.py"]']
)
async def test_a_list_starts_one_branch_for_each_of_its_items(files: Any) -> None:
    seen: list[Any] = []

    def looking(_scope: Scope, context: Context) -> None:
        seen.append((context["item"], context["item_index"], context["item_count"]))

    run = await ran(EACH.replace("MORE", "max_parallel=1"), Work({"x": lambda *_: {"files": files}, "a": looking}))
    assert seen == [("one.py", 0, 2), ("two.py", 1, 2)]
    assert [r["id"] for r in run.state.context["parallel.results"]] == ["a[0]", "a[1]"]


async def test_an_empty_list_goes_to_the_fan_in_which_is_skipped() -> None:
    work = Work({"x": lambda *_: {"files": []}})
    run = await ran(EACH.replace("MORE", ""), work)
    assert (run.state.nodes["split"].status, run.state.nodes["meet"].status) == ("skipped", "skipped")
    assert outcome(run)[0] == "success"
    assert work.seen == ["x"]


@pytest.mark.parametrize(
    ("files", "words"),
    [(["1", "2", "3"], "max_items (2)"), (7, "neither a list nor text"), (None, "context has no")],
)
async def test_a_list_that_cannot_be_walked_is_a_clear_failure(files: Any, words: str) -> None:
    updates = {} if files is None else {"files": files}
    run = await ran(EACH.replace("MORE", "max_items=2"), Work({"x": lambda *_: updates}))
    assert outcome(run)[0] == "fail"
    assert words in outcome(run)[1]


# --- stopped from outside --------------------------------------------------------------------------


async def stopped(how: str) -> tuple[MemoryStore, Work, Run]:
    """A run that is stopped while branches a and b run and c waits for a place."""
    control, both = Control(), asyncio.Event()

    async def meeting(_scope: Scope, _context: Context) -> None:
        if work.running == 2:
            both.set()
        await both.wait()
        getattr(control, how)("by a test")
        await asyncio.sleep(0.02)

    work, store = Work({"a": meeting, "b": meeting}), MemoryStore()
    return store, work, await ran(fan("max_parallel=2"), work, store=store, control=control)


async def test_a_pause_lets_each_branch_finish_its_node_and_starts_no_other() -> None:
    store, work, run = await stopped("pause")
    assert run.state.result is None
    assert run.state.paused == "by a test"
    assert sorted(work.ended) == ["a", "b"]
    again = Work()
    run = await resumed(run, store, again)
    assert outcome(run)[0] == "success"
    assert again.seen == ["c", "after"]


async def test_an_interruption_stops_every_branch_at_once_and_a_resume_runs_their_nodes_again() -> None:
    store, work, run = await stopped("interrupt")
    assert run.state.result is None
    assert sorted(work.canceled) == ["a", "b"]
    again = Work()
    run = await resumed(run, store, again)
    assert outcome(run)[0] == "success"
    assert sorted(again.seen) == ["a", "after", "b", "c"]
    assert {node: run.state.nodes[node].visits for node in "abc"} == {"a": 1, "b": 1, "c": 1}


async def test_a_canceled_run_ends_its_branches_and_can_be_resumed() -> None:
    store, work, run = await stopped("cancel")
    assert outcome(run) == ("canceled", "by a test")
    assert sorted(work.canceled) == ["a", "b"]
    kinds = [type(event) for chain in (await by_branch(store, run)).values() for event in chain]
    assert kinds.count(PipelineCanceled) == 2
    again = Work()
    assert outcome(await resumed(run, store, again))[0] == "success"
    assert sorted(again.seen) == ["a", "after", "b", "c"]


async def test_a_branch_that_swallows_its_cancellation_does_not_come_back_to_life() -> None:
    async def stubborn(_scope: Scope, _context: Context) -> dict[str, Any]:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)
        return {"made": "too late"}

    run = await ran(fan("join_policy=first_success"), Work({"a": stubborn, "b": sleeping(0.01), "c": sleeping(30)}))
    assert [r["id"] for r in run.state.context["parallel.results"]] == ["b"]


async def test_a_pause_between_branches_is_recorded_in_each_chain() -> None:
    store, _work, run = await stopped("interrupt")
    chains = await by_branch(store, run)
    assert all(isinstance(chain[-1], PipelinePaused) for chain in chains.values())
    assert isinstance((await events(store, run.context_id))[-1], PipelinePaused)


# --- many, large, deep -----------------------------------------------------------------------------


async def test_a_thousand_branches_end_and_meet_once() -> None:
    body = "x split [shape=component, for_each=files, max_items=1000, max_parallel=1000] meet [shape=tripleoctagon]"
    work = Work({"x": lambda *_: {"files": [str(n) for n in range(1000)]}, "a": sleeping(0)})
    run = await ran(f"{body} start -> x -> split -> a -> meet -> exit", work)
    assert run.state.context["parallel.success_count"] == 1000
    assert work.most == AT_ONCE
    assert run.state.nodes["meet"].visits == 1


async def test_a_large_answer_of_a_branch_reaches_the_fan_in_whole() -> None:
    text = "word " * 40_000

    def long(scope: Scope, _context: Context) -> dict[str, Any]:
        scope.response(text)
        return {"report": text}

    store = MemoryStore()
    run = await ran(fan(), Work({"b": long}), store=store)
    found = await run.opened.journal.resolve(run.state.context["parallel.results"])
    assert isinstance(found, list)
    shown: Any = found[1]
    assert shown["response"] == text
    assert shown["updates"]["report"] == text


async def test_fan_outs_nest() -> None:
    body = """o [shape=component] i [shape=component] n [shape=tripleoctagon] m [shape=tripleoctagon]
        start -> o o -> i i -> x -> n i -> y -> n n -> z -> m o -> w -> m m -> exit"""
    store = MemoryStore()
    run = await ran(body, store=store)
    assert outcome(run)[0] == "success"
    assert {node: run.state.nodes[node].visits for node in "xyzw"} == dict.fromkeys("xyzw", 1)
    assert [r["id"] for r in run.state.context["parallel.results"]] == ["i", "w"]


async def test_fan_outs_nest_five_deep_and_no_deeper() -> None:
    def nested(deep: int) -> str:
        nodes = " ".join(
            f"p{n} [shape=component] f{n} [shape=tripleoctagon] p{n} -> x{n} -> f{n}" for n in range(deep)
        )
        down = " -> ".join(f"p{n}" for n in range(deep))
        up = " -> ".join(f"f{n}" for n in reversed(range(deep)))
        return f"{nodes} start -> {down} -> a -> {up} -> exit"

    assert outcome(await ran(nested(5)))[0] == "success"
    assert "more than 5 levels deep" in (await ran(nested(6))).state.nodes["p5"].reason


# --- the fan-in's backend --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "best", "warned"),
    [(['I choose\n{"best": "c"}'], "c", False), (["no idea", "b"], "b", False), (["zzz", "yyy"], "a", True)],
)
async def test_a_fan_in_with_a_prompt_asks_for_the_best(answers: list[str], best: str, warned: bool) -> None:
    store = MemoryStore()
    agents = agents_on(Simulation({"meet": tuple(ScriptedResult(text=text) for text in answers)}))
    run = await ran(fan(meet='prompt="Which is best?"'), store=store, **{"parallel.fan_in": FanIn(agents)})
    assert run.state.context["parallel.fan_in.best_id"] == best
    found = [e for e in await events(store, run.context_id) if isinstance(e, WarningRaised)]
    assert bool(found) is warned


# --- replays ---------------------------------------------------------------------------------------


async def test_a_replay_at_a_node_of_a_branch_names_the_branch() -> None:
    store = MemoryStore()
    run = await ran(fan(), Work(), store=store)
    with pytest.raises(SessionNotFound) as refused:
        await replayed(store, run.session, TurnChoice(node="b"), Work())
    place = refused.value.fix.removeprefix("orchestra replay ").split()[0]
    assert outcome(await replayed(store, place, TurnChoice(node="b"), Work()))[0] == "success"


async def replayed(store: Store, session: str, at: TurnChoice, work: Work) -> Run:
    again, _pipeline = await replay(
        RunSetup(store=store, settings=SETTINGS, clock=SystemClock(), more={"codergen": work}),
        session,
        at=at,
        future=Future(),
    )
    await again.walk()
    return again


async def test_a_replay_from_within_a_fan_out_keeps_finished_branches_and_forks_the_others() -> None:
    store = MemoryStore()
    run = await ran(fan("max_parallel=1"), store=store)
    before = {branch: len(chain) for branch, chain in (await by_branch(store, run)).items()}
    turns = await history(store, run.context_id)
    spot = next(
        turn
        for turn in turns
        if isinstance(found := event_of(turn), Recorded) and isinstance(found.event, ParallelBranchCompleted)
    )
    work = Work()
    again = await replayed(store, run.session, TurnChoice(turn_id=spot.turn_id), work)
    assert outcome(again)[0] == "success"
    assert work.seen == ["b", "c", "after"]
    assert {branch: len(chain) for branch, chain in (await by_branch(store, run)).items()} == before


async def test_each_branch_records_its_own_nodes_and_the_main_chain_none_of_them() -> None:
    store = MemoryStore()
    run = await ran(fan(), store=store)
    main = [e.node for e in await events(store, run.context_id) if isinstance(e, StageCompleted | StageFailed)]
    assert main == ["start", "split", "meet", "after", "exit"]
    chains = await by_branch(store, run)
    own = {b: [e.node for e in chain if isinstance(e, StageCompleted)][-1] for b, chain in chains.items()}
    assert own == {"a": "a", "b": "b", "c": "c"}


async def test_a_replay_begins_at_a_turn_of_a_branch_and_keeps_what_others_had_done_by_then() -> None:
    store = MemoryStore()
    run = await ran(NEST, Work({"a": sleeping(0.05)}), store=store)
    before = {row.context_id: row.head_turn for row in await store.contexts()}
    work = Work()
    again = await replayed(store, f"{run.session}/outer/inner", TurnChoice(node="after"), work)
    assert outcome(again)[0] == "success"
    assert sorted(work.seen) == ["a", "after"], "a had not ended when after began"
    work = Work()
    again = await replayed(store, f"{run.session}/outer/inner/inner/y", TurnChoice(node="z"), work)
    assert outcome(again)[0] == "success"
    assert "y" not in work.seen
    assert "z" in work.seen
    after = {row.context_id: row.head_turn for row in await store.contexts()}
    assert {context: after[context] for context in before} == before
    followed = FollowedSession(store, again.context_id)
    turns = [one.turn_id for one in await followed.news()]
    assert len(turns) == len(set(turns))


async def test_a_replay_at_a_branch_that_does_not_exist_names_it() -> None:
    store = MemoryStore()
    run = await ran(fan(), store=store)
    with pytest.raises(SessionNotFound, match="no branch 'split/nobody'"):
        await replayed(store, f"{run.session}/split/nobody", TurnChoice(depth=3), Work())


async def test_a_recorded_walk_goes_through_branches_and_says_in_which_one_it_parts() -> None:
    store = MemoryStore()
    run = await interrupted(NEST, "z", store)
    again = await resumed(run, store, Work({"z": failing}))
    same = await rewalk(again.session, store=store, settings=SETTINGS)
    assert same.same
    assert same.nodes == len(["start", "outer", "a", "inner", "x", "y", "z", "m1", "after", "m2", "exit"])
    part = await rewalk(f"{again.session}/outer/inner", store=store, settings=SETTINGS)
    assert part.nodes == len(["inner", "x", "y", "z", "m1", "after"])
    with pytest.raises(SessionNotFound, match="no branch 'outer/nobody'"):
        await rewalk(f"{again.session}/outer/nobody", store=store, settings=SETTINGS)
    text = f"digraph fan {{ {ENDS} w {NEST.replace('y -> z -> m1', 'y -> w -> z -> m1')} }}"
    other = ResumeChanges(graph=Source("other.dot", text))
    report = await rewalk(again.session, store=store, settings=SETTINGS, changes=other)
    assert report.parting is not None
    assert (report.parting.branch, report.parting.node) == ("outer/inner/inner/y", "y")


async def test_max_steps_counts_the_steps_of_all_branches_at_once_and_after_a_resume() -> None:
    control, store = Control(), MemoryStore()
    lanes = " ".join(f"split -> a{n} -> b{n} -> c{n} -> d{n} -> meet" for n in range(4))
    body = f"""graph [max_steps=11] split [shape=component] meet [shape=tripleoctagon]
        start -> split {lanes} meet -> exit"""
    slow = {f"{name}{n}": sleeping(0.005) for n in range(4) for name in "abcd"}

    async def stopping(_scope: Scope, _context: Context) -> None:
        await asyncio.sleep(0.005)
        control.interrupt("by a test")
        await asyncio.sleep(30)

    work = Work(slow)
    run = await ran(body, work, store=MemoryStore())
    status, why = outcome(run)
    assert (status, why.partition(";")[0]) == ("fail", "max_steps exceeded: 11 nodes executed")
    assert len(work.seen) <= 13, "three may be at work when the eleventh ends"
    first = Work({**slow, "b0": stopping})
    run = await ran(body, first, store=store, control=control)
    assert run.state.result is None
    later = Work(slow)
    again = await resumed(run, store, later)
    assert outcome(again) == (status, why)
    assert len(first.ended) + len(later.seen) <= 13


async def test_an_agent_that_asks_a_person_releases_its_place_meanwhile() -> None:
    asking, free = asyncio.Event(), asyncio.Event()
    said: list[str] = []

    class Person:
        several = True

        async def ask(self, question: Question) -> Answer:
            asking.set()
            await free.wait()
            return Answer(value="", text="tabs")

        async def inform(self, message: str, stage: str) -> None:
            pass

    async def asks(scope: Scope, _context: Context) -> None:
        answer = await scope.ask(Question(text="tabs or spaces?", type=QuestionType.FREEFORM, freeform=True))
        said.append(answer.text)

    async def works(_scope: Scope, _context: Context) -> None:
        await asking.wait()
        free.set()

    work = Work({"a": asks, "b": works})
    run = await start(
        RunSetup(
            store=MemoryStore(),
            settings=replace(SETTINGS, config=Config(limits=LimitSettings(run=RunLimit(parallel=1)))),
            clock=SystemClock(),
            control=Control(SessionControl(Interviews(Person()))),
            more={"codergen": work},
        ),
        pipeline_of(fan()),
        variables={},
    )
    await asyncio.wait_for(run.walk(), 5)
    assert outcome(run)[0] == "success"
    assert said == ["tabs"]


# --- steering --------------------------------------------------------------------------------------


async def test_an_instruction_reaches_one_agent_of_the_branches_and_no_other_after_a_resume() -> None:
    store, control = MemoryStore(), Control()
    told: list[str] = []

    async def listening(scope: Scope, _context: Context) -> None:
        while not told:
            told.extend(scope.steering())
            await asyncio.sleep(0.001)

    async def stopping(_scope: Scope, _context: Context) -> None:
        control.interrupt("by a test")
        await asyncio.sleep(30)

    body = """split [shape=component] meet [shape=tripleoctagon] start -> split split -> a -> b -> meet
        split -> c -> meet meet -> exit"""
    run = await start(
        RunSetup(
            store=store,
            settings=SETTINGS,
            clock=SystemClock(),
            control=control,
            more={"codergen": Work({"a": listening, "b": stopping})},
        ),
        pipeline_of(body),
        variables={},
    )
    await send(store, run.state.mailbox, run.session, STEER, text="use tabs", who="me", now_ms=1)
    await run.walk()
    assert told == ["use tabs"]
    later: list[str] = []

    def asking(scope: Scope, _context: Context) -> None:
        later.extend(scope.steering())

    again = await resumed(run, store, Work({"b": asking}))
    assert outcome(again)[0] == "success"
    assert later == []
    assert again.state.steered_apart or again.state.steered


# --- people in branches ----------------------------------------------------------------------------

GATED = """split [shape=component POLICY] meet [shape=tripleoctagon] gate [shape=hexagon] yes no
    start -> split split -> gate gate -> yes [label="[Y] Yes"] gate -> no [label="[N] No"] yes -> meet no -> meet
    split -> a -> meet meet -> exit"""


async def test_a_run_waits_only_when_every_other_branch_has_ended() -> None:
    work, store = Work({"a": sleeping(0.02)}), MemoryStore()
    run = await ran(GATED.replace(" POLICY", ""), work, store=store)
    assert run.state.result is None
    assert run.state.waiting
    assert work.ended == ["a"]


async def test_a_fan_out_that_is_decided_does_not_wait_for_an_answer() -> None:
    store = MemoryStore()
    run = await ran(GATED.replace(" POLICY", ", join_policy=first_success"), store=store)
    assert outcome(run)[0] == "success"
    chain = (await by_branch(store, run))["gate"]
    assert isinstance(chain[-1], PipelineCanceled)


# --- another store ---------------------------------------------------------------------------------


async def imported(store: Store, session: str, other: MemoryStore, *, branches: bool = True) -> Row:
    """Put a session into another store, in which the contexts that its record names belong to other sessions."""
    for _ in range(4):
        await ran("a start -> a -> exit", store=other)
    taken = await take_out(store, session)
    async for data in blobs_of(store, all_turns(taken)):
        await other.put_blob(data)
    if not branches:  # as an archive of a version that left them out
        taken = [replace(one, branches=()) for one in taken]
    (row,) = await put_in(other, taken, SystemClock(), RunnerProcess(host="there", pid=1, version="0"))
    return row


async def told(store: Store, row: Row) -> list[tuple[str, str]]:
    """The branch and the event of each turn, as they were recorded; but for those that an import adds."""
    read = [(path, event_of(turn)) for path, turn in await with_branches(store, row) if isinstance(turn, Turn)]
    names = [(path, type(one.event).__name__) for path, one in read if isinstance(one, Recorded)]
    return [name for name in names if name[1] != "PipelineImported"]


NEST = """outer [shape=component] inner [shape=component] m1 [shape=tripleoctagon] m2 [shape=tripleoctagon] after
    start -> outer outer -> a -> m2 outer -> inner inner -> x -> m1 inner -> y -> z -> m1 m1 -> after -> m2
    m2 -> exit"""


async def interrupted(body: str, node: str, store: Store) -> Run:
    control = Control()

    async def stopping(_scope: Scope, _context: Context) -> None:
        await asyncio.sleep(0.02)
        control.interrupt("by a test")
        await asyncio.sleep(30)

    return await ran(body, Work({node: stopping}), store=store, control=control)


async def test_a_branch_that_a_new_pipeline_adds_to_a_fan_out_under_way_is_named_in_a_warning() -> None:
    store = MemoryStore()
    run = await interrupted(fan(), "b", store)
    added = f"digraph fan {{ {ENDS} {fan()} split -> late -> meet }}"
    again, _pipeline = await resume(
        RunSetup(store=store, settings=SETTINGS, clock=SystemClock(), more={"codergen": Work()}),
        run.session,
        ResumeChanges(graph=Source("fan.dot", added)),
    )
    await again.walk()
    warned = [event for event in await events(store, run.context_id) if isinstance(event, WarningRaised)]
    assert [(event.rule, event.node) for event in warned] == [("branch_added", "split")]
    assert "late" in warned[0].message


@pytest.mark.parametrize("times", [1, 2])
async def test_an_imported_session_continues_its_branches_where_they_were(times: int) -> None:
    store: Store = MemoryStore()
    run = await interrupted(NEST, "z", store)
    before = await told(store, await find(store, run.session))
    for _ in range(times):
        other = MemoryStore()
        row = await imported(store, run.session, other)
        store = other
    assert await told(store, row) == before
    foreign = {one.context_id: one.head_turn for one in await other.contexts() if one.context_id < row.mailbox}
    work = Work()
    again = await resumed(run, other, work)
    assert outcome(again)[0] == "success"
    assert work.seen == ["z", "after"]
    assert {one.context_id: one.head_turn for one in await other.contexts() if one.context_id in foreign} == foreign
    inner = await context_of_branch(other, row, "outer/inner/inner/y")
    chain = [event_of(turn) for turn in await history(other, inner or 0)]
    ends = [one.event.node for one in chain if isinstance(one, Recorded) and isinstance(one.event, StageCompleted)]
    assert ends == ["start", "y", "z"]


async def test_a_session_forked_within_a_fan_out_is_imported_with_its_branches() -> None:
    store, other = MemoryStore(), MemoryStore()
    run = await interrupted(NEST, "z", store)
    parallel = [turn.depth for turn in await history(store, run.context_id)][-1]
    forked = await replayed(store, run.session, TurnChoice(depth=parallel), Work())
    assert outcome(forked)[0] == "success"
    before = await told(store, await find(store, forked.session))
    row = await imported(store, forked.session, other)
    assert await told(other, row) == before


async def test_an_imported_session_without_its_branches_keeps_results_and_appends_to_no_foreign_context() -> None:
    store, other = MemoryStore(), MemoryStore()
    run = await interrupted(fan("max_parallel=1"), "b", store)
    row = await imported(store, run.session, other, branches=False)
    before = {one.context_id: one.head_turn for one in await other.contexts() if one.context_id < row.mailbox}
    assert [path for path, _turn in await with_branches(other, row) if path] == []
    work = Work()
    assert outcome(await resumed(run, other, work))[0] == "success"
    assert work.seen == ["b", "c", "after"]
    after = {one.context_id: one.head_turn for one in await other.contexts()}
    assert {context: after[context] for context in before} == before
