"""The walk: what is durable when, and what of a handler's doing goes where (E3, E4, E10)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orchestra.agents.simulation import ScriptedResult
from orchestra.errors import StoreError, StoreUnreachable
from orchestra.graph.model import Graph, Node
from orchestra.ports import Handler, Scope
from orchestra.run.events import (
    CheckpointSaved,
    EdgeSelected,
    PipelineCompleted,
    PipelineFailed,
    PipelineStarted,
    Recorded,
    StageCompleted,
    StageFailed,
    StageStarted,
    WarningRaised,
)
from orchestra.run.outcome import Outcome, Status
from orchestra.run.state import Context
from support import CountingStore, Session, opened, ran

CHAIN = "a b c start -> a -> b -> c -> exit"
STEP = ["StageCompleted", "EdgeSelected", "CheckpointSaved", "StageStarted"]


def names(session: Session) -> list[str]:
    return [type(event).__name__ for event in session.events]


def saying(outcome: Any) -> Handler:
    """A handler that reports ``outcome``, or raises it where it is an exception."""

    async def say(node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome | None:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome  # type: ignore[no-any-return]

    return say


class Unshowable(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


def good(**fields: Any) -> Outcome:
    return Outcome(status=Status.SUCCESS, **fields)


async def test_a_run_is_reported_in_the_order_of_its_events() -> None:
    session = await ran(CHAIN)
    assert session.path == ["start", "a", "b", "c", "exit"]
    assert names(session) == [
        "PipelineStarted", "StageStarted", *STEP * 4, "StageCompleted", "CheckpointSaved", "PipelineCompleted",
    ]  # fmt: skip
    assert session.result is not None
    assert session.result.good


async def test_each_node_costs_one_durable_append() -> None:
    store = CountingStore()
    session = await opened(CHAIN, store=store)
    before = store.appends
    await session.walk()
    assert store.appends - before == 1 + 5  # the first announcement, then one for each of five nodes
    shapes = [
        [turn.type_id.rpartition(".")[2] for turn in turns] for _context, turns in store.batches[before + 1 :]
    ]
    assert shapes[0] == ["NodeExecution", "RoutingDecision", "Checkpoint", "NodeExecution"]


async def test_nothing_is_acted_on_before_it_is_durable() -> None:
    for refused in range(1, 9):
        store, acted = CountingStore(), list[str]()

        async def act(node: Node, context: Context, graph: Graph, scope: Scope, at: list[str] = acted) -> Outcome:
            at.append(node.id)
            return good()

        session = await opened(CHAIN, store=store, more={"codergen": act})
        store.fail_from = store.appends + refused
        if refused > 6:
            await session.walk()
            continue
        with pytest.raises(StoreUnreachable):
            await session.walk()
        announced = [event.node for event in session.events if isinstance(event, StageStarted)]
        assert acted == [node for node in announced if node in "abc"]


async def test_events_that_the_store_refused_reach_no_listener() -> None:
    store = CountingStore()
    session = await opened(CHAIN, store=store)
    store.fail_from = store.appends + 3
    with pytest.raises(StoreUnreachable):
        await session.walk()
    assert session.path == ["start"]
    head = await store.head(session.context_id)
    assert head.depth == len(session.seen) - 1


async def test_a_listener_that_raises_is_cut_off_and_the_run_continues(caplog: pytest.LogCaptureFixture) -> None:
    calls = []

    def bad(recorded: Recorded) -> None:
        calls.append(recorded)
        raise RuntimeError("listener")

    session = await ran(CHAIN, listeners=(bad,))
    assert session.result is not None
    assert session.result.good
    assert len(calls) == 1
    assert "listener" in caplog.text


async def test_listeners_hear_events_with_their_place_in_the_store() -> None:
    session = await ran(CHAIN)
    assert [recorded.depth for recorded in session.seen] == list(range(len(session.seen)))
    assert all(recorded.turn_id for recorded in session.seen)


# --- the wall ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("no such colour"), ["ValueError", "no such colour"]),
        (KeyError(), ["KeyError"]),
        (ExceptionGroup("two", [ValueError("first"), TypeError("second")]), ["ValueError", "first"]),
        (RecursionError("deep"), ["RecursionError"]),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no"), ["UnicodeEncodeError"]),
        (Unshowable(), ["Unshowable"]),
        (Exception("\ud800 lone"), ["Exception", "lone"]),
        (StopAsyncIteration("end"), ["end"]),
        (TimeoutError("the handler's own"), ["TimeoutError", "the handler's own"]),
        (AssertionError("x" * 100_000), ["AssertionError"]),
    ],
)
async def test_an_exception_of_a_handler_is_the_nodes_failure(error: Exception, words: list[str]) -> None:
    session = await ran("a start -> a -> exit", more={"codergen": saying(error)})
    (failed,) = session.of(StageFailed)
    assert isinstance(failed, StageFailed)
    for word in words:
        assert word in failed.failure_reason
    assert session.result is not None
    assert not session.result.good


@pytest.mark.parametrize("error", [FileNotFoundError("git"), PermissionError("x"), NotImplementedError("y")])
async def test_what_another_attempt_would_meet_again_is_not_tried_again(error: Exception) -> None:
    session = await ran("a [max_retries=3] start -> a -> exit", more={"codergen": saying(error)})
    assert session.state.nodes["a"].executions == 1
    assert "retries" not in session.state.nodes["a"].reason


@pytest.mark.parametrize(
    "error",
    [
        StoreUnreachable("gone"),
        ExceptionGroup("outer", [ValueError("x"), StoreUnreachable("gone")]),
        ExceptionGroup("outer", [ExceptionGroup("inner", [StoreUnreachable("gone")])]),
    ],
)
async def test_a_lost_store_passes_through_the_wall(error: Exception) -> None:
    session = await opened("a [max_retries=3] start -> a -> exit", more={"codergen": saying(error)})
    with pytest.raises(StoreError, match="gone") as raised:
        await session.walk()
    assert not isinstance(raised.value, BaseExceptionGroup)
    assert session.of(StageFailed) == []


async def test_a_handler_that_outlives_its_timeout_fails_with_the_time() -> None:
    async def sleepy(node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        await asyncio.sleep(60)
        return good()

    session = await ran("a [timeout=20ms] start -> a -> exit", more={"codergen": sleepy})
    assert session.state.nodes["a"].reason == "timeout after 20ms"


async def test_a_handler_that_swallows_its_cancellation_still_times_out() -> None:
    async def stubborn(node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return good()
        return good()

    session = await ran("a [timeout=20ms] start -> a -> exit", more={"codergen": stubborn})
    assert session.path == ["start", "a"]
    assert "timeout" in session.state.nodes["a"].reason


async def test_a_handler_that_waited_for_something_cancelled_fails_only_its_node() -> None:
    async def careless(node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        task = asyncio.ensure_future(asyncio.sleep(60))
        task.cancel()
        await task
        return good()

    session = await ran("a start -> a -> exit", more={"codergen": careless})
    assert "CancelledError" in session.state.nodes["a"].reason
    session = await ran("a [timeout=5s] start -> a -> exit", more={"codergen": careless})
    assert "CancelledError" in session.state.nodes["a"].reason


async def test_a_handler_that_reports_nothing_fails_unless_auto_status_makes_it_a_success() -> None:
    session = await ran("a start -> a -> exit", more={"codergen": saying(None)})
    assert "auto_status" in session.state.nodes["a"].reason
    session = await ran("a [auto_status=true] start -> a -> exit", more={"codergen": saying(None)})
    assert session.result is not None
    assert session.result.good


@pytest.mark.parametrize("outcome", ["success", 5, {"status": "success"}])
async def test_a_handler_that_reports_no_outcome_fails_its_node(outcome: object) -> None:
    session = await ran("a start -> a -> exit", more={"codergen": saying(outcome)})
    assert type(outcome).__name__ in session.state.nodes["a"].reason


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "success"},
        {"preferred_label": None},
        {"notes": 5},
        {"suggested_next_ids": [5]},
        {"suggested_next_ids": None},
        {"context_updates": ["k"]},
        {"context_updates": {5: "k"}},
        {"failure_class": "terminal"},
        {"retry_after": "soon"},
        {"retry_after": float("nan")},
    ],
)
async def test_an_outcome_with_a_field_of_the_wrong_form_fails_its_node(fields: dict[str, Any]) -> None:
    outcome = Outcome(**{"status": Status.FAIL, **fields})
    session = await ran("a [max_retries=1] start -> a -> exit", more={"codergen": saying(outcome)})
    assert session.result is not None
    assert not session.result.good
    assert session.state.nodes["a"].reason


async def test_words_of_a_handler_are_recorded_in_clean_unicode_and_bounded() -> None:
    outcome = Outcome(
        status=Status.FAIL,
        failure_reason="\ud800" + "x" * 100_000,
        notes="\udfff",
        preferred_label="a\ud800",
        suggested_next_ids=("\ud800",),
    )
    session = await ran("a start -> a -> exit", more={"codergen": saying(outcome)})
    (failed,) = session.of(StageFailed)
    assert isinstance(failed, StageFailed)
    assert len(failed.failure_reason) < 5000
    repr(session.state).encode()
    repr(failed).encode()


async def test_a_type_without_a_handler_fails_its_node() -> None:
    session = await ran("a [shape=house] start -> a -> exit")
    assert "stack.manager_loop" in session.state.nodes["a"].reason


async def test_an_unknown_type_falls_back_to_the_shapes_handler() -> None:
    session = await ran('a [type="my.own"] start -> a -> exit')
    assert session.result is not None
    assert session.result.good
    (started,) = [e for e in session.events if isinstance(e, StageStarted) and e.node == "a"]
    assert started.handler == "codergen"


# --- the ends ---------------------------------------------------------------------------------------


async def test_a_run_that_ends_without_an_exit_says_so_in_its_state_and_a_warning() -> None:
    session = await ran("a start -> a")
    (done,) = session.of(PipelineCompleted)
    assert isinstance(done, PipelineCompleted)
    assert done.status == "completed (no exit)"
    assert len(session.of(WarningRaised)) == 1


async def test_a_failed_run_ends_with_a_checkpoint_and_its_reason() -> None:
    session = await ran(CHAIN, {"b": [ScriptedResult(status="fail", reason="red tests")]})
    assert names(session)[-3:] == ["StageFailed", "CheckpointSaved", "PipelineFailed"]
    failed, checkpoint = session.events[-1], session.events[-2]
    assert isinstance(failed, PipelineFailed)
    assert isinstance(checkpoint, CheckpointSaved)
    assert (failed.error, failed.node, failed.steps) == ("red tests", "b", 3)
    assert (checkpoint.current_node, checkpoint.next_node) == ("b", "")


async def test_a_bypassed_gate_is_a_warning_event() -> None:
    session = await ran(
        "g [goal_gate=true] start -> exit [weight=1] start -> g -> exit",
    )
    (warning,) = session.of(WarningRaised)
    assert isinstance(warning, WarningRaised)
    assert "g" in warning.message


async def test_an_unmet_gate_sends_the_run_back_and_the_event_names_it() -> None:
    session = await ran("g [goal_gate=true, retry_target=g] start -> g -> exit", {"g": ["skipped", "success"]})
    assert session.path == ["start", "g", "g", "exit"]
    (back,) = [e for e in session.of(EdgeSelected) if isinstance(e, EdgeSelected) and e.gate]
    assert isinstance(back, EdgeSelected)
    assert (back.gate, back.target, back.edge) == ("g", "g", "")


async def test_a_chain_of_five_thousand_nodes_runs_to_its_end() -> None:
    chain = " -> ".join(f"n{i}" for i in range(5000))
    text = f"digraph t {{ start [shape=Mdiamond] exit [shape=Msquare] start -> {chain} -> exit }}"
    done = good()
    session = await ran(text, more={"codergen": saying(done)})
    assert session.result is not None
    assert session.result.good
    assert session.state.steps == 5002


async def test_the_first_event_names_the_mailbox_and_the_mailbox_names_the_session() -> None:
    session = await ran(CHAIN)
    first = session.events[0]
    assert isinstance(first, PipelineStarted)
    (row,) = await session.store.contexts(label="kind:mailbox")
    assert row.context_id == first.mailbox
    assert f"session:{session.context_id}" in row.labels


async def test_durations_are_the_visits_whole_time() -> None:
    session = await ran(CHAIN, {"a": [ScriptedResult(delay=1.5)]})
    (a,) = [e for e in session.of(StageCompleted) if isinstance(e, StageCompleted) and e.node == "a"]
    assert a.duration_ms == 1500
