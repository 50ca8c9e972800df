"""What a script says: answers, when they are given, and failures in the providers' own words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One tool call.

    ``arguments`` as text are sent unchanged, so that invalid or cut ones can be written.
    """

    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict)
    id: str = ""

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

    input: int = 0
    output: int = 0
    cached: int = 0
    written: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failure of ``kind`` (see ``KINDS``).

    ``status``, ``message`` and ``body`` override the provider's; ``retry_after`` is in seconds. With ``after`` a
    stream fails after so many events.
    """

    kind: str
    status: int = 0
    message: str = ""
    body: Any = None
    retry_after: float = 0.0
    after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedReply:
    """One answer. ``delay`` (before it) and ``pace`` (between events of a stream) are in seconds. After
    ``break_after`` events a stream is closed, after ``silent_after`` it stays open and says nothing more. ``raw``
    is sent with status 200 instead of an answer; ``empty`` is a valid answer without content."""

    text: str = ""
    thinking: str = ""
    tool_calls: tuple[Call, ...] = ()
    usage: TokenUsage | None = None
    stop: str = ""
    error: Failure | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    pace: float = 0.0
    break_after: int | None = None
    silent_after: int | None = None
    empty: bool = False
    raw: str | None = None

    @property
    def stopped(self) -> str:
        """Why the model stopped: as scripted, else by what it answered."""
        return self.stop or ("tool_calls" if self.tool_calls else "end")


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """Which requests a rule answers: all given conditions have to hold.

    ``model`` is a glob; ``contains`` is a text in the last message, ``system`` one in the system message; ``tool``
    is an offered tool; ``api`` is ``anthropic``, ``chat``, ``responses``, ``gemini`` or ``bedrock``.
    """

    model: str = ""
    contains: str = ""
    system: str = ""
    tool: str = ""
    api: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Answers to the requests that match ``when``, in order.

    The last repeats; without ``repeat`` the rule is used up after it.
    """

    answers: tuple[ScriptedReply, ...]
    when: When = field(default_factory=When)
    repeat: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Rules in the order in which they are tried.

    A ``strict`` server refuses what the real provider refuses.
    """

    rules: tuple[Rule, ...] = ()
    strict: bool = True


def pieces(text: str) -> list[str]:
    """A text as it is streamed."""
    return [text[at : at + PIECE] for at in range(0, len(text), PIECE)]
