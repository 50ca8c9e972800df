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
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kill_sweep_story import Key, Story, story_of, told

from faults import CountingFiles
from orchestra.agents.scripts import parse_script
from orchestra.agents.simulation import Simulation
from orchestra.app.pipelines import Pipeline, compile_pipeline
from orchestra.app.plans import cast_of
from orchestra.app.runs import Future, RunSetup, replay, resume, start
from orchestra.clock import SystemClock
from orchestra.config.settings import Settings
from orchestra.cxdb.embedded.files import Files
from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.cxdb.memory import MemoryStore
from orchestra.engine.forking import TurnChoice
from orchestra.engine.loading import history
from orchestra.engine.mailbox import PAUSE, STEER, requests, send
from orchestra.engine.sessions import find, rows
from orchestra.engine.stage import Stage
from orchestra.errors import Diagnostic, SessionNotFound, Source
from orchestra.graph.model import Graph, Node
from orchestra.handlers.tool import ToolHandler
from orchestra.ports import Handler, Scope, Store, Turn
from orchestra.run.outcome import Outcome
from orchestra.run.state import Context
from support import agents_on

ROOT = Path(__file__).resolve().parent.parent.parent

LOG = 512 * 1024
"""A log that is smaller than usual: making one takes most of the time of a short run."""


@dataclass(frozen=True, slots=True)
class Case:
    """A pipeline and its script."""

    name: str
    text: str
    script: str
    child: str = ""
    asked: tuple[tuple[str, str], ...] = ()
    """What somebody asks of the run, at its beginning: an action and a text."""
    instructed: str = ""
    """A node that does not begin before an instruction is there."""

    def pipeline(self) -> Pipeline:
        source = Source(f"{self.name}.dot", self.text)
        pipeline = compile_pipeline(source, variables={}, secrets={}, reading=self._child)
        pipeline.checked_graph()
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
    _case(
        "branches",
        """split [shape=component, max_parallel=2] meet [shape=tripleoctagon, merge=all] a b c d [max_retries=1] e
        t [shape=parallelogram, tool_command="echo $ORCHESTRA_BRANCH"]
        start -> split -> a -> b -> meet split -> c -> d -> meet split -> t -> meet -> e -> exit""",
        "{a: {updates: {made: 1}}, b: {text: b},"
        " d: [{status: retry, reason: busy}, {text: d, updates: {score: 7}}]}",
    ),
    _case(
        "nested",
        """o [shape=component] i [shape=component] n [shape=tripleoctagon]
        m [shape=tripleoctagon] x y z [goal_gate=true, retry_target=x] e
        start -> o -> i -> x -> n i -> y -> n -> z -> m o -> w -> m -> e -> exit""",
        "{z: [{status: fail, reason: no}, {text: yes}]}",
    ),
    replace(
        _case("asked", "b c d start -> b -> c -> d -> exit", "{b: {text: so}}"),
        asked=((STEER, "use tabs"), (PAUSE, "")),
        instructed="b",
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
        if name == "wait" and self.names[-1:] == [name]:  # somebody looks again and again
            return
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
        self._slept = 0.0

    def boot_seconds(self) -> float:
        return super().boot_seconds() + self._slept

    async def sleep(self, seconds: float) -> None:
        self._points.passed("wait")
        self._slept += seconds
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


@dataclass(frozen=True)
class Waiting:
    """A handler whose node waits for an instruction from outside before it begins."""

    inner: Handler
    node: str

    async def __call__(self, node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome | None:
        assert isinstance(scope, Stage)
        while node.id == self.node and not scope.control.session.instructions:
            await asyncio.sleep(0.001)
        return await self.inner(node, context, graph, scope)


def witnessed(script: Simulation, file: Path, points: Points) -> dict[str, Handler]:
    """The handlers that do something, watched."""
    tool = ToolHandler(folder=file.parent, environment=dict(os.environ))
    return {"codergen": Witness(agents_on(script), file, points), "tool": Witness(tool, file, points)}


def begun(file: Path) -> Counter[Key]:
    """How often each attempt was begun, as the witness says."""
    if not file.exists():
        return Counter()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return Counter(tuple(line[1:]) for line in lines if line[0] == "begin")


# --- a run ---------------------------------------------------------------------------------------


async def replays(case: Case, file: Path, *, every: bool) -> AsyncIterator[tuple[int, Story, Story]]:
    """A run on the memory store, and its replays from turns: the depth, and both stories.

    From ``every`` turn but the last, else from some of each kind.
    """
    store, pipeline, clock = MemoryStore(), case.pipeline(), WatchedClock(Points())
    script = Simulation(parse_script(case.source(), cast_of(pipeline)).script)
    more = witnessed(script, file, Points())
    settings = Settings(store=None)
    run = await start(
        RunSetup(store=store, settings=settings, clock=clock, more=more),
        pipeline,
        variables={},
        simulation=case.source(),
    )
    await run.walk()
    (first,) = [row for row in await rows(store) if not row.why]
    whole = await story_of(store, first, frozenset())
    turns = (await history(store, first.context_id))[:-1]
    for turn in turns if every else _of_each_kind(turns):
        fork, _pipeline = await replay(
            RunSetup(store=store, settings=settings, clock=clock, more=more),
            first.session,
            at=TurnChoice(depth=turn.depth),
            future=Future(),
        )
        session = fork.session
        await fork.walk()
        yield turn.depth, whole, await story_of(store, await find(store, session), frozenset())


def _of_each_kind(turns: Sequence[Turn]) -> list[Turn]:
    """The first and the last turn of each kind of event, and some between."""
    firsts = {turn.type_id: turn for turn in reversed(turns)}
    lasts = {turn.type_id: turn for turn in turns}
    ends = (*firsts.values(), *lasts.values())
    return [turn for turn in turns if turn in ends or turn.depth % 8 == 0]


async def go_on(case: Case, store: Store, file: Path, points: Points) -> None:
    """Resume the newest session, or start one where there is none yet, and walk."""
    known = await told(store, frozenset())
    if known is not None and known.ended:  # a failed session that is resumed goes on
        await store.close()
        return
    pipeline, clock = case.pipeline(), WatchedClock(points)
    script = Simulation(parse_script(case.source(), cast_of(pipeline)).script)
    more = witnessed(script, file, points)
    if case.instructed:
        more["codergen"] = Waiting(more["codergen"], case.instructed)
    settings, result = Settings(store=None), None
    while result is None:  # as when it was paused from outside
        try:
            run, _pipeline = await resume(RunSetup(store=store, settings=settings, clock=clock, more=more), "last")
        except SessionNotFound:
            source = case.source()
            run = await start(
                RunSetup(store=store, settings=settings, clock=clock, more=more),
                pipeline,
                variables={},
                simulation=source,
            )
        await _ask(case, store, run.state.mailbox, run.session)
        result = await run.walk()
    await store.close()


async def _ask(case: Case, store: Store, mailbox: int, session: str) -> None:
    """Put into the mailbox what is asked of the run and is not there yet."""
    there = {request.action for request in await requests(store, mailbox, 0)}
    for action, text in case.asked:
        if action not in there:
            await send(store, mailbox, session, action, text=text, who="me", now_ms=1)


def play(case: Case, folder: Path, points: Points, files: Files | None = None, capacity: int = LOG) -> None:
    """Go on with the session in a folder to its end."""
    store = EmbeddedStore.open(folder / "store", files=files or WatchedFiles(points), capacity=capacity)
    asyncio.run(go_on(case, store, folder / "effects", points))


def kills(name: str, at: int, work: Callable[[Points], None]) -> bool:
    """Do something in a process that is killed at its point number ``at``; whether it came that far."""

    def die(number: int, _name: str) -> None:
        if number == at:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if not child:
        try:
            work(Points(die))
        except BaseException:
            traceback.print_exc()
            os._exit(3)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, f"{name}: the process that was to die at point {at} failed"
    return False


def killed(case: Case, folder: Path, at: int) -> bool:
    """Go on with the session in a folder in a process that is killed at its point number ``at``."""
    return kills(case.name, at, lambda points: play(case, folder, points))


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
