"""Our messages as LangChain's, and a model's answer as ours."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestra.agents.answers import LENGTH, REFUSAL, STOP, TOOLS
from orchestra.run.conversation import Message, ToolCall, Usage
from orchestra.run.secrets import clean, plain_json

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, BaseMessage

_STOPS: Mapping[str, str] = {
    "stop": STOP,
    "end_turn": STOP,
    "stop_sequence": STOP,
    "completed": STOP,
    "tool_calls": TOOLS,
    "function_call": TOOLS,
    "tool_use": TOOLS,
    "length": LENGTH,
    "max_tokens": LENGTH,
    "max_output_tokens": LENGTH,
    "incomplete": LENGTH,
    "model_context_window_exceeded": LENGTH,
    "refusal": REFUSAL,
    "content_filter": REFUSAL,
    "safety": REFUSAL,
    "recitation": REFUSAL,
    "prohibited_content": REFUSAL,
    "blocklist": REFUSAL,
    "content_filtered": REFUSAL,
    "guardrail_intervened": REFUSAL,
}
"""The providers' words for why a model stopped, in lower case."""


def to_langchain(
    messages: Sequence[Message], *, provider: str, model: str, wire: Mapping[str, str]
) -> list[BaseMessage]:
    """The messages for a model; its own content blocks go back to it as they were, another's as text.

    ``wire`` are the names under which it knows our tools.
    """
    return [_one(message, message.provider == provider and message.model == model, wire) for message in messages]


def _one(message: Message, own: bool, wire: Mapping[str, str]) -> BaseMessage:
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

    if message.role == "system":
        return SystemMessage(message.text)
    if message.role == "user":
        parts: list[Any] = list(message.parts)
        return HumanMessage([{"type": "text", "text": message.text}, *parts] if parts else message.text)
    if message.role == "tool":
        return ToolMessage(
            message.text,
            tool_call_id=message.tool_call_id,
            name=wire.get(message.name, message.name),
            status="error" if message.is_error else "success",
        )
    calls = [
        {"name": wire.get(call.name, call.name), "args": dict(call.arguments), "id": call.id, "type": "tool_call"}
        for call in message.tool_calls
    ]
    native: dict[str, Any] = dict(message.native[0]) if own and message.native else {}
    return AIMessage(
        content=native.get("content", message.text),
        additional_kwargs=native.get("kwargs", {}),
        response_metadata=native.get("metadata", {}),
        tool_calls=calls,
    )


def from_langchain(answer: AIMessage, *, provider: str, model: str, ours: Mapping[str, str]) -> Message:
    """A model's answer. ``ours`` are our names of the tools, by those under which the model knows them."""
    pieces = getattr(answer, "tool_call_chunks", None)
    if pieces:  # what LangChain makes of them repairs arguments that were cut off, which must not be executed
        calls = tuple(_read(piece, ours) for piece in pieces)
    else:
        calls = tuple(
            [_call(call, ours) for call in answer.tool_calls]
            + [_invalid(call, ours) for call in answer.invalid_tool_calls]
        )
    return Message(
        role="assistant",
        text=clean(str(answer.text)) or clean(str(answer.additional_kwargs.get("refusal") or "")),
        tool_calls=calls,
        native=_native(answer),
        provider=provider,
        model=model,
    )


def _read(piece: Any, ours: Mapping[str, str]) -> ToolCall:
    """A tool call that was streamed, its arguments whole JSON or invalid."""
    try:
        arguments = json.loads(piece["args"] or "{}")
    except ValueError:
        return _invalid(piece, ours)
    if not isinstance(arguments, dict):
        return _invalid(piece, ours)
    return _call({"name": piece["name"] or "unknown", "id": piece["id"], "args": arguments}, ours)


def _call(call: Any, ours: Mapping[str, str]) -> ToolCall:
    name = ours.get(call["name"], call["name"])
    try:
        arguments = plain_json(call["args"])
    except ValueError as error:
        return ToolCall(id=call["id"] or "", name=name, invalid=str(error))
    return ToolCall(id=call["id"] or "", name=name, arguments=arguments if isinstance(arguments, dict) else {})


def _invalid(call: Any, ours: Mapping[str, str]) -> ToolCall:
    name = call["name"] or "unknown"
    written = clean(str(call["args"] or ""))[:2000]
    return ToolCall(id=call["id"] or "", name=ours.get(name, name), invalid=f"not a JSON object: {written}")


_KEPT = ("reasoning", "__gemini_function_call_thought_signatures__", "reasoning_content")
"""What an answer's further fields hold that its provider wants back."""


def _native(answer: AIMessage) -> tuple[Any, ...]:
    """The answer's own blocks, where they hold more than its text and its tool calls."""
    kwargs = {key: value for key, value in answer.additional_kwargs.items() if key in _KEPT}
    content = answer.content
    plain = isinstance(content, str) or all(
        isinstance(block, str) or block.get("type") == "text" for block in content
    )
    if plain and not kwargs:
        return ()
    metadata = {k: v for k, v in answer.response_metadata.items() if k in ("output_version", "model_provider")}
    blocks = content if isinstance(content, str) else [_block(block) for block in content]
    try:
        return (json.loads(json.dumps({"content": blocks, "kwargs": kwargs, "metadata": metadata})),)
    except (TypeError, ValueError):
        return ()


def _block(block: Any) -> Any:
    """A content block without what only a stream needs."""
    if not isinstance(block, dict):
        return block
    return {key: value for key, value in block.items() if key not in ("index", "partial_json")}


def usage_of(answer: AIMessage) -> Usage:
    """The tokens that the provider counted."""
    told: Any = answer.usage_metadata or {}
    read: Any = told.get("input_token_details") or {}
    wrote: Any = told.get("output_token_details") or {}
    written = read.get("cache_creation") or sum(
        int(value or 0) for key, value in read.items() if key.startswith("ephemeral_")
    )
    return Usage(
        input=int(told.get("input_tokens") or 0),
        output=int(told.get("output_tokens") or 0),
        cache_read=int(read.get("cache_read") or 0),
        cache_write=int(written or 0),
        reasoning=int(wrote.get("reasoning") or 0),
    )


def stop_of(answer: AIMessage) -> str:
    """Why the model stopped; empty where the stream broke off before it said so."""
    told: Any = answer.response_metadata
    if answer.additional_kwargs.get("refusal") or _refuses(answer.content):
        return REFUSAL
    details = told.get("incomplete_details") or {}
    word = (
        (details.get("reason") if isinstance(details, dict) else "")
        or told.get("finish_reason")
        or told.get("stop_reason")
        or told.get("stopReason")
        or told.get("status")
        or ""
    )
    return _STOPS.get(str(word).lower(), str(word).lower())


def _refuses(content: Any) -> bool:
    return isinstance(content, list) and any(
        isinstance(block, dict) and block.get("type") == "refusal" for block in content
    )
