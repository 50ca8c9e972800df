"""From a checked pipeline to a running session: the engine, the handlers, the store and the clock joined."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, version
from pathlib import Path
from types import MappingProxyType

from blake3 import blake3

from orchestra.agents.prompts import agent_of
from orchestra.agents.scripts import Cast, parse_script
from orchestra.agents.simulation import Scenario, SimulatedTools
from orchestra.app.agents import Agents
from orchestra.app.allowed import sandbox_of, tool_environment, tool_names
from orchestra.app.checking import Brief, agent_diagnostics
from orchestra.app.children import texts
from orchestra.app.costs import max_cost_of
from orchestra.app.orphans import end_orphans
from orchestra.app.pipelines import Pipeline
from orchestra.app.plugins import HANDLERS, entry_points_of_ours, load_entry_point, origin
from orchestra.app.workspaces import workspaces_of
from orchestra.clock import SystemClock
from orchestra.config.settings import Settings
from orchestra.cxdb.format.registry import bundle
from orchestra.engine.claims import machine
from orchestra.engine.control import Control
from orchestra.engine.journal import Listener
from orchestra.engine.opening import begin, new_place, start_event
from orchestra.engine.running import Run as Run
from orchestra.engine.wiring import AT_ONCE, Handlers, Plan, RunnerProcess, Wiring
from orchestra.errors import ConfigError, Diagnostic, InvalidPipeline, Severity, Source
from orchestra.graph.inputs import with_defaults
from orchestra.graph.model import Graph
from orchestra.handlers.codergen import Codergen
from orchestra.handlers.control import conditional, exit_
from orchestra.handlers.control import start as start_
from orchestra.handlers.fan_in import FanIn
from orchestra.handlers.human import Gate
from orchestra.handlers.manager import Manager
from orchestra.handlers.parallel import parallel
from orchestra.handlers.pipeline import pipeline as pipeline_
from orchestra.handlers.tool import ToolHandler
from orchestra.ports import Clock, Handler, Store
from orchestra.run.context import ENGINE_ROOTS, RESERVED_KEYS, is_reserved
from orchestra.run.events import WarningRaised
from orchestra.run.outcome import Json
from orchestra.run.secrets import SHORTEST, Redactor
from orchestra.run.state import RunState

WITHOUT_AGENT = frozenset({"start", "exit", "conditional", "pipeline", "parallel", "wait.human"})
_ROOT = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


NONE_MORE: Mapping[str, Handler] = MappingProxyType({})


def folder_of(file: str) -> Path:
    """Return the folder in which a pipeline's commands run: its file's, else the working directory."""
    path = Path(file)
    return path.parent if path.is_absolute() else Path.cwd()


def handlers(agents: Agents, more: Mapping[str, Handler] = NONE_MORE) -> Handlers:
    """The built-in handlers, those that installed packages register, and ``more`` from Python (E2).

    The tool nodes that the agents' script names end as it says. Commands run in the agents' folder.
    """
    tool = ToolHandler(
        folder=agents.folder, environment=tool_environment(agents.settings), sandbox=sandbox_of(agents.settings)
    )
    by_type: dict[str, Handler] = {
        "start": start_,
        "exit": exit_,
        "conditional": conditional,
        "pipeline": pipeline_,
        "stack.manager_loop": Manager(agents, agents.brief),
        "parallel": parallel,
        "parallel.fan_in": FanIn(agents, agents.brief),
        "wait.human": Gate(),
        "codergen": Codergen(agents, agents.brief),
        "tool": SimulatedTools(agents.script, tool),
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
        own_keys[point.name] = _own_keys(point, by_type[point.name])
    by_type.update(more)
    return Handlers(by_type=by_type, own_keys=own_keys)


def _own_keys(point: EntryPoint, handler: object) -> frozenset[str]:
    """The roots of context keys that only an installed handler writes: its ``own_keys``, none where it has none.

    Raises ``ConfigError`` for what is no root, or the engine's.
    """
    named = getattr(handler, "own_keys", ())
    roots = frozenset(named) if isinstance(named, set | frozenset | tuple | list) else None
    if roots is None or not all(isinstance(root, str) and _ROOT.fullmatch(root) for root in roots):
        problem = "are not a set of names without dots"
    elif roots & (ENGINE_ROOTS | RESERVED_KEYS):
        problem = f"name {', '.join(sorted(roots & (ENGINE_ROOTS | RESERVED_KEYS)))}, which the engine reserves"
    else:
        return roots
    raise ConfigError(
        f"the own_keys of the handler {point.name!r} from {origin(point)} {problem}",
        fix="fix or uninstall that package",
    )


def wiring_of(
    store: Store,
    redactor: Redactor,
    listeners: tuple[Listener, ...] = (),
    clock: Clock | None = None,
    *,
    interrupted: str = "",
    secrets: tuple[str, ...] | None = None,
    max_cost_micros: int = 0,
    at_once: int = AT_ONCE,
) -> Wiring:
    """Return what the sessions of this process are opened with."""
    return Wiring(
        store=store,
        clock=clock or SystemClock(),
        redactor=redactor,
        listeners=listeners,
        origin=this_process(),
        sweep=end_orphans,
        interrupted=interrupted,
        secrets=secrets,
        max_cost_micros=max_cost_micros,
        at_once=at_once,
    )


async def start(
    pipeline: Pipeline,
    *,
    store: Store,
    settings: Settings,
    variables: Mapping[str, str],
    simulation: Source | None = None,
    label: str = "",
    listeners: tuple[Listener, ...] = (),
    clock: Clock | None = None,
    control: Control | None = None,
    more: Mapping[str, Handler] = NONE_MORE,
) -> Run:
    """Open a session for a pipeline, ready to walk; ``control`` may carry a pause request already.

    Raises ``InvalidPipeline``, ``ConfigError`` and ``StoreError``. Nothing is written before every
    check has passed.
    """
    graph = pipeline.checked()
    redactor = Redactor(settings.secrets)
    given = check_variables(with_defaults(graph, variables), redactor)
    scenario = Scenario()
    if simulation is not None:
        scenario = parse_script(simulation, cast_of(pipeline))
        no_secret(simulation, redactor)
    plan = plan_of(pipeline, scenario, settings, more)
    refuse_owned_names(given, plan)
    runnable(pipeline, plan, settings)
    wiring = wiring_of(
        store,
        redactor,
        listeners,
        clock,
        max_cost_micros=max_cost_of(settings),
        at_once=settings.config.limits.run.parallel,
    ).on(await workspaces_of(settings, simulated=bool(plan.simulation)))
    await store.publish_types(*bundle())
    agents = Agents(settings=settings, folder=Path(), file=plan.file, script={}, simulated=bool(plan.simulation))
    like = RunState(
        label=label or graph.text("label"),
        variables=given,
        backend=", ".join(agents.used_backends(plan.graph)),
        secrets=settings.declared,
    )
    opened = await begin(wiring, await new_place(wiring), start_event(wiring, plan, like=like))
    for name in redactor.short:
        opened.journal.record(
            WarningRaised(
                message=f"the value of {name} is shorter than {SHORTEST} characters and is not redacted",
                rule="short_secret",
            )
        )
    for message in _unpriced_models(agents, plan.graph, settings):
        opened.journal.record(WarningRaised(message=message, rule="unpriced"))
    return Run(opened=opened, plan=plan, wiring=wiring, control=control or Control())


def _unpriced_models(agents: Agents, graph: Graph, settings: Settings) -> list[str]:
    """What is said before a run of models without a price (A14)."""
    names = agents.unpriced_models(graph)
    bound = settings.config.limits.run.cost is not None
    more = ", and the cost limit does not count it" if bound else ""
    return [f"no price is known for the model {name}{more}; add it under `prices:`" for name in names]


def cast_of(pipeline: Pipeline) -> Cast:
    """Return the nodes of a pipeline and of its children that a simulation script may name."""
    graph = pipeline.checked()
    return Cast(
        nodes=graph.nodes,
        unasked={node for node in graph.nodes if graph.type_of(node) in WITHOUT_AGENT},
        tools={node for node in graph.nodes if graph.type_of(node) == "tool"},
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
) -> Plan:
    """Return the plan of a checked pipeline and of its children; agents answer from a scenario that has a text.

    ``workdir`` is where a child works, if not in its file's folder; ``given`` as in ``Plan``. ``simulated``: the
    agents of its parent are.
    """
    text, file = pipeline.source.text, whereabouts(pipeline.source)
    folder = Path(workdir) if workdir else folder_of(file)
    graph = pipeline.checked()
    simulated = simulated or bool(scenario.text)
    agents = Agents(settings=settings, folder=folder, file=file, script=scenario.script, simulated=simulated)
    return Plan(
        graph=graph,
        handlers=handlers(agents, more),
        dot=text,
        file=file,
        workdir=workdir,
        graph_hash=text_hash(text),
        simulation=scenario.text,
        dotfiles=texts(pipeline),
        given=given,
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


def workdir_of(graph: Graph, node: str, folder: Path) -> str:
    """Where a node's child works: named relative to where its parent does; empty for the folder of its file."""
    named = graph.nodes[node].text("stack.child_workdir") or graph.text("stack.child_workdir")
    return str(folder / named) if named else ""


def this_process() -> RunnerProcess:
    """Return who creates or runs a session."""
    return RunnerProcess(
        host=socket.gethostname(), pid=os.getpid(), version=version("orchestra-dot"), machine=machine()
    )


def text_hash(text: str) -> str:
    """Return the hash that identifies a pipeline's text: BLAKE3-256, in hex."""
    return blake3(text.encode("utf-8", "surrogatepass")).hexdigest()


def whereabouts(source: Source) -> str:
    """Return where a text came from, absolute where it is a file."""
    return str(Path(source.name).absolute()) if os.path.exists(source.name) else source.name  # noqa: PTH110


def check_variables(variables: Mapping[str, str], redactor: Redactor) -> dict[str, Json]:
    """Return the variables as they are recorded. Raises ``ConfigError`` for an unusable name or value."""
    for name, value in variables.items():
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{name!r} is not a valid name of a variable", fix="use letters, digits and _ . - after a letter"
            )
        if is_reserved(name):
            raise ConfigError(f"{name!r} is reserved for the engine and cannot be a variable")
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise ConfigError(f"the value of {name} is not UTF-8 text, so it cannot be recorded")
        found = next(iter(redactor.find(value)), None)
        if found is not None:
            raise ConfigError(
                f"the value of {name} contains a secret ({found[2]}); variables are recorded unchanged",
                fix="pass it in an environment variable instead",
            )
    return dict(variables)


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


def runnable(pipeline: Pipeline, plan: Plan, settings: Settings) -> None:
    """Refuse what this version would not do as written, rather than run it as something else.

    Raises ``InvalidPipeline``, and ``CredentialsMissing`` where an agent's key is.
    """
    simulated = bool(plan.simulation)
    problems = tuple(dict.fromkeys(_not_runnable(plan, settings, simulated=simulated)))
    if problems:
        raise InvalidPipeline((*pipeline.diagnostics, *problems))
    _require_keys(plan, settings, simulated=simulated)


def _require_keys(plan: Plan, settings: Settings, *, simulated: bool) -> None:
    Agents(settings=settings, folder=Path(), file=plan.file, script={}, simulated=simulated).require_keys(
        plan.graph
    )
    for plans in plan.children.values():
        _require_keys(plans[0], settings, simulated=simulated)


def _not_runnable(plan: Plan, settings: Settings, *, simulated: bool) -> list[Diagnostic]:
    graph, registry = plan.graph, plan.handlers
    children = (plans[0] for plans in plan.children.values())
    problems = [found for child in children for found in _not_runnable(child, settings, simulated=simulated)]
    brief = Brief(graph=graph, settings=settings, file=plan.file)
    found = agent_diagnostics(brief, simulated=simulated)
    problems += [one for one in found if one.severity is Severity.ERROR]
    problems += _tool_problems(graph, settings, Path(plan.workdir) if plan.workdir else folder_of(plan.file))
    for node in graph.nodes.values():
        kind, handler = registry.resolve(graph, node.id)
        if handler is None:
            problems.append(
                Diagnostic(
                    rule="handler_missing",
                    severity=Severity.ERROR,
                    message=f"node {node.id!r} needs a handler for {kind!r}, which this version does not have",
                    span=node.span_of("type" if node.has("type") else "shape", node.span),
                    node=node.id,
                    fix=f"install a package that runs {kind!r} (entry point `orchestra.handlers`), or use one of "
                    + ", ".join(sorted(registry.by_type)),
                )
            )
    return problems


def _tool_problems(graph: Graph, settings: Settings, folder: Path) -> list[Diagnostic]:
    if not any(tool_names(node, agent_of(node, settings.config)) for node in graph.nodes.values()):
        return []
    from orchestra.app.toolboxes import tool_problems  # only a run whose nodes name tools pays for what it imports

    return tool_problems(graph, settings, folder)
