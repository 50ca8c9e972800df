"""The backends ``direct`` and ``langgraph``: a conversation with a configured model (agents.md)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TypeAlias

from orchestra.agents.backends.importing import importing
from orchestra.agents.backends.langgraph import LOOP, drive
from orchestra.agents.backends.models import ChatModel
from orchestra.agents.bounds import Rules
from orchestra.agents.concluding import converse
from orchestra.agents.talk import Talk
from orchestra.agents.tools import Tool
from orchestra.agents.tools.toolset import Toolset
from orchestra.agents.verdicts import tool_instructions
from orchestra.config.providers import Provider
from orchestra.errors import Terminal
from orchestra.ports import AgentTask, Turns
from orchestra.run.outcome import Outcome

Equipping: TypeAlias = Callable[[AgentTask], AbstractAsyncContextManager[Toolset]]
"""Gives an agent its tools while it runs (A30)."""

Ruling: TypeAlias = Callable[[AgentTask], Rules]
"""What bounds a task, and what it costs (A5)."""

Finding: TypeAlias = Callable[[str], Provider | None]
"""A provider by its name."""


@dataclass(frozen=True, slots=True)
class Direct:
    """One chat-model call without tools; more only where an answer has to be corrected."""

    finding: Finding
    ruling: Ruling

    async def run(self, task: AgentTask, turns: Turns) -> str | Outcome:
        """The model's answer."""
        provider = _provider(self.finding, task)
        model = await asyncio.to_thread(ChatModel, provider, task.model, {})
        async with aclosing(model):
            talk = Talk(task, turns, model, _rules(self.ruling, provider, task), {}, None)
            return await converse(talk, _once)


@dataclass(frozen=True, slots=True)
class LangGraph:
    """An agent with tools, in LangGraph's loop."""

    finding: Finding
    ruling: Ruling
    equipping: Equipping

    async def run(self, task: AgentTask, turns: Turns) -> str | Outcome:
        """What the agent reported, or its last words."""
        provider = _provider(self.finding, task)
        async with self.equipping(task) as toolset:
            model = await asyncio.to_thread(_load_model, provider, task, toolset.tools)
            rules = _rules(self.ruling, provider, task)
            async with aclosing(model):
                talk = Talk(task, turns, model, rules, toolset.tools, toolset.context)
                talk.system = "\n\n".join(
                    part for part in (task.system, tool_instructions(task.graph, task.node)) if part
                )
                return await converse(talk, lambda talk: drive(talk, model.client))


async def _once(talk: Talk) -> None:
    await talk.ask()


def _provider(finding: Finding, task: AgentTask) -> Provider:
    found = finding(task.model.provider) if task.model.provider else None
    if found is None or not task.model.model:
        raise Terminal(f"no model for node {task.node.id!r}: set llm_model, or providers.default in orchestra.yaml")
    return found


def _rules(ruling: Ruling, provider: Provider, task: AgentTask) -> Rules:
    return replace(ruling(task), repeats=provider.retries, silence=provider.timeout)


def _load_model(provider: Provider, task: AgentTask, tools: Mapping[str, Tool]) -> ChatModel:
    """The model of an agent, its loop imported too; in a thread, because importing takes a second (A1)."""
    model = ChatModel(provider, task.model, tools)
    with importing():
        import_module(LOOP)
    return model
