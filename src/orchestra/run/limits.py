"""Limits of an agent: turns, tool calls, tokens, money, time (A5); and detection of circles."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from msgspec import Struct

from orchestra.graph.report import dollars, plural

SOFT = 0.8
"""The share of a limit from which an agent is told of it."""

WINDOW = 10
"""Tool calls that are searched for a repeating pattern."""


class Limits(Struct, frozen=True, kw_only=True):
    """Bounds of one node's visit or of a whole run; 0 is none. ``seconds`` is wall time."""

    turns: int = 0
    tool_calls: int = 0
    tokens: int = 0
    cost_micros: int = 0
    seconds: float = 0


NO_LIMITS = Limits()


class LimitUsage(Struct, frozen=True, kw_only=True):
    """What has been used so far, in the terms of ``Limits``."""

    turns: int = 0
    tool_calls: int = 0
    tokens: int = 0
    cost_micros: int = 0
    seconds: float = 0


class UsageTotals(Struct, frozen=True, kw_only=True):
    """What a node's visit and the whole run have used."""

    node: LimitUsage = LimitUsage()
    run: LimitUsage = LimitUsage()


def crossed_limits(limits: Limits, used: LimitUsage, hard: Limits = NO_LIMITS) -> Iterator[tuple[str, str]]:
    """Yield each limit that is reached and how far, in words; the ``hard`` one if it is set."""
    for name in Limits.__struct_fields__:
        bound, so_far = getattr(limits, name), getattr(used, name)
        if bound and so_far >= bound:
            yield name, _words(name, so_far, getattr(hard, name) or bound)


def nearing(hard: Limits, soft: Limits) -> Limits:
    """The limits from which an agent is told: the soft ones, else a share of the hard ones."""
    return Limits(**{name: getattr(soft, name) or getattr(hard, name) * SOFT for name in Limits.__struct_fields__})


def _words(name: str, so_far: float, bound: float) -> str:
    if name == "cost_micros":
        places = 2 if bound >= 1e6 else 4
        return f"{dollars(so_far, places)} of {dollars(bound, places)}"
    if name == "seconds":
        return f"{so_far:.0f} s of {bound:.0f} s"
    return f"{so_far:.0f} of {plural(round(bound), name.replace('_', ' ').removesuffix('s'))}"


class LoopDetector:
    """Watches for the same pattern of one to three tool calls over and over."""

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self._calls: deque[str] = deque(maxlen=window)

    def add(self, call: str) -> None:
        """Note a call: its tool and its arguments."""
        self._calls.append(call)

    def is_circling(self) -> bool:
        """Whether the window is full of one pattern."""
        calls = list(self._calls)
        if len(calls) < self._window:
            return False
        return any(all(call == calls[place % length] for place, call in enumerate(calls)) for length in (1, 2, 3))

    def clear(self) -> None:
        """Forget what was seen."""
        self._calls.clear()
