"""OpenAI's Chat Completions: ``POST /v1/chat/completions``."""

from __future__ import annotations

from typing import Any

from orchestra.modelserver import failures
from orchestra.modelserver.answers import ScriptedReply, TokenUsage, pieces
from orchestra.modelserver.api import Api, Exchange, RequestBody, data, text_of

_STOPS = {
    "end": "stop",
    "tool_calls": "tool_calls",
    "length": "length",
    "refusal": "stop",
    "content_filter": "content_filter",
}
_CREATED = 1_790_000_000
_SYSTEM = ("system", "developer")


def _deployment(path: str) -> str:
    """The model in an address of Azure's: ``/openai/deployments/MODEL/chat/completions``."""
    _, _, rest = path.partition("/deployments/")
    return rest.partition("/")[0]


def _read(path: str, body: dict[str, Any]) -> RequestBody:
    messages, tools = body.get("messages") or [], body.get("tools") or []
    return RequestBody(
        model=str(body.get("model") or _deployment(path)),
        stream=body.get("stream") is True,
        system=text_of([message for message in messages if message.get("role") in _SYSTEM]),
        messages=messages,
        tools=tools,
        tool_names=tuple(str((tool.get("function") or {}).get("name", "")) for tool in tools),
    )


def _calls(answer: ScriptedReply, asked: Exchange) -> list[dict[str, Any]]:
    return [
        {
            "id": call.id or f"call_{asked.number:04}_{index}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.text},
        }
        for index, call in enumerate(answer.tool_calls)
    ]


def _usage(usage: TokenUsage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "audio_tokens": 0},
    }


def _whole(answer: ScriptedReply, asked: Exchange) -> dict[str, Any]:
    refused = answer.stopped == "refusal"
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if refused or answer.empty else answer.text or None,
        "refusal": answer.text or "I'm sorry, I can't help with that." if refused else None,
    }
    if answer.tool_calls:
        message["tool_calls"] = _calls(answer, asked)
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _STOPS[answer.stopped]}
    return {**_head(asked, "chat.completion"), "choices": [choice], "usage": _usage(asked.usage(answer))}


def _head(asked: Exchange, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{asked.number:04}",
        "object": kind,
        "created": _CREATED,
        "model": asked.model,
        "system_fingerprint": None,
    }


def _frames(answer: ScriptedReply, asked: Exchange) -> list[str]:
    whole = _whole(answer, asked)
    head = _head(asked, "chat.completion.chunk")
    message = whole["choices"][0]["message"]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": "", "refusal": None}]
    deltas += [{"content": piece} for piece in pieces(message["content"] or "")]
    deltas += [{"refusal": piece} for piece in pieces(message["refusal"] or "")]
    for index, call in enumerate(message.get("tool_calls", ())):
        function = call["function"]
        started = {"name": function["name"], "arguments": ""}
        deltas.append({"tool_calls": [{"index": index, **call, "function": started}]})
        deltas += [
            {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
            for piece in pieces(function["arguments"])
        ]
    frames = [data({**head, "choices": [_choice(delta)]}) for delta in deltas]
    frames.append(data({**head, "choices": [_choice({}, whole["choices"][0]["finish_reason"])]}))
    if (asked.body.get("stream_options") or {}).get("include_usage"):
        frames.append(data({**head, "choices": [], "usage": whole["usage"]}))
    return [*frames, "data: [DONE]\n\n"]


def _choice(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}


def _complaint(body: dict[str, Any]) -> str:
    messages = body.get("messages") or []
    if not messages:
        return "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array."
    waiting: list[str] = []
    for number, message in enumerate(messages):
        if message.get("role") == "tool":
            id_ = str(message.get("tool_call_id"))
            if id_ not in waiting:
                return (
                    f"Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
                    f"'tool_calls'. (messages.[{number}].role)"
                )
            waiting.remove(id_)
            continue
        if waiting:
            return _dangling(waiting)
        waiting = [str(call.get("id")) for call in message.get("tool_calls") or ()]
    return _dangling(waiting) if waiting else ""


def _dangling(ids: list[str]) -> str:
    return (
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
        f"'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(ids)}"
    )


API = Api(
    name="chat",
    read=_read,
    whole=_whole,
    frames=_frames,
    failure=failures.openai,
    failed=data,
    complaint=_complaint,
)
