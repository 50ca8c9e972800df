"""The line of an agent's node says what its whole attempt took, also what came before a resume (C4)."""

from __future__ import annotations

from typing import Any

from orchestra.cli.screen.lines import agent_words
from orchestra.run.events import AgentResponded, AgentTurnCompleted, StageCompleted

TURN: dict[str, Any] = {"node": "a", "visit": 1, "attempt": 1, "thread": "t", "model": "m"}


def test_a_resumed_nodes_line_counts_what_was_paid_before() -> None:
    after = [
        AgentTurnCompleted(**TURN, number=1),
        AgentResponded(**TURN, number=2, tokens_in=100, tokens_out=10, cost_micros=400),
        AgentTurnCompleted(**TURN, number=2, tokens_in=100, tokens_out=10, cost_micros=400),
    ]
    ended = StageCompleted(
        node="a", handler="codergen", visit=1, status="success", tokens_in=200, tokens_out=23, cost_micros=1000
    )
    assert agent_words(after, ended) == ("2 turns, 223 tokens, $0.0010",)
    assert agent_words(after) == ("2 turns, 110 tokens, $0.0004",)


def test_a_resumed_nodes_line_counts_the_turns_that_its_conversation_had_before() -> None:
    turn = {**TURN, "thread": "a#1.1"}
    after = [
        AgentTurnCompleted(**turn, number=2),
        AgentResponded(**turn, number=3, tokens_in=100, tokens_out=10, cost_micros=400),
        AgentTurnCompleted(**turn, number=3, tokens_in=100, tokens_out=10, cost_micros=400),
    ]
    ended = StageCompleted(
        node="a", handler="codergen", visit=1, status="success", tokens_in=300, tokens_out=33, cost_micros=1400
    )
    assert agent_words(after, ended) == ("3 turns, 333 tokens, $0.0014",)
