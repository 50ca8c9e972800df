"""What ``orchestra run --dry-cost`` and ``compile`` print: the known bounds of what a run costs (A5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from orchestra.app.estimates import CostBounds
from orchestra.cli.terminal import one_line, say
from orchestra.graph.report import dollars

UNKNOWN = "-"
MOST_NAMES = 5


def say_bounds(bounds: CostBounds) -> None:
    """A row for each node that asks an agent, then the bound of the whole run."""
    lines = [("NODE", "MODEL", "VISITS", "TURNS", "TOKENS", "COST")]
    for each in bounds.nodes:
        numbers = (_number(each.visits), _number(each.turns), _number(each.tokens), _dollars(each.cost))
        lines.append((one_line(each.node), one_line(each.model), *numbers))
    wide = [max(len(line[column]) for line in lines) for column in range(6)]
    for line in lines if bounds.nodes else ():
        say("  ".join(cell.ljust(room) for cell, room in zip(line, wide, strict=True)).rstrip())
    for why in unbounded(bounds):
        say(why)
    say(in_words(bounds))
    if bounds.unpriced:
        say(f"no price is known for {', '.join(bounds.unpriced)}: no limit counts it; add it under `prices:`")


def unbounded(bounds: CostBounds) -> Iterator[str]:
    """What each ``-`` of the table means: which number has no bound, of which nodes, and what gives it one."""
    visited = [each for each in bounds.nodes if each.visits is not None]
    for number, fix, nodes in (
        ("VISITS", "a loop without a bound; set max_visits", [e for e in bounds.nodes if e.visits is None]),
        ("TURNS", "set limits.node.turns", [e for e in visited if e.turns is None]),
        ("TOKENS", "set limits.node.tokens", [e for e in visited if e.tokens is None]),
        ("COST", "set limits.node.cost", [e for e in visited if e.cost is None]),
    ):
        if nodes:
            names = ", ".join(one_line(each.node) for each in nodes[:MOST_NAMES])
            more = f" and {len(nodes) - MOST_NAMES} more" if len(nodes) > MOST_NAMES else ""
            yield f"no bound for {number} of {names}{more}: {fix}"


def in_words(bounds: CostBounds) -> str:
    """The bound of the whole run, in a line."""
    if not bounds.nodes:
        return "no node asks a model: the run costs nothing"
    if bounds.cost is None:
        return "no bound on the cost of a run is known: set limits.run.cost, or run with --max-cost"
    return f"a run costs at most {_dollars(bounds.cost)} ({bounds.rule}), and the calls that are under way then"


def as_data(bounds: CostBounds) -> dict[str, Any]:
    """The same for a program; null where no bound is known."""
    return {"cost_at_most": bounds.cost, "rule": bounds.rule, "unpriced": list(bounds.unpriced)} | {
        "nodes": [asdict(each) for each in bounds.nodes]
    }


def _number(value: int | None) -> str:
    return UNKNOWN if value is None else str(value)


def _dollars(value: float | None) -> str:
    return UNKNOWN if value is None else dollars(value * 1e6)
