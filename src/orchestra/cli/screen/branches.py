"""The parallel branches in ``orchestra status SESSION --detail``: how each ended, or its current node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestra.cli.terminal import GREEN, GREY, RED, fit, one_line, pad, room, say
from orchestra.graph.report import duration_words, paint, plural, wrap
from orchestra.run.events import (
    ParallelBranchCompleted,
    ParallelBranchEnded,
    ParallelBranchOpened,
    PipelineCanceled,
    Recorded,
    StageStarted,
)

SHOWN = 40
"""Branches that are listed, those that have not ended and those that failed first."""


def branch_rows(told: Iterable[tuple[str, Recorded]]) -> list[dict[str, Any]]:
    """Return the newest branch of each path, oldest first; ``told`` are events with their paths.

    ``status`` is empty for one that has not ended; ``node`` is its current or last node.
    """
    found: dict[str, dict[str, Any]] = {}
    for path, recorded in told:
        match recorded.event:
            case ParallelBranchOpened(target=target):
                found[path] = {"branch": path, "status": "", "node": target, "reason": "", "duration_ms": 0}
            case StageStarted(node=node) if path in found:
                found[path]["node"] = node
            case PipelineCanceled(reason=reason) if path in found:
                found[path] |= {"status": "canceled", "reason": reason}
            case ParallelBranchEnded() as event if path in found and not found[path]["status"]:
                found[path] |= {"status": event.status, "node": event.node, "reason": event.failure_reason}
            case ParallelBranchCompleted() as event:
                below = f"{path}/{event.node}/{event.branch_id}".removeprefix("/")
                if below in found:
                    found[below] |= {
                        "status": event.status,
                        "node": event.ended_at or found[below]["node"],
                        "reason": event.failure_reason,
                        "duration_ms": event.duration_ms,
                    }
            case _:
                pass
    return list(found.values())


def say_branches(rows: Sequence[Mapping[str, Any]], colour: bool) -> None:
    """Print a line for each branch."""
    if not rows:
        return
    ended = sum(bool(row["status"]) for row in rows)
    say(f"  branches: {ended} of {len(rows)} ended")
    urgent = [row for row in rows if row["status"] in ("", "fail")]
    chosen = (urgent + [row for row in rows if row not in urgent])[:SHOWN] if len(rows) > SHOWN else rows
    longest = min(max(len(row["branch"]) for row in chosen), max(room() // 2, 8))
    for row in chosen:
        good = row["status"] in ("success", "partial_success", "skipped")
        sign, tone = ("✓", GREEN) if good else ("✗", RED) if row["status"] == "fail" else ("·", GREY)
        reason = f": {one_line(row['reason'], 300)}" if row["reason"] else ""
        words = (
            f"{row['status']}, {duration_words(row['duration_ms'])}{reason}"
            if row["status"]
            else f"at {row['node']}"
        )
        lead = f"  {sign} {pad(fit(one_line(row['branch'], 200), longest), longest)}  "
        say("\n".join(wrap(lead, words, room(), " " * 6)).replace(sign, paint(sign, tone, colour), 1))
    if len(chosen) < len(rows):
        say(f"    … and {plural(len(rows) - len(chosen), 'more branch', 'more branches')}; --json has all")
    say()
