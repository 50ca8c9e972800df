"""What bounds an agent's attempt: its limits, and how long they let it work (A5)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NoReturn

from orchestra.agents.compaction import Summarizer
from orchestra.agents.pricing import Price
from orchestra.agents.tools.people import Guard, needs_no_approval
from orchestra.ports import AgentTask, Turns
from orchestra.run.events import WarningRaised
from orchestra.run.limits import NO_LIMITS, Limits, LimitUsage, crossed_limits, nearing

RUN = "the run"
"""Whose limit it is, in a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What bounds a conversation, and what it costs."""

    repeats: int = 5
    silence: float = 300.0
    """Seconds without anything from the model after which a call fails."""
    node: Limits = NO_LIMITS
    run: Limits = NO_LIMITS
    near_node: Limits = NO_LIMITS
    near_run: Limits = NO_LIMITS
    """Soft limits, at which the agent is warned; by default a share of the hard ones."""
    prices: Mapping[str, Price] = field(default_factory=dict)
    summarise: Summarizer | None = None
    """Asks the ``cheap`` model for a summary of a long conversation; None where there is none (E40)."""
    guard: Guard = needs_no_approval
    """Which tool calls a person has to approve (H11)."""


class AttemptBounds:
    """The limits of one attempt."""

    def __init__(self, task: AgentTask, turns: Turns, rules: Rules) -> None:
        self._task = task
        self._turns = turns
        self._rules = rules
        self._told: set[tuple[str, str]] = set()

    def check(self) -> list[str]:
        """Return warnings for limits that are newly near.

        They are recorded. Raises ``Suspended`` if a limit is reached.
        """
        near = []
        for whose, limits, soft, used in self._each():
            for name, words in crossed_limits(limits, used):
                self._halt(whose, name, words)
            for name, words in crossed_limits(nearing(limits, soft), used, limits):
                if (whose, name) not in self._told:
                    self._told.add((whose, name))
                    near.append(f"{whose} has used {words}")
        for words in near:
            warn(self._task, f"near a limit: {words}", "soft_limit")
        return near

    def calls_left(self) -> int | None:
        """How many tool calls the limits allow; None without such a limit."""
        left = (
            max(0, limits.tool_calls - used.tool_calls) for _, limits, _, used in self._each() if limits.tool_calls
        )
        return min(left, default=None)

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """Interrupt what runs within, a model call or a tool, when the node's limit of time is reached.

        The run pauses then, as ``Suspended`` says. The run's own limit is kept by the engine.
        """
        whose, limits, _, used = next(self._each())
        try:
            async with asyncio.timeout(limits.seconds - used.seconds if limits.seconds else None) as timer:
                yield
        except TimeoutError:
            if not timer.expired():
                raise
            for name, words in crossed_limits(Limits(seconds=limits.seconds), LimitUsage(seconds=limits.seconds)):
                self._halt(whose, name, words)

    def _halt(self, whose: str, name: str, words: str) -> NoReturn:
        """Pause the run; a limit of the node is recorded as ``node.turns`` and the like."""
        limit = name if whose == RUN else f"node.{name}"
        self._turns.halt(f"{whose} reached its limit: {words}", limit=limit)

    def _each(self) -> Iterator[tuple[str, Limits, Limits, LimitUsage]]:
        """The node's and the run's: whose, the limits, the soft ones, and what is used of them."""
        standing, rules = self._turns.standing(), self._rules
        yield f"node {self._task.node.id}", rules.node, rules.near_node, standing.node
        yield RUN, rules.run, rules.near_run, standing.run


def warn(task: AgentTask, message: str, rule: str) -> None:
    """Record a warning about a node's agent."""
    task.scope.record(WarningRaised(message=message, rule=rule, node=task.node.id))
