"""What a run uses while it goes on: over all its walks and its children (A5, E35)."""

from __future__ import annotations

from msgspec.structs import replace

from orchestra.run.state import Spent

NOTHING = Spent()


class Meter:
    """The spending of a session since this process has it, in all its branches; and of its children in theirs.

    ``outer`` is the meter of the session that runs this one: what is used here is used there too.
    """

    def __init__(self, outer: Meter | None = None) -> None:
        self._outer = outer
        self._base: Spent | None = None
        self._added = NOTHING

    def began(self, spent: Spent) -> None:
        """Note what the session had spent when this process began to run it; a second call changes nothing."""
        if self._base is None:
            self._base = spent

    def add(self, more: Spent) -> None:
        """Count what a turn cost."""
        self._added = plus(self._added, more)
        if self._outer is not None:
            self._outer.add(more)

    @property
    def total(self) -> Spent:
        """What the whole tree of sessions has used, as far as this process knows."""
        around = self._added if self._outer is None else self._outer.total
        return plus(self._base or NOTHING, around)


def plus(one: Spent, other: Spent) -> Spent:
    """Both together."""
    total = one.plus(other.tokens_in, other.tokens_out, other.cost_micros)
    return replace(total, turns=one.turns + other.turns, tool_calls=one.tool_calls + other.tool_calls)


def more_of(after: Spent, before: Spent) -> Spent:
    """What was added from one to the other."""
    return Spent(
        tokens_in=after.tokens_in - before.tokens_in,
        tokens_out=after.tokens_out - before.tokens_out,
        cost_micros=after.cost_micros - before.cost_micros,
        turns=after.turns - before.turns,
        tool_calls=after.tool_calls - before.tool_calls,
    )
