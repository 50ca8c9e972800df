"""What the server needs of one provider's wire format."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestra.modelserver.answers import Failure, ScriptedReply
from orchestra.modelserver.asked import Exchange, RequestBody


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
