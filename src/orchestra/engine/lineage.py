"""Sessions that come from others: after a restart (E14), and as children (engine.md 5).

Each is named in the record of the one it comes from before it begins, so that whoever goes on after a crash begins
that one, or takes it up, and no second one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from orchestra.engine.journal import Listener
from orchestra.engine.loading import Loaded, load, load_state
from orchestra.engine.places import AT_ONCE
from orchestra.engine.sessions import Opened, Origin, Place, Row, begun, mailbox_turn, open_session, reopen_session
from orchestra.engine.walk import Handlers
from orchestra.errors import ConfigError
from orchestra.graph.model import Graph
from orchestra.ports import Clock, Store, Workspaces
from orchestra.run.blobs import BlobRef, Text
from orchestra.run.declare import changed
from orchestra.run.events import ContextValue, PipelineResumed, PipelineStarted, WarningRaised
from orchestra.run.ledger import ledger_of
from orchestra.run.resuming import cut_off, resumption
from orchestra.run.secrets import Redactor
from orchestra.run.state import Following, RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A pipeline as it is run: its graph and its handlers, the texts that are recorded of it, and the plans of its
    nodes' children: one for each time that a node runs its child, of which the last serves all further times."""

    graph: Graph
    handlers: Handlers
    dot: Text
    file: str
    graph_hash: str
    workdir: str = ""
    simulation: Text = ""
    dotfiles: Mapping[str, ContextValue] = field(default_factory=dict)
    children: Mapping[str, tuple[Plan, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """What the sessions that a process runs have in common.

    ``sweep`` ends what a dead runner left running of a session that is taken up, and tells of it (E4). At most
    ``at_once`` nodes of a session's branches work at once (E31).
    """

    store: Store
    clock: Clock
    redactor: Redactor
    listeners: tuple[Listener, ...]
    origin: Origin
    sweep: Callable[[RunState], Awaitable[tuple[WarningRaised, ...]]]
    at_once: int = AT_ONCE
    workspaces: Workspaces | None = None


async def begin(wiring: Wiring, place: Place, started: PipelineStarted) -> Opened:
    """Begin the session that was named, or take up what was begun of it."""
    store = wiring.store
    if not (await store.head(place.context_id)).turn_id:
        return await open_session(
            store=store,
            clock=wiring.clock,
            redactor=wiring.redactor,
            listeners=wiring.listeners,
            origin=wiring.origin,
            started=started,
            place=place,
        )
    if not await begun(store, place.mailbox):
        state = await load_state(store, place.context_id)
        turn = mailbox_turn(state, place.context_id, wiring.origin, wiring.clock.now_ms())
        await store.append(place.mailbox, [turn])
    return await reopened(wiring, row_of(place, started.pipeline))


async def reopened(wiring: Wiring, row: Row) -> Opened:
    """Take a session. Raises ``SessionTaken``."""
    return await reopen_session(
        store=wiring.store,
        clock=wiring.clock,
        redactor=wiring.redactor,
        listeners=wiring.listeners,
        origin=wiring.origin,
        row=row,
    )


def row_of(place: Place | Following, pipeline: str) -> Row:
    """A session that another one names, as a listing would."""
    return Row(
        session=place.session,
        context_id=place.context_id,
        mailbox=place.mailbox,
        pipeline=pipeline,
        title="",
        created_ms=0,
    )


# --- restarts ------------------------------------------------------------------------------------


async def next_session(wiring: Wiring, graph: Graph, before: Opened, following: Following) -> Opened:
    """The session in which a restarted one goes on: its pipeline and variables, a fresh context, its ledger."""
    state = before.journal.state
    started = PipelineStarted(
        pipeline=state.pipeline,
        goal=state.goal,
        label=state.label,
        dot=state.dot,
        file=state.file,
        graph_hash=state.graph_hash,
        variables=state.variables,
        mailbox=0,
        simulation=state.simulation,
        backend=state.backend,
        version=wiring.origin.version,
        secrets=state.secrets,
        begins=following.target,
        parent=before.session,
        parent_context=before.context_id,
        why="restart",
        workspace=msgspec.to_builtins(state.workspace),
        ledger=ledger_of(graph, state),
        dotfiles=state.dotfiles,
        workdir=state.workdir,
    )
    return await begin(wiring, _place(following), started)


def _place(following: Following) -> Place:
    return Place(session=following.session, context_id=following.context_id, mailbox=following.mailbox)


async def newest_of_chain(store: Store, row: Row) -> tuple[Row, Loaded]:
    """The session in which a restarted one went on, and so forth: the last that has begun, and how far it came."""
    while True:
        loaded = await load(store, row.context_id)
        following = loaded.state.following
        if following is None or not await begun(store, following.mailbox):
            return row, loaded
        row = row_of(following, row.pipeline)


# --- children ------------------------------------------------------------------------------------


def child_started(wiring: Wiring, plan: Plan, state: RunState, context_id: int) -> PipelineStarted:
    """The beginning of a child: its own pipeline, its parent's variables and secrets."""
    return PipelineStarted(
        pipeline=plan.graph.name,
        goal=plan.graph.goal,
        label=plan.graph.text("label"),
        dot=plan.dot,
        file=plan.file,
        graph_hash=plan.graph_hash,
        variables=state.variables,
        mailbox=0,
        simulation=plan.simulation,
        backend=state.backend,
        version=wiring.origin.version,
        secrets=state.secrets,
        parent=state.session,
        parent_context=context_id,
        why="child",
        dotfiles=plan.dotfiles,
        workdir=plan.workdir,
    )


async def taken_up(wiring: Wiring, plan: Plan, row: Row) -> Opened:
    """Take a child that stopped, and go on where it stands. Raises ``SessionTaken`` where somebody else runs it."""
    return await gone_on(wiring, plan, await reopened(wiring, row))


async def gone_on(wiring: Wiring, plan: Plan, opened: Opened) -> Opened:
    """Record how a child that this process has taken goes on; where it had restarted, that is the next one."""
    state = opened.journal.state
    try:
        if state.following is not None:
            before, opened = opened, await next_session(wiring, plan.graph, opened, state.following)
            await before.hold.release()
        elif state.result is None or not state.result.good:
            void = (await wiring.store.head(opened.mailbox)).turn_id
            swept = await wiring.sweep(state)
            opened.journal.record(changed(_resumed(plan, state), void_until=void))
            for warning in swept:
                opened.journal.record(warning)
    except BaseException:
        await opened.hold.release()
        raise
    return opened


def lost_nodes(plan: Plan, state: RunState) -> list[str]:
    """The nodes that a session has been at and that its pipeline has no longer."""
    return [node for node in state.nodes if node not in plan.graph.nodes]


def no_node_lost(plan: Plan, state: RunState) -> None:
    """Raise ``ConfigError`` where a session has been at a node that its pipeline has no longer."""
    if lost := lost_nodes(plan, state):
        raise ConfigError(f"{plan.file} has no node {lost[0]!r}, where session {state.session} has been")


def _resumed(plan: Plan, state: RunState) -> PipelineResumed:
    no_node_lost(plan, state)
    stage = cut_off(state)
    wish = "rerun"
    if stage is not None and not stage.elsewhere:
        wish = plan.graph.nodes[stage.node].text("on_interrupt") or "rerun"
    event = resumption(plan.graph, state, interrupted="rerun" if wish == "rerun" else "fail")
    if plan.graph_hash != state.graph_hash:
        event = changed(event, dot=plan.dot, file=plan.file, graph_hash=plan.graph_hash, dotfiles=plan.dotfiles)
    if plan.simulation != state.simulation and not isinstance(plan.simulation, BlobRef):
        event = changed(event, simulation=plan.simulation)
    return event
