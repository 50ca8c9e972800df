"""Pipelines three deep whose runs are paused, gone on with and forked: what their tests share."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kill_sweep import LOG

from orchestra.app.pipelines import Pipeline, compile_pipeline, read
from orchestra.app.runs import Future, RunSetup, replay, resume, start
from orchestra.clock import SystemClock
from orchestra.config.settings import Settings
from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.cxdb.memory import MemoryStore
from orchestra.engine.control import Control
from orchestra.engine.forking import TurnChoice
from orchestra.engine.loading import event_of, history
from orchestra.engine.running import Run
from orchestra.engine.sessions import Row, rows
from orchestra.errors import StoreUnreachable
from orchestra.graph.model import Graph, Node
from orchestra.ports import Head, NewTurn, Scope, Store, Turn
from orchestra.run.events import (
    ChildEnded,
    Event,
    PipelinePaused,
    Recorded,
)
from orchestra.run.outcome import Outcome, Status
from orchestra.run.state import Context
from support import CountingStore

SETTINGS = Settings(store=None)
ENDS = "start [shape=Mdiamond] exit [shape=Msquare]"
TEXTS = {
    "parent": f"""digraph parent {{ {ENDS} plan done
        check [KIND, stack.child_dotfile="check.dot"] start -> plan -> check -> done -> exit }}""",
    "check": f"""digraph check {{ {ENDS} a b
        deep [type=pipeline, stack.child_dotfile="deep.dot"] start -> a -> deep -> b -> exit }}""",
    "deep": f"""digraph deep {{ {ENDS} x y z start -> x -> y -> z -> exit }}""",
}
PIPELINE = "type=pipeline"


class Clock(SystemClock):
    """Nobody waits."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@dataclass
class Work:
    """A handler that counts what it is asked to do, costs something, and does at nodes what is said of them."""

    control: Control = field(default_factory=Control)
    pauses_at: str = ""
    fails_at: str = ""
    done: list[str] = field(default_factory=list)

    async def __call__(self, node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        self.done.append(node.id)
        if node.id == self.pauses_at:
            self.control.interrupt("enough")
            await asyncio.sleep(30)
        scope.spend(cost_micros=1)
        if node.id == self.fails_at:
            return Outcome(status=Status.FAIL, failure_reason="no")
        return Outcome(status=Status.SUCCESS, context_updates={f"made_{node.id}": context.get("colour", "")})


def compiled(folder: Path, kind: str = PIPELINE, **texts: str) -> Pipeline:
    for name, text in {**TEXTS, **texts}.items():
        (folder / f"{name}.dot").write_text(text.replace("KIND", kind))
    source, found = read(folder / "parent.dot")
    return compile_pipeline(source, found, variables={}, secrets={})


async def walked(pipeline: Pipeline, store: Store, work: Work) -> Run:
    """A new session, run to its end or pause."""
    run = await start(
        RunSetup(store=store, settings=SETTINGS, clock=Clock(), control=work.control, more={"codergen": work}),
        pipeline,
        variables={"colour": "blue"},
    )
    await run.walk()
    return run


async def gone_on(store: Store, session: str, work: Work) -> Run:
    run, _pipeline = await resume(
        RunSetup(store=store, settings=SETTINGS, clock=Clock(), control=work.control, more={"codergen": work}),
        session,
    )
    await run.walk()
    return run


async def forked(
    store: Store, session: str, turn_id: int, work: Work, future: Future | None = None, *, walk: bool = True
) -> Run:
    run, _pipeline = await replay(
        RunSetup(store=store, settings=SETTINGS, clock=Clock(), control=work.control, more={"codergen": work}),
        session,
        at=TurnChoice(turn_id=turn_id),
        future=future or Future(),
    )
    if walk:
        await run.walk()
    return run


async def everything(store: Store) -> dict[int, list[tuple[int, bytes]]]:
    """Every turn of every context that has one."""
    listed = [row.context_id for row in await store.contexts()]
    return {one: [(turn.turn_id, turn.payload) for turn in await history(store, one)] for one in listed}


async def recorded(store: Store, context_id: int) -> list[tuple[Turn, Event]]:
    turns = await history(store, context_id)
    return [(turn, found.event) for turn in turns if isinstance(found := event_of(turn), Recorded)]


async def between(store: Store, context_id: int) -> list[int]:
    """The turns of a parent from its pause up to its child's end."""
    found = await recorded(store, context_id)
    events = [event for _turn, event in found]
    first = next(n for n, event in enumerate(events) if isinstance(event, PipelinePaused))
    last = next((n for n, e in enumerate(events) if isinstance(e, ChildEnded)), len(events))
    return [turn.turn_id for turn, _event in found[first:last]]


async def new_rows(store: Store, known: Sequence[Row]) -> list[Row]:
    """The sessions that were not known, oldest first."""
    return [row for row in reversed(await rows(store)) if row not in known]


async def paused_and_gone_on(folder: Path, store: Store, kind: str = PIPELINE, at: str = "y") -> tuple[Run, Run]:
    run = await walked(compiled(folder, kind), store, Work(pauses_at=at))
    return run, await gone_on(store, run.session, Work())


def plain(context: object) -> dict[str, object]:
    assert isinstance(context, dict)
    return {key: value for key, value in context.items() if not key.endswith("session")}


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[Store]:
    store = EmbeddedStore.open(folder / "store", capacity=LOG)
    yield store
    await store.close()


class Failing(CountingStore):
    """A store that is lost from one of its changes on, whichever kind that is."""

    def __init__(self, inner: MemoryStore, lost_from: int = sys.maxsize) -> None:
        super().__init__(inner)
        self.changes = 0
        self._lost_from = lost_from

    def _change(self) -> None:
        self.changes += 1
        if self.changes >= self._lost_from:
            raise StoreUnreachable("the store is gone", fix="none")

    async def create(self, base_turn: int = 0) -> Head:
        self._change()
        return await super().create(base_turn)

    async def fork(self, turn: int) -> Head:
        self._change()
        return await super().fork(turn)

    async def append(
        self, context_id: int, turns: Sequence[NewTurn], *, blobs: Sequence[bytes] = ()
    ) -> tuple[Turn, ...]:
        self._change()
        return await super().append(context_id, turns, blobs=blobs)


class Once(Work):
    """Fails at a node the first time."""

    def __init__(self, node: str) -> None:
        super().__init__(fails_at=node)

    async def __call__(self, node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        outcome = await super().__call__(node, context, graph, scope)
        self.fails_at = "" if node.id == self.fails_at else self.fails_at
        return outcome
