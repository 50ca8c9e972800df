"""Open a journal on a chain: the one door to every session and branch.

A new run, a child, the next session after a restart and a fork are *established*: their identity is recorded in
their chain, then their mailbox, by which they are listed. A session that exists is *taken*: its lock is won, and
its chain is read once more after the turn that says so. ``resume`` takes one and records how it continues, for a
run and for a child alike. A branch's journal shares its session's lock.

A session that another one names (a child, the next after a restart) is named durably before it is established, so
that a resume after a crash finds that one and starts no second one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from orchestra.engine.holding import Holding
from orchestra.engine.journal import Journal, Owner
from orchestra.engine.loading import NOTHING, LoadedSession, catch_up, load
from orchestra.engine.sessions import first_metadata, has_begun, mailbox_turn
from orchestra.engine.wiring import Plan, SessionPlace, Wiring
from orchestra.ports import Store
from orchestra.run.blobs import BlobRef
from orchestra.run.declare import BY_CLASS, change, values
from orchestra.run.events import (
    PipelineForked,
    PipelinePaused,
    PipelineResumed,
    PipelineStarted,
    PipelineTaken,
    WarningRaised,
)
from orchestra.run.ledger import ledger_of
from orchestra.run.plain import clean, plain_json
from orchestra.run.resuming import cut_off, decision, no_node_lost, resumption
from orchestra.run.state import ChildRecord, RunState, Successor


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSession:
    """A session that this process owns: where it is, its journal and its lock (S16)."""

    place: SessionPlace
    journal: Journal
    hold: Holding

    @property
    def session(self) -> str:
        """Its display id (S14)."""
        return self.place.session

    @property
    def context_id(self) -> int:
        """The context of its chain."""
        return self.place.context_id

    @property
    def mailbox(self) -> int:
        """The context of its mailbox."""
        return self.place.mailbox


Identity: TypeAlias = PipelineStarted | PipelineForked
"""The event by which a session has an identity of its own."""

Preparing: TypeAlias = Callable[[RunState], Awaitable[tuple[Wiring, Plan]]]
"""Checks with what a session continues from a state; raises what forbids it."""


def _lock(wiring: Wiring, place: SessionPlace, loaded: LoadedSession) -> OpenSession:
    """Lock a session and continue what is loaded of it. Raises ``SessionTaken``."""
    hold = Holding(wiring, place, loaded.state.epoch + 1)
    return OpenSession(place=place, journal=_journal(wiring, hold, place.context_id, loaded), hold=hold)


def _journal(wiring: Wiring, hold: Owner, context_id: int, loaded: LoadedSession, branch: str = "") -> Journal:
    return Journal(wiring, hold, context_id, loaded, branch)


def start_event(
    wiring: Wiring,
    plan: Plan,
    *,
    like: RunState,
    why: str = "",
    parent_context: int = 0,
    begins: str = "",
    ledger: Mapping[str, Any] | None = None,
    workspace: Mapping[str, Any] | None = None,
) -> PipelineStarted:
    """Return the first event of a session that runs a plan.

    Label, variables, backend and secrets are those of ``like``: the session that it comes from, whose
    ``parent_context`` is given with the reason ``why``; for a new run a state that holds just these.
    """
    return PipelineStarted(
        pipeline=plan.graph.name,
        goal=plan.graph.goal,
        label=like.label,
        dot=plan.dot,
        file=plan.file,
        graph_hash=plan.graph_hash,
        variables=like.variables,
        mailbox=0,
        simulation=plan.simulation,
        backend=like.backend,
        version=wiring.origin.version,
        secrets=like.secrets,
        begins=begins,
        parent=like.session,
        parent_context=parent_context,
        why=why,
        ledger=ledger or {},
        workspace=workspace or {},
        dotfiles=plan.dotfiles,
        workdir=plan.workdir,
        max_cost_micros=wiring.max_cost_micros,
    )


async def new_place(wiring: Wiring, *, session: str = "", at: int = 0) -> SessionPlace:
    """Create the contexts of a session: its mailbox, and its chain, a fork at turn ``at`` if not 0."""
    store = wiring.store
    mailbox = (await store.create()).context_id
    chain = await store.fork(at) if at else await store.create()
    return SessionPlace(session=session or wiring.clock.display_id(), context_id=chain.context_id, mailbox=mailbox)


async def establish(wiring: Wiring, place: SessionPlace, first: Callable[[LoadedSession], Identity]) -> OpenSession:
    """Open the session that a record names; ``first`` gives it its identity unless that is recorded.

    ``first`` gets the history that the session has already, which is that of the session it is forked from.
    """
    store = wiring.store
    loaded = await load(store, place.context_id)
    if loaded.state.session != place.session:
        return await begin(wiring, place, first(loaded), loaded)
    if not await has_begun(store, place.mailbox):
        turn = mailbox_turn(loaded.state, place.context_id, wiring.origin, wiring.clock.now_ms())
        await store.append(place.mailbox, [turn])
    return await take(wiring, place, loaded)


async def begin(
    wiring: Wiring, place: SessionPlace, first: Identity, loaded: LoadedSession = NOTHING
) -> OpenSession:
    """Give a session its identity; it is listed once all of that is durable.

    No turn is copied for a fork, and nothing is appended to a context that belongs to another session.
    """
    opened, now = _lock(wiring, place, loaded), wiring.clock.now_ms()
    hold, journal = opened.hold, opened.journal
    try:
        if isinstance(first, PipelineStarted):
            first = _recordable(first)
            journal.record(
                change(first, mailbox=place.mailbox),
                first_metadata(first, place.session, wiring.origin, now, wiring.redactor),
            )
        else:
            journal.record(change(first, mailbox=place.mailbox))
        await journal.flush()
        turn = mailbox_turn(journal.state, place.context_id, wiring.origin, now)
        _, claim = await wiring.store.append(place.mailbox, [turn, hold.claim()])
        hold.note_claim(claim)
    except BaseException:
        await hold.release()
        raise
    return opened


def _recordable(event: PipelineStarted) -> PipelineStarted:
    """The event in clean Unicode: words from a command line may hold lone surrogates."""
    words: dict[str, Any] = {
        field.name: clean(value)
        for field, value in zip(BY_CLASS[PipelineStarted].fields, values(event), strict=True)
        if isinstance(value, str)
    }
    variables: dict[str, Any] = {
        clean(name): value if isinstance(value, BlobRef) else plain_json(value)
        for name, value in event.variables.items()
    }
    return change(event, **words, variables=variables)


async def take(
    wiring: Wiring, place: SessionPlace, loaded: LoadedSession | None = None, gone: str = ""
) -> OpenSession:
    """Take the lock of a session that exists, and continue its chain as the next epoch (S16, S26).

    One that ended well is locked only: nothing is recorded. Otherwise its chain is read once more after the turn
    that says that it is taken: what an older runner appended before that turn counts, and nothing after it.
    ``loaded`` is what was read before, ``gone`` the claim of a runner that is known to have stopped. Raises
    ``SessionTaken``, and what ``load`` raises.
    """
    loaded = loaded or await load(wiring.store, place.context_id)
    opened = _lock(wiring, place, loaded)
    if ended_well(loaded.state):
        return opened
    try:
        await opened.hold.win(gone)
        opened.journal.record(PipelineTaken(holder=wiring.origin.note))
        await opened.journal.flush()
        loaded = await catch_up(wiring.store, place.context_id, loaded)
    except BaseException:
        await opened.hold.release()
        raise
    return OpenSession(
        place=place, journal=_journal(wiring, opened.hold, place.context_id, loaded), hold=opened.hold
    )


def ended_well(state: RunState) -> bool:
    """Whether a session reached its goal: nothing is left to do."""
    return state.result is not None and state.result.good


async def next_session(wiring: Wiring, plan: Plan, before: OpenSession) -> OpenSession:
    """Open the session in which a restarted one continues (E14), and release the previous one.

    It has the same pipeline and variables, a fresh context, and continues the ledger.
    """
    state = before.journal.state
    following = state.following
    assert following is not None
    first = start_event(
        wiring,
        plan,
        like=state,
        why="restart",
        parent_context=before.context_id,
        begins=following.target,
        ledger=ledger_of(plan.graph, state),
        workspace=msgspec.to_builtins(state.workspace),
    )
    opened = await establish(wiring, place_of(following), lambda _: first)
    await before.hold.release()
    return opened


def place_of(named: Successor | ChildRecord) -> SessionPlace:
    """Where the session is that a record names."""
    return SessionPlace(session=named.session, context_id=named.context_id, mailbox=named.mailbox)


async def newest_of_chain(store: Store, place: SessionPlace) -> tuple[SessionPlace, LoadedSession]:
    """Follow restarts: return the last session of a chain that has begun, and its record."""
    while True:
        loaded = await load(store, place.context_id)
        following = loaded.state.following
        if following is None or not await has_begun(store, following.mailbox):
            return place, loaded
        place = place_of(following)


async def resume(
    preparing: Preparing, place: SessionPlace, loaded: LoadedSession, *, store: str = "", gone: str = ""
) -> tuple[OpenSession, Wiring, Plan]:
    """Take a session and record how it continues: a run's or a child's, with the first batch of its walk.

    ``loaded`` is what was read of it. Every check of ``preparing`` passes before anything is recorded, and again
    where another process has moved the session meanwhile. ``store`` says why its store stopped it and ``gone``
    names the claim of its last runner, where these are known (S20). Raises ``SessionTaken``, ``Undecided``,
    ``ConfigError``, and what ``preparing`` raises.
    """
    wiring, plan = await _prepare(preparing, loaded.state)
    opened = await take(wiring, place, loaded, gone)
    try:
        state = opened.journal.state
        if _has_moved(loaded.state, state):
            wiring, plan = await _prepare(preparing, state)
            opened.journal.redactor = wiring.redactor
        if store and state.result is None and not state.paused:
            opened.journal.record(PipelinePaused(node=state.node, reason=f"the store failed: {store}"))
            await opened.journal.flush()
        opened = await continue_session(wiring, plan, opened)
    except BaseException:
        await opened.hold.release()
        raise
    return opened, wiring, plan


async def _prepare(preparing: Preparing, state: RunState) -> tuple[Wiring, Plan]:
    wiring, plan = await preparing(state)
    if not ended_well(state) and state.following is None:
        resume_event(wiring, plan, state)
    return wiring, plan


_CHECKED = ("dot", "dotfiles", "simulation", "secrets", "variables", "nodes", "next_node", "ended", "result")
"""What the checks of a resume read of a state, besides its current node."""


def _has_moved(before: RunState, now: RunState) -> bool:
    """Whether another process continued the session between its checks and its taking."""
    at = [state.stage and (state.stage.node, state.stage.due, state.stage.refused) for state in (before, now)]
    return at[0] != at[1] or any(getattr(before, name) != getattr(now, name) for name in _CHECKED)


async def sweep_all(wiring: Wiring, state: RunState) -> tuple[WarningRaised, ...]:
    """Stop what a dead runner left running of a walk and of its branches; return what to record (E4).

    A child is a session of its own.
    """
    found = list(await wiring.end_command(state))
    stage = cut_off(state)
    fan = state.fans.get(stage.node) if stage is not None else None
    if stage is None or fan is None or fan.status or (fan.visit, fan.attempt) != (stage.visit, stage.attempt):
        return tuple(found)
    for branch in fan.unfinished:
        if branch.id in fan.opened and fan.owns(branch.id):
            found += await sweep_all(wiring, (await load(wiring.store, fan.opened[branch.id])).state)
    return tuple(found)


async def continue_session(wiring: Wiring, plan: Plan, opened: OpenSession) -> OpenSession:
    """Record how a session that this process took continues; after a restart, the next session.

    What its last runner left running is stopped first (E4). Pauses and cancels sent before are void (S15).
    """
    state = opened.journal.state
    swept = await wiring.end_command(state)
    if state.following is not None:
        opened = await next_session(wiring, plan, opened)
    state = opened.journal.state
    if ended_well(state):
        return opened
    void = (await wiring.store.head(opened.mailbox)).turn_id
    opened.journal.record(change(resume_event(wiring, plan, state), void_until=void))
    for warning in swept:
        opened.journal.record(warning)
    return opened


def resume_event(wiring: Wiring, plan: Plan, state: RunState) -> PipelineResumed:
    """Return the event that says how a walk continues, and what is different from now on.

    Raises ``ConfigError`` where the pipeline has lost a node that the session needs, and ``Undecided`` where a
    person has to decide about the attempt that was cut off.
    """
    no_node_lost(plan.graph, plan.file, state)
    decided, why = decision(plan.graph, state, wiring.interrupted)
    event = resumption(plan.graph, state, interrupted=decided, why=why)
    if plan.graph_hash != state.graph_hash or (plan.given and plan.dotfiles):
        event = change(event, dot=plan.dot, file=plan.file, graph_hash=plan.graph_hash, dotfiles=plan.dotfiles)
    if plan.simulation != state.simulation and not isinstance(plan.simulation, BlobRef):
        event = change(event, simulation=plan.simulation)
    if wiring.secrets is not None and wiring.secrets != state.secrets:
        event = change(event, secrets=wiring.secrets)
    if wiring.max_cost_micros and wiring.max_cost_micros != state.max_cost_micros:
        event = change(event, max_cost_micros=wiring.max_cost_micros)
    return event


async def branch_context(wiring: Wiring, turn_id: int) -> int:
    """Fork a chain at a turn and return the new context, which is empty beyond that turn."""
    return (await wiring.store.fork(turn_id)).context_id


def open_branch(wiring: Wiring, session: Journal, context_id: int, path: str, loaded: LoadedSession) -> Journal:
    """Return a journal on a branch's context that continues what is loaded of it.

    ``session`` is the journal of the walk that opens the branch: the branch shares its lock and epoch, so that one
    lock guards all walks of a session. ``loaded`` is the parent's history at the turn that was forked, for a branch
    that begins; each event that is recorded carries ``path`` in its ``Meta`` (E30).
    """
    return _journal(wiring, session.owner, context_id, loaded, path)


async def reopen_branch(
    wiring: Wiring, plan: Plan, session: Journal, branch: Journal, first: Identity | None = None
) -> None:
    """Record durably that this runner continues a branch that an earlier one began (S16).

    ``branch`` is a journal of ``open_branch`` on what is recorded of it, ``session`` its parent's. What the earlier
    runner appends from now on does not count, because ``PipelineTaken`` carries this session's epoch. A branch that
    has ended stays as it is, unless it was canceled. A fork of another session's branch begins with ``first``
    instead (S27). Raises ``Undecided`` and ``ConfigError`` before anything is recorded.
    """
    ended = branch.state.result is not None and branch.state.result.status != "canceled"
    if first is not None:
        branch.record(first)
    elif not ended:
        resume_event(wiring, plan, branch.state)
        branch.record(PipelineTaken(holder=wiring.origin.note))
    if not ended:
        branch.record(change(resume_event(wiring, plan, branch.state), void_until=session.state.void_until))
    await branch.flush()
