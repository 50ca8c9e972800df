"""Where a session goes on, from every end but success (E4, S26)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec.structs import replace as replace_struct

from orchestra.agents.simulation import ScriptedResult
from orchestra.engine.control import Control
from orchestra.engine.loading import load, load_state
from orchestra.errors import Undecided
from orchestra.ports import Scope
from orchestra.run.events import PipelineResumed, PipelineTaken, StageFailed, StageStarted
from orchestra.run.outcome import Outcome, Status
from orchestra.run.parallel import Fan
from orchestra.run.resuming import MOST_RECOVERIES, decision, resumption
from orchestra.run.state import ChildRecord
from orchestra.run.whole import dump
from orchestra.run.whole import load as loaded
from support import Session, opened, ran, resumed


async def again(session: Session, *, interrupted: str = "rerun") -> Session:
    """A runner that takes the session as ``resume`` does, walked to its end."""
    later = await resumed(session, epoch=session.state.epoch + 1)
    later.journal.record(resumption(later.graph, later.state, interrupted=interrupted))
    return await later.walk()


async def cut(text: str, node: str) -> Session:
    """A run whose process died while the node was at work."""
    session = await opened(text)
    while session.state.stage is None:
        await session.runner._step()
        if session.state.next_node == node:
            visit = session.state.nodes[node].visits + 1 if node in session.state.nodes else 1
            session.journal.record(StageStarted(node=node, handler="codergen", visit=visit))
    await session.journal.flush()
    return session


async def die_again(session: Session) -> Session:
    """Taken up, and dead again before the node was done."""
    later = await resumed(session, epoch=session.state.epoch + 1)
    later.journal.record(resumption(later.graph, later.state))
    await later.journal.flush()
    return later


LINE = "a b start -> a -> b -> exit"


async def test_an_interrupted_node_is_run_again_as_the_same_attempt() -> None:
    later = await again(await cut(LINE, "b"))
    assert later.of(PipelineResumed) == [PipelineResumed(node="b", again=1, recovery=1)]
    assert later.path == ["b", "exit"]
    assert later.state.nodes["b"].executions == 1
    assert later.state.stage is None


async def test_a_node_that_kills_its_runner_is_failed_after_three_recoveries() -> None:
    session = await cut(LINE, "b")
    for _ in range(MOST_RECOVERIES):
        session = await die_again(session)
        assert session.state.stage is not None
        assert not session.state.stage.refused
    later = await again(session)
    failure = next(e for e in later.of(StageFailed) if isinstance(e, StageFailed))
    assert "died 4 times" in failure.failure_reason
    assert later.state.result is not None
    assert not later.state.result.good


async def test_a_node_that_came_further_has_its_recoveries_back() -> None:
    session = await cut("a [max_retries=1] start -> a -> exit", "a")
    for _ in range(MOST_RECOVERIES):
        session = await die_again(session)
    later = await again(session)
    assert later.state.result is not None
    fresh = await cut(LINE, "a")
    fresh = await die_again(await die_again(fresh))
    fresh = await die_again(fresh)
    assert fresh.state.stage is not None
    assert fresh.state.stage.recoveries == MOST_RECOVERIES
    assert load_of(fresh) == fresh.state


def load_of(session: Session) -> object:
    return loaded(dump(session.state))


async def test_an_interruption_that_was_asked_for_is_no_recovery() -> None:
    session = await opened(LINE)
    stop_at(session, "a")
    await session.walk()
    later = await again(session)
    assert later.of(PipelineResumed) == [PipelineResumed(node="a", again=1, recovery=0)]
    assert later.result is not None
    assert later.result.good


def stop_at(session: Session, node: str) -> None:
    def stop(recorded: object) -> None:
        event = recorded.event  # type: ignore[attr-defined]
        if isinstance(event, StageStarted) and event.node == node:
            session.control.interrupt("test")

    session.journal._listeners.append(stop)


async def test_what_was_cut_off_may_count_as_failed_instead() -> None:
    later = await again(
        await cut('a r [shape=box] start -> a -> exit a -> r [condition="outcome=fail"] r -> exit', "a"),
        interrupted="fail",
    )
    assert later.path == ["a", "r", "exit"]


async def test_time_in_which_nobody_ran_it_is_not_counted() -> None:
    session = await cut(LINE, "b")
    session.clock.now += 1_000_000
    taken = await resumed(session)
    taken.journal.record(PipelineTaken(holder="test"))
    await taken.journal.flush()
    taken.clock.now += 1_000_000
    later = await again(taken)
    assert later.state.nodes["b"].duration_ms == 0
    assert later.events[-1].duration_ms == 0  # type: ignore[union-attr]


# --- after a failure -----------------------------------------------------------------------------


async def test_a_failed_session_continues_at_its_node_with_fresh_attempts_and_one_more_visit() -> None:
    session = await ran(
        "a [max_retries=1, retry_policy=linear, max_visits=1] b start -> a -> b -> exit",
        {"a": ["fail", "fail", "fail", "success"]},
    )
    assert session.result is not None
    assert not session.result.good
    later = await again(session)
    assert later.of(PipelineResumed) == [PipelineResumed(node="a", granted="visit")]
    assert later.path == ["a", "b", "exit"]
    assert [e.attempt for e in later.of(StageStarted) if e.node == "a"] == [1, 2]  # type: ignore[attr-defined]
    assert later.state.nodes["a"].visits == 2
    assert later.result is not None
    assert later.result.good


async def test_the_one_more_visit_is_one() -> None:
    session = await ran("a [max_visits=1] start -> a -> exit", {"a": ["fail"]})
    for visits in (2, 3):
        session = await again(session)
        assert session.state.nodes["a"].visits == visits
        assert session.of(StageFailed)


async def test_a_node_that_its_visits_refused_is_run() -> None:
    session = await ran(
        'a [max_visits=2] start -> a a -> a [condition="outcome=success && context.n!=3"]'
        ' a -> exit [condition="context.n=3"]',
        {"a": ["success", "success", ScriptedResult(updates={"n": 3})]},
    )
    assert session.result is not None
    assert "max_visits" in session.result.text
    later = await again(session)
    assert later.result is not None
    assert later.result.good


async def test_after_a_diamond_the_node_that_it_judged_is_run_again() -> None:
    session = await ran(
        'a d [shape=diamond] start -> a -> d d -> exit [condition="outcome=success"]', {"a": ["fail", "success"]}
    )
    assert session.result is not None
    assert session.result.node == "d"
    later = await again(session)
    assert later.path == ["a", "d", "exit"]


GATES = 'g [goal_gate=true{more}] b {bound} start -> g -> b -> exit g -> b [condition="outcome=fail"]'


@pytest.mark.parametrize(
    ("more", "bound", "path"),
    [("", "", ["g", "b", "exit"]), (", retry_target=b", "[max_visits=1]", ["b"])],
    ids=["itself", "its target"],
)
async def test_an_unmet_gate_sends_a_failed_run_back_once_more(more: str, bound: str, path: list[str]) -> None:
    session = await ran(GATES.format(more=more, bound=bound), {"g": ["fail", "success"]})
    assert session.result is not None
    assert not session.result.good
    later = await again(session)
    assert later.path[: len(path)] == path


async def test_max_steps_counts_again() -> None:
    session = await ran("max_steps=3 a b start -> a -> b -> exit")
    assert session.result is not None
    assert "max_steps" in session.result.text
    later = await again(session)
    assert later.of(PipelineResumed) == [PipelineResumed(node="exit", granted="steps")]
    assert later.result is not None
    assert later.result.good


async def test_a_run_that_continues_knows_what_it_has_written_since_its_last_whole_state() -> None:
    async def chatty(node: object, context: object, graph: object, scope: Scope) -> Outcome:
        scope.response("x" * 9000)
        return Outcome(status=Status.SUCCESS)

    text = 'a [max_visits=0] start -> a a -> a [max_visits=25] a -> exit [condition="internal.visits.a=26"]'
    session = await opened(text, more={"codergen": chatty})
    await session.walk()
    read = await load(session.store, session.context_id)
    assert (read.bytes_since_whole, read.whole_size) == (session.journal._bytes, session.journal._whole_size)
    assert read.whole_size > 0
    assert read.state == await load_state(session.store, session.context_id)
    assert replace(session, control=Control()).state == read.state


async def test_a_resume_says_what_of_the_node_continues() -> None:
    session = await cut(LINE, "b")
    assert resumption(session.graph, session.state).granted == ""
    stage = session.state.stage
    assert stage is not None
    talked = replace_struct(session.state, stage=replace_struct(stage, talked=True))
    assert resumption(session.graph, talked).granted == "conversation"
    assert resumption(session.graph, talked, interrupted="fail").granted == ""
    fan = Fan(visit=stage.visit, attempt=stage.attempt)
    assert resumption(session.graph, replace_struct(talked, fans={"b": fan})).granted == "branches"
    over = replace_struct(talked, fans={"b": replace_struct(fan, status="success")})
    assert resumption(session.graph, over).granted == "conversation"
    child = ChildRecord(session="c", context_id=9, mailbox=10, visit=stage.visit, attempt=stage.attempt)
    assert resumption(session.graph, replace_struct(session.state, children={"b": child})).granted == "child"


async def test_a_conversation_whose_runner_keeps_dying_is_left_to_a_persons_decision() -> None:
    """The node's failure would throw away what was paid: a resume of the failed run begins a new conversation."""
    session = await cut(LINE, "b")
    stage = session.state.stage
    assert stage is not None
    talked = replace_struct(stage, talked=True, recoveries=MOST_RECOVERIES)
    state = replace_struct(session.state, stage=talked)
    with pytest.raises(Undecided, match="died 4 times"):
        decision(session.graph, state, "")
    for word, refused in (("rerun", False), ("fail", True)):
        decided, why = decision(session.graph, state, word)
        event = resumption(session.graph, state, interrupted=decided, why=why)
        assert (bool(event.refused), event.granted) == (refused, "" if refused else "conversation")
    fewer = replace_struct(state, stage=replace_struct(talked, recoveries=MOST_RECOVERIES - 1))
    assert decision(session.graph, fewer, "") == ("rerun", "")
