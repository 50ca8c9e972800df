"""Two sessions side by side: outcome, nodes, cost, and the difference of their code (W8)."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from orchestra.app.workspaces import own_environment
from orchestra.config.settings import Settings
from orchestra.engine.loading import load_state
from orchestra.engine.sessions import find, own
from orchestra.ports import Store
from orchestra.run.state import RunState
from orchestra.workspace.ending import diffstat
from orchestra.workspace.repos import locate


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """The result of one session; ``nodes`` holds each node's status, ``commits`` each repository's tip."""

    session: str
    outcome: str
    steps: int
    duration_ms: int
    cost_micros: int
    tokens: int
    nodes: Mapping[str, str]
    commits: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionComparison:
    """Both sides, and per repository how their code differs, with the command that shows it."""

    left: Side
    right: Side
    differences: Mapping[str, str] = field(default_factory=dict)
    commands: Mapping[str, str] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As one object of JSON."""
        return asdict(self)


async def compare_two(store: Store, settings: Settings, first: str, second: str) -> SessionComparison:
    """Two sessions side by side. Raises ``SessionNotFound``."""
    states = [await load_state(store, own(await find(store, name)).context_id) for name in (first, second)]
    left, right = map(side_of, states)
    differences, commands = {}, {}
    for repo in settings.workspace.repos if settings.workspace is not None else ():
        before, after = left.commits.get(repo.name), right.commits.get(repo.name)
        if before and after:
            git = await locate(repo, own_environment())
            differences[repo.name] = await diffstat(git, before, after)
            commands[repo.name] = f"git -C {shlex.quote(str(repo.path))} diff {before[:12]} {after[:12]}"
    return SessionComparison(left=left, right=right, differences=differences, commands=commands)


def side_of(state: RunState) -> Side:
    """Return a session's result, or its current node."""
    result = state.result
    ended = state.at if result is None else result.ended_ms
    return Side(
        session=state.session,
        outcome=result.status if result is not None else "paused" if state.paused else "not ended",
        steps=state.steps,
        duration_ms=max(0, ended - state.started_ms - state.idle_ms),
        cost_micros=state.spent.cost_micros,
        tokens=state.spent.tokens_in + state.spent.tokens_out,
        nodes={
            name: record.status + (f" ({record.executions} times)" if record.executions > 1 else "")
            for name, record in state.nodes.items()
        },
        commits={name: known.commit for name, known in state.workspace.items()},
    )
