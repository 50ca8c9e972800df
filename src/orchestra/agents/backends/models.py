"""A chat model of LangChain as a ``Model``: streamed, with silence and broken streams noticed (A3)."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from itertools import takewhile
from operator import is_
from typing import TYPE_CHECKING, Any, cast

from orchestra.agents.answers import STOP, TOOLS, Heard, ModelAnswer
from orchestra.agents.backends.clients import client, close, closing_responses, untraced
from orchestra.agents.backends.failures import translate
from orchestra.agents.backends.messages import from_langchain, stop_of, to_langchain, usage_of
from orchestra.agents.tools import Tool
from orchestra.agents.tools.selection import wire_names
from orchestra.config.providers import Provider
from orchestra.errors import BackendError, Transient
from orchestra.ports import ModelChoice
from orchestra.run.conversation import Message

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage


class ChatModel:
    """A model of a provider, with the tools that it is offered."""

    def __init__(self, provider: Provider, choice: ModelChoice, tools: Mapping[str, Tool]) -> None:
        self._provider = provider
        self._name = choice.model
        self._ours = wire_names(tools)
        self._wire = {ours: wire for wire, ours in self._ours.items()}
        self.client = client(provider, choice)
        self._bound: Any = self.client
        self._system: Message | None = None
        self._said: list[Message] = []
        self._made: list[BaseMessage] = []
        if tools:
            offered = [_schema(self._wire[name], tool, provider.kind) for name, tool in tools.items()]
            self._bound = self.client.bind_tools(offered)
        if provider.kind == "anthropic" and provider.prompt_cache:
            self._bound = self._bound.bind(cache_control={"type": "ephemeral"})

    @property
    def name(self) -> str:
        """The model's name."""
        return self._name

    @property
    def provider(self) -> str:
        """The provider's name in the configuration."""
        return self._provider.name

    @property
    def window(self) -> int:
        """Its window in tokens: the configuration's, else what LangChain knows of the model, else 0."""
        profile: Any = getattr(self.client, "profile", None) or {}
        return self._provider.context_window or int(profile.get("max_input_tokens") or 0)

    async def aclose(self) -> None:
        """Close its connections."""
        await close(self.client)

    async def ask(self, system: str, messages: Sequence[Message], heard: Heard) -> ModelAnswer:
        """One call, streamed. Raises ``Transient``, ``OutOfQuota`` and ``Terminal``."""
        began = time.monotonic()
        if system and (self._system is None or self._system.text != system):
            self._system = Message(role="system", text=system)
        said = [self._system, *messages] if system and self._system is not None else list(messages)
        asked = self._convert(said)
        try:
            with untraced():
                async with closing_responses():
                    answer = await self._stream(asked, heard)
        except BackendError:
            raise
        except Exception as error:
            raise translate(error, self._provider) from error
        return self._answer(answer, round((time.monotonic() - began) * 1000))

    def _convert(self, said: Sequence[Message]) -> list[BaseMessage]:
        """Messages in LangChain's form; those that the last request began with too are not made again."""
        same = sum(1 for _ in takewhile(bool, map(is_, self._said, said)))
        new = to_langchain(said[same:], provider=self.provider, model=self._name, wire=self._wire)
        self._said[same:], self._made[same:] = said[same:], new
        return list(self._made)

    async def _stream(self, asked: Sequence[Any], heard: Heard) -> AIMessage:
        whole: AIMessageChunk | None = None
        bound = self._bound
        pieces = (
            _in_thread(lambda: bound.stream(asked)) if self._provider.kind == "bedrock" else bound.astream(asked)
        )
        async with contextlib.aclosing(pieces) as stream:
            async for chunk in _in_time(stream, self._provider):
                heard(str(chunk.text))
                whole = chunk if whole is None else cast("AIMessageChunk", whole + chunk)
        if whole is None:
            raise Transient(f"{self.provider}: the answer was empty")
        return whole

    def _answer(self, answer: AIMessage, duration_ms: int) -> ModelAnswer:
        stop = stop_of(answer)
        message = from_langchain(answer, provider=self.provider, model=self._name, ours=self._ours)
        if not stop:
            raise Transient(f"{self.provider}: the stream ended before the answer was complete")
        if stop in ("malformed_function_call", "unexpected_tool_call"):
            raise Transient(f"{self.provider}: the model's tool call was malformed")
        if message.tool_calls and stop == STOP:
            stop = TOOLS
        return ModelAnswer(message=message, usage=usage_of(answer), stop=stop, duration_ms=duration_ms)


async def _in_thread(begin: Callable[[], Iterator[Any]]) -> AsyncGenerator[Any, None]:
    """The pieces of a stream of a client that only blocks, as boto3 does.

    It is read in a daemon thread: one that waits for a silent provider keeps no process from ending.
    """
    loop, left = asyncio.get_running_loop(), threading.Event()
    queue: asyncio.Queue[tuple[Any, BaseException | None]] = asyncio.Queue()

    def put(piece: Any, error: BaseException | None = None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(queue.put_nowait, (piece, error))

    def run() -> None:
        try:
            for piece in begin():
                if left.is_set():
                    return
                put(piece)
        except BaseException as error:  # noqa: BLE001  it is raised again where the pieces are awaited
            put(None, error)
        else:
            put(None)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), daemon=True, name="model stream").start()
    try:
        while True:
            piece, error = await queue.get()
            if error is not None:
                raise error
            if piece is None:
                return
            yield piece
    finally:
        left.set()


async def _in_time(stream: AsyncIterator[Any], provider: Provider) -> AsyncIterator[Any]:
    """The pieces of a stream. Raises ``Transient`` where it is silent for too long.

    Anthropic's client notices that itself, by bytes: while a model works, only pings come, which are no pieces.
    """
    limit = None if provider.kind == "anthropic" else provider.timeout
    while True:
        try:
            async with asyncio.timeout(limit):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise Transient(f"{provider.name}: no answer for {provider.timeout:g} s") from None
        yield chunk


def _schema(name: str, tool: Tool, kind: str) -> dict[str, Any]:
    """A tool as the provider's client takes it."""
    parameters: Any = tool.parameters
    if kind in ("google", "vertex"):
        parameters = _without(parameters, "additionalProperties")
    function = {"name": name, "description": tool.description, "parameters": dict(parameters)}
    return {"type": "function", "function": function}


def _without(value: Any, key: str) -> Any:
    """A schema without a key that a client does not know and warns of."""
    if isinstance(value, Mapping):
        return {name: _without(item, key) for name, item in value.items() if name != key}
    return [_without(item, key) for item in value] if isinstance(value, list | tuple) else value
