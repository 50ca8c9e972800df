"""Anthropic's Messages: ``POST /v1/messages``."""

from __future__ import annotations

import re
from typing import Any

from orchestra.modelserver import failures
from orchestra.modelserver.answers import ScriptedReply, TokenUsage, pieces
from orchestra.modelserver.api import Api, Exchange, RequestBody, event, text_of

_STOPS = {
    "end": "end_turn",
    "tool_calls": "tool_use",
    "length": "max_tokens",
    "refusal": "refusal",
    "content_filter": "refusal",
}
_TOOL = re.compile(r"[a-zA-Z0-9_-]{1,128}")


def _read(path: str, body: dict[str, Any]) -> RequestBody:
    tools = body.get("tools") or []
    return RequestBody(
        model=str(body.get("model", "")),
        stream=body.get("stream") is True,
        system=text_of(body.get("system")),
        messages=body.get("messages") or [],
        tools=tools,
        tool_names=tuple(str(tool.get("name", "")) for tool in tools),
    )


def _blocks(answer: ScriptedReply, asked: Exchange) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if answer.empty:
        return blocks
    if answer.thinking:
        blocks.append({"type": "thinking", "thinking": answer.thinking, "signature": f"sig{asked.number:04}"})
    if answer.text:
        blocks.append({"type": "text", "text": answer.text})
    for index, call in enumerate(answer.tool_calls):
        id_ = call.id or f"toolu_{asked.number:04}_{index}"
        blocks.append({"type": "tool_use", "id": id_, "name": call.name, "input": dict(call.value)})
    return blocks


def _usage(usage: TokenUsage, output: int) -> dict[str, int]:
    return {
        "input_tokens": max(0, usage.input - usage.cached - usage.written),
        "cache_creation_input_tokens": usage.written,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": output,
    }


def _whole(answer: ScriptedReply, asked: Exchange) -> dict[str, Any]:
    usage = asked.usage(answer)
    return {
        "id": f"msg_{asked.number:04}",
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": _blocks(answer, asked),
        "stop_reason": _STOPS[answer.stopped],
        "stop_sequence": None,
        "usage": _usage(usage, usage.output),
    }


def _frames(answer: ScriptedReply, asked: Exchange) -> list[str]:
    usage, whole = asked.usage(answer), _whole(answer, asked)
    blocks, stop = whole["content"], whole["stop_reason"]
    message = {**whole, "content": [], "stop_reason": None, "usage": _usage(usage, 1)}
    found: list[dict[str, Any]] = [{"type": "message_start", "message": message}, {"type": "ping"}]
    texts = [call.text for call in answer.tool_calls]
    for index, block in enumerate(blocks):
        arguments = texts[index - len(blocks)] if block["type"] == "tool_use" else ""
        started, deltas = _block_events(block, arguments)
        found.append({"type": "content_block_start", "index": index, "content_block": started})
        found += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        found.append({"type": "content_block_stop", "index": index})
    found.append(
        {
            "type": "message_delta",
            "delta": {"stop_reason": stop, "stop_sequence": None},
            "usage": _usage(usage, usage.output),
        }
    )
    return [event(each) for each in (*found, {"type": "message_stop"})]


def _block_events(block: dict[str, Any], arguments: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """How a block starts, and what is added to it."""
    match block["type"]:
        case "text":
            deltas = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
            return {"type": "text", "text": ""}, deltas
        case "thinking":
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
            return {"type": "thinking", "thinking": "", "signature": ""}, deltas
        case _:
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces(arguments)]
            return {**block, "input": {}}, deltas


def _complaint(body: dict[str, Any]) -> str:
    messages = body.get("messages") or []
    if "max_tokens" not in body:
        return "max_tokens: Field required"
    if not messages:
        return "messages: at least one message is required"
    for number, tool in enumerate(body.get("tools") or []):
        if not _TOOL.fullmatch(str(tool.get("name", ""))):
            return f"tools.{number}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
    for number, message in enumerate(messages):
        found = _empty(number, message, last=number == len(messages) - 1) or _unmatched_call(number, messages)
        if found:
            return found
    return ""


def _empty(number: int, message: dict[str, Any], *, last: bool) -> str:
    content = message.get("content")
    if not content and not (last and message.get("role") == "assistant"):
        return (
            f"messages.{number}: all messages must have non-empty content except for the optional final assistant"
        )
    for block in content if isinstance(content, list) else ():
        if block.get("type") == "text" and not block.get("text"):
            return "messages: text content blocks must be non-empty"
    return ""


def _unmatched_call(number: int, messages: list[dict[str, Any]]) -> str:
    """Return a tool call without a result in the next message, or a result without its call."""
    called, answered = (
        _ids(messages[number], "tool_use", "id"),
        _ids(messages[number], "tool_result", "tool_use_id"),
    )
    following = messages[number + 1] if number + 1 < len(messages) else {}
    missing = [id_ for id_ in called if id_ not in _ids(following, "tool_result", "tool_use_id")]
    if missing:
        return (
            f"messages.{number}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block in the "
            "next message."
        )
    before = _ids(messages[number - 1], "tool_use", "id") if number else []
    stray = [id_ for id_ in answered if id_ not in before]
    if stray:
        return (
            f"messages.{number}.content.0: unexpected `tool_use_id` found in `tool_result` blocks: "
            f"{', '.join(stray)}. Each `tool_result` block must have a corresponding `tool_use` block in the "
            "previous message."
        )
    return ""


def _ids(message: dict[str, Any], kind: str, key: str) -> list[str]:
    content = message.get("content")
    blocks = content if isinstance(content, list) else []
    return [str(block.get(key)) for block in blocks if block.get("type") == kind]


API = Api(
    name="anthropic",
    read=_read,
    whole=_whole,
    frames=_frames,
    failure=failures.anthropic,
    failed=event,
    complaint=_complaint,
)
