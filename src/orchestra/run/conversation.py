"""Conversations with models: messages, tool calls, usage, rebuilding one from its turns (A9).

A conversation is not kept in the run's state. Each turn is recorded with only what is new in it, and
``rebuild`` joins the recorded turns again: n turns cost n, not n².
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct, field

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]


class ToolCall(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model's request to run a tool. ``id`` is unique in its conversation.

    ``invalid`` says why ``arguments`` could not be read, and holds what the model wrote.
    """

    id: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    invalid: str = ""


class Usage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens of model calls: ``input`` includes cached and cache-written ones, ``output`` reasoning (A14)."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input=self.input + other.input,
            output=self.output + other.output,
            cache_read=self.cache_read + other.cache_read,
            cache_write=self.cache_write + other.cache_write,
            reasoning=self.reasoning + other.reasoning,
        )

    @property
    def total(self) -> int:
        """Tokens read and written."""
        return self.input + self.output


class Message(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message of a conversation.

    ``native`` are the provider's own content blocks of an answer (text, thinking with its signature), which the
    same ``provider`` and ``model`` get back as they were; another model gets ``text``. A ``tool`` message answers
    ``tool_call_id`` with ``name``'s result; where ``text`` is that cut, ``whole`` are the references to the blobs
    that hold all of it, in order, and ``whole_bytes`` is its size. ``seen`` are the files whose content the agent
    knows by it, as ``repo:path``, with what tells whether one has changed since. ``parts`` are further content of a
    user's message: images and files.
    """

    role: Role
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    name: str = ""
    is_error: bool = False
    native: tuple[Any, ...] = ()
    provider: str = ""
    model: str = ""
    parts: tuple[Any, ...] = ()
    whole: tuple[Mapping[str, Any], ...] = ()
    whole_bytes: int = 0
    seen: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


class Response(Struct, frozen=True, kw_only=True):
    """A model's answer as it is recorded before any tool runs (A9).

    ``sent`` are the messages that were new in the request; where ``fresh``, they begin the conversation ``thread``
    and stand for all that was said in it before. ``cost_micros`` is None for a model without a price (A14).
    ``stop`` is why the model stopped: ``stop``, ``tools``, ``length``, ``refusal``, or the provider's own word.
    """

    thread: str
    turn: int
    message: Message
    sent: tuple[Message, ...] = ()
    fresh: bool = False
    usage: Usage = Usage()
    cost_micros: int | None = None
    model: str = ""
    provider: str = ""
    stop: str = ""
    duration_ms: int = 0


class ToolEnded(Struct, frozen=True, kw_only=True):
    """A tool call and its result, as a message to the model. ``files_written`` are paths in the workspace."""

    thread: str
    turn: int
    call: ToolCall
    message: Message
    files_written: tuple[str, ...] = ()
    duration_ms: int = 0


class AgentTurn(Struct, frozen=True, kw_only=True):
    """One turn of an agent's loop: a request, the answer, the tools it asked for (agents.md).

    ``messages`` are all that are new in it; what ``on_response`` and ``on_tool`` recorded is not recorded again.
    ``agent_state`` is what a backend needs to continue: a CLI agent's session id.
    """

    thread: str
    turn: int
    messages: tuple[Message, ...] = ()
    fresh: bool = False
    tools: tuple[ToolEnded, ...] = ()
    files_written: tuple[str, ...] = ()
    usage: Usage = Usage()
    cost_micros: int | None = None
    model: str = ""
    provider: str = ""
    agent_state: Mapping[str, Any] = field(default_factory=dict)
    duration_ms: int = 0


class CompactedConversation(Struct, frozen=True, kw_only=True):
    """A conversation that was made shorter: ``messages`` stand for all that was said in it before (E40).

    ``removed`` counts the messages that they do not repeat, ``before`` the tokens that it had. ``model`` wrote the
    summary in it; where it is empty, results of tools were removed instead.
    """

    thread: str
    turn: int
    messages: tuple[Message, ...]
    removed: int
    before: int
    model: str = ""
    provider: str = ""
    usage: Usage = Usage()
    cost_micros: int | None = 0
    duration_ms: int = 0


class AgentConversation(Struct, frozen=True, kw_only=True):
    """The conversation of a node's agent: its name; ``begun`` that this attempt's prompt is said already;
    ``failed_before`` why the previous attempt failed, if this one starts afresh; ``transient`` that it failed
    for a moment (A15)."""

    name: str
    begun: bool = False
    failed_before: str = ""
    transient: bool = False


class Piece(Struct, frozen=True, kw_only=True):
    """What one recorded event adds to a conversation."""

    turn: int
    messages: tuple[Message, ...]
    fresh: bool = False
    responded: bool = False
    """It holds a model's answer."""
    completed: bool = False
    """It ends its turn."""
    input_tokens: int = 0
    agent_state: Mapping[str, Any] = field(default_factory=dict)


class Conversation(Struct, frozen=True, kw_only=True):
    """A recorded conversation, complete except for the results of ``pending``.

    ``pending`` are the calls of its last answer without a result; ``turns`` is the number of the last turn,
    ``open`` that it has not ended.
    """

    messages: tuple[Message, ...] = ()
    pending: tuple[ToolCall, ...] = ()
    turns: int = 0
    open: bool = False
    input_tokens: int = 0
    """What the last request held, in tokens, by the provider's count."""
    agent_state: Mapping[str, Any] = field(default_factory=dict)


EMPTY = Conversation()


def rebuild(pieces: Iterable[Piece]) -> Conversation:
    """Rebuild a conversation from its events, oldest first; a fresh start drops what came before."""
    messages: list[Message] = []
    results: dict[str, Message] = {}
    waiting: tuple[ToolCall, ...] = ()
    turns = tokens = 0
    open_ = False
    state: Mapping[str, Any] = {}
    for piece in pieces:
        turns = piece.turn
        if piece.fresh:
            messages, results, waiting, state, tokens = [], {}, (), {}, 0
        for message in piece.messages:
            if message.role == "tool":
                results[message.tool_call_id] = message
                continue
            messages += _results(waiting, results)
            messages.append(message)
            waiting, results = message.tool_calls, {}
        open_ = (open_ or piece.responded) and not piece.completed
        tokens = piece.input_tokens or tokens
        state = piece.agent_state or state
    known = _results(waiting, results)
    return Conversation(
        messages=(*messages, *known),
        pending=tuple(call for call in waiting if call.id not in results),
        turns=turns,
        open=open_,
        input_tokens=tokens,
        agent_state=state,
    )


def _results(calls: Sequence[ToolCall], results: Mapping[str, Message]) -> list[Message]:
    """The results in the order of their calls."""
    return [results[call.id] for call in calls if call.id in results]


def plain_messages(messages: Iterable[Message]) -> tuple[dict[str, Any], ...]:
    """Messages as plain data for an event."""
    return tuple(msgspec.to_builtins(message) for message in messages)


def read_messages(values: Iterable[Any]) -> tuple[Message, ...]:
    """Messages from an event's plain data. Raises ``ValueError`` where it is none."""
    try:
        return tuple(msgspec.convert(value, Message) for value in values)
    except msgspec.ValidationError as error:
        raise ValueError(f"not a message: {error}") from error
