"""A run: the session that this process walks, and those in which it goes on after a restart (E14)."""

from __future__ import annotations

from dataclasses import dataclass

from orchestra.engine.control import Control
from orchestra.engine.journal import Listener
from orchestra.engine.mailbox import listen
from orchestra.engine.runner import Handlers, Runner
from orchestra.engine.sessions import (
    Opened,
    Origin,
    Place,
    Row,
    begun,
    load_state,
    mailbox_turn,
    open_session,
    reopen_session,
)
from orchestra.graph.model import Graph
from orchestra.ports import Clock, Store
from orchestra.run.events import PipelineStarted
from orchestra.run.ledger import ledger_of
from orchestra.run.secrets import Redactor
from orchestra.run.state import Following, Result, RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """What the sessions that a process runs have in common."""

    store: Store
    clock: Clock
    redactor: Redactor
    listeners: tuple[Listener, ...]
    origin: Origin
    handlers: Handlers


class Run:
    """A session that this process runs; after a restart, the one in which it goes on."""

    def __init__(self, *, opened: Opened, graph: Graph, wiring: Wiring, control: Control) -> None:
        self.opened = opened
        self.control = control
        self._graph = graph
        self._wiring = wiring

    @property
    def session(self) -> str:
        """The display id (S14)."""
        return self.opened.session

    @property
    def context_id(self) -> int:
        """The session's CXDB context."""
        return self.opened.context_id

    @property
    def state(self) -> RunState:
        """The folded state as it stands."""
        return self.opened.journal.state

    async def walk(self) -> Result | None:
        """Run to the end, or None when it was paused; the session is let go in any case.

        What others want is heard of meanwhile (S15).
        """
        try:
            while True:
                opened = self.opened
                result = await opened.hold.during(
                    self._runner().walk(), listen(opened.store, self.state, self.control)
                )
                if self.state.following is None:
                    return result
                await self._go_on(self.state.following)
        finally:
            await self.opened.hold.release()

    def _runner(self) -> Runner:
        return Runner(
            graph=self._graph,
            journal=self.opened.journal,
            handlers=self._wiring.handlers,
            clock=self._wiring.clock,
            control=self.control,
        )

    async def _go_on(self, following: Following) -> None:
        """Begin the next session; the one before is held until then, so that nobody else begins it too."""
        before = self.opened
        self.opened = await begin(self._wiring, self._graph, before, following)
        await before.hold.release()


async def begin(wiring: Wiring, graph: Graph, before: Opened, following: Following) -> Opened:
    """Begin the session that a restarted one named, or take up what was begun of it."""
    store = wiring.store
    place = Place(session=following.session, context_id=following.context_id, mailbox=following.mailbox)
    if not (await store.head(following.context_id)).turn_id:
        return await open_session(
            store=store,
            clock=wiring.clock,
            redactor=wiring.redactor,
            listeners=wiring.listeners,
            origin=wiring.origin,
            started=_started(wiring, graph, before, following),
            place=place,
        )
    if not await begun(store, following.mailbox):
        state = await load_state(store, following.context_id)
        turn = mailbox_turn(state, following.context_id, wiring.origin, wiring.clock.now_ms())
        await store.append(following.mailbox, [turn])
    return await reopen_session(
        store=store,
        clock=wiring.clock,
        redactor=wiring.redactor,
        listeners=wiring.listeners,
        origin=wiring.origin,
        row=row_of(following, before.journal.state.pipeline),
    )


def _started(wiring: Wiring, graph: Graph, before: Opened, following: Following) -> PipelineStarted:
    """The beginning of the next session: the same pipeline and variables, a fresh context, the ledger (E14)."""
    state = before.journal.state
    return PipelineStarted(
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
        ledger=ledger_of(graph, state),
    )


def row_of(following: Following, pipeline: str) -> Row:
    """The next session of a restarted one as a listing names it."""
    return Row(
        session=following.session,
        context_id=following.context_id,
        mailbox=following.mailbox,
        pipeline=pipeline,
        title="",
        created_ms=0,
        why="restart",
    )


async def newest_of_chain(store: Store, row: Row) -> Row:
    """The session in which a restarted one went on, and so forth: the last that has begun."""
    while True:
        following = (await load_state(store, row.context_id)).following
        if following is None or not await begun(store, following.mailbox):
            return row
        row = row_of(following, row.pipeline)
