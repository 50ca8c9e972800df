"""Conversations that fill their model's window are made shorter, recorded and charged (E40)."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.backends.talking import World, killed_at, world
from orchestra.graph.model import Graph, Node
from orchestra.ports import Scope
from orchestra.run.events import AgentResponded, ConversationCompacted, WarningRaised
from orchestra.run.outcome import Outcome, Status
from orchestra.run.state import Context
from support import Session, opened

SHARED = 'default_fidelity=full thread_id="t" a [prompt="task a"] b [prompt="task b"] start -> a -> b -> exit'
READ = "{tool_calls: [{name: read-file, arguments: {path: long.txt}}], usage: {input: %d, output: 10}}"
TALK = f"""
rules:
  - when: {{model: "cheap-one"}}
    answers: [{{text: "the file is long", usage: {{input: 500, output: 50}}}}]
answers:
  - {READ % 3000}
  - {{text: "one", usage: {{input: 9000, output: 10}}}}
  - {{text: "two", usage: {{input: 900, output: 10}}}}
"""
PRICES = "prices: {cheap-one: {input: 1, output: 10}, gpt-5: {input: 1, output: 1}}\n"


def small(here: World, *, cheap: bool = True, window: int = 10_000) -> World:
    """The world with a model of a small window."""
    (here.folder / "long.txt").write_text("words of the file\n" * 1200)
    here.own, here.cheap, here.more = f", context_window: {window}", "cheap-one" if cheap else "", PRICES
    return here


def shortened(session: Session) -> list[ConversationCompacted]:
    return [event for event in session.events if isinstance(event, ConversationCompacted)]


def good(session: Session) -> bool:
    return session.result is not None and session.result.good


async def test_a_thread_that_fills_the_window_continues_from_a_summary(tmp_path: Path) -> None:
    with world(tmp_path, TALK) as here:
        session = await small(here).ran(SHARED)
    assert good(session), session.result
    (event,) = shortened(session)
    assert (event.node, event.model, event.removed) == ("b", "cheap-one", 3)
    assert event.cost_micros == 1000
    asked = [str(one.messages) for one in here.requests]
    assert "task a" in asked[2]
    assert here.requests[2].model == "cheap-one"
    assert "the file is long" in asked[3]
    assert "words of the file" not in asked[3]
    assert "task b" in asked[3]
    assert session.state.spent.cost_micros >= 1000


async def test_an_agent_keeps_its_task_when_its_own_conversation_is_shortened(tmp_path: Path) -> None:
    script = TALK.replace('{text: "one",', f"{READ % 9000}\n  - {{text: one,")
    with world(tmp_path, script) as here:
        session = await small(here).ran('a [prompt="task a"] start -> a -> exit')
    assert good(session), session.result
    assert len(shortened(session)) == 1
    last = str(here.requests[-1].messages)
    assert "task a" in last
    assert "the file is long" in last


async def test_without_a_cheap_model_the_oldest_results_are_removed(tmp_path: Path) -> None:
    with world(tmp_path, TALK) as here:
        session = await small(here, cheap=False).ran(SHARED)
    assert good(session), session.result
    (event,) = shortened(session)
    assert (event.model, event.cost_micros) == ("", 0)
    assert "this result was removed" in str(here.requests[2].messages)
    assert "task a" in str(here.requests[2].messages)


async def test_a_summary_that_fails_is_a_warning_and_results_are_removed_instead(tmp_path: Path) -> None:
    script = TALK.replace('{text: "the file is long", usage: {input: 500, output: 50}}', "{error: unauthorized}")
    with world(tmp_path, script) as here:
        session = await small(here).ran(SHARED)
    assert good(session), session.result
    assert shortened(session)[0].model == ""
    assert any(isinstance(event, WarningRaised) and event.rule == "no_summary" for event in session.events)


async def test_a_summary_that_is_recorded_is_not_paid_again(tmp_path: Path) -> None:
    ends = []
    for append in range(6, 14):
        with world(tmp_path, TALK) as here:
            first = await killed_at(small(here), append, SHARED)
            if first is None:
                break
            again = await here.again(first)
            assert good(again), again.result
            paid = [one.model for one in here.requests].count("cheap-one")
            ends.append((paid, len(shortened(again))))
    assert (1, 0) in ends  # recorded before the kill
    assert all(paid == 1 or made for paid, made in ends), ends


async def test_a_window_that_nobody_knew_is_learned_from_a_refusal(tmp_path: Path) -> None:
    script = f"answers:\n  - {READ % 0}\n  - {READ % 0}\n  - {{error: context_too_long}}\n  - {{text: done}}\n"
    with world(tmp_path, script) as here:
        (tmp_path / "long.txt").write_text("words of the file\n" * 1200)
        session = await here.ran('a [prompt="task a", llm_model=unknown] start -> a -> exit')
    assert good(session), session.result
    assert len(shortened(session)) == 1
    assert len(here.requests) == 4


async def test_a_thread_that_cannot_be_read_is_replaced_by_a_summary(tmp_path: Path) -> None:
    async def odd(node: Node, _context: Context, _graph: Graph, scope: Scope) -> Outcome:
        messages = ({"role": "wizard", "text": "words that only a later version knows"},)
        scope.record(
            AgentResponded(
                node=node.id, visit=1, attempt=1, thread="thread t", number=1, messages=messages, fresh=True
            )
        )
        return Outcome(status=Status.SUCCESS)

    graph = 'graph [thread_id="t"] a [type=odd] b [prompt="task b", fidelity=full] start -> a -> b -> exit'
    with world(tmp_path, "answers: [{text: two}]") as here:
        session = await (await opened(graph, more={**here.handlers(), "odd": odd})).walk()
        asked = here.requests[0].last
    assert good(session), session.result
    assert "- a: success" in asked
    assert asked.endswith("task b")
    warned = [event.rule for event in session.events if isinstance(event, WarningRaised)]
    assert warned == ["thread_degraded"]


@pytest.mark.parametrize("window", [1_000_000])
async def test_a_conversation_with_room_stays_as_it_is(window: int, tmp_path: Path) -> None:
    with world(tmp_path, TALK) as here:
        session = await small(here, window=window).ran(SHARED)
    assert good(session)
    assert not shortened(session)
