"""Open a session: the one door to a new run, a resume, a replay, a child, a restart and a branch.

A session is locked, then its chain is continued. One that is new gets its identity there, then its mailbox, by
which it is listed. One that exists is *taken*: its chain is read once more after the turn that says so. How it
continues is recorded with the first batch of its walk, for a run and for a child alike. A branch's journal shares
its session's lock.

A session that another one names (a child, the next after a restart) is named durably before it is opened, so that a
resume after a crash finds that one and starts no second one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from orchestra.engine.holding import Holding
from orchestra.engine.journal import Journal
from orchestra.engine.loading import NOTHING, LoadedSession, load
from orchestra.engine.sessions import first_metadata, has_begun, mailbox_turn
from orchestra.engine.wiring import Plan, SessionPlace, Wiring
from orchestra.errors import Undecided
from orchestra.ports import NewTurn, Store
from orchestra.run.declare import BY_CLASS, BlobRef, change, values
from orchestra.run.events import (
    PipelineForked,
    PipelinePaused,
    PipelineResumed,
    PipelineStarted,
    PipelineTaken,
    WarningRaised,
)
from orchestra.run.ledger import ledger_of
from orchestra.run.resuming import cut_off, decision, fan_at_work, no_node_lost, resumption, work_below
from orchestra.run.secrets import clean, plain_json
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A session to open: where it is, what is read of it, and the identity that it gets where it has none.

    ``loaded`` is its history, or that of the session that it is forked from. ``stopped`` says why its store stopped
    its last runner and ``gone`` names that runner's claim, where these are known (S20).
    """

    place: SessionPlace
    loaded: LoadedSession = NOTHING
    first: Identity | None = None
    stopped: str = ""
    gone: str = ""

    @property
    def new(self) -> bool:
        """Whether the session has no identity of its own yet."""
        return self.loaded.state.session != self.place.session


_P = TypeVar("_P", bound=Plan)

Preparing: TypeAlias = Callable[[RunState], Awaitable[tuple[Wiring, _P]]]
"""Checks with what a session continues from a state; raises what forbids it."""


def ready(wiring: Wiring, plan: _P) -> Preparing[_P]:
    """What a session continues with where that is known and checked."""

    async def prepared(_state: RunState) -> tuple[Wiring, _P]:
        return wiring, plan

    return prepared


async def open_session(preparing: Preparing[_P], opening: Opening) -> tuple[OpenSession, Wiring, _P]:
    """Lock a session and record how it continues: a run's or a child's, resumed, forked or new.

    Every check of ``preparing`` passes before anything is recorded, and again where another process has moved the
    session meanwhile. Raises ``SessionTaken``, ``Undecided``, ``ConfigError``, and what ``preparing`` raises.
    """
    loaded = opening.loaded
    wiring, plan = await (preparing(loaded.state) if opening.new else _prepare(preparing, loaded.state))
    opened = await lock_session(wiring, opening)
    try:
        state = opened.journal.state
        moved = opened.journal.depth != loaded.depth + 1
        if moved and not opening.new and not ended_well(loaded.state):
            wiring, plan = await _prepare(preparing, state)
            opened.journal.redactor = wiring.redactor
        if opening.stopped and state.result is None and not state.paused:
            opened.journal.record(PipelinePaused(node=state.node, reason=f"the store failed: {opening.stopped}"))
            await opened.journal.flush()
        if not (opening.new and isinstance(opening.first, PipelineStarted)):
            opened = await _continue(wiring, plan, opened)
    except BaseException:
        await opened.hold.release()
        raise
    return opened, wiring, plan


async def _prepare(preparing: Preparing[_P], state: RunState) -> tuple[Wiring, _P]:
    wiring, plan = await preparing(state)
    if not ended_well(state) and state.following is None:
        resume_event(wiring, plan, state)
        await _check_decided(wiring, plan, state)
    return wiring, plan


async def lock_session(wiring: Wiring, opening: Opening) -> OpenSession:
    """Lock a session and record that this process has it, as its next epoch (S16, S26).

    A new one gets its identity, and is listed once that is durable; no turn is copied for a fork, and nothing is
    appended to a context of another session. One that ended well is locked only. Otherwise its chain is read once
    more after the turn that says that it is taken: what an older runner appended before that turn counts, and
    nothing after it. Raises ``SessionTaken``, and what ``load`` raises.
    """
    place, loaded, store = opening.place, opening.loaded, wiring.store
    hold = Holding(wiring, place, loaded.state.epoch + 1)
    journal = Journal(wiring, hold, place.context_id, loaded)
    opened = OpenSession(place=place, journal=journal, hold=hold)
    try:
        if opening.new:
            assert opening.first is not None
            await _begin(wiring, opened, opening.first)
        elif not ended_well(loaded.state):
            if opening.first is not None and not await has_begun(store, place.mailbox):
                await store.append(place.mailbox, [_listing(wiring, opened)])
            await hold.win(opening.gone)
            journal.record(PipelineTaken(holder=wiring.origin.note))
            await journal.flush()
            journal.continue_from(await load(store, place.context_id, base=loaded))
    except BaseException:
        await hold.release()
        raise
    return opened


async def _begin(wiring: Wiring, opened: OpenSession, first: Identity) -> None:
    hold, journal, metadata = opened.hold, opened.journal, None
    if isinstance(first, PipelineStarted):
        first, now = _recordable(first), wiring.clock.now_ms()
        metadata = first_metadata(first, opened.session, wiring.origin, now, wiring.redactor)
    journal.record(change(first, mailbox=opened.mailbox), metadata)
    await journal.flush()
    _, claim = await wiring.store.append(opened.mailbox, [_listing(wiring, opened), hold.claim()])
    hold.note_claim(claim)


def _recordable(event: PipelineStarted) -> PipelineStarted:
    """The event in clean Unicode: words from a command line may hold lone surrogates."""
    fields = zip(BY_CLASS[PipelineStarted].fields, values(event), strict=True)
    words: dict[str, Any] = {field.name: clean(value) for field, value in fields if isinstance(value, str)}
    variables: dict[str, Any] = {
        clean(name): value if isinstance(value, BlobRef) else plain_json(value)
        for name, value in event.variables.items()
    }
    return change(event, **words, variables=variables)


def _listing(wiring: Wiring, opened: OpenSession) -> NewTurn:
    return mailbox_turn(opened.journal.state, opened.context_id, wiring.origin, wiring.clock.now_ms())


def ended_well(state: RunState) -> bool:
    """Whether a session reached its goal: nothing is left to do."""
    return state.result is not None and state.result.good


async def new_place(wiring: Wiring, *, session: str = "", at: int = 0) -> SessionPlace:
    """Create the contexts of a session: its mailbox, and its chain, a fork at turn ``at`` if not 0."""
    store = wiring.store
    mailbox = (await store.create()).context_id
    chain = await store.fork(at) if at else await store.create()
    return SessionPlace(session=session or wiring.clock.display_id(), context_id=chain.context_id, mailbox=mailbox)


def start_event(
    wiring: Wiring, plan: Plan, like: RunState, *, parent_context: int = 0, why: str = ""
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
        parent=like.session,
        parent_context=parent_context,
        why=why,
        dotfiles=plan.dotfiles,
        workdir=plan.workdir,
        max_cost_micros=wiring.max_cost_micros,
    )


async def next_session(wiring: Wiring, plan: Plan, before: OpenSession) -> OpenSession:
    """Open the session in which a restarted one continues (E14), and release the previous one.

    It has the same pipeline and variables, a fresh context, and continues the ledger.
    """
    state = before.journal.state
    following = state.following
    assert following is not None
    first = change(
        start_event(wiring, plan, state, parent_context=before.context_id, why="restart"),
        begins=following.target,
        ledger=ledger_of(plan.graph, state),
        workspace=msgspec.to_builtins(state.workspace),
    )
    place = place_of(following)
    loaded = await load(wiring.store, place.context_id)
    opened = await lock_session(wiring, Opening(place=place, loaded=loaded, first=first))
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


async def _continue(wiring: Wiring, plan: Plan, opened: OpenSession) -> OpenSession:
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
    for warning in (*swept, *_branches_not_begun(plan, state)):
        opened.journal.record(warning)
    return opened


def _branches_not_begun(plan: Plan, state: RunState) -> Iterator[WarningRaised]:
    """Warn of branches that a new pipeline adds to a fan-out which continues with those that it announced."""
    stage = cut_off(state)
    fan = fan_at_work(state, stage) if stage is not None and plan.graph_hash != state.graph_hash else None
    if stage is None or fan is None:
        return
    known = {branch.target for branch in fan.branches}
    added = [edge.target for edge in plan.graph.outgoing(stage.node) if not edge.condition]
    if new := [target for target in added if target not in known]:
        message = (
            f"{stage.node} began before it had the branch {', '.join(new)}: added branches run at its next visit"
        )
        yield WarningRaised(message=message, rule="branch_added", node=stage.node)


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


async def sweep_all(wiring: Wiring, state: RunState) -> tuple[WarningRaised, ...]:
    """Stop what a dead runner left running of a walk and of its branches; return what to record (E4).

    A child is a session of its own.
    """
    found = list(await wiring.end_command(state))
    async for branch in _branches_below(wiring.store, state):
        found += await sweep_all(wiring, branch)
    return tuple(found)


async def _branches_below(store: Store, state: RunState) -> AsyncIterator[RunState]:
    """Yield the branches of a session's current node that have begun and have no result."""
    stage = cut_off(state)
    fan = fan_at_work(state, stage) if stage is not None else None
    for context_id in fan.begun if fan is not None else ():
        yield (await load(store, context_id)).state


async def _check_decided(wiring: Wiring, plan: Plan, state: RunState) -> None:
    """Raise ``Undecided`` if a walk below the current node waits for a decision on an attempt.

    These are its child and its branches, and theirs: they are resumed by the session's own resume (E4).
    """
    async for below, found in _cut_off_below(wiring.store, plan, state):
        try:
            resume_event(wiring, below, found)
        except Undecided as error:
            raise Undecided(state.session, error.node) from None
        await _check_decided(wiring, below, replace(found, session=state.session))


async def _cut_off_below(store: Store, plan: Plan, state: RunState) -> AsyncIterator[tuple[Plan, RunState]]:
    """Yield the walks below a session's current node that did not end, each with its plan."""
    stage = cut_off(state)
    if stage is None or stage.refused or stage.elsewhere or not work_below(state, stage):
        return
    child = state.children.get(stage.node)
    if child is not None and not child.seen and stage.node in plan.children:
        _place, loaded = await newest_of_chain(store, place_of(child))
        if loaded.head and not over(loaded.state, child.again):
            yield plan.children[stage.node][0], loaded.state
    async for branch in _branches_below(store, state):
        if branch.branch is not None and branch.result is None:
            yield plan, branch


def over(state: RunState, again: int) -> bool:
    """Whether a child ended in a way that is never continued; ``again`` as in ``ChildRecord``."""
    result = state.result
    if result is None or result.status not in ("success", "fail"):
        return False
    return result.good or not again or state.steps_carried + state.steps > again


def open_branch(wiring: Wiring, session: Journal, context_id: int, path: str, loaded: LoadedSession) -> Journal:
    """Return a journal on a branch's context that continues what is loaded of it.

    ``session`` is the journal of the walk that opens the branch: the branch shares its lock and epoch, so that one
    lock guards all walks of a session. ``loaded`` is the parent's history at the turn that was forked, for a branch
    that begins; each event that is recorded carries ``path`` in its ``Meta`` (E30).
    """
    return Journal(wiring, session.owner, context_id, loaded, path)


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
    event = None if ended else resume_event(wiring, plan, branch.state)
    if event is not None:
        if first is None:
            branch.record(PipelineTaken(holder=wiring.origin.note))
        branch.record(change(event, void_until=session.state.void_until))
    await branch.flush()
