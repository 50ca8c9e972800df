"""A record beside a graph: each edit that leads elsewhere is found at its place, and no other one is."""

from __future__ import annotations

import pytest

from orchestra.graph.model import Graph
from orchestra.run.events import StageStarted
from orchestra.run.fold import evolve
from orchestra.run.rewalk import Divergence, find_divergence
from orchestra.run.secrets import Redactor
from orchestra.run.state import NEW, Context
from support import Session, Steps, graph_of, ran

TEXT = """a [max_retries=1, retry_policy=linear] b [max_visits=3] c [allow_partial=true, max_retries=0] d
j [shape=diamond] start -> a -> j
j -> b [condition="outcome=success", label=yes] j -> d [label=no]
b -> c [condition="outcome=ready"] b -> a [condition="outcome=redo", weight=2] b -> d
c -> d [weight=3] c -> exit [weight=2] d -> exit"""

SCRIPT: dict[str, Steps] = {"a": ["retry", "success"], "b": ["redo", "ready"], "c": ["retry"]}


def first(session: Session, graph: Graph, *, strict: bool, at_work: Graph | None = None) -> Divergence | None:
    """Where the record and a graph part first; ``at_work`` is the one in force while a node is at work."""
    state = NEW
    for recorded in session.seen:
        found = find_divergence(
            at_work if at_work is not None and state.stage is not None else graph,
            state,
            Context(graph, state),
            recorded.event,
            recorded.depth,
            strict=strict,
            redactor=Redactor({}),
        )
        if found is not None:
            return found
        state = evolve(state, recorded)
    return None


@pytest.mark.parametrize("strict", [True, False])
async def test_the_graph_of_a_record_leads_the_same_way(strict: bool) -> None:
    session = await ran(TEXT, SCRIPT)
    assert session.path == ["start", "a", "j", "b", "a", "j", "b", "c", "d", "exit"]
    assert first(session, session.graph, strict=strict) is None


@pytest.mark.parametrize(
    ("before", "after", "node", "recorded", "now"),
    [
        ("c -> exit [weight=2]", "c -> exit [weight=4]", "c", "d", "exit"),
        ("outcome=redo", "outcome=redo && context.x=1", "b", "a", "d"),
        ('condition="outcome=success"', 'condition="outcome=fail"', "j", "b", "d"),
        ("start -> a -> j", "start -> d a -> j", "start", "a", "d"),
        ("b [max_visits=3]", "b [max_visits=1]", "b", "enter", "refuse"),
        ('"outcome=redo", weight=2', '"outcome=redo", loop_restart=true', "b", "a", "a"),
        ("d -> exit", "", "d", "exit", ""),
    ],
)
async def test_an_edit_that_decides_is_found_where_it_does(
    before: str, after: str, node: str, recorded: str, now: str
) -> None:
    session = await ran(TEXT, SCRIPT)
    assert before in TEXT
    found = first(session, graph_of(TEXT.replace(before, after)), strict=False)
    assert found is not None
    assert found.node == node
    assert found.recorded is not None
    assert found.now is not None
    assert (found.recorded.target or found.recorded.kind, found.now.target or found.now.kind) == (
        recorded,
        now or "complete",
    )


@pytest.mark.parametrize(
    ("before", "after", "node", "word"),
    [
        ("max_retries=1", "max_retries=0", "a", "attempt 1 of a failed and was retried"),
        ("c [allow_partial=true, max_retries=0]", "c [allow_partial=true, max_retries=1]", "c", "2 are allowed"),
        ("c [allow_partial=true", "c [allow_partial=false", "c", "the partial result"),
        ("outcome=redo", "outcome=again", "b", "'redo', which no edge uses now"),
        ("] d\n", "] d [shape=diamond]\n", "d", "ran as codergen, but is conditional now"),
    ],
)
async def test_an_end_that_would_be_another_one_is_found(before: str, after: str, node: str, word: str) -> None:
    session = await ran(TEXT, SCRIPT)
    assert before in TEXT
    found = first(session, graph_of(TEXT.replace(before, after)), strict=False)
    assert found is not None
    assert found.node == node
    assert word in found.why


@pytest.mark.parametrize(
    ("before", "after", "strictly"),
    [
        ("c -> d [weight=3]", "c -> d [weight=9]", None),
        ("label=yes", "label=fine", None),
        ("b [max_visits=3]", "b [max_visits=2]", None),
        ("b -> d\n", "\n", None),
        ("max_retries=1", "max_retries=5", "a"),
        ("b -> a [", "b -> a [max_visits=9] b -> a [", "b"),
    ],
)
async def test_an_edit_that_decides_nothing_is_no_difference(before: str, after: str, strictly: str | None) -> None:
    session = await ran(TEXT, SCRIPT)
    assert before in TEXT
    graph = graph_of(TEXT.replace(before, after))
    assert first(session, graph, strict=False) is None
    found = first(session, graph, strict=True)
    assert (found.node if found is not None else None) == strictly


async def test_a_node_that_is_gone_is_named() -> None:
    session = await ran("a b start -> a -> b -> exit")
    found = first(session, graph_of("a start -> a -> exit"), strict=False)
    assert found is not None
    assert (found.node, found.recorded and found.recorded.target) == ("a", "b")


@pytest.mark.parametrize("text", ["a start -> a -> exit", 'a start -> a a -> exit [condition="outcome=bone"]'])
async def test_a_word_that_an_edge_asks_for_now_is_reported(text: str) -> None:
    session = await ran(text, {"a": ["done"]})
    assert session.path == ["start", "a"]
    edited = 'a start -> a a -> exit [condition="outcome=done"] a -> exit'
    found = first(session, graph_of(edited), strict=False)
    assert found is not None
    assert "outcome 'done', but one does now" in found.why


async def test_a_custom_type_is_compared_with_the_handler_of_its_shape() -> None:
    text = "a [type=own] start -> a -> exit"
    session = await ran(text)
    assert [event.handler for event in session.of(StageStarted) if isinstance(event, StageStarted)][1] == "codergen"
    assert first(session, session.graph, strict=True) is None


async def test_a_visit_keeps_the_attempts_that_it_began_with() -> None:
    """As where a killed session goes on with another pipeline, in the middle of a visit."""
    session = await ran(TEXT, SCRIPT)
    fewer = graph_of(TEXT.replace("max_retries=1", "max_retries=0"))
    assert first(session, session.graph, strict=True, at_work=fewer) is None
