"""Pipelines that are killed, and a witness outside the program: a file to which every execution is written, synced.

A run passes *points*: each change of a file of the store, each beginning and end of a handler, each wait. It can be
killed at any of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestra.agents.simulation import Simulation
from orchestra.app.pipelines import Pipeline, compile_pipeline
from orchestra.app.replaying import Future, replay
from orchestra.app.resuming import resume
from orchestra.app.runs import cast_of, start
from orchestra.clock import SystemClock
from orchestra.config.settings import Settings
from orchestra.config.simulation import parse_script
from orchestra.cxdb.embedded import EmbeddedStore
from orchestra.cxdb.faults import CountingFiles
from orchestra.cxdb.files import Files
from orchestra.cxdb.memory import MemoryStore
from orchestra.engine.forking import Wanted
from orchestra.engine.lineage import newest_of_chain
from orchestra.engine.sessions import Row, event_of, find, history, load_state, rows
from orchestra.errors import Diagnostic, SessionNotFound, Source
from orchestra.graph.model import Graph, Node
from orchestra.handlers.codergen import Codergen
from orchestra.handlers.tool import Tool
from orchestra.ports import Handler, Scope, Store, Turn
from orchestra.run.context import Context
from orchestra.run.events import EdgeSelected, PipelineResumed, Recorded, StageCompleted, StageFailed, StageRetrying
from orchestra.run.fold import evolve
from orchestra.run.outcome import Outcome
from orchestra.run.state import NEW

ROOT = Path(__file__).resolve().parent.parent.parent

LOG = 512 * 1024
"""A log that is smaller than usual: making one takes most of the time of a short run."""

Key = tuple[str, int, int]
"""An attempt: its node, its visit, which counts on over restarts, and its number."""


@dataclass(frozen=True, slots=True)
class Case:
    """A pipeline and its script."""

    name: str
    text: str
    script: str
    child: str = ""

    def pipeline(self) -> Pipeline:
        source = Source(f"{self.name}.dot", self.text)
        pipeline = compile_pipeline(source, variables={}, secrets={}, reading=self._child)
        pipeline.checked()
        return pipeline

    def _child(self, path: str) -> tuple[Source, tuple[Diagnostic, ...]]:
        return Source(path, self.child), ()

    def source(self) -> Source:
        return Source(f"{self.name}.yaml", self.script)


def _case(name: str, body: str, script: str) -> Case:
    return Case(
        name, f"digraph {name} {{ start [shape=Mdiamond] exit [shape=Msquare]\n{body}\n}}", f"nodes: {script}"
    )


WRITTEN = [
    _case(
        "retries",
        """a [max_retries=2, retry_policy=linear] b [max_retries=1, allow_partial=true] c
        start -> a -> b -> c -> exit""",
        "{a: [{status: retry, reason: busy}, {error: lost}, {text: a}], b: {status: retry, reason: never}}",
    ),
    _case(
        "gates",
        """g [goal_gate=true, retry_target=b] b [max_visits=4] j [shape=diamond]
        start -> b -> g -> j j -> exit [condition="outcome=success"] j -> exit""",
        "{g: [{status: fail, reason: no}, {status: fail, reason: still no}, {text: yes}],"
        " b: [{updates: {n: 1}}, {updates: {n: 2}}, {updates: {n: 3}}]}",
    ),
    _case(
        "failing",
        """a [max_visits=2] b start -> a a -> b [condition="outcome=success"] b -> a
        b -> exit [condition="context.never=1"]""",
        "{a: [{text: x}, {text: y}], b: {text: z}}",
    ),
    _case(
        "large",
        """a b start -> a -> b b -> exit [condition="big contains needle"] b -> a""",
        "{a: {updates: {big: " + "needle" * 4000 + "}, text: " + "t" * 70000 + "}}",
    ),
    _case(
        "commands",
        """make [shape=parallelogram, tool_command="echo made"] mend
        test [shape=parallelogram, tool_command="echo no >&2; exit 3", max_retries=1, retry_policy=linear]
        start -> make -> test -> exit test -> mend [condition="outcome=fail"] mend -> exit""",
        "{mend: {text: mended}}",
    ),
    Case(
        "children",
        """digraph children { start [shape=Mdiamond] exit [shape=Msquare] a b
        c [type=pipeline, stack.child_dotfile="child.dot", max_retries=1] start -> a -> c -> b -> exit }""",
        "nodes: {}",
        """digraph child { start [shape=Mdiamond] exit [shape=Msquare] x y start -> x -> y -> exit }""",
    ),
    _case(
        "restarting",
        """a b start -> a -> b b -> exit [condition="outcome=success"]
        b -> a [condition="outcome=fail", loop_restart=true]""",
        "{b: [{status: fail, reason: again}, {text: done}]}",
    ),
]


def examples() -> Iterator[Case]:
    """The examples whose nodes ask agents or run commands: what others do is not told to the witness."""
    for dot in sorted((ROOT / "examples").glob("*.dot")):
        script = dot.with_suffix(".yaml")
        graph = compile_pipeline(Source(dot.name, dot.read_text()), variables={}, secrets={}).graph
        assert graph is not None
        kinds = {graph.type_of(node) for node in graph.nodes}
        if script.exists() and kinds <= {"start", "exit", "conditional", "codergen", "tool"}:
            yield Case(dot.stem, dot.read_text(), script.read_text())


CASES = [*examples(), *WRITTEN]


# --- points and the witness ----------------------------------------------------------------------


@dataclass
class Points:
    """Counts what a run passes; ``before`` is called with each point's number and name."""

    before: Callable[[int, str], None] = lambda _number, _name: None
    names: list[str] = field(default_factory=list)

    def passed(self, name: str) -> None:
        self.before(len(self.names), name)
        self.names.append(name)


class WatchedFiles(CountingFiles):
    """A file layer whose changes are points."""

    def __init__(self, points: Points) -> None:
        super().__init__()
        self._points = points

    def before(self, name: str) -> None:
        super().before(name)
        self._points.passed(name)


class WatchedClock(SystemClock):
    """Waits are points, and take no time."""

    def __init__(self, points: Points) -> None:
        super().__init__(seed=1)
        self._points = points

    async def sleep(self, seconds: float) -> None:
        self._points.passed("wait")
        await asyncio.sleep(0)


@dataclass(frozen=True)
class Witness:
    """A handler that writes down, synced, when each execution begins and ends, and else does what another does."""

    inner: Handler
    file: Path
    points: Points

    async def __call__(self, node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome | None:
        self._write("begin", node.id, scope.visit, scope.attempt)
        self.points.passed("handler begins")
        try:
            return await self.inner(node, context, graph, scope)
        finally:
            self._write("end", node.id, scope.visit, scope.attempt)
            self.points.passed("handler ends")

    def _write(self, *what: object) -> None:
        fd = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(fd, (json.dumps(what) + "\n").encode())
            os.fsync(fd)
        finally:
            os.close(fd)


def witnessed(script: Simulation, file: Path, points: Points) -> dict[str, Handler]:
    """The handlers that do something, watched."""
    tool = Tool(folder=file.parent, environment=dict(os.environ))
    return {"codergen": Witness(Codergen(script), file, points), "tool": Witness(tool, file, points)}


def begun(file: Path) -> Counter[Key]:
    """How often each attempt was begun, as the witness says."""
    if not file.exists():
        return Counter()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return Counter(tuple(line[1:]) for line in lines if line[0] == "begin")


# --- a run ---------------------------------------------------------------------------------------


async def replays(case: Case, file: Path) -> AsyncIterator[tuple[int, Story, Story]]:
    """A run on the memory store, and its replays from every turn but the last: the turn, and both stories."""
    store, pipeline, clock = MemoryStore(), case.pipeline(), WatchedClock(Points())
    script = Simulation(parse_script(case.source(), cast_of(pipeline)).script)
    more = witnessed(script, file, Points())
    settings = Settings(store=None)
    run = await start(
        pipeline, store=store, settings=settings, variables={}, simulation=case.source(), clock=clock, more=more
    )
    await run.walk()
    (first,) = [row for row in await rows(store) if not row.why]
    whole = await story_of(store, first, frozenset())
    for turn in (await history(store, first.context_id))[:-1]:
        fork, _pipeline = await replay(
            first.session,
            at=Wanted(depth=turn.depth),
            future=Future(),
            store=store,
            settings=settings,
            clock=clock,
            more=more,
        )
        session = fork.session
        await fork.walk()
        yield turn.depth, whole, await story_of(store, await find(store, session), frozenset())


async def go_on(case: Case, store: Store, file: Path, points: Points) -> None:
    """Resume the newest session, or start one where there is none yet, and walk."""
    known = await told(store, frozenset())
    if known is not None and known.ended:  # a failed session that is resumed goes on
        await store.close()
        return
    pipeline, clock = case.pipeline(), WatchedClock(points)
    script = Simulation(parse_script(case.source(), cast_of(pipeline)).script)
    more = witnessed(script, file, points)
    settings = Settings(store=None)
    try:
        run, _pipeline = await resume("last", store=store, settings=settings, clock=clock, more=more)
    except SessionNotFound:
        run = await start(
            pipeline, store=store, settings=settings, variables={}, simulation=case.source(), clock=clock, more=more
        )
    await run.walk()
    await store.close()


def play(case: Case, folder: Path, points: Points, files: Files | None = None) -> None:
    """Go on with the session in a folder to its end."""
    store = EmbeddedStore.open(folder / "store", files=files or WatchedFiles(points), capacity=LOG)
    asyncio.run(go_on(case, store, folder / "effects", points))


def killed(case: Case, folder: Path, at: int) -> bool:
    """Go on in a process that is killed at its point number ``at``; whether it came that far."""

    def die(number: int, _name: str) -> None:
        if number == at:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if not child:
        try:
            play(case, folder, Points(die))
        except BaseException:
            traceback.print_exc()
            os._exit(3)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, f"{case.name}: the process that was to die at point {at} failed"
    return False


# --- what it came to -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Story:
    """What a chain of sessions came to. ``done`` are the attempts that ended, ``begun`` those that the witness saw;
    ``again`` counts how often an attempt was begun again."""

    result: Any
    context: dict[str, Any]
    path: list[tuple[Any, ...]]
    counters: Any
    done: frozenset[Key]
    begun: frozenset[Key]
    again: Counter[Key]

    @property
    def ended(self) -> bool:
        """Whether there is nothing to go on with; a session that restarts goes on in another."""
        return self.result is not None and self.result[0] != "restarted"

    @property
    def outcome(self) -> tuple[Any, ...]:
        """What has to be the same, however often the run was killed."""
        return self.result, self.context, self.path, self.counters


async def told(store: Store, seen: frozenset[Key]) -> Story | None:
    """The story of a store's first session and of those in which it went on; None before it begins."""
    known = await rows(store)
    return await story_of(store, known[-1], seen) if known else None


async def story_of(store: Store, first: Row, seen: frozenset[Key]) -> Story:
    """The story of a session and of those in which it went on after restarts."""
    last, _loaded = await newest_of_chain(store, first)
    path: list[tuple[Any, ...]] = []
    done: set[Key] = set()
    again: Counter[Key] = Counter()
    for number, row in enumerate(await _chain(store, first)):
        state = NEW
        for turn in await history(store, row.context_id):
            recorded = event_of(turn)
            assert isinstance(recorded, Recorded)
            event, stage = recorded.event, state.stage
            state = evolve(state, recorded)
            match event:
                case StageCompleted() | StageFailed():
                    path.append((event.node, event.visit, event.attempt, event.status, number))
                    done.add((event.node, event.visit, event.attempt))
                case StageRetrying():
                    done.add((event.node, event.visit, event.attempt))
                case EdgeSelected():
                    path.append((event.source, event.target, event.rule, number))
                case PipelineResumed(again=count) if count and stage is not None:
                    again[(stage.node, stage.visit, stage.attempt)] = count
    for row in await rows(store):
        if row.why == "child":
            _counted(await history(store, row.context_id), done, again)
    state = await load_state(store, last.context_id)
    context = dict(state.context)
    result = (state.result.status, state.result.text, state.result.node) if state.result is not None else None
    counters = (state.edges, state.gates, {k: (n.visits, n.executions, n.status) for k, n in state.nodes.items()})
    return Story(result, context, path, counters, frozenset(done), seen, again)


def _counted(turns: list[Turn], done: set[Key], again: Counter[Key]) -> None:
    """The attempts of a child that ended, and those that were begun again."""
    state = NEW
    for turn in turns:
        recorded = event_of(turn)
        assert isinstance(recorded, Recorded)
        event, stage = recorded.event, state.stage
        state = evolve(state, recorded)
        if isinstance(event, StageCompleted | StageFailed | StageRetrying):
            done.add((event.node, event.visit, event.attempt))
        elif isinstance(event, PipelineResumed) and event.again and stage is not None:
            again[(stage.node, stage.visit, stage.attempt)] = event.again


async def _chain(store: Store, row: Row) -> list[Row]:
    found = [row]
    known = {one.context_id: one for one in await rows(store)}
    while True:
        following = (await load_state(store, found[-1].context_id)).following
        if following is None or following.context_id not in known:
            return found
        found.append(known[following.context_id])


def story(folder: Path) -> Story | None:
    """The story in a folder, which is only read."""
    if not (folder / "store").exists():
        return None

    async def look() -> Story | None:
        store = EmbeddedStore.open(folder / "store", read_only=True)
        try:
            return await told(store, frozenset(begun(folder / "effects")))
        finally:
            await store.close()

    return asyncio.run(look())
