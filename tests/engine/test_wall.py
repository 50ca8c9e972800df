"""What a handler may do to the run that it serves: nothing (engine.md#handlers)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import IntEnum, StrEnum
from typing import Any

import pytest

from orchestra.engine.loading import history, load_state
from orchestra.errors import (
    ConditionError,
    ConfigError,
    InvalidPipeline,
    StoreError,
    StoreUnreachable,
    Terminal,
    Transient,
)
from orchestra.graph.model import Graph, Node
from orchestra.ports import AgentTask, Handler, Scope, Turns
from orchestra.run.events import StageFailed, StageRetrying
from orchestra.run.judging import WORDS
from orchestra.run.outcome import Outcome, Status
from orchestra.run.state import Context
from support import CountingStore, FixedClock, Session, agents_on, opened, ran


def doing(act: Callable[[], Any]) -> Handler:
    async def handler(node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        found = act()
        return await found if asyncio.iscoroutine(found) else found  # type: ignore[no-any-return]

    return handler


def reporting(**fields: Any) -> Handler:
    return doing(lambda: Outcome(**{"status": Status.SUCCESS, **fields}))


async def failing(act: Callable[[], Any], attributes: str = "max_retries=1") -> Session:
    return await ran(f"a [{attributes}] start -> a -> exit", more={"codergen": doing(act)})


def failure(session: Session) -> StageFailed:
    (found,) = session.of(StageFailed)
    assert isinstance(found, StageFailed)
    return found


def raising(error: BaseException) -> Callable[[], Any]:
    def act() -> Any:
        raise error

    return act


# --- exceptions -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [Terminal("no such model"), ConfigError("no key"), ConditionError("bad"), InvalidPipeline(())],
)
async def test_what_a_wrong_configuration_raises_is_not_tried_again(error: Exception) -> None:
    session = await failing(raising(error))
    assert failure(session).failure_class == "terminal"
    assert session.of(StageRetrying) == []


async def test_a_backends_passing_trouble_is_tried_again_and_known_as_such() -> None:
    session = await failing(raising(Transient("overloaded")))
    (again,) = session.of(StageRetrying)
    assert isinstance(again, StageRetrying)
    assert again.failure_class == "transient"


async def test_a_handler_that_cancels_itself_has_failed_and_the_run_continues_to_say_so() -> None:
    session = await failing(raising(asyncio.CancelledError()))
    assert session.result is not None
    assert "CancelledError" in failure(session).failure_reason


# --- timeouts ---------------------------------------------------------------------------------------


async def test_a_handler_that_meets_its_timeout_with_an_exception_of_its_own_has_timed_out() -> None:
    async def act() -> Outcome:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ValueError("cleaning up failed") from None
        return Outcome(status=Status.SUCCESS)

    session = await failing(act, "timeout=10ms")
    assert failure(session).failure_reason == "timeout after 10ms"


@pytest.mark.parametrize("group", [False, True])
async def test_a_store_that_is_lost_while_a_handler_times_out_passes_through(group: bool) -> None:
    lost = StoreUnreachable("gone")

    async def act() -> Outcome:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if group:
                raise ExceptionGroup("two", [ValueError("x"), ExceptionGroup("more", [lost])]) from None
            raise lost from None
        return Outcome(status=Status.SUCCESS)

    with pytest.raises(StoreUnreachable) as caught:
        await failing(act, "timeout=10ms")
    assert caught.value is lost


async def test_a_timeout_is_named_in_seconds_where_it_is_whole_seconds() -> None:
    session = await failing(lambda: asyncio.sleep(60), "timeout=1s")
    assert failure(session).failure_reason == "timeout after 1s"


# --- what is reported -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"word": "done"}, "unknown outcome 'done'"), ({"word": "ready", "status": Status.FAIL}, "ready")],
)
async def test_a_word_that_no_edge_asks_for_or_that_is_no_success_fails_the_node(
    fields: dict[str, Any], reason: str
) -> None:
    text = 'a b start -> a a -> b [condition="outcome=ready"] a -> exit b -> exit'
    session = await ran(text, more={"codergen": reporting(**fields)})
    assert reason in failure(session).failure_reason


async def test_a_word_that_an_edge_asks_for_is_followed_and_passed_on_by_a_diamond() -> None:
    text = """
        a b judge [shape=diamond] start -> a
        a -> b [condition="outcome=other"] a -> judge [condition="outcome=ready"] a -> exit
        judge -> b [condition="outcome=ready"] judge -> exit b -> exit
    """

    async def handler(node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        return Outcome(status=Status.SUCCESS, word="ready" if node.id == "a" else "")

    session = await ran(text, more={"codergen": handler})
    assert session.path == ["start", "a", "judge", "b", "exit"]


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


class Number(float):
    pass


class Word(StrEnum):
    YES = "yes"


class Count(IntEnum):
    TWO = 2


async def test_values_of_derived_types_are_recorded_as_what_they_hold() -> None:
    updates = {
        Text("key"): Text("ünï"),
        "float": Number(1.5),
        "word": Word.YES,
        "count": Count.TWO,
        "deep": [{Text("k"): Number(2)}],
    }
    handler = reporting(
        context_updates=updates,
        notes=Text("note"),
        preferred_label=Text("label"),
        suggested_next_ids=[Text("exit")],
    )
    session = await ran("a start -> a -> exit", more={"codergen": handler})
    assert session.result is not None
    assert session.result.good
    stored = (await load_state(session.store, session.context_id)).context
    assert (stored["key"], stored["float"], stored["word"], stored["count"]) == ("ünï", 1.5, "yes", 2)
    assert type(session.state.context["float"]) is float
    assert stored == session.state.context


async def test_a_label_an_edge_or_a_word_with_lone_surrogates_can_be_recorded() -> None:
    for field in ("edge", "preferred_label", "notes", "failure_reason"):
        session = await ran("a start -> a -> exit", more={"codergen": reporting(**{field: "x\ud800"})})
        assert session.result is not None
        assert await load_state(session.store, session.context_id) == session.state


async def test_an_edge_that_a_handler_chose_and_does_not_have_fails_the_run() -> None:
    session = await ran("a start -> a -> exit", more={"codergen": reporting(edge="a->nowhere")})
    assert session.result is not None
    assert not session.result.good
    assert "a->nowhere" in session.result.text


class Unshowable(str):
    __slots__ = ()

    def __repr__(self) -> str:
        raise ValueError("no")


async def test_a_report_that_cannot_even_be_shown_fails_its_node() -> None:
    for field, value in (("status", Unshowable("success")), ("suggested_next_ids", [5, Unshowable("x")])):
        session = await ran("a start -> a -> exit", more={"codergen": reporting(**{field: value})})
        assert field in failure(session).failure_reason


async def test_a_secret_that_a_cut_would_halve_is_found_before_the_cut() -> None:
    secret = "s3cret-" + "x" * 40
    for field in ("notes", "preferred_label", "failure_reason"):
        long = "w" * (WORDS - 20) + secret + "w" * 100
        session = await ran(
            "a start -> a -> exit",
            more={"codergen": reporting(**{field: long, "context_updates": {"graph." + "k" * 185 + secret: 1}})},
            secrets={"TOKEN": secret},
        )
        assert "s3cret" not in str([turn.payload for turn in await history(session.store, session.context_id)])


class Silent:
    def __init__(self, answer: object) -> None:
        self.answer = answer

    async def run(self, task: AgentTask, turns: Turns) -> Any:
        return self.answer


async def test_a_backend_that_says_nothing_reports_nothing_and_one_that_says_no_text_has_failed() -> None:
    text = "a [auto_status=true] start -> a -> exit"
    session = await ran(text, more={"codergen": agents_on(Silent(None))})
    assert session.result is not None
    assert session.result.good
    session = await ran(text, more={"codergen": agents_on(Silent(5))})
    assert "int" in failure(session).failure_reason


# --- types of ours ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tool", "parallel", "wait.human", "pipeline"])
async def test_a_type_of_ours_that_has_no_handler_is_never_run_as_an_agent(kind: str) -> None:
    asked: list[str] = []
    session = await ran(
        f'a [type="{kind}", tool_command="make"] start -> a -> exit',
        more={"codergen": doing(lambda: asked.append("asked"))},
    )
    assert asked == []
    assert kind in failure(session).failure_reason


# --- opening ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("append", [1, 2])
async def test_a_session_that_could_not_be_opened_is_held_by_nobody(append: int) -> None:
    store = CountingStore(fail_only=append)
    with pytest.raises(StoreError):
        await opened("a start -> a -> exit", store=store, clock=FixedClock())
    assert [store.holder(context_id) for context_id in (1, 2)] == [None, None]


async def test_a_run_that_pauses_before_it_begins_names_the_node_that_comes_first() -> None:
    session = await opened("a start -> a -> exit")
    session.control.pause("interrupt")
    await session.walk()
    assert getattr(session.events[-1], "node", None) == "start"
