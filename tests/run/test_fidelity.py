"""What earlier work a node's model sees: threads and preambles (E40, E41)."""

from __future__ import annotations

from typing import Any

import pytest

from orchestra.agents.simulation import ScriptedResult
from orchestra.run.fidelity import BUDGET, mode_of, preamble, thread_of
from support import Session, graph_of, ran


async def one_run() -> Session:
    answers = [ScriptedResult(status="fail", reason="no luck"), ScriptedResult(text="done " * 400)]
    return await ran(
        "a [max_retries=1] b start -> a -> b -> exit", {"a": answers, "b": [ScriptedResult(text="ok")]}
    )


def of(session: Session, mode: str, context: dict[str, Any]) -> str:
    return preamble(mode, session.graph, session.state, context, session.seen)


def modes(text: str) -> dict[str, tuple[str, str]]:
    """The fidelity and the thread of each node, entered from its only edge, after a node ``before``."""
    graph = graph_of(text)
    found = {}
    for node in graph.nodes.values():
        edge = next((each for each in graph.edges if each.target == node.id), None)
        found[node.id] = mode_of(graph, node, edge), thread_of(graph, node, edge, "before")
    return found


def test_the_edge_the_node_and_the_graph_decide_the_fidelity_in_this_order() -> None:
    found = modes(
        'graph [default_fidelity="truncate"] a [fidelity=full] b [fidelity=full] c '
        "start -> a a -> b [fidelity=compact] b -> c c -> exit"
    )
    assert [found[node][0] for node in "abc"] == ["full", "compact", "truncate"]
    assert modes("a start -> a -> exit")["a"][0] == "compact"


def test_the_node_the_edge_the_graph_the_subgraph_and_the_node_before_name_the_thread() -> None:
    text = "a [thread_id=n] b c start -> a [thread_id=e] a -> b [thread_id=e] b -> c -> exit "
    text += 'subgraph s { label="Inner Loop" d } c -> d -> exit'
    found = modes(text)
    assert [found[node][1] for node in "abcd"] == ["n", "e", "before", "inner-loop"]
    found = modes("graph [thread_id=g] " + text)
    assert [found[node][1] for node in "abcd"] == ["n", "e", "g", "g"]


async def test_values_are_in_a_compact_preamble_as_json_and_keys_of_the_engine_are_not() -> None:
    session = await one_run()
    context = {
        "plan": {"steps": ["a", 1, True, None]},
        "done": False,
        "half": 0.5,
        "text": "two\nlines",
        "long": "x" * 500,
        "internal.visits.a": 3,
        "run.id": "abc",
        "outcome": "success",
        "responses.a": "text of a model",
    }
    shown = of(session, "compact", context)
    assert '- plan: {"steps":["a",1,true,null]}' in shown
    assert "- done: false" in shown
    assert "- half: 0.5" in shown
    assert "- text: two lines" in shown
    assert f"- long: {'x' * 200}…" in shown
    assert "- a: success" in shown
    assert "- responses.a: text of a model" in shown
    assert not any(word in shown for word in ("internal", "run.id", "outcome:"))
    assert of(session, "compact", context) == shown


async def test_truncate_names_the_run_and_full_says_nothing() -> None:
    session = await one_run()
    assert of(session, "truncate", {"plan": "x"}).endswith(f"Run: {session.state.session}")
    assert "plan" not in of(session, "truncate", {"plan": "x"})
    assert of(session, "full", {}) == ""


@pytest.mark.parametrize("mode", BUDGET)
async def test_a_summary_keeps_to_its_budget_and_says_what_is_newest_first(mode: str) -> None:
    session = await one_run()
    shown = of(session, mode, {})
    assert len(shown) <= BUDGET[mode] * 4 + 100
    assert "stages ended, 0 failed" in shown
    if mode == "summary:low":
        assert "- a:" not in shown
        return
    assert shown.index("- b: success") < shown.index("- a: success") < shown.index("- a: attempt 1 failed: no luck")
    assert ("done done" in shown) == (mode == "summary:high")
