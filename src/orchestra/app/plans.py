"""From a checked pipeline to its plan: handlers and agents joined, faults named.

A plan is of a pipeline that is given now or of one that a session recorded (S26).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import MappingProxyType

from blake3 import blake3
from msgspec import Struct

from orchestra.agents.codergen import Agents
from orchestra.agents.models import SIMULATION, agent_of, only_reads, run_limit
from orchestra.agents.pricing import prices_of
from orchestra.agents.scripts import Cast, parse_script
from orchestra.agents.simulation import Scenario, Script, SimulatedTools, Simulation
from orchestra.app.briefs import Brief, asks, folder_of, whereabouts, workdir_of
from orchestra.app.checking import agent_diagnostics, tool_findings
from orchestra.app.pipelines import Pipeline, compile_pipeline, recorded_reader
from orchestra.app.plugins import BACKENDS, HANDLERS, entry_points_of_ours, load_entry_point, origin
from orchestra.config.settings import Settings
from orchestra.engine.loading import resolve
from orchestra.engine.wiring import Handlers, Plan, Wiring
from orchestra.errors import ConfigError, Diagnostic, InvalidPipeline, Severity, Source
from orchestra.graph.attributes import BUILT_IN_TYPES
from orchestra.graph.dot import decode, parse
from orchestra.graph.model import Graph
from orchestra.handlers.control import conditional, exit_
from orchestra.handlers.control import start as start_
from orchestra.handlers.fan_in import FanIn
from orchestra.handlers.human import Gate
from orchestra.handlers.manager import Manager
from orchestra.handlers.parallel import parallel
from orchestra.handlers.pipeline import pipeline as pipeline_
from orchestra.handlers.tool import ToolHandler
from orchestra.ports import CodergenBackend, Handler, Store
from orchestra.run.judging import ENGINE_ROOTS
from orchestra.run.resuming import no_node_lost
from orchestra.run.secrets import KnownSecrets, Redactor
from orchestra.run.state import ENGINE_KEYS, RunState

_ROOT = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")

NONE_MORE: Mapping[str, Handler] = MappingProxyType({})

SCRIPT_NAME = "the recorded simulation script"


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedPlan(Plan):
    """The plan of a checked pipeline, with the agents that its handlers ask."""

    pipeline: Pipeline
    brief: Brief
    agents: Agents
    children: Mapping[str, tuple[JoinedPlan, ...]]

    def whole(self) -> Iterator[JoinedPlan]:
        """Itself, the plans of its children, and theirs."""
        yield self
        for plans in self.children.values():
            yield from plans[0].whole()


class Backends(dict[str, CodergenBackend]):
    """The backends of a pipeline by name, each made when the first node needs it (A1)."""

    def __init__(self, settings: Settings, folder: Path, pipeline: str, script: Script) -> None:
        super().__init__({SIMULATION: Simulation(script)})
        self._settings = settings
        self._folder = folder
        self._pipeline = pipeline

    def __missing__(self, name: str) -> CodergenBackend:
        self[name] = made = self._made(name)
        return made

    def _made(self, name: str) -> CodergenBackend:
        for point in entry_points_of_ours()[BACKENDS]:
            if point.name == name:
                found: CodergenBackend | type[CodergenBackend] = load_entry_point(point)
                return found() if isinstance(found, type) else found
        from orchestra.app.backends import BackendFactory  # imports what asks models

        prices = prices_of(self._settings.config)
        return BackendFactory(self._settings, self._folder, self._pipeline, prices).backend(name)


def agents_of(settings: Settings, folder: Path, file: str, script: Script, *, simulated: bool) -> Agents:
    """The agents of the pipeline in a file that works in a folder; where ``simulated``, all follow the script."""
    backends = Backends(settings, folder, Path(file).name, script)
    return Agents(settings=settings, folder=folder, file=file, backends=backends, simulated=simulated)


def handlers(agents: Agents, script: Script, more: Mapping[str, Handler] = NONE_MORE) -> Handlers:
    """The built-in handlers, those that installed packages register, and ``more`` from Python (E2).

    The tool nodes that the script names end as it says. Commands run in the agents' folder.
    """
    settings = agents.settings
    tool = ToolHandler(folder=agents.folder, environment=settings.tool_environment(), sandbox=settings.sandbox)
    by_type: dict[str, Handler] = {
        "start": start_,
        "exit": exit_,
        "conditional": conditional,
        "pipeline": pipeline_,
        "stack.manager_loop": Manager(agents),
        "parallel": parallel,
        "parallel.fan_in": FanIn(agents),
        "wait.human": Gate(),
        "codergen": agents,
        "tool": SimulatedTools(script, tool),
    }
    own_keys = {
        "tool": frozenset({"tool", "tools"}),
        "stack.manager_loop": frozenset({"stack"}),
        "parallel": frozenset({"parallel"}),
        "parallel.fan_in": frozenset({"parallel", "workspace"}),
        "wait.human": frozenset({"human"}),
    }
    for point in entry_points_of_ours()[HANDLERS]:
        by_type[point.name] = load_entry_point(point)
        own_keys[point.name] = own_keys_of(point, by_type[point.name])
    by_type.update(more)
    return Handlers(by_type=by_type, own_keys=own_keys)


def own_keys_of(point: EntryPoint, handler: object) -> frozenset[str]:
    """Return the roots of context keys that only an installed handler writes: its ``own_keys``.

    Raises ``ConfigError`` for what is no root, or the engine's.
    """
    named = getattr(handler, "own_keys", ())
    roots = frozenset(named) if isinstance(named, set | frozenset | tuple | list) else None
    if roots is None or not all(isinstance(root, str) and _ROOT.fullmatch(root) for root in roots):
        problem = "are not a set of names without dots"
    elif roots & (ENGINE_ROOTS | ENGINE_KEYS):
        problem = f"name {', '.join(sorted(roots & (ENGINE_ROOTS | ENGINE_KEYS)))}, which the engine reserves"
    else:
        return roots
    raise ConfigError(
        f"the own_keys of the handler {point.name!r} from {origin(point)} {problem}",
        fix="fix or uninstall that package",
    )


def cast_of(pipeline: Pipeline) -> Cast:
    """Return the nodes of a pipeline and of its children that a simulation script may name."""
    graph = pipeline.checked_graph()
    ours = [node for node in graph.nodes.values() if graph.type_of(node.id) in BUILT_IN_TYPES - {"tool"}]
    return Cast(
        nodes=graph.nodes,
        unasked={node.id for node in ours if not asks(graph, node)},
        tools={node for node in graph.nodes if graph.type_of(node) == "tool"},
        labels={edge.text("label") for edge in graph.edges if edge.text("label")},
        children={node: cast_of(child) for node, child in pipeline.children.items()},
    )


def plan_of(
    pipeline: Pipeline,
    scenario: Scenario,
    settings: Settings,
    more: Mapping[str, Handler] = NONE_MORE,
    workdir: str = "",
    *,
    given: bool = False,
    simulated: bool = False,
) -> JoinedPlan:
    """Return the plan of a checked pipeline and its children; a scenario with a text replaces agents.

    ``workdir`` is where a child works, if not in its file's folder; ``given`` as in ``Plan``. ``simulated``: the
    agents of its parent are.
    """
    text, file = pipeline.source.text, whereabouts(pipeline.source)
    folder = Path(workdir) if workdir else folder_of(file, settings)
    graph = pipeline.checked_graph()
    simulated = simulated or bool(scenario.text)
    brief = Brief(graph=graph, settings=settings, file=file, simulated=simulated)
    agents = agents_of(settings, folder, file, scenario.script, simulated=simulated)
    for node in brief.asking():
        agents.of(node, graph)  # settled before anything runs
    return JoinedPlan(
        pipeline=pipeline,
        brief=brief,
        agents=agents,
        graph=graph,
        handlers=replace(handlers(agents, scenario.script, more), readers=_readers(graph, scenario, settings)),
        dot=text,
        file=file,
        workdir=workdir,
        graph_hash=text_hash(text),
        simulation=scenario.text,
        dotfiles=pipeline.dotfiles(),
        given=given,
        seconds=run_limit(settings.config, Path(file).name).time or 0,
        children={
            node: tuple(
                plan_of(
                    child, each, settings, more, workdir_of(graph, node, folder), given=given, simulated=simulated
                )
                for each in scenario.children.get(node, (Scenario(),))
            )
            for node, child in pipeline.children.items()
        },
    )


def _readers(graph: Graph, scenario: Scenario, settings: Settings) -> frozenset[str]:
    """The nodes whose agents have only tools that read, and no scripted files."""
    return frozenset(
        node.id
        for node in graph.nodes.values()
        if graph.type_of(node.id) == "codergen"
        and only_reads(node, agent_of(node, settings.config))
        and not any(step.writes for step in scenario.script.get(node.id, ()))
    )


def text_hash(text: str) -> str:
    """Return the hash that identifies a pipeline's text: BLAKE3-256, in hex."""
    return blake3(text.encode("utf-8", "surrogatepass")).hexdigest()


def refuse_owned_names(names: Iterable[str], plan: Plan) -> None:
    """Raise ``ConfigError`` for a variable or value whose name only a handler may write."""
    for name in names:
        if plan.handlers.owns(name):
            raise ConfigError(f"{name!r} is reserved for a handler and cannot be set")


def no_secret(source: Source, redactor: Redactor) -> None:
    """Raise ``ConfigError`` where a simulation script holds a secret: it would be recorded."""
    for start_at, _end, name in redactor.find(source.text):
        line, column = source.position(start_at)
        raise ConfigError(f"{source.name}:{line}:{column}: the script contains a secret ({name})")


def runnable(plan: JoinedPlan) -> None:
    """Refuse what this version would not do as written, rather than run it as something else.

    Raises ``InvalidPipeline``, and ``CredentialsMissing`` where an agent's key is.
    """
    problems = tuple(dict.fromkeys(_not_runnable(plan)))
    if problems:
        raise InvalidPipeline((*plan.pipeline.diagnostics, *problems))
    for each in plan.whole():
        each.brief.require_keys()


def _not_runnable(plan: JoinedPlan) -> list[Diagnostic]:
    graph, settings = plan.graph, plan.agents.settings
    children = (plans[0] for plans in plan.children.values())
    problems = [found for child in children for found in _not_runnable(child)]
    problems += [one for one in agent_diagnostics(plan.brief) if one.severity is Severity.ERROR]
    problems += tool_findings(graph, settings, plan.agents.folder)
    for name, (kind, handler) in plan.runs.items():
        if handler is None:
            node = graph.nodes[name]
            problems.append(
                Diagnostic(
                    rule="handler_missing",
                    severity=Severity.ERROR,
                    message=f"node {node.id!r} needs a handler for {kind!r}, which this version does not have",
                    span=node.span_of("type" if node.has("type") else "shape", node.span),
                    node=node.id,
                    fix=f"install a package that runs {kind!r} (entry point `orchestra.handlers`), or use one of "
                    + ", ".join(sorted(plan.handlers.by_type)),
                )
            )
    return problems


class ResumeChanges(Struct, frozen=True, kw_only=True):
    """What is different from now on.

    ``graph`` and ``simulation`` replace the recorded texts. ``interrupted`` (``rerun`` or ``fail``) decides about
    an attempt that was cut off, of this session or of its children; otherwise its node's ``on_interrupt`` does.
    """

    graph: Source | None = None
    found: tuple[Diagnostic, ...] = ()
    simulation: Source | None = None
    interrupted: str = ""


AS_RECORDED = ResumeChanges()


def changed_file(pipeline: Pipeline) -> str:
    """Return the first file of a recorded pipeline or child whose text has changed since; else an empty text."""
    for each in pipeline.whole():
        path = Path(each.source.name)
        try:
            there = path.is_absolute() and path.is_file()
            if there and decode(each.source.name, path.read_bytes())[0].text != each.source.text:
                return each.source.name
        except OSError:
            continue
    return ""


async def recorded_plan(
    state: RunState,
    wiring: Wiring,
    settings: Settings,
    secrets: KnownSecrets,
    changes: ResumeChanges,
    more: Mapping[str, Handler],
) -> JoinedPlan:
    """Return the plan with which a session continues. Raises ``ConfigError``."""
    pipeline = await pipeline_of(state, wiring.store, secrets, changes)
    given = changes.graph is not None
    if given:
        no_node_lost(pipeline.checked_graph(), whereabouts(pipeline.source), state)
    script = await _script_of(state, wiring.store, pipeline, changes, wiring.redactor)
    return plan_of(pipeline, script, settings, more, state.workdir, given=given)


async def pipeline_of(state: RunState, store: Store, secrets: KnownSecrets, changes: ResumeChanges) -> Pipeline:
    """Return the recorded pipeline, or the one that replaces it (S26)."""
    variables = {name: str(await resolve(store, value)) for name, value in state.variables.items()}
    source = changes.graph or Source(state.file or "the recorded pipeline", await resolve(store, state.dot))
    reading = None
    if changes.graph is None:
        known = {path: await resolve(store, text) for path, text in state.dotfiles.items()}
        reading = recorded_reader(known, str(Path(source.name).parent))
    return compile_pipeline(source, changes.found, variables=variables, secrets=secrets, reading=reading)


async def _script_of(
    state: RunState, store: Store, pipeline: Pipeline, changes: ResumeChanges, redactor: Redactor
) -> Scenario:
    """The script given now, else the recorded one, which may name nodes that a new graph has no longer."""
    if changes.simulation is not None:
        no_secret(changes.simulation, redactor)
        return parse_script(changes.simulation, cast_of(pipeline))
    text = await resolve(store, state.simulation)
    if not text:
        return Scenario()
    before, _found = parse(Source(state.file, await resolve(store, state.dot)))
    nodes = {**(before.nodes if before else {}), **pipeline.checked_graph().nodes}
    return parse_script(
        Source(SCRIPT_NAME, text), Cast(nodes=nodes, tools=None, children=cast_of(pipeline).children)
    )
