"""OpenAI's Responses: ``POST /v1/responses``."""

from __future__ import annotations

from typing import Any

from orchestra.modelserver import failures
from orchestra.modelserver.answers import ScriptedReply, TokenUsage, pieces
from orchestra.modelserver.api import Api, Exchange, RequestBody, event, text_of

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
_CREATED = 1_790_000_000
_SYSTEM = ("system", "developer")


def _read(path: str, body: dict[str, Any]) -> RequestBody:
    given, tools = body.get("input") or [], body.get("tools") or []
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else given
    system = [message for message in messages if message.get("role") in _SYSTEM]
    return RequestBody(
        model=str(body.get("model", "")),
        stream=body.get("stream") is True,
        system=text_of([body.get("instructions"), *system]),
        messages=messages,
        tools=tools,
        tool_names=tuple(str(tool.get("name", tool.get("type", ""))) for tool in tools),
    )


def _items(answer: ScriptedReply, asked: Exchange) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if answer.empty:
        return items
    status = "incomplete" if answer.stopped in _INCOMPLETE else "completed"
    if answer.thinking:
        summary = [{"type": "summary_text", "text": answer.thinking}]
        items.append({"type": "reasoning", "id": f"rs_{asked.number:04}", "summary": summary})
    if answer.text or answer.stopped == "refusal":
        items.append(
            {
                "type": "message",
                "id": f"msg_{asked.number:04}",
                "role": "assistant",
                "status": status,
                "content": [_part(answer)],
            }
        )
    for index, call in enumerate(answer.tool_calls):
        items.append(
            {
                "type": "function_call",
                "id": f"fc_{asked.number:04}_{index}",
                "call_id": call.id or f"call_{asked.number:04}_{index}",
                **_tool_name(asked, call.name),
                "arguments": call.text,
                "status": status,
            }
        )
    return items


def _tool_name(asked: Exchange, name: str) -> dict[str, str]:
    """A tool's name, and its namespace where the request offers it in one: ``mcp__server__tool`` (Codex)."""
    offered = asked.body.get("tools")
    for tool in offered if isinstance(offered, list) else ():
        if isinstance(tool, dict) and tool.get("type") == "namespace":
            space = str(tool.get("name"))
            if name.startswith(f"{space}__"):
                return {"namespace": space, "name": name.removeprefix(f"{space}__")}
    return {"name": name}


def _part(answer: ScriptedReply) -> dict[str, Any]:
    if answer.stopped == "refusal":
        return {"type": "refusal", "refusal": answer.text or "I'm sorry, I can't help with that."}
    return {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}


def _usage(usage: TokenUsage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.written},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }


def _whole(answer: ScriptedReply, asked: Exchange) -> dict[str, Any]:
    reason = _INCOMPLETE.get(answer.stopped)
    return {
        "id": f"resp_{asked.number:04}",
        "object": "response",
        "created_at": _CREATED,
        "status": "incomplete" if reason else "completed",
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": asked.body.get("instructions"),
        "model": asked.model,
        "output": _items(answer, asked),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": asked.tools,
        "temperature": 1.0,
        "top_p": 1.0,
        "metadata": {},
        "usage": _usage(asked.usage(answer)),
    }


def _frames(answer: ScriptedReply, asked: Exchange) -> list[str]:
    whole = _whole(answer, asked)
    begun = {**whole, "status": "in_progress", "incomplete_details": None, "output": [], "usage": None}
    found: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for index, item in enumerate(whole["output"]):
        found += _item_events(index, item)
    kind = "response.incomplete" if whole["incomplete_details"] else "response.completed"
    found.append({"type": kind, "response": whole})
    return [event({**each, "sequence_number": number}) for number, each in enumerate(found)]


def _item_events(index: int, item: dict[str, Any]) -> list[dict[str, Any]]:
    place = {"output_index": index, "item_id": item["id"]}
    match item["type"]:
        case "function_call":
            empty = {**item, "arguments": "", "status": "in_progress"}
            kind = "response.function_call_arguments"
            inner = [{"type": f"{kind}.delta", "delta": piece, **place} for piece in pieces(item["arguments"])]
            inner.append({"type": f"{kind}.done", "arguments": item["arguments"], "name": item["name"], **place})
        case "reasoning":
            empty, inner = {**item, "summary": []}, _summary(place, item["summary"][0])
        case _:
            empty = {**item, "content": [], "status": "in_progress"}
            inner = _content({**place, "content_index": 0}, item["content"][0])
    return [
        {"type": "response.output_item.added", "output_index": index, "item": empty},
        *inner,
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]


def _summary(place: dict[str, Any], part: dict[str, Any]) -> list[dict[str, Any]]:
    place, kind = {**place, "summary_index": 0}, "response.reasoning_summary"
    return [
        {"type": f"{kind}_part.added", "part": {**part, "text": ""}, **place},
        *[{"type": f"{kind}_text.delta", "delta": piece, **place} for piece in pieces(part["text"])],
        {"type": f"{kind}_text.done", "text": part["text"], **place},
        {"type": f"{kind}_part.done", "part": part, **place},
    ]


def _content(place: dict[str, Any], part: dict[str, Any]) -> list[dict[str, Any]]:
    key = "refusal" if part["type"] == "refusal" else "text"
    kind = f"response.{part['type']}"
    more: dict[str, Any] = {} if key == "refusal" else {"logprobs": []}
    return [
        {"type": "response.content_part.added", "part": {**part, key: ""}, **place},
        *[{"type": f"{kind}.delta", "delta": piece, **more, **place} for piece in pieces(part[key])],
        {"type": f"{kind}.done", key: part[key], **more, **place},
        {"type": "response.content_part.done", "part": part, **place},
    ]


def _failure_body(body: Any) -> str:
    error = body.get("error", {}) if isinstance(body, dict) else {}
    return event({"type": "error", "sequence_number": 0, **{k: error.get(k) for k in ("code", "message", "param")}})


def _complaint(body: dict[str, Any]) -> str:
    given = body.get("input")
    if not given and not body.get("previous_response_id"):
        return "Missing required parameter: 'input'."
    items = given if isinstance(given, list) else []
    called = _ids(items, ("function_call", "custom_tool_call", "local_shell_call"))
    answered = _ids(items, ("function_call_output", "custom_tool_call_output", "local_shell_call_output"))
    for id_ in called:
        if id_ not in answered:
            return f"No tool output found for function call {id_}."
    if not body.get("previous_response_id"):
        for id_ in answered:
            if id_ not in called:
                return f"No tool call found for function call output with call_id {id_}."
    return ""


def _ids(items: list[dict[str, Any]], kinds: tuple[str, ...]) -> list[str]:
    return [str(item.get("call_id")) for item in items if item.get("type") in kinds]


API = Api(
    name="responses",
    read=_read,
    whole=_whole,
    frames=_frames,
    failure=failures.openai,
    failed=_failure_body,
    complaint=_complaint,
)
