"""What ``orchestra compare`` does."""

from __future__ import annotations

import asyncio
from pathlib import Path

from orchestra.app.comparing import Compared, Side, compared
from orchestra.cli._json import say_json
from orchestra.cli._stores import reading, settings_for
from orchestra.cli._terminal import lasted, say
from orchestra.ports import Store


def compare_sessions(first: str, second: str, *, store: str | None, config: Path | None, as_json: bool) -> int:
    """Print two sessions side by side."""
    settings = settings_for(store, config)

    async def look(opened: Store) -> Compared:
        return await compared(opened, settings, first, second)

    found = asyncio.run(reading(settings, look, first, flag=store))
    if as_json:
        say_json(found.plain(), indent=2)
        return 0
    for line in _table(found):
        say(line)
    return 0


def _table(found: Compared) -> list[str]:
    left, right = found.left, found.right
    rows = [
        ("", left.session, right.session),
        ("outcome", left.outcome, right.outcome),
        ("steps", str(left.steps), str(right.steps)),
        ("time", lasted(left.duration_ms), lasted(right.duration_ms)),
        ("cost", _cost(left), _cost(right)),
        ("tokens", str(left.tokens), str(right.tokens)),
    ]
    rows += [
        (node, left.nodes.get(node, "-"), right.nodes.get(node, "-"))
        for node in dict.fromkeys((*left.nodes, *right.nodes))
    ]
    rows += [
        (f"code: {repo}", left.commits.get(repo, "-")[:10], right.commits.get(repo, "-")[:10])
        for repo in dict.fromkeys((*left.commits, *right.commits))
    ]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}".rstrip() for a, b, c in rows]
    for repo, stat in found.differences.items():
        lines.append(f"difference in {repo}: {stat or 'none'}")
        if stat and repo in found.commands:
            lines.append(f"  see: {found.commands[repo]}")
    return lines


def _cost(side: Side) -> str:
    return f"${side.cost_micros / 1_000_000:.4f}"
