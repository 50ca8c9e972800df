"""What handlers put into the context, and what conditions and handlers read from it (engine.md#the-context)."""

from __future__ import annotations

from typing import Any

import pytest

from orchestra.agents.simulation import ScriptedResult
from orchestra.engine.loading import load_state
from orchestra.graph.model import Graph, Node
from orchestra.ports import Handler, Scope
from orchestra.run.codec import VALUE_LIMIT
from orchestra.run.declare import BlobRef
from orchestra.run.events import StageCompleted, StageFailed, WarningRaised
from orchestra.run.outcome import Outcome, Status
from orchestra.run.state import ENGINE_KEYS, Context
from support import Session, opened, ran, resumed

BIG = "needle " + "h" * (VALUE_LIMIT + 1)
READ = "a b start -> a -> b -> exit"


def writing(updates: dict[Any, Any], read: list[object] | None = None) -> Handler:
    """A handler that writes ``updates`` at ``a`` and at ``b`` reads what they have become."""

    async def handler(node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        if node.id == "a":
            return Outcome(status=Status.SUCCESS, context_updates=updates)
        if read is not None:
            read.extend([await scope.resolve(context[key]) for key in updates])
        return Outcome(status=Status.SUCCESS)

    return handler


async def stored_equals_own(session: Session) -> None:
    assert await load_state(session.store, session.context_id) == session.state


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -(2**63), 2**63 - 1, 1.5, "", "ünï😀\x00", [], {}, [1, [2, {"k": None}]],
        {"": {"x": [True]}}, BIG, [BIG], {"deep": {"er": [BIG, 1]}},
        {"hash": "0" * 64, "size": 3, "preview": "abc", "json": True},
    ],
)  # fmt: skip
async def test_a_handler_reads_a_value_as_another_wrote_it(value: object) -> None:
    read: list[object] = []
    session = await ran(READ, more={"codergen": writing({"k": value}, read)})
    assert read == [value]
    await stored_equals_own(session)


async def test_a_tuple_is_read_as_a_list() -> None:
    read: list[object] = []
    await ran(READ, more={"codergen": writing({"k": (1, (2,))}, read)})
    assert read == [[1, [2]]]


@pytest.mark.parametrize(
    "value",
    [
        float("nan"), float("inf"), 2**63, -(2**63) - 1, 10**400, {1, 2}, b"bytes", object(), {5: "k"},
        {"in": [float("nan")]},
    ],
)  # fmt: skip
async def test_a_value_that_is_no_json_fails_its_node_and_changes_nothing(value: object) -> None:
    session = await ran("a [max_retries=3] start -> a -> exit", more={"codergen": writing({"ok": 1, "k": value})})
    (failed,) = session.of(StageFailed)
    assert isinstance(failed, StageFailed)
    assert "'k'" in failed.failure_reason
    assert session.state.nodes["a"].executions == 1
    assert not {"ok", "k"} & set(session.state.context)
    await stored_equals_own(session)


async def test_a_value_that_holds_itself_or_is_nested_without_end_fails_its_node() -> None:
    ring: list[object] = []
    ring.append(ring)
    session = await ran("a start -> a -> exit", more={"codergen": writing({"k": ring})})
    assert "deep" in session.state.nodes["a"].reason


async def test_lone_surrogates_are_replaced_so_that_every_value_can_be_stored() -> None:
    read: list[object] = []
    session = await ran(READ, more={"codergen": writing({"k": "a\ud800b", "l": {"\udfff": ["\ud800"]}}, read)})
    assert read == ["a?b", {"?": ["?"]}]
    await stored_equals_own(session)


async def test_lone_surrogates_in_what_an_agent_says_are_replaced() -> None:
    async def say(node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        scope.prompt("p\ud800")
        scope.response("r\ud800")
        return Outcome(status=Status.SUCCESS)

    session = await ran("a start -> a -> exit", more={"codergen": say})
    (done,) = [e for e in session.of(StageCompleted) if isinstance(e, StageCompleted) and e.node == "a"]
    assert (done.prompt, done.response) == ("p?", "r?")
    await stored_equals_own(session)


async def test_lone_surrogates_that_were_given_at_the_start_do_not_stop_a_run() -> None:
    session = await ran("a start -> a -> exit", variables={"k": "x\udcff"})
    assert session.result is not None
    assert session.result.good
    await stored_equals_own(session)


@pytest.mark.parametrize(
    "key",
    [
        "outcome", "preferred_label", "current_node", "last_stage", "graph.goal", "run.id", "run.vars.x",
        "internal.visits.a", "parallel.x", "human.gate", "tool.output", "tools.a.output", "stack.x", "workspace.x",
        "responses.a", "graph",
    ],
)  # fmt: skip
async def test_a_key_of_the_engine_is_dropped_with_a_warning_that_names_it(key: str) -> None:
    session = await ran(READ, {"a": [ScriptedResult(updates={key: "mine", "free": 1})]})
    (warning,) = session.of(WarningRaised)
    assert isinstance(warning, WarningRaised)
    assert repr(key) in warning.message
    assert warning.node == "a"
    assert session.state.context.get(key) != "mine"
    assert session.state.context["free"] == 1
    assert session.result is not None
    assert session.result.good


@pytest.mark.parametrize("key", ["graphs", "running", "outcomes.x", "my.graph.goal", "humane"])
async def test_a_key_that_only_resembles_one_of_the_engine_is_free(key: str) -> None:
    session = await ran(READ, {"a": [ScriptedResult(updates={key: "mine"})]})
    assert session.of(WarningRaised) == []
    assert session.state.context[key] == "mine"


async def test_a_type_may_write_the_keys_that_are_its_own() -> None:
    session = await ran(
        READ,
        more={"codergen": writing({"tool.output": "x", "human.y": 1})},
        own_keys={"codergen": frozenset({"tool"})},
    )
    assert session.state.context["tool.output"] == "x"
    assert "human.y" not in session.state.context


# --- conditions -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("updates", "condition"),
    [
        ({"k": BIG}, "context.k contains needle"),
        ({"k": BIG}, "k contains needle"),
        ({"k": BIG}, "context.k"),
        ({"k": ["needle", BIG]}, "context.k contains needle"),
        ({"context.k": BIG}, "context.k contains needle"),
        ({"k": BIG + "end"}, 'context.k matches \\"end$\\"'),
    ],
)
async def test_a_condition_sees_a_large_value_whole(updates: dict[str, Any], condition: str) -> None:
    session = await ran(
        f'a b start -> a a -> exit [condition="{condition}"] a -> b b -> exit',
        {"a": [ScriptedResult(updates=updates)]},
    )
    assert session.path == ["start", "a", "exit"]
    (value,) = [v for v in session.state.context.values() if isinstance(v, BlobRef)]
    assert value.size > VALUE_LIMIT


async def test_a_condition_reads_a_large_value_that_an_earlier_node_wrote_and_a_runner_that_took_over() -> None:
    text = 'a b c start -> a -> b b -> exit [condition="context.k contains needle"] b -> c c -> exit'
    session = await opened(text, {"a": [ScriptedResult(updates={"k": BIG})]})
    session.control.pause("test")
    assert (await session.walk()).result is None
    later = await resumed(session)
    assert (await later.walk()).result is not None
    assert "c" not in later.path


async def test_conditions_read_graph_attributes_variables_visits_and_the_runs_own_keys() -> None:
    text = (
        'goal="ship it" a b start -> a '
        'a -> exit [condition="graph.goal=\\"ship it\\" && run.vars.color=red && color=red && '
        'internal.visits.a=1 && last_stage=a && current_node=a && run.id!=\\"\\" && outcome=success && '
        'last_response contains Simulated && responses.a contains Simulated && internal.retry_count.a=0"] a -> b'
    )
    session = await ran(text, variables={"color": "red"})
    assert session.path == ["start", "a", "exit"]


# --- responses --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10, 201, VALUE_LIMIT, VALUE_LIMIT + 1, 70_000])
async def test_a_response_is_in_the_context_whole_and_shortened(size: int) -> None:
    text = "r" * size
    read: list[object] = []

    async def handler(node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        if node.id == "a":
            scope.response(text)
        else:
            read.append(await scope.resolve(context["responses.a"]))
        return Outcome(status=Status.SUCCESS)

    session = await ran(READ, more={"codergen": handler})
    assert read == [text]
    assert session.state.context["last_response"] == text[:200]
    assert isinstance(session.state.context["responses.a"], BlobRef) is (size > VALUE_LIMIT)
    await stored_equals_own(session)


async def test_the_context_that_a_handler_sees_is_read_only_and_complete() -> None:
    seen: dict[str, object] = {}

    async def handler(node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        seen.update(context)
        assert not hasattr(context, "__setitem__")
        assert len(context) == len(list(context)) == len(set(context))
        assert "nothing" not in context
        return Outcome(status=Status.SUCCESS)

    await ran('goal="g" a start -> a -> exit', more={"codergen": handler}, variables={"v": "1"})
    assert seen["current_node"] == "a"
    assert (seen["graph.goal"], seen["v"], seen["run.vars.v"]) == ("g", "1", "1")
    assert seen["internal.visits.a"] == 1


@pytest.mark.parametrize("key", sorted(ENGINE_KEYS))
async def test_what_the_engine_writes_is_written_by_no_handler(key: str) -> None:
    session = await ran("a start -> a -> exit", {"a": [ScriptedResult(updates={key: "mine"})]})
    (warning,) = session.of(WarningRaised)
    assert f"may not write '{key}'" in warning.message  # type: ignore[attr-defined]
    assert session.state.context.get(key) != "mine"
