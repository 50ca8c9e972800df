"""What models cost, in US dollars per million tokens (A14).

A model that is neither here nor in the configuration is unpriced, never free.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

from orchestra.config.model import Config
from orchestra.run.conversation import Usage

DATE = "2026-11-28"
"""The day on which the table was made."""


class Price(Struct, frozen=True, kw_only=True):
    """Dollars per million tokens; cached and cache-written tokens cost as input unless priced."""

    input: float
    output: float
    cache_read: float | None = None
    cache_write: float | None = None

    def cost_micros(self, usage: Usage) -> int:
        """What usage costs, in millionths of a dollar."""
        fresh = max(0, usage.input - usage.cache_read - usage.cache_write)
        read = self.input if self.cache_read is None else self.cache_read
        write = self.input if self.cache_write is None else self.cache_write
        total = fresh * self.input + usage.cache_read * read + usage.cache_write * write
        return round(total + usage.output * self.output)


def _claude(input_: float, output: float) -> Price:
    return Price(input=input_, output=output, cache_read=input_ / 10, cache_write=input_ * 1.25)


_VENDOR = re.compile(r"^(?:[a-z-]+\.)?anthropic\.(?=claude-)")

TABLE: Mapping[str, Price] = {
    "claude-opus-4-5": _claude(5, 25),
    "claude-opus-4-1": _claude(15, 75),
    "claude-opus-4": _claude(15, 75),
    "claude-sonnet-4": _claude(3, 15),
    "claude-haiku-4-5": _claude(1, 5),
    "claude-3-5-haiku": _claude(0.8, 4),
    "gpt-5-mini": Price(input=0.25, output=2, cache_read=0.025),
    "gpt-5-nano": Price(input=0.05, output=0.4, cache_read=0.005),
    "gpt-5": Price(input=1.25, output=10, cache_read=0.125),
    "gpt-4.1-mini": Price(input=0.4, output=1.6, cache_read=0.1),
    "gpt-4.1-nano": Price(input=0.1, output=0.4, cache_read=0.025),
    "gpt-4.1": Price(input=2, output=8, cache_read=0.5),
    "gpt-4o-mini": Price(input=0.15, output=0.6, cache_read=0.075),
    "gpt-4o": Price(input=2.5, output=10, cache_read=1.25),
    "o4-mini": Price(input=1.1, output=4.4, cache_read=0.275),
    "o3-mini": Price(input=1.1, output=4.4, cache_read=0.55),
    "o3": Price(input=2, output=8, cache_read=0.5),
    "gemini-2.5-pro": Price(input=1.25, output=10, cache_read=0.31),
    "gemini-2.5-flash-lite": Price(input=0.1, output=0.4, cache_read=0.025),
    "gemini-2.5-flash": Price(input=0.3, output=2.5, cache_read=0.075),
}
"""Prices by the beginning of a model's name; the longest that fits counts."""


def prices_of(config: Config) -> dict[str, Price]:
    """The prices that the settings name, by model."""
    return {
        name: Price(
            input=price.input, output=price.output, cache_read=price.cache_read, cache_write=price.cache_write
        )
        for name, price in config.prices.items()
    }


def price_of(model: str, own: Mapping[str, Price], provider: str = "") -> Price | None:
    """Return a model's price: the configured one for exactly this name, else the table's, else None.

    A vendor's prefix (``anthropic/claude-…``, Bedrock's ``us.anthropic.claude-…``) is passed over.
    """
    plain = _VENDOR.sub("", model.rpartition("/")[2])
    for name in (f"{provider}:{model}", model, plain):
        if name in own:
            return own[name]
    fits = [name for name in TABLE if plain == name or plain.startswith((f"{name}-", f"{name}@", f"{name}:"))]
    return TABLE[max(fits, key=len)] if fits else None
