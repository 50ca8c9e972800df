"""The backends ``direct`` and ``langgraph``: a conversation with a configured model (agents.md 1)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from orchestra.agents.backends.langgraph import drive
from orchestra.agents.backends.models import ChatModel
from orchestra.agents.concluding import converse
from orchestra.agents.providers import Provider
from orchestra.agents.talk import Rules, Talk
from orchestra.agents.tools import Tool, ToolContext
from orchestra.agents.verdicts import told_how
from orchestra.ports import AgentTask, Turns
from orchestra.run.outcome import Outcome

Equipment: TypeAlias = tuple[Mapping[str, Tool], ToolContext | None]
"""The tools that an agent is offered, by name, and what they share."""

Equipping: TypeAlias = Callable[[AgentTask], Awaitable[Equipment]]
"""Gives an agent its tools (A30)."""


@dataclass(frozen=True, slots=True)
class Direct:
    """One chat-model call without tools; more only where an answer has to be corrected."""

    providers: Mapping[str, Provider]
    rules: Rules

    async def run(self, task: AgentTask, turns: Turns) -> str | Outcome:
        """The model's answer."""
        model = await _model(self.providers[task.model.provider], task, {})
        talk = Talk(task, turns, model, self.rules, {}, None)

        async def once(talk: Talk) -> None:
            await talk.ask()

        return await converse(talk, once)


@dataclass(frozen=True, slots=True)
class LangGraph:
    """An agent with tools, in LangGraph's loop."""

    providers: Mapping[str, Provider]
    rules: Rules
    equipping: Equipping

    async def run(self, task: AgentTask, turns: Turns) -> str | Outcome:
        """What the agent reported, or its last words."""
        tools, context = await self.equipping(task)
        model = await _model(self.providers[task.model.provider], task, tools)
        talk = Talk(task, turns, model, self.rules, tools, context)
        talk.system = "\n\n".join(part for part in (task.system, told_how(task.graph, task.node)) if part)
        return await converse(talk, lambda talk: drive(talk, model.client))


async def _model(provider: Provider, task: AgentTask, tools: Mapping[str, Tool]) -> ChatModel:
    """The model; what its package imports is imported beside the event loop (A1)."""
    return await asyncio.to_thread(ChatModel, provider, task.model, tools)
