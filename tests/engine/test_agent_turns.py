"""An agent's turns: recorded one by one, counted once, joined again to the conversation they are (A9, E35)."""

from __future__ import annotations

from dataclasses import dataclass

from orchestra.ports import AgentTask, Turns
from orchestra.run.conversation import AgentTurn, Conversation, Message, Response, ToolCall, ToolEnded, Usage
from orchestra.run.events import AgentResponded, AgentToolEnded, AgentTurnCompleted, StageCompleted
from orchestra.run.outcome import Outcome
from support import agents_on, ran

GRAPH = "a start -> a -> exit"
USER = Message(role="user", text="go")
CALL = ToolCall(id="c1", name="shell", arguments={"command": "ls"})
READ = ToolCall(id="c2", name="read-file", arguments={"path": "x"})
ASKS = Message(role="assistant", text="I look", tool_calls=(CALL, READ))
WROTE = Message(role="tool", tool_call_id="c1", name="shell", text="out")
SEEN = Message(role="tool", tool_call_id="c2", name="read-file", text="y" * 40_000)
DONE = Message(role="assistant", text="done")
USAGE = Usage(input=100, output=10, cache_read=40)


@dataclass
class TwoTurns:
    """Tells two turns, then what it finds recorded of them."""

    stop_after: int = 9
    found: Conversation | None = None

    async def run(self, task: AgentTask, turns: Turns) -> str | Outcome | None:
        shell = ToolEnded(thread="t", turn=1, call=CALL, message=WROTE, files_written=("f",))
        read = ToolEnded(thread="t", turn=1, call=READ, message=SEEN)
        steps = [
            turns.on_response(Response(thread="t", turn=1, message=ASKS, sent=(USER,), fresh=True, usage=USAGE)),
            turns.on_tool(shell),
            turns.on_turn(
                AgentTurn(
                    thread="t",
                    turn=1,
                    messages=(USER, ASKS, WROTE, SEEN),
                    tools=(shell, read),
                    usage=USAGE,
                    cost_micros=7,
                )
            ),
            turns.on_turn(AgentTurn(thread="t", turn=2, messages=(DONE,), usage=USAGE)),
        ]
        for number, step in enumerate(steps):
            if number < self.stop_after:
                await step
            else:
                step.close()
        self.found = await turns.conversation("t")
        return "done"


async def test_a_message_is_in_one_event_and_a_conversation_is_joined_from_all() -> None:
    backend = TwoTurns()
    session = await ran(GRAPH, more={"codergen": agents_on(backend)})
    responded, tool, turn, last = [
        e for e in session.events if isinstance(e, AgentResponded | AgentToolEnded | AgentTurnCompleted)
    ]
    assert isinstance(tool, AgentToolEnded)
    assert [len(e.messages) for e in (responded, tool, turn, last)] == [2, 1, 1, 1]
    assert backend.found is not None
    assert backend.found.messages == (USER, ASKS, WROTE, SEEN, DONE)
    assert (backend.found.pending, backend.found.turns, backend.found.open) == ((), 2, False)


async def test_calls_without_a_recorded_result_are_pending() -> None:
    backend = TwoTurns(stop_after=2)
    await ran(GRAPH, more={"codergen": agents_on(backend)})
    assert backend.found is not None
    assert backend.found.messages == (USER, ASKS, WROTE)
    assert backend.found.pending == (READ,)
    assert backend.found.open


async def test_what_turns_cost_is_counted_once() -> None:
    session = await ran(GRAPH, more={"codergen": agents_on(TwoTurns())})
    spent = session.state.spent
    assert (spent.tokens_in, spent.tokens_out, spent.cost_micros) == (200, 20, 7)
    ended = next(e for e in session.events if isinstance(e, StageCompleted) and e.node == "a")
    assert (ended.tokens_in, ended.tokens_out, ended.cost_micros) == (200, 20, 7)


async def test_an_answer_counts_before_its_turn_has_ended() -> None:
    session = await ran(GRAPH, more={"codergen": agents_on(TwoTurns(stop_after=1))})
    assert session.state.spent.tokens_in == 100
