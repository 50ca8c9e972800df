"""Time, chance and ids."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Time, chance and ids come in here and leave in events (house rule: the fold is deterministic)."""

    def now_ms(self) -> int:
        """UTC, in milliseconds."""

    def boot_seconds(self) -> float:
        """Seconds since the machine was started, those that it slept included; never set back."""

    def jitter(self) -> float:
        """A uniform draw between 0.5 and 1.5 (E21)."""

    def display_id(self) -> str:
        """A new session's display id (S14)."""

    async def sleep(self, seconds: float) -> None:
        """Wait; a cancellation interrupts it."""
