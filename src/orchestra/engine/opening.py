"""Open a session: the one door to a new run, a resume, a replay, a child, a restart and a branch.

A session is locked, then its chain is continued. One that is new gets its identity there, then its mailbox, by
which it is listed. One that exists is *taken*: its chain is read once more after the turn that says so. How it
continues is recorded with the first batch of its walk, for a run and for a child alike. A branch's journal shares
its session's lock.

A session that another one names (a child, the next after a restart) is named durably before it is opened, so that a
resume after a crash finds that one and starts no second one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from orchestra.engine.below import cut_off_below
from orchestra.engine.holding import Holding
from orchestra.engine.journal import Journal
from orchestra.engine.loading import EMPTY_CHAIN, LoadedSession, load
from orchestra.engine.sessions import first_metadata, has_begun, mailbox_turn, place_of
from orchestra.engine.wiring import Plan, SessionPlace, Wiring
from orchestra.errors import Undecided
from orchestra.ports import NewTurn
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
from orchestra.run.resuming import cut_off, decision, fan_at_work, no_node_lost, resumption
from orchestra.run.secrets import clean, plain_json
from orchestra.run.state import RunState

_P = TypeVar("_P", bound=Plan)
_Own = TypeVar("_Own", bound=Plan, covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedSession(SessionPlace):
    """A session that this process has locked, with its journal (S16)."""

    journal: Journal
    hold: Holding


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSession(LockedSession, Generic[_Own]):
    """A session that is ready to walk: a locked one, and what it is walked with."""

    wiring: Wiring
    plan: _Own


Identity: TypeAlias = PipelineStarted | PipelineForked
"""The event by which a session has an identity of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A session to open: where it is, what is read of it, and the identity that it gets where it has none.

    ``loaded`` is its history, or that of the session that it is forked from. ``stopped`` says why its store stopped
    its last runner and ``gone`` names that runner's claim, where these are known (S20).
    """

    place: SessionPlace
    loaded: LoadedSession = EMPTY_CHAIN
    first: Identity | None = None
    stopped: str = ""
    gone: str = ""

    @property
    def new(self) -> bool:
        """Whether the session has no identity of its own yet."""
        return self.loaded.state.session != self.place.session


async def open_session(
    wiring: Wiring,
    plan: _P,
    opening: Opening,
    again: Callable[[RunState], Awaitable[tuple[Wiring, _P]]] | None = None,
) -> OpenSession[_P]:
    """Lock a session and record how it continues: a run's or a child's, new, resumed, forked or restarted.

    Every check passes before anything is recorded. Where another process has moved the session meanwhile, ``again``
    returns with what it continues from its new state. Raises ``SessionTaken``, ``Undecided``, ``ConfigError``, and
    what ``again`` raises.
    """
    loaded, new = opening.loaded, opening.new
    if not new:
        await _check(wiring, plan, loaded.state)
    locked = await lock_session(wiring, opening)
    journal, state = locked.journal, locked.journal.state
    try:
        if not new and not ended_well(loaded.state) and journal.depth != loaded.depth + 1:
            if again is not None:
                wiring, plan = await again(state)
                journal.redactor = wiring.redactor
            await _check(wiring, plan, state)
        if opening.stopped and state.result is None and not state.paused:
            journal.record(PipelinePaused(node=state.node, reason=f"the store failed: {opening.stopped}"))
            await journal.flush()
        opened = OpenSession(
            session=locked.session,
            context_id=locked.context_id,
            mailbox=locked.mailbox,
            journal=journal,
            hold=locked.hold,
            wiring=wiring,
            plan=plan,
        )
        return opened if new and isinstance(opening.first, PipelineStarted) else await _continue(opened)
    except BaseException:
        await locked.hold.release()
        raise


async def _check(wiring: Wiring, plan: Plan, state: RunState) -> None:
    if not ended_well(state) and state.following is None:
        resume_event(wiring, plan, state)
        if state.stage is not None and (state.children or state.fans):
            await _check_decided(wiring, plan, state)


async def lock_session(wiring: Wiring, opening: Opening) -> LockedSession:
    """Lock a session and record that this process has it, as its next epoch (S16, S26).

    A new one gets its identity, and is listed once that is durable; no turn is copied for a fork, and nothing is
    appended to a context of another session. One that ended well is locked only. Otherwise its chain is read once
    more after the turn that says that it is taken: what an older runner appended before that turn counts, and
    nothing after it. Raises ``SessionTaken``, and what ``load`` raises.
    """
    place, loaded, store = opening.place, opening.loaded, wiring.store
    hold = Holding(wiring, place, loaded.state.epoch + 1)
    journal = Journal(wiring, hold, place.context_id, loaded)
    opened = LockedSession(
        session=place.session, context_id=place.context_id, mailbox=place.mailbox, journal=journal, hold=hold
    )
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


async def _begin(wiring: Wiring, opened: LockedSession, first: Identity) -> None:
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


def _listing(wiring: Wiring, opened: LockedSession) -> NewTurn:
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


async def next_session(before: OpenSession[_P]) -> OpenSession[_P]:
    """Open the session in which a restarted one continues (E14), and release the previous one.

    It has the same pipeline and variables, a fresh context, and continues the ledger.
    """
    wiring, plan, state = before.wiring, before.plan, before.journal.state
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
    opened = await open_session(wiring, plan, Opening(place=place, loaded=loaded, first=first))
    await before.hold.release()
    return opened


async def _continue(opened: OpenSession[_P]) -> OpenSession[_P]:
    """Record how a session that this process took continues; after a restart, the next session.

    What its last runner left running is stopped first (E4). Pauses and cancels sent before are void (S15).
    """
    wiring, plan, journal = opened.wiring, opened.plan, opened.journal
    state = journal.state
    if state.following is not None:
        return await next_session(opened)
    if not ended_well(state):
        swept = await wiring.end_command(state)
        void = (await wiring.store.head(opened.mailbox)).turn_id
        journal.record(change(resume_event(wiring, plan, state), void_until=void))
        for warning in (*swept, *_branches_not_begun(plan, state)):
            journal.record(warning)
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
        event = change(event, pipeline=plan.graph.name, goal=plan.graph.goal)
    if plan.simulation != state.simulation and not isinstance(plan.simulation, BlobRef):
        event = change(event, simulation=plan.simulation)
    if wiring.secrets is not None and wiring.secrets != state.secrets:
        event = change(event, secrets=wiring.secrets)
    if wiring.max_cost_micros and wiring.max_cost_micros != state.max_cost_micros:
        event = change(event, max_cost_micros=wiring.max_cost_micros)
    return event


async def _check_decided(wiring: Wiring, plan: Plan, state: RunState) -> None:
    """Raise ``Undecided`` if a walk below the current node waits for a decision on an attempt.

    These are its child and its branches, and theirs: they are resumed by the session's own resume (E4).
    """
    async for below, found in cut_off_below(wiring.store, plan, state):
        try:
            resume_event(wiring, below, found)
        except Undecided as error:
            raise Undecided(state.session, error.node) from None
        await _check_decided(wiring, below, replace(found, session=state.session))


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
