"""Output that waits while a person is asked at the same terminal (H10)."""

from __future__ import annotations

from collections.abc import Callable


class Lines:
    """Writes lines, or keeps them while a person is asked at the same terminal (H10)."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._above: Callable[[str], None] | None = None
        self._kept: list[str] = []
        self.held = False

    def write(self, text: str) -> None:
        """A line: now, above the prompt, or when the terminal is free."""
        if not self.held:
            self._write(text)
        elif self._above is not None:
            self._above(text)
        else:
            self._kept.append(text)

    def hold(self, above: Callable[[str], None] | None) -> None:
        """From now on somebody is asked."""
        self.held, self._above = True, above

    def release(self) -> None:
        """The terminal is free."""
        self.held, self._above = False, None
        kept, self._kept = self._kept, []
        for text in kept:
            self._write(text)
