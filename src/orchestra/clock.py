"""The real clock: time, chance and ids as the world gives them."""

from __future__ import annotations

import asyncio
import random
import secrets
import time

LETTERS = "abcdefghjkmnpqrstuvwxyz"
ALPHABET = "23456789" + LETTERS
"""Digits and letters without look-alikes (S14)."""


_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """Implements the ``Clock`` port. ``seed`` fixes the jitter for a test."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)

    def now_ms(self) -> int:
        """UTC, in milliseconds."""
        return time.time_ns() // 1_000_000

    def boot_seconds(self) -> float:
        """Seconds since the machine was started, those that it slept included where the system counts them."""
        return time.clock_gettime(_BOOT)

    def jitter(self) -> float:
        """A uniform draw between 0.5 and 1.5."""
        return self._random.uniform(0.5, 1.5)

    def display_id(self) -> str:
        """Six characters, the first a letter."""
        return secrets.choice(LETTERS) + "".join(secrets.choice(ALPHABET) for _ in range(5))

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
