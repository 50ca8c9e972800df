"""Gemini and Vertex AI: ``POST /v1beta/models/MODEL:generateContent`` and ``:streamGenerateContent``."""

from __future__ import annotations

import re
from typing import Any

from orchestra.modelserver import failures
from orchestra.modelserver.answers import ScriptedReply, TokenUsage, pieces
from orchestra.modelserver.api import Api, Exchange, RequestBody, data, text_of

PATH = re.compile(
    r"/v1(?:beta1?|alpha)?/(?:projects/[^/]+/locations/[^/]+/)?(?:publishers/[^/]+/)?(?:models|tunedModels)/"
    r"([^/:]+):(generateContent|streamGenerateContent)"
)
"""Gemini's own address of a model, and Vertex AI's with its project, location and publisher."""
_STOPS = {
    "end": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "refusal": "SAFETY",
    "content_filter": "SAFETY",
}


def _read(path: str, body: dict[str, Any]) -> RequestBody:
    found = PATH.search(path)
    system = body.get("systemInstruction", body.get("system_instruction"))
    tools = body.get("tools") or []
    declared = [
        each for tool in tools for each in tool.get("functionDeclarations", tool.get("function_declarations")) or ()
    ]
    return RequestBody(
        model=found[1] if found else "",
        stream=bool(found) and found[2] == "streamGenerateContent" if found else False,
        system=text_of(system),
        messages=body.get("contents") or [],
        tools=declared,
        tool_names=tuple(str(each.get("name", "")) for each in declared),
    )


def _parts(answer: ScriptedReply, asked: Exchange) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    if answer.empty:
        return parts
    if answer.thinking:
        parts.append({"text": answer.thinking, "thought": True})
    parts += [{"text": piece} for piece in pieces(answer.text)]
    for index, call in enumerate(answer.tool_calls):
        function = {"name": call.name, "args": dict(call.value)}
        if call.id:
            function["id"] = call.id
        signed = {} if index else {"thoughtSignature": "c2lnbmF0dXJl"}
        parts.append({"functionCall": function, **signed})
    return parts


def _usage(usage: TokenUsage) -> dict[str, Any]:
    return {
        "promptTokenCount": usage.input,
        "candidatesTokenCount": max(0, usage.output - usage.reasoning),
        "totalTokenCount": usage.input + usage.output,
        "cachedContentTokenCount": usage.cached,
        "thoughtsTokenCount": usage.reasoning,
    }


def _whole(answer: ScriptedReply, asked: Exchange) -> dict[str, Any]:
    parts = _parts(answer, asked)
    texts = [part for part in parts if "text" in part and not part.get("thought")]
    if texts:
        at = parts.index(texts[0])
        parts = [*parts[:at], {"text": answer.text}, *parts[at + len(texts) :]]
    return _chunk(asked, parts, _STOPS[answer.stopped], _usage(asked.usage(answer)))


def _chunk(
    asked: Exchange, parts: list[dict[str, Any]], reason: str | None, usage: dict[str, Any] | None
) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if not parts:
        candidate["content"] = {"role": "model"}
    if reason:
        candidate["finishReason"] = reason
    found: dict[str, Any] = {
        "candidates": [candidate],
        "modelVersion": asked.model,
        "responseId": f"r{asked.number:04}",
    }
    return {**found, "usageMetadata": usage} if usage else found


def _frames(answer: ScriptedReply, asked: Exchange) -> list[str]:
    usage = _usage(asked.usage(answer))
    chunks = [_chunk(asked, [part], None, None) for part in _parts(answer, asked)]
    return [data(each) for each in (*chunks, _chunk(asked, [], _STOPS[answer.stopped], usage))]


def _complaint(body: dict[str, Any]) -> str:
    contents = body.get("contents") or []
    if not contents:
        return "GenerateContentRequest.contents: contents is not specified"
    for number, content in enumerate(contents):
        if not content.get("parts"):
            return f"Unable to submit request because it must have a text parameter (contents[{number}].parts)."
        called = _count(content, "functionCall", "function_call")
        following = contents[number + 1] if number + 1 < len(contents) else {}
        if called and called != _count(following, "functionResponse", "function_response"):
            return (
                "Please ensure that the number of function response parts is equal to the number of function call "
                "parts of the function call turn."
            )
    return ""


def _count(content: dict[str, Any], *keys: str) -> int:
    return sum(1 for part in content.get("parts") or () if any(key in part for key in keys))


API = Api(
    name="gemini",
    read=_read,
    whole=_whole,
    frames=_frames,
    failure=failures.gemini,
    failed=data,
    complaint=_complaint,
)
