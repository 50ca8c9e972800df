"""The backends ``direct`` and ``langgraph``: a conversation with a configured model, up to its node's outcome (A4).

LangGraph's ``create_agent`` decides who speaks next; its middleware hands every call of the model and of a tool to
a ``Talk``. There is no checkpointer: what is recorded in the session is all that a resume needs (A9). LangGraph's
own state holds only the newest answer and its results, so that a turn of a long conversation costs no more than one
of a short conversation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from orchestra.agents.backends.clients import untraced
from orchestra.agents.backends.importing import importing
from orchestra.agents.backends.models import ChatModel
from orchestra.agents.bounds import Rules
from orchestra.agents.exchanges import answer_of_person
from orchestra.agents.talk import Talk, report_in
from orchestra.agents.tools import Tool
from orchestra.agents.tools.reporting import NAME
from orchestra.agents.tools.toolset import Toolset
from orchestra.agents.verdicts import ASK_AGAIN, CORRECT, Ask, conclude, newest_report, tool_instructions
from orchestra.config.providers import Provider
from orchestra.errors import Terminal
from orchestra.ports import AgentTask, Turns
from orchestra.run.conversation import Message
from orchestra.run.outcome import Outcome

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

LOOP = "langchain.agents"
"""The module that holds the loop."""

STEPS = 1_000_000
"""LangGraph's own bound; ours are the limits of A5."""

TurnTaking: TypeAlias = Callable[[Talk], Awaitable[None]]
"""Lets the model and its tools take turns until it is for us to speak."""


class AgentSetup(Protocol):
    """What the settings give an agent for a task."""

    def provider(self, task: AgentTask) -> Provider | None:
        """The provider of its model."""

    def rules(self, task: AgentTask) -> Rules:
        """What bounds its work, and what it costs (A5)."""

    def tools(self, task: AgentTask) -> AbstractAsyncContextManager[Toolset]:
        """Its tools, while it works (A30)."""


@dataclass(frozen=True, slots=True)
class Direct:
    """One chat-model call without tools; more only where an answer has to be corrected."""

    setup: AgentSetup

    async def run(self, task: AgentTask, turns: Turns) -> str | Outcome:
        """The model's answer."""
        provider = _provider(self.setup, task)
        model = await asyncio.to_thread(ChatModel, provider, task.model, {})
        async with aclosing(model):
            talk = Talk(task, turns, model, _rules(self.setup, provider, task), {}, None)
            return await converse(talk, _once)


@dataclass(frozen=True, slots=True)
class LangGraph:
    """An agent with tools, in LangGraph's loop."""

    setup: AgentSetup

    async def run(self, task: AgentTask, turns: Turns) -> str | Outcome:
        """What the agent reported, or its last words."""
        provider = _provider(self.setup, task)
        async with self.setup.tools(task) as toolset:
            model = await asyncio.to_thread(_load_model, provider, task, toolset.tools)
            rules = _rules(self.setup, provider, task)
            async with aclosing(model):
                talk = Talk(task, turns, model, rules, toolset.tools, toolset.context)
                talk.system = "\n\n".join(
                    part for part in (task.system, tool_instructions(task.graph, task.node)) if part
                )
                return await converse(talk, lambda talk: drive(talk, model.client))


async def _once(talk: Talk) -> None:
    await talk.ask()


def _provider(setup: AgentSetup, task: AgentTask) -> Provider:
    found = setup.provider(task)
    if found is None or not task.model.model:
        raise Terminal(f"no model for node {task.node.id!r}: set llm_model, or providers.default in orchestra.yaml")
    return found


def _rules(setup: AgentSetup, provider: Provider, task: AgentTask) -> Rules:
    return replace(setup.rules(task), repeats=provider.retries, silence=provider.timeout)


def _load_model(provider: Provider, task: AgentTask, tools: Mapping[str, Tool]) -> ChatModel:
    """The model of an agent, its loop imported too; in a thread, because importing takes a second (A1)."""
    model = ChatModel(provider, task.model, tools)
    with importing():
        import_module(LOOP)
    return model


async def converse(talk: Talk, take_turns: TurnTaking) -> str | Outcome:
    """Open the conversation, let the agent work within its time, and return the node's outcome."""
    async with talk.bounds.in_time():
        await talk.open()
        return await _run_turns(talk, take_turns)


async def _run_turns(talk: Talk, take_turns: TurnTaking) -> str | Outcome:
    while True:
        if talk.due:
            await take_turns(talk)
            if talk.due:
                continue
        if talk.task.interactive:
            said = await answer_of_person(talk.task, _text(talk), talk.turn)
            if isinstance(said, Outcome):
                return said
            talk.say(said)
            continue
        found = _verdict(talk)
        if not isinstance(found, Ask):
            return found
        talk.say(found.text)


def _verdict(talk: Talk) -> str | Outcome | Ask:
    """Return the outcome, or what the agent is told first."""
    task, said, text = talk.task, own(talk), _text(talk)
    report = report_in(talk) or _standing_report(said)
    task.scope.response(text or str((report or {}).get("notes") or ""))
    again = ASK_AGAIN if NAME in talk.tools else ""
    return conclude(task, report, text, [one.text for one in said if one.role == "user"], again)


def _standing_report(said: Sequence[Message]) -> Mapping[str, Any] | None:
    """What the agent reported with an answer that it was asked to correct: the report holds meanwhile."""
    first = next((place for place, message in enumerate(said) if message.text.startswith(CORRECT)), None)
    return None if first is None else newest_report(said[:first])


def own(talk: Talk) -> list[Message]:
    """The messages since the node's own prompt."""
    name = talk.task.scope.talk.name
    places = [place for place, m in enumerate(talk.messages) if m.role == "user" and m.name == name]
    return talk.messages[places[-1] :] if places else talk.messages


def _text(talk: Talk) -> str:
    """The newest words of the agent."""
    texts = (m.text for m in reversed(own(talk)) if m.role == "assistant" and m.text.strip())
    return next(texts, "")


async def drive(talk: Talk, client: BaseChatModel) -> None:
    """Let the model and its tools take turns until the model asks for no tools, or has reported."""
    graph = _graph(talk, client)
    with untraced():
        await graph.ainvoke({"messages": []}, {"recursion_limit": STEPS, "callbacks": []})


def _graph(talk: Talk, client: BaseChatModel) -> Any:
    from langchain.agents import create_agent
    from langchain.agents.middleware import AgentMiddleware, ModelResponse
    from langchain_core.messages import AIMessage, RemoveMessage, ToolMessage
    from langchain_core.tools import StructuredTool
    from langgraph.graph.message import REMOVE_ALL_MESSAGES

    tools = [
        StructuredTool(name=wire, description=wire, args_schema={"type": "object", "properties": {}}, func=_unused)
        for wire in _OFFERED
    ]
    current = _Round(talk)

    class ConversationMiddleware(AgentMiddleware[Any, Any, Any]):
        """Every model call and every tool call goes through the conversation."""

        async def awrap_model_call(self, request: Any, handler: Any) -> Any:
            current.clear()
            if not talk.due:
                return ModelResponse(result=[AIMessage("")])
            message = await talk.ask()
            calls: list[Any] = [{"name": _OFFERED[0], "args": {}, "id": call.id} for call in message.tool_calls]
            return ModelResponse(result=[RemoveMessage(REMOVE_ALL_MESSAGES), AIMessage("", tool_calls=calls)])

        async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
            await current.over()
            return ToolMessage("", tool_call_id=request.tool_call["id"], name=_OFFERED[0])

    return create_agent(client, tools, middleware=[ConversationMiddleware()])


class _Round:
    """The tools of one answer: the first caller runs them all, the others wait for the end (A9)."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._running = False
        self._ended = asyncio.Event()

    def clear(self) -> None:
        """Begin the next round."""
        self._running, self._ended = False, asyncio.Event()

    async def over(self) -> None:
        """Wait until the tools have run."""
        if self._running:
            await self._ended.wait()
            return
        self._running = True
        await self._talk.run_tools()
        self._ended.set()


_OFFERED = ("tool",)


def _unused() -> str:
    raise AssertionError("tools are run by the conversation")
