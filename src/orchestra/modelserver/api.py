"""A request in one form for all providers, and what the server needs of one provider's wire format."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestra.modelserver.answers import Failure, ScriptedReply, TokenUsage

KEYS = frozenset({"authorization", "x-api-key", "x-goog-api-key", "api-key", "cookie", "proxy-authorization"})
"""Headers that hold a secret: only that they came is kept."""


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request and how it was answered.

    ``number`` counts from 1. ``messages`` and ``tools`` stand as the client sent them, ``last`` is the text of the
    last message, tool results included. ``answered`` is the HTTP status, 0 until it is sent. ``rule`` says which
    rule answered, ``left`` whether the client had gone before the answer's end.
    """

    number: int
    api: str
    path: str
    model: str
    stream: bool
    system: str
    last: str
    messages: list[Any]
    tools: list[Any]
    tool_names: tuple[str, ...]
    body: dict[str, Any]
    headers: Mapping[str, str]
    keyed: bool
    """Whether it had a key."""
    answered: int = 0
    rule: str = ""
    left: bool = False

    def plain(self) -> dict[str, Any]:
        """It as JSON, for ``GET /_requests``."""
        names = (
            "number api path model stream system last messages tools tool_names body headers keyed answered rule "
            "left"
        )
        return {name: getattr(self, name) for name in names.split()}

    def usage(self, answer: ScriptedReply) -> TokenUsage:
        """The usage that is scripted, else one by the length of the texts."""
        if answer.usage is not None:
            return answer.usage
        size = len(self.system) + sum(len(str(message)) for message in self.messages)
        output = len(answer.text) + len(answer.thinking) + sum(len(call.text) for call in answer.tool_calls)
        return TokenUsage(input=max(1, size // 4), output=max(1, output // 4))


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestBody:
    """What an API's body says."""

    model: str
    stream: bool
    system: str
    messages: list[Any]
    tools: list[Any] = field(default_factory=list)
    tool_names: tuple[str, ...] = ()


def text_of(value: Any) -> str:
    """All the text in a message, however nested, in its order."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(filter(None, map(text_of, value)))
    if isinstance(value, dict):
        return "\n".join(filter(None, (text_of(value[key]) for key in _TEXTS if key in value)))
    return ""


_TEXTS = (
    "text",
    "content",
    "output",
    "parts",
    "functionResponse",
    "function_response",
    "response",
    "result",
    "error",
)
"""The keys under which the providers' messages hold text."""


def without_keys(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers but for those that hold a secret, by their lower-case names."""
    return {name.lower(): value for name, value in headers.items() if name.lower() not in KEYS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """One wire format.

    ``read`` takes a request's path and body; ``whole`` gives the body of an answer, ``frames`` the events of a
    streamed one; ``failure`` gives a failure's status and body, ``failed`` the event of one in a stream.
    ``complaint`` is what the provider finds wrong with a request, empty where it takes it.
    """

    name: str
    read: Callable[[str, dict[str, Any]], RequestBody]
    whole: Callable[[ScriptedReply, Exchange], Any]
    frames: Callable[[ScriptedReply, Exchange], Sequence[str | bytes]]
    failure: Callable[[Failure, str], tuple[int, Any]]
    failed: Callable[[Any], str | bytes]
    complaint: Callable[[dict[str, Any]], str]


def data(value: Any) -> str:
    """A server-sent event without a name."""
    return f"data: {json.dumps(value)}\n\n"


def event(value: dict[str, Any]) -> str:
    """A server-sent event that is named by its type."""
    return f"event: {value['type']}\n{data(value)}"
