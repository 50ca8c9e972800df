"""What tests of the run and the engine share: graphs from text, a clock, scripted runs on the memory store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestra.agents.codergen import Agents
from orchestra.agents.models import SIMULATION
from orchestra.agents.simulation import ScriptedResult, Simulation
from orchestra.config.settings import Settings
from orchestra.cxdb.memory import MemoryStore
from orchestra.engine.asking import Waiting
from orchestra.engine.control import Control
from orchestra.engine.holding import Holding
from orchestra.engine.journal import Journal, Listener
from orchestra.engine.loading import LoadedSession, load
from orchestra.engine.opening import LockedSession, Opening, lock_session, new_place
from orchestra.engine.slots import BranchSlots
from orchestra.engine.stage import Stage
from orchestra.engine.walk import Walk
from orchestra.engine.wiring import Handlers, Plan, RunnerProcess, SessionPlace, Wiring
from orchestra.errors import Severity, Source, StoreUnreachable
from orchestra.graph.dot import parse
from orchestra.graph.model import Graph
from orchestra.handlers.control import conditional, exit_, start
from orchestra.ports import (
    Child,
    Clock,
    CodergenBackend,
    ContextRow,
    Decided,
    FanPlan,
    Handler,
    Head,
    Health,
    Hold,
    NewTurn,
    Store,
    Turn,
)
from orchestra.run.events import Event, PipelineStarted, Recorded
from orchestra.run.outcome import Json
from orchestra.run.parallel import Fan
from orchestra.run.questions import Answer, Question
from orchestra.run.secrets import Redactor
from orchestra.run.state import Result, RunState


def plan_of(graph: Graph, handlers: Handlers) -> Plan:
    """The plan of a graph, whose text is of no interest."""
    return Plan(graph=graph, handlers=handlers, dot="", file="", graph_hash="")


Steps = Sequence["ScriptedResult | str"]
"""Scripted results of one node; a bare string is a status."""

START_MS = 1_700_000_000_000


def graph_of(text: str) -> Graph:
    """The graph that a DOT text holds; a text without ``digraph`` gets one, a start and an exit."""
    if "digraph" not in text:
        text = f"digraph t {{ start [shape=Mdiamond] exit [shape=Msquare]\n{text}\n}}"
    found, diagnostics = parse(Source("test.dot", text))
    errors = [d.message for d in diagnostics if d.severity is Severity.ERROR]
    assert found is not None, errors
    assert not errors, errors
    return found


class FixedClock:
    """A clock that stands still unless somebody sleeps or moves it; no jitter; ids in order."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.now = now_ms
        self.slept: list[float] = []
        self._ids = 0

    def now_ms(self) -> int:
        return self.now

    def boot_seconds(self) -> float:
        return self.now / 1000

    def jitter(self) -> float:
        return 1.0

    def display_id(self) -> str:
        self._ids += 1
        return f"s{self._ids:05}"

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += round(seconds * 1000)


class CountingStore:
    """Delegates to a memory store, counts appends and turns read, and refuses the appends it is told to."""

    def __init__(self, inner: MemoryStore | None = None, *, fail_from: int = 0, fail_only: int = 0) -> None:
        self.inner = inner or MemoryStore()
        self.appends = 0
        self.turns_read = 0
        self.batches: list[tuple[int, tuple[NewTurn, ...]]] = []
        self.fail_from = fail_from
        self.fail_only = fail_only

    async def append(
        self, context_id: int, turns: Sequence[NewTurn], *, blobs: Sequence[bytes] = ()
    ) -> tuple[Turn, ...]:
        self.appends += 1
        if (self.fail_from and self.appends >= self.fail_from) or self.appends == self.fail_only:
            raise StoreUnreachable(f"append {self.appends} was refused", fix="none")
        self.batches.append((context_id, tuple(turns)))
        return await self.inner.append(context_id, turns, blobs=blobs)

    async def create(self, base_turn: int = 0) -> Head:
        return await self.inner.create(base_turn)

    async def fork(self, turn: int) -> Head:
        return await self.inner.fork(turn)

    async def head(self, context_id: int) -> Head:
        return await self.inner.head(context_id)

    async def turns(self, context_id: int, *, before: int | None = None, limit: int = 64) -> list[Turn]:
        page = await self.inner.turns(context_id, before=before, limit=limit)
        self.turns_read += len(page)
        return page

    async def turn(self, turn_id: int) -> Turn:
        return await self.inner.turn(turn_id)

    async def contexts(
        self, *, label: str | None = None, before: int | None = None, limit: int | None = None
    ) -> list[ContextRow]:
        return await self.inner.contexts(label=label, before=before, limit=limit)

    async def put_blob(self, data: bytes) -> bytes:
        return await self.inner.put_blob(data)

    async def get_blob(self, digest: bytes) -> bytes:
        return await self.inner.get_blob(digest)

    async def attach_fs(self, turn_id: int, root: bytes) -> None:
        await self.inner.attach_fs(turn_id, root)

    def watch(self, context_id: int) -> AsyncIterator[Head]:
        return self.inner.watch(context_id)

    async def publish_types(self, bundle_id: str, bundle: bytes) -> None:
        await self.inner.publish_types(bundle_id, bundle)

    @property
    def local(self) -> bool:
        return self.inner.local

    def hold(self, context_id: int, note: str) -> Hold:
        return self.inner.hold(context_id, note)

    def holder(self, context_id: int) -> str | None:
        return self.inner.holder(context_id)

    async def health(self) -> Health:
        return await self.inner.health()

    async def close(self) -> None:
        await self.inner.close()


def handlers_of(
    script: Mapping[str, Steps] | None = None,
    more: Mapping[str, Handler] | None = None,
    own_keys: Mapping[str, frozenset[str]] | None = None,
) -> Handlers:
    """The built-in handlers on a scripted simulation, and ``more`` beside or instead of them."""
    scripted = {
        node: tuple(ScriptedResult(status=step) if isinstance(step, str) else step for step in steps)
        for node, steps in (script or {}).items()
    }
    by_type: dict[str, Handler] = {
        "start": start,
        "exit": exit_,
        "conditional": conditional,
        "codergen": agents_on(Simulation(scripted)),
        **(more or {}),
    }
    return Handlers(by_type=by_type, own_keys=own_keys or {})


def agents_on(backend: CodergenBackend) -> Agents:
    """The handler of agent nodes that asks this backend for all of them, as simulated ones are asked."""
    backends = {SIMULATION: backend}
    return Agents(
        settings=Settings(store=None), folder=Path.cwd(), file="test.dot", backends=backends, simulated=True
    )


@dataclass(kw_only=True)
class Session:
    """A run under test: its parts, and the events that became durable, in order."""

    graph: Graph
    store: Store
    clock: FixedClock
    control: Control
    handlers: Handlers
    context_id: int
    name: str
    journal: Journal
    runner: Walk
    hold: Holding
    seen: list[Recorded] = field(default_factory=list)
    result: Result | None = None

    @property
    def state(self) -> RunState:
        return self.journal.state

    @property
    def events(self) -> list[Event]:
        return [recorded.event for recorded in self.seen]

    def of(self, *kinds: type) -> list[Event]:
        """The durable events of these classes."""
        return [event for event in self.events if isinstance(event, kinds)]

    @property
    def path(self) -> list[str]:
        """The nodes that ended, in order."""
        return [event.node for event in self.events if type(event).__name__ in ("StageCompleted", "StageFailed")]

    async def walk(self) -> Session:
        self.result = await self.runner.walk()
        return self


class Childless:
    """For runs whose nodes have no children and no branches."""

    def __init__(self) -> None:
        self.places = BranchSlots()

    def child(self, stage: Stage, session: str) -> AbstractAsyncContextManager[Child]:
        raise AssertionError(f"{stage.step.node} has no child")

    async def fan_out(self, stage: Stage, plan: FanPlan, decided: Decided) -> Fan:
        raise AssertionError(f"{stage.step.node} has no branches")

    async def ask(self, stage: Stage, question: Question) -> Answer:
        raise Waiting(question.text)


CHILDLESS = Childless()


async def opened(
    text: str | Graph,
    script: Mapping[str, Steps] | None = None,
    *,
    store: Store | None = None,
    clock: FixedClock | None = None,
    more: Mapping[str, Handler] | None = None,
    secrets: Mapping[str, str] | None = None,
    variables: Mapping[str, Json] | None = None,
    listeners: tuple[Listener, ...] = (),
    own_keys: Mapping[str, frozenset[str]] | None = None,
) -> Session:
    """A new session of a pipeline, ready to walk."""
    graph = graph_of(text) if isinstance(text, str) else text
    store, clock, control = store or MemoryStore(), clock or FixedClock(), Control()
    seen: list[Recorded] = []
    wiring = Wiring(
        store=store,
        clock=clock,
        redactor=Redactor(secrets or {}),
        listeners=(seen.append, *listeners),
        origin=RunnerProcess(host="here", pid=1, version="0"),
    )
    started = PipelineStarted(
        pipeline=graph.name,
        goal=graph.goal,
        dot=text if isinstance(text, str) else "",
        graph_hash="",
        mailbox=0,
        variables=dict(variables or {}),
    )
    made = await lock_session(wiring, Opening(place=await new_place(wiring), first=started))
    handlers = handlers_of(script, more, own_keys)
    runner = Walk(
        plan=plan_of(graph, handlers), journal=made.journal, clock=clock, control=control, spawning=CHILDLESS
    )
    return Session(
        graph=graph,
        store=store,
        clock=clock,
        control=control,
        handlers=handlers,
        context_id=made.context_id,
        name=made.session,
        journal=made.journal,
        runner=runner,
        hold=made.hold,
        seen=seen,
    )


async def ran(text: str | Graph, script: Mapping[str, Steps] | None = None, **options: object) -> Session:
    """A new session, walked to its end or pause; options as for ``opened``."""
    session = await opened(text, script, **options)  # type: ignore[arg-type]
    return await session.walk()


@dataclass
class Unlocked:
    """The owner of a journal that writes without a lock."""

    session: str
    epoch: int
    sure_until: float = 0.0

    async def check(self) -> None:
        pass


def plain_wiring(
    store: Store, clock: Clock, *, listeners: tuple[Listener, ...] = (), host: str = "there", pid: int = 2
) -> Wiring:
    origin = RunnerProcess(host=host, pid=pid, version="0")
    return Wiring(store=store, clock=clock, redactor=Redactor({}), listeners=listeners, origin=origin)


async def reopened(
    store: Store, clock: Clock, place: SessionPlace, loaded: LoadedSession | None = None
) -> LockedSession:
    """The session, taken by a process on another machine."""
    loaded = loaded or await load(store, place.context_id)
    return await lock_session(plain_wiring(store, clock), Opening(place=place, loaded=loaded))


async def resumed(session: Session, *, store: Store | None = None, epoch: int = 2) -> Session:
    """A second runner on the same session, from what the store holds."""
    store = store or session.store
    control = Control()
    seen: list[Recorded] = []
    wiring = plain_wiring(store, session.clock, listeners=(seen.append,))
    loaded = await load(store, session.context_id)
    journal = Journal(wiring, Unlocked(session.name, epoch), session.context_id, loaded)
    runner = Walk(
        plan=plan_of(session.graph, session.handlers),
        journal=journal,
        clock=session.clock,
        control=control,
        spawning=CHILDLESS,
    )
    return replace(session, store=store, control=control, journal=journal, runner=runner, seen=seen, result=None)
