"""Whatever the graph and whatever its nodes report, a run comes to an end that the store agrees with, and its
record leads the same way again."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.engine.loading import event_of, history, load_state
from orchestra.errors import StoreUnreachable
from orchestra.graph.model import Graph, Node
from orchestra.ports import Scope
from orchestra.run.declare import BlobRef
from orchestra.run.events import Recorded, StageCompleted, StageFailed
from orchestra.run.fold import evolve
from orchestra.run.outcome import Outcome, Status
from orchestra.run.rewalk import Divergence, find_divergence
from orchestra.run.secrets import Redactor
from orchestra.run.state import NEW, Context
from orchestra.run.views import counting
from support import CountingStore, Session, graph_of, opened, resumed

IDS = ["a", "b", "c", "judge"]
CONDITIONS = ["", "", "outcome=success", "outcome!=success", "context.k=1", "preferred_label=go", "context.big"]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    lines = [
        "max_steps=25",
        draw(st.sampled_from(["", "goal_gates=all", "retry_target=b", "default_max_visits=2"])),
    ]
    for node in IDS[:3]:
        options = draw(
            st.lists(
                st.sampled_from(
                    ["goal_gate=true", "retry_target=c", "max_visits=2", "max_retries=1, retry_policy=linear",
                     "allow_partial=true", "fallback_retry_target=a", "max_retries=0"]
                ),
                unique_by=lambda option: option.split("=")[0],
                max_size=3,
            )
        )  # fmt: skip
        lines.append(f"{node} [{', '.join(options)}]" if options else node)
    lines.append("judge [shape=diamond] start -> a")
    for _ in range(draw(st.integers(1, 7))):
        source, target = draw(st.sampled_from(IDS)), draw(st.sampled_from([*IDS, "exit"]))
        condition, bound = draw(st.sampled_from(CONDITIONS)), draw(st.integers(0, 2))
        wanted = f'condition="{condition}", ' if condition else ""
        lines.append(
            f"{source} -> {target} [{wanted}max_visits={bound}, label={draw(st.sampled_from(['go', 'x']))}]"
        )
    lines.append("judge -> exit")
    return graph_of("\n".join(lines))


OUTCOMES = st.builds(
    Outcome,
    status=st.sampled_from(list(Status)),
    preferred_label=st.sampled_from(["", "go", "Go ", "\ud800"]),
    suggested_next_ids=st.lists(st.sampled_from([*IDS, "nowhere"]), max_size=2).map(tuple),
    context_updates=st.dictionaries(
        st.sampled_from(["k", "big", "outcome"]),
        st.sampled_from([1, "1", "x" * 17_000, None, float("nan")]),
        max_size=2,
    ),
    edge=st.sampled_from(["", "a->b", "b->c#2"]),
)


def reporting(outcomes: list[Outcome]) -> object:
    """A handler whose report depends on node, visit and attempt alone."""

    async def report(node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        return outcomes[(IDS.index(node.id) + 3 * scope.visit + 5 * scope.attempt) % len(outcomes)]

    return report


def ended(session: Session) -> list[tuple[object, ...]]:
    return [(e.node, e.visit, e.status) for e in session.events if isinstance(e, StageCompleted | StageFailed)]


async def again(session: Session) -> list[Divergence | None]:
    """What a second walk over the record says of each of its events."""
    state, found = NEW, []
    turns = await history(session.store, session.context_id)
    for recorded in counting([event for turn in turns if isinstance(event := event_of(turn), Recorded)]):
        whole = {
            key: await session.journal.resolve(value)
            for key, value in state.context.items()
            if isinstance(value, BlobRef)
        }
        found.append(
            find_divergence(
                session.graph,
                state,
                Context(session.graph, state, whole),
                recorded.event,
                recorded.depth,
                strict=True,
                redactor=Redactor({}),
            )
        )
        state = evolve(state, recorded)
    return found


async def both_ways(graph: Graph, outcomes: list[Outcome], cut: int) -> None:
    more = {"codergen": reporting(outcomes)}
    whole = await (await opened(graph, more=more)).walk()  # type: ignore[arg-type]
    assert whole.result is not None
    assert await load_state(whole.store, whole.context_id) == whole.state
    store = CountingStore()
    session = await opened(graph, store=store, more=more)  # type: ignore[arg-type]
    store.fail_only = store.appends + cut
    try:
        await session.walk()
    except StoreUnreachable:
        rest = await (await resumed(session)).walk()
        session.result = rest.result
        session.seen.extend(rest.seen)
    assert set(await again(whole)) == {None}
    assert set(await again(session)) == {None}
    assert session.result == whole.result
    assert ended(session) == ended(whole)


@settings(max_examples=60, deadline=None)
@given(graphs(), st.lists(OUTCOMES, min_size=1, max_size=6), st.integers(1, 30))
def test_any_run_ends_and_ends_the_same_when_it_is_cut_once(
    graph: Graph, outcomes: list[Outcome], cut: int
) -> None:
    asyncio.run(both_ways(graph, outcomes, cut))


@pytest.mark.long
@settings(max_examples=3000, deadline=None)
@given(graphs(), st.lists(OUTCOMES, min_size=1, max_size=6), st.integers(1, 30))
def test_any_run_ends_and_ends_the_same_when_it_is_cut_once_long(
    graph: Graph, outcomes: list[Outcome], cut: int
) -> None:
    asyncio.run(both_ways(graph, outcomes, cut))
