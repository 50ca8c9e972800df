"""What a script says: answers, when they are given, and failures in the providers' own words.

Each class is a section of the script: its fields are the keys, with their readers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestra.config.schema import (
    WRONG,
    Section,
    SettingPlace,
    choice,
    flag,
    key,
    length,
    mapping,
    one_or_many,
    plain,
    whole,
    words,
)

KINDS: Mapping[str, str] = {
    "rate_limit": "too many requests (429)",
    "insufficient_quota": "no credit left (429; Anthropic: 400)",
    "unauthorized": "the key is wrong (401)",
    "forbidden": "the key may not do this (403)",
    "model_not_found": "no such model (404)",
    "context_too_long": "more input than the model takes (400)",
    "content_refused": "the input was refused (400)",
    "invalid_request": "the request is malformed (400)",
    "overloaded": "no capacity at the moment (Anthropic: 529, others: 503)",
    "server_error": "an internal error (500)",
}
"""The kinds of failure that a script can name."""

STOPS = ("end", "tool_calls", "length", "refusal", "content_filter")
"""Why a model stopped, as a script says it."""

PIECE = 16
"""Characters of a streamed piece of text or of a tool call's arguments."""


APIS = ("anthropic", "chat", "responses", "gemini", "bedrock")
"""The wire formats."""


def _arguments(value: Any, place: SettingPlace) -> Mapping[str, Any] | str:
    return value if isinstance(value, str) else mapping(value, place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One tool call.

    ``arguments`` as text are sent unchanged, so that invalid or cut ones can be written.
    """

    name: str = key(words, "the tool", default="", required=True, others=("tool", "function"))
    arguments: Mapping[str, Any] | str = key(
        _arguments, "its arguments, or a text", factory=dict, others=("args", "input", "parameters", "params")
    )
    id: str = key(words, "its id", default="")

    @property
    def text(self) -> str:
        """The arguments as JSON text, or as the script has them."""
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)

    @property
    def value(self) -> Mapping[str, Any]:
        """The arguments as an object, empty where their text is no JSON object."""
        if not isinstance(self.arguments, str):
            return self.arguments
        try:
            found = json.loads(self.arguments)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUsage:
    """Token counts: ``input`` includes ``cached`` and ``written`` ones, ``output`` includes ``reasoning``."""

    input: int = key(whole(), "tokens read", default=0, others=("prompt_tokens", "tokens_in"))
    output: int = key(whole(), "tokens written", default=0, others=("completion_tokens", "tokens_out"))
    cached: int = key(whole(), "tokens read from a cache", default=0, others=("cache_read",))
    written: int = key(whole(), "tokens put in a cache", default=0, others=("cache_write", "cache_creation"))
    reasoning: int = key(whole(), "tokens of thinking", default=0)


def _usage(value: Any, place: SettingPlace) -> TokenUsage:
    usage = Section(TokenUsage)(value, place)
    if usage.cached + usage.written > usage.input:
        place.fault("'input' counts cached and written tokens too, so it cannot be less than they")
    return usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failure of ``kind`` (see ``KINDS``).

    ``status``, ``message`` and ``body`` override the provider's; ``retry_after`` is in seconds. With ``after`` a
    stream fails after so many events.
    """

    kind: str = key(choice(*KINDS), "what failed", default="", others=("type", "code", "error"))
    status: int = key(whole(400, 599), "the HTTP status", default=0, others=("http_status", "status_code", "http"))
    message: str = key(words, "the provider's message", default="")
    body: Any = key(plain, "the whole body", default=None)
    retry_after: float = key(length, "when to ask again", default=0.0, others=("retry",))
    after: int | None = key(whole(), "events of a stream before it", default=None)


def _failure(value: Any, place: SettingPlace) -> Any:
    if isinstance(value, str):
        kind = choice(*KINDS)(value, place)
        return WRONG if kind is WRONG else Failure(kind=kind)
    found = Section(Failure)(value, place)
    if not found.kind and not found.status and not place.faulty:
        place.fault(f"an error needs a 'kind': {', '.join(KINDS)}; or a 'status'")
    other = "server_error" if found.status >= 500 else "invalid_request"
    return found if found.kind else replace(found, kind=other)


def _headers(value: Any, place: SettingPlace) -> dict[str, str]:
    given = mapping(value, place)
    found = {} if given is WRONG else {name: words(one, place.at(name)) for name, one in given.items()}
    for name, one in found.items():
        if not f"{name}{one}".isascii() or not f"{name}{one}".isprintable():
            place.at(name).fault("a header is one line of ASCII")
    return found


def _raw(value: Any, place: SettingPlace) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedReply:
    """One answer. ``delay`` (before it) and ``pace`` (between events of a stream) are in seconds. After
    ``break_after`` events a stream is closed, after ``silent_after`` it stays open and says nothing more. ``raw``
    is sent with status 200 instead of an answer; ``empty`` is a valid answer without content."""

    text: str = key(
        words, "its text", default="", others=("response", "content", "reply", "answer", "message", "output")
    )
    thinking: str = key(words, "its reasoning", default="", others=("reasoning",))
    tool_calls: tuple[Call, ...] = key(
        one_or_many(Section(Call)),
        "tools that it calls",
        default=(),
        others=("tools", "calls", "functions", "tool"),
    )
    usage: TokenUsage | None = key(_usage, "its tokens", default=None, others=("tokens",))
    stop: str = key(
        choice(*STOPS), "why it ends", default="", others=("stop_reason", "finish_reason", "finish", "reason")
    )
    error: Failure | None = key(
        _failure, "a failure instead", default=None, others=("failure", "fail", "status", "exception")
    )
    headers: Mapping[str, str] = key(_headers, "HTTP headers", factory=dict)
    delay: float = key(length, "time before it", default=0.0, others=("wait", "sleep", "latency", "timeout"))
    pace: float = key(length, "time between events", default=0.0)
    break_after: int | None = key(
        whole(), "events before it breaks off", default=None, others=("cut_after", "close_after", "abort_after")
    )
    silent_after: int | None = key(
        whole(), "events before it falls silent", default=None, others=("hang_after", "stall_after", "silence")
    )
    empty: bool = key(flag, "whether it has no content", default=False)
    raw: str | None = key(_raw, "the body as it is", default=None, others=("body",))

    @property
    def stopped(self) -> str:
        """Why the model stopped: as scripted, else by what it answered."""
        return self.stop or ("tool_calls" if self.tool_calls else "end")


_WITH_ERROR = frozenset({"error", "headers", "delay", "pace", "text"})


def _reply(value: Any, place: SettingPlace) -> ScriptedReply:
    if isinstance(value, str):
        return ScriptedReply(text=value)
    found = Section(ScriptedReply)(value, place)
    stray = next((name for name in value if name not in _WITH_ERROR), "") if found.error is not None else ""
    if stray:
        place.at(stray).key_fault("cannot be combined with 'error'")
    return found


def _replies(value: Any, place: SettingPlace) -> tuple[ScriptedReply, ...]:
    if not value:
        return place.fault("expected at least one answer")  # type: ignore[no-any-return]
    return one_or_many(_reply)(value, place)


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """Which requests a rule answers: all given conditions have to hold.

    ``model`` is a glob; ``contains`` is a text in the last message, ``system`` one in the system message; ``tool``
    is an offered tool; ``api`` is one of ``APIS``.
    """

    model: str = key(words, "a glob of its model", default="")
    contains: str = key(
        words, "a text in its last message", default="", others=("prompt", "user", "message", "match", "last")
    )
    system: str = key(words, "a text in its system message", default="", others=("system_prompt", "instructions"))
    tool: str = key(words, "a tool that it offers", default="")
    api: str = key(choice(*APIS), "its wire format", default="", others=("provider", "protocol", "kind"))


_ANSWERS = ("responses", "replies", "turns", "script")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyRule:
    """Answers to the requests that match ``when``, in order.

    The last repeats; without ``repeat`` the rule is used up after it.
    """

    answers: tuple[ScriptedReply, ...] = key(_replies, "the answers", default=(), required=True, others=_ANSWERS)
    when: When = key(Section(When), "which requests it answers", default=When(), others=("if", "match", "where"))
    repeat: bool = key(flag, "whether the last answer repeats", default=True, others=("loop", "cycle", "times"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Rules in the order in which they are tried.

    A ``strict`` server refuses what the real provider refuses.
    """

    rules: tuple[ReplyRule, ...] = ()
    strict: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptFile:
    """A script as it is written: rules, and answers to all other requests."""

    rules: tuple[ReplyRule, ...] = key(
        one_or_many(Section(ReplyRule)), "answers by request", default=(), others=("cases", "matches")
    )
    answers: tuple[ScriptedReply, ...] = key(_replies, "answers to all others", default=(), others=_ANSWERS)
    repeat: bool = key(flag, "whether the last answer repeats", default=True, others=("loop", "cycle", "times"))
    strict: bool = key(flag, "whether what the provider refuses is refused", default=True)


def pieces(text: str) -> list[str]:
    """A text as it is streamed."""
    return [text[at : at + PIECE] for at in range(0, len(text), PIECE)]
