"""What a chain of sessions came to, as its record tells: what has to be the same however often a run was killed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from orchestra.engine.loading import event_of, history, load_state
from orchestra.engine.sessions import Row, newest_of_chain, rows
from orchestra.ports import Store, Turn
from orchestra.run.events import (
    EdgeSelected,
    ParallelBranchStarted,
    PipelinePaused,
    PipelineResumed,
    Recorded,
    StageCompleted,
    StageFailed,
    StageRetrying,
    SteeringTaken,
)
from orchestra.run.fold import evolve
from orchestra.run.state import NEW

Key = tuple[str, int, int]
"""An attempt: its node, its visit, which counts on over restarts, and its number."""


@dataclass(frozen=True)
class Story:
    """What a chain of sessions came to. ``done`` are the attempts that ended, ``begun`` those that the witness saw;
    ``again`` counts how often an attempt was begun again."""

    result: Any
    context: dict[str, Any]
    path: list[tuple[Any, ...]]
    counters: Any
    done: frozenset[Key]
    begun: frozenset[Key]
    again: Counter[Key]
    taken: Counter[int]
    """How often the requests in the mailbox took effect, by their turns."""

    @property
    def ended(self) -> bool:
        """Whether there is nothing to go on with; a session that restarts goes on in another."""
        return self.result is not None and self.result[0] != "restarted"

    @property
    def outcome(self) -> tuple[Any, ...]:
        """What has to be the same, however often the run was killed."""
        return self.result, self.context, self.path, self.counters


async def told(store: Store, seen: frozenset[Key]) -> Story | None:
    """The story of a store's first session and of those in which it went on; None before it begins."""
    known = await rows(store)
    return await story_of(store, known[-1], seen) if known else None


async def story_of(store: Store, first: Row, seen: frozenset[Key]) -> Story:
    """The story of a session and of those in which it went on after restarts."""
    last, _loaded = await newest_of_chain(store, first)
    path: list[tuple[Any, ...]] = []
    done: set[Key] = set()
    again: Counter[Key] = Counter()
    taken: Counter[int] = Counter()
    for number, row in enumerate(await _chain(store, first)):
        turns = await history(store, row.context_id)
        _counted(turns, done, again)
        for turn in turns:
            recorded = event_of(turn)
            assert isinstance(recorded, Recorded)
            match recorded.event:
                case StageCompleted() | StageFailed() as event:
                    path.append((event.node, event.visit, event.attempt, event.status, number))
                case EdgeSelected() as event:
                    path.append((event.source, event.target, event.rule, number))
                case SteeringTaken() as event:
                    path.append((event.node, event.text, number))
                    taken[event.request] += 1
                case PipelinePaused(request=request) if request:
                    taken[request] += 1
    for row in await rows(store):
        chain = await history(store, row.context_id)
        if row.why == "child":
            _counted(chain, done, again)
        for branch in await _branches(store, chain):
            _counted(branch, done, again)
    state = await load_state(store, last.context_id)
    context = {key: _comparable(value) for key, value in state.context.items()}
    result = (state.result.status, state.result.text, state.result.node) if state.result is not None else None
    counters = (state.edges, state.gates, {k: (n.visits, n.executions, n.status) for k, n in state.nodes.items()})
    return Story(result, context, path, counters, frozenset(done), seen, again, taken)


async def _branches(store: Store, chain: list[Turn]) -> list[list[Turn]]:
    """The chains of the branches that a chain names, and of theirs."""
    found: dict[int, list[Turn]] = {}
    todo = [chain]
    for turns in todo:
        for turn in turns:
            recorded = event_of(turn)
            event = recorded.event if isinstance(recorded, Recorded) else None
            if isinstance(event, ParallelBranchStarted) and event.branch_context not in found:
                found[event.branch_context] = await history(store, event.branch_context)
                todo.append(found[event.branch_context])
    return list(found.values())


def _comparable(value: Any) -> Any:
    """A context value without what depends on when branches ran and how often they were killed."""
    if isinstance(value, list):
        return [_comparable(one) for one in value]
    if isinstance(value, dict):
        return {k: _comparable(v) for k, v in value.items() if k not in ("context_id", "turns", "duration_ms")}
    return value


def _counted(turns: list[Turn], done: set[Key], again: Counter[Key]) -> None:
    """The attempts of a session that ended, and those that were begun again."""
    state = NEW
    for turn in turns:
        recorded = event_of(turn)
        assert isinstance(recorded, Recorded)
        event, stage = recorded.event, state.stage
        state = evolve(state, recorded)
        if isinstance(event, StageCompleted | StageFailed | StageRetrying):
            done.add((event.node, event.visit, event.attempt))
        elif isinstance(event, PipelineResumed) and event.again and stage is not None:
            again[(stage.node, stage.visit, stage.attempt)] = event.again


async def _chain(store: Store, row: Row) -> list[Row]:
    found = [row]
    known = {one.context_id: one for one in await rows(store)}
    while True:
        following = (await load_state(store, found[-1].context_id)).following
        if following is None or following.context_id not in known:
            return found
        found.append(known[following.context_id])
