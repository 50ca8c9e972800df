"""Children that a node does not begin anew: it goes on in them, or in forks of them (S27, engine.md 5).

A child that a fork's history names belongs to the session that made it. Where it had not ended, the fork goes on
in a fork of it, made at the child's last turn that is not newer than the turn at which the parent was forked. That
one is named in the parent's record before it has an identity of its own, so that whoever goes on after a crash
finds it.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from orchestra.engine.forking import as_of, begin_fork
from orchestra.engine.journal import Journal
from orchestra.engine.lineage import (
    Plan,
    Wiring,
    gone_on,
    lost_nodes,
    newest_of_chain,
    no_node_lost,
    row_of,
    taken_up,
)
from orchestra.engine.loading import load
from orchestra.engine.sessions import Opened, Place, mailbox_turn, rows
from orchestra.ports import Store
from orchestra.run.events import PipelineForked
from orchestra.run.resuming import cut_off
from orchestra.run.state import ChildRecord, RunState, Stage
from orchestra.run.steps import Execute


@dataclass(frozen=True, slots=True, kw_only=True)
class Stood:
    """A child as it stands, or stood: ``turn_id`` is its last turn then, where it belongs to another session, and
    ``until`` the newest turn that counts of its own children; else both are 0. ``again`` is how many nodes it had
    run when it failed, where it is to go on after that."""

    state: RunState
    turn_id: int = 0
    until: int = 0
    again: int = 0

    @property
    def ended(self) -> bool:
        """Whether it is never gone on with; a canceled one may have stopped with its parent."""
        return over(self.state, self.again)


def over(state: RunState, again: int) -> bool:
    """Whether a child came to an end behind which it is not taken up; ``again`` as in ``Stood``."""
    result = state.result
    if result is None or result.status not in ("success", "fail"):
        return False
    return result.good or not again or steps_of(state) > again


def steps_of(state: RunState) -> int:
    """The nodes that a session and those before it in its chain of restarts have run."""
    return state.steps_carried + state.steps


def same_attempt(known: ChildRecord, step: Execute | Stage) -> bool:
    """Whether a child was made by the attempt that is to be executed."""
    return (known.visit, known.attempt) == (step.visit, step.attempt)


async def gone_before(store: Store, parent: RunState, step: Execute, plan: Plan) -> Stood | None:
    """The child that the execution of a node does not begin anew; None where it runs a new one.

    That is the child of the same attempt, where the session was forked meanwhile; and the child of the visit
    before, where that did not succeed and a resume of the failed parent granted this visit: however it stands now,
    for somebody may have gone on with it alone.
    """
    known = parent.children.get(step.node)
    if known is None:
        return None
    if same_attempt(known, step):
        return await _stood(store, known, known.again) if known.seen else None
    granted = parent.granted.get(step.node) == step.visit and (known.visit, step.attempt) == (step.visit - 1, 1)
    if not granted or known.status not in ("fail", "canceled"):
        return None
    found = await _stood(store, known, 0)
    if found is None or lost_nodes(plan, found.state):
        return None
    return Stood(state=found.state, turn_id=found.turn_id, until=found.until, again=steps_of(found.state))


async def check_inherited(store: Store, plan: Plan, state: RunState) -> None:
    """Raise ``ConfigError`` where a forked session could not go on in a fork of its child, whose file has lost a
    node that the child has been at; and so for the child's own."""
    stage = cut_off(state)
    known = state.children.get(stage.node) if stage is not None else None
    if stage is None or known is None or stage.node not in plan.children or not known.seen:
        return
    found = await _stood(store, known, known.again) if same_attempt(known, stage) and not known.status else None
    if found is None or found.ended:
        return
    below = plan.children[stage.node][0]
    no_node_lost(below, found.state)
    children = {
        node: replace(child, seen=child.seen or found.until) for node, child in found.state.children.items()
    }
    await check_inherited(store, below, replace(found.state, children=children))


async def _stood(store: Store, child: ChildRecord, again: int) -> Stood | None:
    """A child with those as which it restarted: the last that had begun.

    One of another session is looked for by its name: in the history of an imported session ids of contexts are
    those of another store.
    """
    if not child.seen:
        place = Place(session=child.session, context_id=child.context_id, mailbox=child.mailbox)
        _row, loaded = await newest_of_chain(store, row_of(place, ""))
        return Stood(state=loaded.state, again=again)
    known = {row.session: row.context_id for row in await rows(store)}
    found, session, until = None, child.session, child.seen
    while session in known and (spot := await as_of(store, known[session], child.seen)) is not None:
        state = (await load(store, known[session], spot.following, spot.turn.turn_id)).state
        if state.session != session:  # a fork that had no turn of its own yet: the child that it is of counts
            until = child.until
        found = Stood(state=state, turn_id=spot.turn.turn_id, until=until, again=again)
        if state.following is None:
            break
        session = state.following.session
    return found


async def begun_fork(wiring: Wiring, plan: Plan, parent: Journal, place: Place, until: int) -> Opened:
    """The fork of a child that its parent's record names, begun, or taken up where only its mailbox is empty."""
    store = wiring.store
    loaded = await load(store, place.context_id)
    state = loaded.state
    if state.session == place.session:
        turn = mailbox_turn(state, place.context_id, wiring.origin, wiring.clock.now_ms())
        await store.append(place.mailbox, [turn])
        return await taken_up(wiring, plan, row_of(place, state.pipeline))
    given = parent.state.variables
    forked = PipelineForked(
        variables={name: value for name, value in given.items() if state.variables.get(name) != value},
        mailbox=place.mailbox,
        parent=parent.state.session,
        parent_context=parent.context_id,
        why="child",
        from_turn=loaded.head,
        origin=state.session,
        until=until,
    )
    opened = await begin_fork(
        store=store,
        clock=wiring.clock,
        redactor=wiring.redactor,
        listeners=wiring.listeners,
        origin=wiring.origin,
        place=place,
        loaded=loaded,
        forked=forked,
    )
    return await gone_on(wiring, plan, opened)
