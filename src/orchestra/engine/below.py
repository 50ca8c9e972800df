"""The walks below a session's current node: its branches, and its child, its own or a fork of another's (S27).

A child that a fork's history names belongs to the session that started it. Where it had not ended, the fork
continues a fork of it, made at the child's last turn that is not newer than the turn at which the parent was
forked. The parent's record names that fork before it has an identity of its own, so that a resume after a crash
finds it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from msgspec.structs import replace

from orchestra.engine.loading import load
from orchestra.engine.sessions import newest_of_chain, place_of, rows
from orchestra.engine.wiring import Plan, Wiring
from orchestra.ports import Store
from orchestra.run.events import WarningRaised
from orchestra.run.resuming import cut_off, fan_at_work, lost_nodes, no_node_lost, work_below
from orchestra.run.state import ChildRecord, RunningNode, RunState
from orchestra.run.steps import Execute


async def sweep_all(wiring: Wiring, state: RunState) -> tuple[WarningRaised, ...]:
    """Stop what a dead runner left running of a walk and of its branches; return what to record (E4).

    A child is a session of its own.
    """
    found = list(await wiring.end_command(state))
    async for branch in branches_below(wiring.store, state):
        found += await sweep_all(wiring, branch)
    return tuple(found)


async def branches_below(store: Store, state: RunState) -> AsyncIterator[RunState]:
    """Yield the branches of a session's current node that have begun and have no result."""
    stage = cut_off(state)
    fan = fan_at_work(state, stage) if stage is not None else None
    for context_id in fan.begun if fan is not None else ():
        yield (await load(store, context_id)).state


async def cut_off_below(store: Store, plan: Plan, state: RunState) -> AsyncIterator[tuple[Plan, RunState]]:
    """Yield the walks below a session's current node that did not end, each with its plan."""
    stage = cut_off(state)
    if stage is None or stage.refused or stage.elsewhere or not work_below(state, stage):
        return
    child = state.children.get(stage.node)
    if child is not None and not child.seen and stage.node in plan.children:
        _place, loaded = await newest_of_chain(store, place_of(child))
        if loaded.head and not over(loaded.state, child.again):
            yield plan.children[stage.node][0], loaded.state
    async for branch in branches_below(store, state):
        if branch.branch is not None and branch.result is None:
            yield plan, branch


async def commits_below(store: Store, plan: Plan, state: RunState) -> tuple[str, ...]:
    """Return the commits from which the child of a session's current node continues, and that one's child (W7)."""
    stage = state.stage
    child = state.children.get(stage.node) if stage is not None else None
    if stage is None or stage.refused or child is None or stage.node not in plan.children:
        return ()
    if child.status or child.seen or not same_attempt(child, stage):
        return ()
    _place, loaded = await newest_of_chain(store, place_of(child))
    own = (known.commit for known in loaded.state.workspace.values())
    return (*own, *await commits_below(store, plan.children[stage.node][0], loaded.state))


def over(state: RunState, again: int) -> bool:
    """Whether a child ended in a way that is never continued; ``again`` as in ``ChildRecord``."""
    result = state.result
    if result is None or result.status not in ("success", "fail"):
        return False
    return result.good or not again or state.steps_carried + state.steps > again


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildState:
    """A child as it is now, or was.

    Where it belongs to another session, ``turn_id`` is its last turn that counts and ``until`` the newest turn that
    counts of its own children; otherwise both are 0. ``again`` is how many nodes it had run when it failed, where
    it is to continue after that.
    """

    state: RunState
    turn_id: int = 0
    until: int = 0
    again: int = 0

    @property
    def ended(self) -> bool:
        """Whether it is never continued; a canceled one may have stopped with its parent."""
        return over(self.state, self.again)


def same_attempt(known: ChildRecord, step: Execute | RunningNode) -> bool:
    """Whether a child was started by the attempt to execute."""
    return (known.visit, known.attempt) == (step.visit, step.attempt)


async def earlier_child(store: Store, parent: RunState, step: Execute, plan: Plan) -> ChildState | None:
    """Return the child that the execution of a node continues; None where it starts a new one.

    That is the child of the same attempt, where the session was forked meanwhile; and the child of the previous
    visit, where that did not succeed and a resume of the failed parent granted this visit: as it is now, because it
    may have been resumed alone.
    """
    known = parent.children.get(step.node)
    if known is None:
        return None
    if same_attempt(known, step):
        return await _last_session(store, known, known.again) if known.seen else None
    granted = parent.granted.get(step.node) == step.visit and (known.visit, step.attempt) == (step.visit - 1, 1)
    if not granted or known.status not in ("fail", "canceled"):
        return None
    found = await _last_session(store, known, 0)
    if found is None or lost_nodes(plan.graph, found.state):
        return None
    state = found.state
    again = state.steps_carried + state.steps
    return ChildState(state=state, turn_id=found.turn_id, until=found.until, again=again)


async def check_inherited(store: Store, plan: Plan, state: RunState) -> None:
    """Raise ``ConfigError`` where a forked session could not continue a fork of its child.

    The child's file may have lost a node that the child has entered. The child's own children are checked too.
    """
    stage = cut_off(state)
    known = state.children.get(stage.node) if stage is not None else None
    if stage is None or known is None or stage.node not in plan.children or not known.seen:
        return
    found = (
        await _last_session(store, known, known.again) if same_attempt(known, stage) and not known.status else None
    )
    if found is None or found.ended:
        return
    below = plan.children[stage.node][0]
    no_node_lost(below.graph, below.file, found.state)
    children = {
        node: replace(child, seen=child.seen or found.until) for node, child in found.state.children.items()
    }
    await check_inherited(store, below, replace(found.state, children=children))


async def _last_session(store: Store, child: ChildRecord, again: int) -> ChildState | None:
    """Return a child, or the last session as which it restarted.

    A child of another session is found by its name: the history of an imported session has another store's ids.
    """
    if not child.seen:
        _place, loaded = await newest_of_chain(store, place_of(child))
        return ChildState(state=loaded.state, again=again)
    known = {row.session: row.context_id for row in await rows(store)}
    found, session, until = None, child.session, child.seen
    while session in known and (loaded := await load(store, known[session], until=child.seen)).head:
        state = loaded.state
        if state.session != session:  # a fork that had no turn of its own yet: the child that it is of counts
            until = child.until
        found = ChildState(state=state, turn_id=loaded.head, until=until, again=again)
        if state.following is None:
            break
        session = state.following.session
    return found
