"""Amazon Bedrock: ``POST /model/MODEL/converse`` and ``/converse-stream`` (AWS's event stream)."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from orchestra.modelserver.answers import Failure, ScriptedReply, TokenUsage, pieces
from orchestra.modelserver.api import Api, Exchange, RequestBody, text_of

PATH = re.compile(r"/model/([^/]+)/converse(-stream)?$")
STREAM = "application/vnd.amazon.eventstream"

_STOPS = {
    "end": "end_turn",
    "tool_calls": "tool_use",
    "length": "max_tokens",
    "refusal": "content_filtered",
    "content_filter": "content_filtered",
}

_FAILURES: Mapping[str, tuple[int, str, str]] = {
    "rate_limit": (429, "ThrottlingException", "Too many requests, please wait before trying again."),
    "insufficient_quota": (400, "ServiceQuotaExceededException", "Your account has reached its quota."),
    "unauthorized": (403, "UnrecognizedClientException", "The security token included in the request is invalid."),
    "forbidden": (403, "AccessDeniedException", "You don't have access to the model with the specified model ID."),
    "model_not_found": (404, "ResourceNotFoundException", "Could not resolve the foundation model {model}."),
    "context_too_long": (400, "ValidationException", "Input is too long for requested model."),
    "content_refused": (400, "ValidationException", "The input was blocked by a content filter."),
    "invalid_request": (400, "ValidationException", "The request is malformed."),
    "overloaded": (503, "ServiceUnavailableException", "The model is not available at the moment."),
    "server_error": (500, "InternalServerException", "The server met an internal error."),
}


def _read(path: str, body: dict[str, Any]) -> RequestBody:
    found = PATH.search(path)
    tools = (body.get("toolConfig") or {}).get("tools") or []
    names = [str(tool["toolSpec"].get("name", "")) for tool in tools if "toolSpec" in tool]
    return RequestBody(
        model=unquote(found[1]) if found else "",
        stream=bool(found and found[2]),
        system=text_of(body.get("system")),
        messages=[_plain(message) for message in body.get("messages") or []],
        tools=tools,
        tool_names=tuple(names),
    )


def _plain(message: dict[str, Any]) -> dict[str, Any]:
    """A message with its tool results where ``text_of`` finds them."""
    content = [block.get("toolResult", block) for block in message.get("content") or []]
    return {"role": message.get("role"), "content": content}


def _calls(answer: ScriptedReply, asked: Exchange) -> list[dict[str, Any]]:
    return [
        {"toolUseId": call.id or f"tooluse_{asked.number:04}_{place}", "name": call.name, "input": call}
        for place, call in enumerate(answer.tool_calls)
    ]


def _usage(usage: TokenUsage) -> dict[str, Any]:
    return {
        "inputTokens": usage.input - usage.cached - usage.written,
        "outputTokens": usage.output,
        "totalTokens": usage.input + usage.output,
        "cacheReadInputTokens": usage.cached,
        "cacheWriteInputTokens": usage.written,
    }


def _whole(answer: ScriptedReply, asked: Exchange) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"text": answer.text}] if answer.text and not answer.empty else []
    content += [{"toolUse": {**call, "input": dict(call["input"].value)}} for call in _calls(answer, asked)]
    return {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": _STOPS[answer.stopped],
        "usage": _usage(asked.usage(answer)),
        "metrics": {"latencyMs": 1},
    }


def _frames(answer: ScriptedReply, asked: Exchange) -> list[bytes]:
    found = [_event("messageStart", {"role": "assistant"})]
    block = 0
    if answer.text and not answer.empty:
        found += [
            _event("contentBlockDelta", {"delta": {"text": piece}, "contentBlockIndex": block})
            for piece in pieces(answer.text)
        ]
        found.append(_event("contentBlockStop", {"contentBlockIndex": block}))
        block += 1
    for place, call in enumerate(_calls(answer, asked), block):
        start = {"toolUse": {"toolUseId": call["toolUseId"], "name": call["name"]}}
        found.append(_event("contentBlockStart", {"start": start, "contentBlockIndex": place}))
        for piece in pieces(call["input"].text):
            delta = {"toolUse": {"input": piece}}
            found.append(_event("contentBlockDelta", {"delta": delta, "contentBlockIndex": place}))
        found.append(_event("contentBlockStop", {"contentBlockIndex": place}))
    found.append(_event("messageStop", {"stopReason": _STOPS[answer.stopped]}))
    found.append(_event("metadata", {"usage": _usage(asked.usage(answer)), "metrics": {"latencyMs": 1}}))
    return found


def _event(name: str, payload: Any) -> bytes:
    return _frame({":event-type": name, ":content-type": "application/json", ":message-type": "event"}, payload)


def _frame(headers: Mapping[str, str], payload: Any) -> bytes:
    """A message of the event stream: lengths, their checksum, headers, payload, the checksum of all."""
    packed = b"".join(
        struct.pack(">B", len(name)) + name.encode() + struct.pack(">BH", 7, len(value)) + value.encode()
        for name, value in headers.items()
    )
    data = json.dumps(payload).encode()
    prelude = struct.pack(">II", 16 + len(packed) + len(data), len(packed))
    whole = prelude + struct.pack(">I", zlib.crc32(prelude)) + packed + data
    return whole + struct.pack(">I", zlib.crc32(whole))


def _failure(failure: Failure, model: str) -> tuple[int, Any]:
    status, kind, message = _FAILURES[failure.kind]
    body = {"__type": kind, "message": failure.message or message.format(model=model)}
    return failure.status or status, body if failure.body is None else failure.body


def _failure_body(body: Any) -> bytes:
    kind = str(body.get("__type", "InternalServerException"))
    headers = {":exception-type": kind[0].lower() + kind[1:], ":content-type": "application/json"}
    return _frame({**headers, ":message-type": "exception"}, {"message": body.get("message", "")})


def _complaint(body: dict[str, Any]) -> str:
    messages = body.get("messages") or []
    if not messages:
        return "A conversation must have at least one message."
    for number, message in enumerate(messages):
        if not message.get("content"):
            return f"The content field in the Message object at messages.{number} is empty."
        following = messages[number + 1] if number + 1 < len(messages) else {}
        if _ids(message, "toolUse") - _ids(following, "toolResult"):
            return f"Expected toolResult blocks at messages.{number + 1}.content for all the toolUse blocks."
    return ""


def _ids(message: dict[str, Any], kind: str) -> set[str]:
    return {str(block[kind].get("toolUseId")) for block in message.get("content") or () if kind in block}


API = Api(
    name="bedrock",
    read=_read,
    whole=_whole,
    frames=_frames,
    failure=_failure,
    failed=_failure_body,
    complaint=_complaint,
)
