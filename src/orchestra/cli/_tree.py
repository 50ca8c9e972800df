"""Sessions as they belong together: children under the session that runs them."""

from __future__ import annotations

from collections.abc import Sequence

from orchestra.run.views import ATTENTION, Summary

MARK = "└ "


def nested(found: Sequence[Summary]) -> list[tuple[int, Summary]]:
    """The sessions in the order of a listing, each with how deep it stands: what needs attention first, and the
    children of each behind it, oldest first. A restarted child stands beside the one in which it goes on."""
    known = {summary.context_id: summary for summary in found}
    below: dict[int, list[Summary]] = {}
    tops: list[Summary] = []
    for summary in found:
        owner = _owner(summary, known)
        if owner is None:
            tops.append(summary)
        else:
            below.setdefault(owner.context_id, []).append(summary)
    listed: list[tuple[int, Summary]] = []
    open_ = [(0, top) for top in sorted(tops, key=lambda s: (ATTENTION.index(s.phase), -s.last_ms))][::-1]
    while open_:
        depth, summary = open_.pop()
        listed.append((depth, summary))
        children = sorted(below.get(summary.context_id, ()), key=lambda s: (s.started_ms, s.context_id))
        open_.extend((depth + 1, child) for child in reversed(children))
    return listed


def _owner(summary: Summary, known: dict[int, Summary]) -> Summary | None:
    """The session that runs a child, also where the child has restarted meanwhile; None for nobody's child."""
    while summary.why == "restart" and summary.parent in known:
        summary = known[summary.parent]
    return known.get(summary.parent) if summary.why == "child" else None
