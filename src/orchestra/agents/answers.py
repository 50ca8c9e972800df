"""A model as a conversation sees it: it answers messages and tools, or fails in three ways (A3).

No model library is named here: the backends have one implementation of ``Model`` over LangChain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from msgspec import Struct

from orchestra.errors import Terminal, Transient
from orchestra.run.conversation import Message, Usage

STOP, TOOLS, LENGTH, REFUSAL = "stop", "tools", "length", "refusal"
"""Why a model stopped."""


class ModelAnswer(Struct, frozen=True, kw_only=True):
    """What a model answered, and what that took."""

    message: Message
    usage: Usage = Usage()
    stop: str = STOP
    duration_ms: int = 0


class OutOfQuota(Transient):
    """The account has no money or quota left: no repeat helps, a person does; the run pauses (A3)."""


class TooLong(Terminal):
    """The conversation is longer than the model's window."""


Heard: TypeAlias = Callable[[str], None]
"""Receives the text of an answer, piece by piece; empty for a piece of something else, such as a tool call."""


class Model(Protocol):
    """A model that can be asked."""

    @property
    def name(self) -> str:
        """The model's name, as the provider has it."""

    @property
    def provider(self) -> str:
        """The provider's name in the configuration."""

    @property
    def window(self) -> int:
        """Tokens that a request and its answer may have; 0 where that is not known (E40)."""

    async def ask(self, system: str, messages: Sequence[Message], heard: Heard) -> ModelAnswer:
        """One call. Raises ``Transient`` for what a repeat may not meet, ``OutOfQuota``, else ``Terminal``."""
