"""What agents used, added up by node and by model (A14)."""

from __future__ import annotations

from typing import Any

from orchestra.run.events import AgentResponded, AgentTurnCompleted
from orchestra.run.usage import usage_of

TURN: dict[str, Any] = {"node": "a", "visit": 1, "attempt": 1, "thread": "t", "number": 1, "model": "m"}


def test_a_turn_that_a_pause_divides_counts_alike_by_node_and_by_model() -> None:
    said = AgentResponded(**TURN, tokens_in=10, tokens_out=2, cost_micros=7)
    ended = AgentTurnCompleted(**TURN, tool_calls=({"name": "shell"}, {"name": "shell"}))
    found = usage_of([said, ended])
    assert found.nodes["a"] == found.models["m"]
    assert (found.nodes["a"].turns, found.nodes["a"].tool_calls, found.nodes["a"].cost_micros) == (1, 2, 7)
