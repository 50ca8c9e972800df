"""The ``langgraph`` backend: LangGraph's agent loop; our conversation asks and records.

``create_agent`` decides who speaks next; its middleware hands every model call and every tool call to a ``Talk``.
There is no checkpointer: what is recorded in the session is all that a resume needs (A9). LangGraph's own state
holds only the newest answer and its results, so that a long conversation costs per turn what a short one does.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from orchestra.agents.backends.clients import untraced
from orchestra.agents.talk import Talk

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

LOOP = "langchain.agents"
"""The module that holds the loop."""

STEPS = 1_000_000
"""LangGraph's own bound; ours are the limits of A5."""


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
