"""What others want of a runner goes through the session's mailbox, and takes effect exactly once (S15)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from orchestra.agents.simulation import ScriptedResult, Simulation
from orchestra.engine.mailbox import CANCEL, INTERRUPT, PAUSE, STEER, Mailbox, MailboxRequest, requests, send
from orchestra.engine.sessions import find, summarize
from orchestra.graph.model import Graph, Node
from orchestra.ports import Scope
from orchestra.run.events import PipelineCanceled, PipelinePaused, StageCompleted, StageRetrying, SteeringTaken
from orchestra.run.outcome import Outcome
from orchestra.run.state import Context
from orchestra.run.views import Phase
from support import START_MS, Session, agents_on, opened, reopened, resumed

CHAIN = "b [max_retries=1] start -> a -> b -> c -> exit"


async def ask(session: Session, action: str, text: str = "") -> MailboxRequest:
    return await send(
        session.store, session.state.mailbox, session.name, action, text=text, who="me", now_ms=START_MS
    )


async def walked(session: Session) -> Session:
    """Walk while somebody listens, as a run does."""
    mailbox = Mailbox(session.store, session.state, session.control, session.hold.answer)
    session.result = await session.hold.during(session.runner.walk(), mailbox.listen())
    return session


class Asking:
    """The simulated agents; somebody does something while one of them is at work, and the listener gets a turn."""

    def __init__(self, node: str = "", do: Callable[[], Awaitable[object]] | None = None) -> None:
        self.node = node
        self.do = do
        self.script: dict[str, tuple[ScriptedResult, ...]] = {}

    async def __call__(self, node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome | None:
        outcome = await agents_on(Simulation(self.script))(node, context, graph, scope)
        if node.id == self.node and self.do is not None:
            await self.do()
        await asyncio.sleep(0.01)
        return outcome


async def asking(node: str, action: str, text: str = "", **script: tuple[ScriptedResult, ...]) -> Session:
    """A session that somebody asks for something while a node is at work."""
    agents = Asking(node)
    agents.script = script
    session = await opened(CHAIN, more={"codergen": agents})
    agents.do = lambda: ask(session, action, text)
    return session


async def asked_at_a(action: str, text: str = "") -> Session:
    """A run in which somebody asks for something while node ``a`` is at work."""
    return await walked(await asking("a", action, text))


async def test_a_pause_takes_effect_after_the_running_node_and_is_recorded_with_its_request() -> None:
    session = await asked_at_a(PAUSE)
    assert session.result is None
    assert session.path == ["start", "a"]
    (paused,) = session.of(PipelinePaused)
    (request,) = await requests(session.store, session.state.mailbox, 0)
    assert isinstance(paused, PipelinePaused)
    assert (paused.request, paused.node, paused.reason) == (request.turn_id, "b", "paused by me")


async def test_an_interruption_cancels_the_running_node() -> None:
    session = await asked_at_a(INTERRUPT)
    assert session.path == ["start"]
    assert session.state.paused == "interrupted by me"
    assert session.state.stage is not None


async def test_a_cancel_ends_the_run_with_its_reason() -> None:
    session = await asked_at_a(CANCEL, "too dear")
    assert session.result is not None
    assert (session.result.status, session.result.text, session.result.node) == ("canceled", "by me: too dear", "a")
    assert isinstance(session.events[-1], PipelineCanceled)
    row = await find(session.store, session.name)
    await session.hold.release()
    assert (await summarize(session.store, row, START_MS)).phase is Phase.CANCELED


async def test_a_request_from_before_the_runner_takes_effect() -> None:
    session = await asking("", "")
    await ask(session, PAUSE)
    await walked(session)
    assert session.result is None
    assert session.of(PipelinePaused)


async def again(session: Session) -> Session:
    """A second runner that listens too."""
    await session.hold.release()
    row = await find(session.store, session.name)
    made = await reopened(session.store, session.clock, row)
    later = await resumed(session, epoch=made.hold.epoch)
    later.hold = made.hold
    return await walked(later)


async def test_a_pause_that_took_effect_does_not_stop_the_next_runner() -> None:
    later = await again(await asked_at_a(PAUSE))
    assert later.result is not None
    assert later.result.good


async def test_an_action_of_a_newer_program_is_passed_over() -> None:
    session = await asked_at_a("levitate")
    assert session.result is not None
    assert session.result.good


# --- steering ------------------------------------------------------------------------------------


async def test_an_instruction_follows_the_prompt_of_the_next_agent_and_of_no_other() -> None:
    session = await asked_at_a(STEER, "use tabs")
    prompts = {event.node: str(event.prompt) for event in session.events if isinstance(event, StageCompleted)}
    assert ["use tabs" in prompts[node] for node in "abc"] == [False, True, False]
    assert [(event.node, event.text) for event in taken(session)] == [("b", "use tabs")]


async def test_an_instruction_goes_to_every_attempt_of_a_visit() -> None:
    session = await walked(
        await asking("a", STEER, "use tabs", b=(ScriptedResult(status="retry"), ScriptedResult()))
    )
    tried = [event for event in session.events if isinstance(event, StageRetrying | StageCompleted)]
    assert ["use tabs" in str(event.prompt) for event in tried if event.node == "b"] == [True, True]
    assert len(taken(session)) == 1


async def test_an_instruction_stays_for_the_next_runner_until_an_agent_has_had_it() -> None:
    session = await asking("", "")
    await ask(session, PAUSE)
    await ask(session, STEER, "use tabs")
    await walked(session)
    assert session.result is None
    later = await again(session)
    assert [event.text for event in [*taken(session), *taken(later)]] == ["use tabs"]


def taken(session: Session) -> list[SteeringTaken]:
    return [event for event in session.events if isinstance(event, SteeringTaken)]


@pytest.mark.parametrize("count", [1, 130])
async def test_requests_are_read_in_their_order_however_many_there_are(count: int) -> None:
    session = await opened(CHAIN)
    sent = [await ask(session, STEER, f"{number}") for number in range(count)]
    assert await requests(session.store, session.state.mailbox, 0) == sent
    assert await requests(session.store, session.state.mailbox, sent[count // 2].turn_id) == sent[count // 2 + 1 :]


async def test_a_requested_pause_is_shown_by_the_run_and_by_status_until_it_takes_effect() -> None:
    agents = Asking("b")
    session = await opened(CHAIN, more={"codergen": agents})
    said: list[str] = []
    seen: list[str] = []
    session.control.session.note = said.append

    async def look() -> None:
        await ask(session, PAUSE)
        seen.append((await summarize(session.store, await find(session.store, session.name), START_MS)).detail)

    agents.do = look
    await walked(session)
    assert said == ["pause requested by me: finishing the current node, then pausing"]
    assert "pause requested by me" in seen[0]
    later = await summarize(session.store, await find(session.store, session.name), START_MS)
    assert "requested" not in later.detail
