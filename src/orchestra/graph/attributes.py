"""The attribute table: every key that means something, its type, default and aliases (language.md 2).

The parser types values by it, the linter checks and suggests by it, and the documentation prints it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A length of time in milliseconds."""

    milliseconds: int

    @property
    def seconds(self) -> float:
        """The same in seconds."""
        return self.milliseconds / 1000

    def __str__(self) -> str:
        """The shortest exact form: ``1d``, ``90s``, ``250ms``; zero is ``0s``."""
        if self.milliseconds == 0:
            return "0s"
        for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
            if self.milliseconds % size == 0:
                return f"{self.milliseconds // size}{unit}"
        return f"{self.milliseconds}ms"


Value: TypeAlias = str | int | float | bool | Duration

SHAPES: dict[str, str] = {
    "Mdiamond": "start",
    "Msquare": "exit",
    "box": "codergen",
    "hexagon": "wait.human",
    "diamond": "conditional",
    "component": "parallel",
    "tripleoctagon": "parallel.fan_in",
    "parallelogram": "tool",
    "house": "stack.manager_loop",
}
"""Which handler a shape picks (language.md 3)."""
