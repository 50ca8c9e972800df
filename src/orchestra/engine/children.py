"""Child sessions: a node runs or watches a pipeline's session (engine.md#child-pipelines)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

from msgspec.structs import replace

from orchestra.engine.asking import Waiting
from orchestra.engine.below import ChildState, earlier_child, over, same_attempt
from orchestra.engine.control import Control, SessionControl
from orchestra.engine.holding import find_runner
from orchestra.engine.loading import LoadedSession, load
from orchestra.engine.mailbox import CANCEL, STEER, Action, send
from orchestra.engine.opening import Identity, Opening, OpenSession, new_place, open_session, start_event
from orchestra.engine.sessions import find, has_begun, newest_of_chain, own, place_of
from orchestra.engine.stage import Stage
from orchestra.engine.wiring import Plan, SessionPlace, Wiring
from orchestra.errors import ConfigError, SessionNotFound, SessionTaken, Undecided
from orchestra.ports import Store, Suspended, Telemetry, Workspace
from orchestra.run.events import ChildEnded, ChildStarted, PipelineForked
from orchestra.run.outcome import Json
from orchestra.run.state import NEW, Result, RunState, Spent

CHILD_POLL_SECONDS = 1.0
"""How often a child that this process does not run is read, in seconds."""

CHILD_STOP_SECONDS = 60.0
"""How long the end of such a child is waited for."""


class WalkableRun(Protocol):
    """A run that can be walked: ``engine.running.Run``."""

    opened: OpenSession[Plan]
    control: Control

    @property
    def state(self) -> RunState:
        """Its folded state now."""

    async def walk(self) -> Result | None:
        """Run it to its end or pause."""

    def below(self, opened: OpenSession[Plan], control: Control, shared: Workspace | None) -> WalkableRun:
        """Return the run of a child session, which works in the workspace of its node."""


class ChildSession:
    """A child session as its parent's node sees it (the ``Child`` port).

    While ``task`` runs, this process runs it; else it is read from the store. ``state`` is given of one that
    belongs to another session, and ended before this one was forked.
    """

    def __init__(self, stage: Stage, wiring: Wiring, place: SessionPlace, state: RunState = NEW) -> None:
        self.stage = stage
        self._wiring = wiring
        self._place = place
        self._state = state
        self._alive = False
        self._run: WalkableRun | None = None
        self._task: asyncio.Task[object] | None = None

    @property
    def walking(self) -> bool:
        """Whether this process runs it."""
        return self._task is not None and not self._task.done()

    def run_here(self, run: WalkableRun, task: asyncio.Task[object]) -> None:
        """This process runs it from now on."""
        self._run, self._task = run, task

    @property
    def state(self) -> RunState:
        """Its folded state, as far as it is known."""
        return self._run.state if self._run is not None else self._state

    def telemetry(self) -> Telemetry:
        """What its parent sees of it now."""
        return telemetry(self.state, alive=self.walking or self._alive)

    async def look(self) -> None:
        """Read it from the store."""
        self._place, loaded = await newest_of_chain(self._wiring.store, self._place)
        self._state, self._run = loaded.state, None
        heard = await find_runner(self._wiring.store, self._place, self._wiring.clock.now_ms())
        self._alive = heard is not None

    async def wait_for_change(self, seconds: float) -> None:
        """Wait until it pauses, continues or ends, at most so long.

        Raises ``Suspended`` if the parent pauses, and ``Waiting`` if the child waits for an answer.
        """
        self._raise_if_waiting()
        await (self._wait_for_walk(seconds) if self.walking else self._wait_for_events(seconds))
        if self.stage.control.pausing:
            await self._suspend()
        self._raise_if_waiting()

    def _raise_if_waiting(self) -> None:
        """Raise ``Waiting`` where the child that we ran waits for an answer: so does the parent."""
        if self._run is not None and not self.walking and self.state.waiting:
            pending = self.state.pending
            raise Waiting(pending[0].question.id if pending else self.state.session)

    async def _wait_for_walk(self, seconds: float) -> None:
        assert self._task is not None
        await self.stage.control.pausing_during(self._wiring.clock.sleep(seconds), _finish(self._task))

    async def _wait_for_events(self, seconds: float) -> None:
        before, clock = self.telemetry().status, self._wiring.clock
        until = clock.boot_seconds() + seconds  # a clock that is set does not make it longer
        while not self.stage.control.pausing:
            await self.stage.control.pausing_during(
                clock.sleep(max(0.0, min(CHILD_POLL_SECONDS, until - clock.boot_seconds())))
            )
            await self.look()
            if self.telemetry().status != before or clock.boot_seconds() >= until:
                return

    async def _suspend(self) -> None:
        """The parent pauses: its child pauses first, unless it ends just then."""
        await self._stop_here(lambda control: control.pause(self.stage.control.reason))
        if not self.telemetry().ended:
            raise Suspended

    async def _stop_here(self, stop: Callable[[Control], object]) -> bool:
        """Stop the walk of this process and wait until it has stopped; false where it does not walk."""
        if self._run is None or self._task is None or self._task.done():
            return False
        stop(self._run.control)
        await asyncio.wait({self._task})
        return True

    async def context(self) -> Mapping[str, Json]:
        """Its context as its nodes left it."""
        return {key: await self.stage.resolve(value) for key, value in self.state.context.items()}

    async def steer(self, text: str) -> None:
        """Put an instruction for its next agent into its mailbox."""
        await self._send(STEER, self._wiring.redactor.text(text))

    async def stop(self, reason: str) -> None:
        """Cancel it, and wait until it has stopped."""
        stopped = await self._stop_here(lambda control: control.cancel(reason))
        if not stopped and self._alive and not self.telemetry().ended:
            await self._send(CANCEL, reason)
            await self._wait_for_events(CHILD_STOP_SECONDS)

    async def _send(self, action: Action, text: str) -> None:
        place = self._run.opened if self._run is not None else self._place
        parent = self.stage.journal.state.session
        await send(
            self._wiring.store,
            place.mailbox,
            place.session,
            action,
            text=text,
            who=f"{self.stage.step.node} of {parent}",
            now_ms=self._wiring.clock.now_ms(),
        )

    async def settle(self) -> None:
        """The node lets go of it: it pauses with its parent, else it is stopped."""
        outer = self.stage.control
        if outer.pausing and not outer.canceling:
            await self._stop_here(lambda control: control.interrupt(outer.reason))
        else:
            await self._stop_here(
                lambda control: control.cancel(outer.reason or f"{self.stage.step.node} stopped it")
            )

    def record_end(self) -> None:
        """Record how it ended and what it spent, unless it only stopped because its parent does."""
        seen, spent = self.telemetry(), self.state.spent
        known = self.stage.journal.state.children.get(self.stage.step.node)
        if known is not None and known.status:
            return
        if not seen.ended or (seen.status == "canceled" and self.stage.control.pausing):
            return
        counted = known.counted if known is not None else Spent()
        self.stage.journal.record(
            ChildEnded(
                status=seen.status,
                node=self.stage.step.node,
                error="" if seen.status == "success" else seen.reason,
                child_session=seen.session,
                tokens_in=max(0, spent.tokens_in - counted.tokens_in),
                tokens_out=max(0, spent.tokens_out - counted.tokens_out),
                cost_micros=max(0, spent.cost_micros - counted.cost_micros),
            )
        )


async def _finish(task: asyncio.Task[object]) -> None:
    await asyncio.wait({task})


def telemetry(state: RunState, *, alive: bool) -> Telemetry:
    """Return what a parent sees of a session in this state."""
    result, reason = state.result, ""
    if result is not None and state.following is None:
        status, reason = result.status, "" if result.good else result.text
    elif alive:
        status = "running"
    else:
        status, reason = "paused", state.paused or "its runner is gone"
    response = state.context.get("last_response", "")
    return Telemetry(
        session=state.session,
        status=status,
        outcome=str(state.context.get("outcome", "")),
        node=state.node,
        completed=state.steps_carried + state.steps,
        retries=sum(max(0, record.executions - record.visits) for record in state.nodes.values()),
        last_response=response if isinstance(response, str) else "",
        reason=reason,
    )


@asynccontextmanager
async def child_session(run: WalkableRun, stage: Stage, session: str) -> AsyncIterator[ChildSession]:
    """Yield the child of a run's node, running while this is open; or a named session, which is only watched."""
    wiring = run.opened.wiring
    if session:
        child = ChildSession(stage, wiring, await _watched(wiring.store, stage, session))
        await child.look()
        yield child
        return
    plans = run.opened.plan.children[stage.step.node]
    plan = plans[min(stage.execution, len(plans)) - 1]
    before = await earlier_child(wiring.store, stage.journal.state, stage.step, plan)
    known = stage.journal.state.children.get(stage.step.node)
    ended = known is not None and same_attempt(known, stage.step) and (known.status or (before and before.ended))
    opened = None
    if known is not None and before is not None and ended:
        child = ChildSession(stage, wiring, place_of(known), before.state)
    else:
        child = ChildSession(stage, wiring, await _place_of_child(stage, wiring, plan, before))
        opened = await _open(run, stage, plan)
        if opened is None:
            await child.look()
    try:
        if opened is None:
            await _code_of(stage, child)
            yield child
        else:
            async with _walking(run, child, opened):
                yield child
    finally:
        child.record_end()


async def _watched(store: Store, stage: Stage, named: str) -> SessionPlace:
    """Return where a session is that a node only watches. Raises ``ConfigError`` where no other is called so."""
    try:
        place = own(await find(store, named))
    except SessionNotFound as error:
        raise ConfigError(f"stack.child_session of {stage.step.node!r}: {error}") from error
    if place.session == stage.session:
        raise ConfigError(
            f"stack.child_session of {stage.step.node!r}: {named!r} is the session of the node itself"
        )
    return place


async def _code_of(stage: Stage, child: ChildSession) -> None:
    """Put the worktrees where a child left them that ended before its node could record that (W7)."""
    if stage.workspace is not None and child.telemetry().ended:
        await stage.workspace.restore(child.state.workspace)


@asynccontextmanager
async def _walking(above: WalkableRun, child: ChildSession, opened: OpenSession[Plan]) -> AsyncIterator[None]:
    """Walk the child meanwhile; afterwards it has stopped. Its questions are asked where its parent's are."""
    outer = child.stage.control
    control = Control(SessionControl(outer.session.interviews, outer))
    run = above.below(opened, control, child.stage.workspace)
    try:
        async with asyncio.TaskGroup() as group:
            child.run_here(run, group.create_task(run.walk()))
            try:
                yield
            finally:
                await child.settle()
    except BaseExceptionGroup as several:
        if len(several.exceptions) > 1:
            raise
        raise several.exceptions[0] from None


async def _place_of_child(stage: Stage, wiring: Wiring, plan: Plan, before: ChildState | None) -> SessionPlace:
    """Return where the child of this attempt is recorded, else a new place.

    The recorded one if the attempt runs again or continues a failed child; a fork's if that child belongs to
    another session.
    """
    journal, step = stage.journal, stage.step
    known = journal.state.children.get(step.node)
    if known is not None and not known.seen and same_attempt(known, step):
        return place_of(known)
    if known is not None and before is not None and not before.turn_id:
        place = place_of(known)
    else:
        place = await new_place(wiring, at=before.turn_id if before is not None else 0)
    journal.record(
        ChildStarted(
            file=plan.file,
            node=step.node,
            visit=step.visit,
            attempt=step.attempt,
            child_session=place.session,
            child_context=place.context_id,
            child_mailbox=place.mailbox,
            until=before.until if before is not None else 0,
            again=before.again if before is not None else 0,
        )
    )
    await journal.flush()
    return place


async def _open(run: WalkableRun, stage: Stage, plan: Plan) -> OpenSession[Plan] | None:
    """Return the recorded child, started or resumed; None if it has ended or another process runs it.

    Raises ``Suspended`` where a person has to decide about its cut-off attempt: the parent pauses.
    """
    wiring, known = run.opened.wiring, stage.journal.state.children[stage.step.node]
    place, first = place_of(known), None
    begun = await has_begun(wiring.store, place.mailbox)
    if begun:
        place, loaded = await newest_of_chain(wiring.store, place)
        if known.status or over(loaded.state, known.again):
            return None
    else:
        loaded = await load(wiring.store, place.context_id)
        first = _identity(run, stage, plan, loaded)
    opening = Opening(place=place, loaded=loaded, first=first)
    try:
        return await open_session(wiring, plan, opening)
    except SessionTaken:
        if not begun:
            raise
        return None
    except Undecided as error:
        stage.control.pause(f"session {error.session}: {error}")
        raise Suspended from error


def _identity(run: WalkableRun, stage: Stage, plan: Plan, loaded: LoadedSession) -> Identity:
    """Return a child's first event: its own pipeline, its parent's variables and secrets.

    Its parent is the session of its node, also where that is in a branch.
    """
    parent, context_id = stage.journal.state, run.opened.context_id
    known = parent.children[stage.step.node]
    if not known.until:
        child = replace(parent, label=plan.graph.text("label"))
        return start_event(run.opened.wiring, plan, child, parent_context=context_id, why="child")
    had = loaded.state
    return PipelineForked(
        variables={name: value for name, value in parent.variables.items() if had.variables.get(name) != value},
        mailbox=0,
        parent=parent.session,
        parent_context=context_id,
        why="child",
        from_turn=loaded.head,
        origin=had.session,
        until=known.until,
    )
