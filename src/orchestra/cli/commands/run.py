"""``orchestra run``."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from orchestra.agents.scripts import read_script
from orchestra.app.checking import asks, with_agents
from orchestra.app.pipelines import Pipeline, compile_pipeline, read
from orchestra.app.runs import Run, RunSetup, start
from orchestra.app.stopped import remember
from orchestra.app.stores import OnServer, open_store
from orchestra.cli.errors import StoppedRun, show_diagnostics
from orchestra.cli.jobs import handle_signals, run_detached
from orchestra.cli.options import (
    Detach,
    EnvFile,
    MaxCost,
    RunOptions,
)
from orchestra.cli.outlet import (
    ENDED_SECONDS,
    LAST_SECONDS,
    STOPPED_SECONDS,
    Outlet,
    at_once,
    drain,
    outlets,
)
from orchestra.cli.people import interviews_for, listeners_for
from orchestra.cli.screen.ended import as_object, say_ended
from orchestra.cli.screen.views import View, view_for
from orchestra.cli.stores import aim_commands, hint, on_silence, settings_for
from orchestra.cli.terminal import complain, one_line, progress, say_json, use_colour
from orchestra.config.answers import check_answers, read_answers
from orchestra.config.settings import Settings
from orchestra.engine.control import Control
from orchestra.errors import ConfigError, SessionTaken, StoreError, StoreFull, StoreGone
from orchestra.graph.inputs import unused_variables
from orchestra.graph.report import plural
from orchestra.ports import Store
from orchestra.run.events import LiveEvent, Meta, StoreSilent


def run(
    pipeline: Annotated[
        str, typer.Argument(metavar="PIPELINE", help="Pipeline (.dot file), or - for standard input.")
    ],
    variables: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Set variables of the run.", show_default=False)
    ] = None,
    simulate: Annotated[
        Path | None,
        typer.Option("--simulate", metavar="FILE", help="Scripted results (YAML)."),
    ] = None,
    label: Annotated[
        str, typer.Option("--label", metavar="TEXT", help="Name of this run.", show_default=False)
    ] = "",
    max_cost: MaxCost = None,
    dry_cost: Annotated[
        bool, typer.Option("--dry-cost", help="Print the known bounds of what a run costs, and do not run.")
    ] = False,
    detach: Detach = False,
    env_file: EnvFile = None,
    *,
    shown: RunOptions,
) -> None:
    """Check a pipeline and run it. Every step is recorded.

    Exit codes: 0: it succeeded; 1: it failed; 2: wrong usage or settings; 3: the pipeline is invalid; 4: a key is
    missing; 5: waiting for an answer; 6: the store cannot be used; 7: stopped by a limit or a full disk; 70:
    internal error; 130: paused by an interrupt.
    """
    given = tuple(variables or ())
    if dry_cost:
        raise typer.Exit(_dry(pipeline, given, max_cost, shown))
    raise typer.Exit(run_pipeline(pipeline, given, simulate, label, detach=detach, max_cost=max_cost, shown=shown))


def _dry(file: str, given: tuple[str, ...], max_cost: float | None, shown: RunOptions) -> int:
    """Print what a run costs at most, as far as known; no store is opened, no model is called (A5)."""
    from orchestra.app.estimates import cost_bounds
    from orchestra.cli.screen.briefs import as_data, say_bounds

    settings = settings_for(shown.store, shown.config, file, max_cost)
    source, found = read(file)
    compiled = compile_pipeline(source, found, variables=key_values(given), secrets=settings.secrets)
    pipeline = with_agents(compiled, settings, file, simulated=False)
    bounds = cost_bounds(pipeline, settings, file)
    show_diagnostics(pipeline.diagnostics)
    if shown.json:
        say_json({"file": file, **as_data(bounds)}, indent=2)
    else:
        say_bounds(bounds)
    return 0


def run_pipeline(
    file: str,
    given: tuple[str, ...],
    simulate: Path | None,
    label: str,
    *,
    detach: bool,
    max_cost: float | None,
    shown: RunOptions,
) -> int:
    """Check and run a pipeline, and print the result. Return the exit code (C2)."""
    variables = key_values(given)
    settings = settings_for(shown.store, shown.config, file, max_cost)
    source, found = read(file)
    pipeline = with_agents(
        compile_pipeline(source, found, variables=variables, secrets=settings.secrets),
        settings,
        file,
        simulated=simulate is not None,
    )
    if not shown.quiet:
        _say_unused(pipeline, variables)

    async def begin(setup: RunSetup) -> tuple[Run, Pipeline]:
        script = read_script(simulate) if simulate is not None else None
        run = await start(setup, pipeline, variables=variables, simulation=script, label=label)
        return run, pipeline

    def checked() -> None:
        pipeline.checked_graph()
        if shown.answers is not None:
            graphs = [graph for one in pipeline.whole() if (graph := one.graph) is not None]
            gates = {node for graph in graphs for node in graph.nodes if graph.type_of(node) == "wait.human"}
            agents = {node.id for graph in graphs for node in graph.nodes.values() if asks(graph, node)}
            check_answers(read_answers(shown.answers), gates, agents)

    return walk_shown(shown, settings, begin, checked, detach=detach)


Opening: TypeAlias = Callable[[RunSetup], Awaitable[tuple[Run, Pipeline]]]
"""Opens a run, ready to walk."""


YOUNG = 20_000
"""New objects after which Python looks for cycles among them. Running branches make many that stay: with 700, as
Python has it, the search takes a fifth of the time of a thousand branches."""


def walk_shown(
    shown: RunOptions,
    settings: Settings,
    opening: Opening,
    before: Callable[[], None] = lambda: None,
    *,
    detach: bool = False,
) -> int:
    """Open a run, show it, and print the result. Return the exit code (C2).

    ``before`` checks what can be checked without the store. ``detach`` moves the run to the background once its
    session exists.
    """
    colour = use_colour(shown.color, sys.stdout)
    gc.freeze()
    gc.set_threshold(YOUNG)
    gc.enable()
    before()
    if detach:
        return run_detached(
            shown, settings, lambda view: _walk(shown, settings, opening, lambda: view, always=True)
        )
    return _walk(shown, settings, opening, lambda: _view(shown, colour))


def key_values(given: tuple[str, ...], what: str = "variable") -> dict[str, str]:
    """Parse ``KEY=VALUE`` texts. Raises ``ConfigError``."""
    found: dict[str, str] = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise ConfigError(f"{item!r} is not KEY=VALUE", fix=f"write a {what} as KEY=VALUE, such as color=blue")
        if name in found:
            raise ConfigError(f"the {what} {name!r} is given twice")
        found[name] = value
    return found


def _view(shown: RunOptions, colour: bool) -> View:
    return view_for(json=shown.json, plain=shown.plain, quiet=shown.quiet, verbose=shown.verbose, colour=colour)


def _walk(
    shown: RunOptions, settings: Settings, opening: Opening, view: Callable[[], View], *, always: bool = False
) -> int:
    """Run, with output that never makes the run wait.

    ``always`` waits for answers from elsewhere (H5).
    """
    with outlets() as streams:
        return asyncio.run(_run(shown, settings, opening, view(), streams, always=always))


async def _run(
    shown: RunOptions,
    settings: Settings,
    opening: Opening,
    view: View,
    streams: tuple[Outlet, ...],
    *,
    always: bool,
) -> int:
    """Run and say how it ended."""
    control = Control(interviews=interviews_for(shown, view, settings, always=always))
    begun: list[str] = []
    opened: list[Store] = []
    done, signalled = asyncio.Event(), asyncio.Event()
    seconds = STOPPED_SECONDS

    def hurry() -> None:
        signalled.set()
        for store in opened:
            if isinstance(store, OnServer):
                store.hurry(LAST_SECONDS)

    def note(text: str) -> None:
        if not done.is_set():
            view.note(text)

    def leave() -> None:
        view.abandon()
        again = f"orchestra resume{hint(settings, shown.store)} {begun[0]}" if begun else ""
        line = f"stopped before its pause was recorded; resume: {again}\n" if again else "stopped\n"
        at_once(sys.stderr, line.encode())

    def silent(event: StoreSilent) -> None:
        session = begun[0] if begun else ""
        view.tell(LiveEvent(Meta(session=session, epoch=0, sequence=0, at=time.time_ns() // 1_000_000), event))

    async def noted(setup: RunSetup) -> tuple[Run, Pipeline]:
        opened.append(setup.store)
        on_silence(settings, setup.store, silent)
        if signalled.is_set():
            hurry()
        run, pipeline = await opening(setup)
        begun.append(run.session)
        return run, pipeline

    control.note = note
    with handle_signals(control, note, leave, hurry):
        try:
            run = await _walk_session(shown, settings, noted, view, control)
            colour = use_colour(shown.color, sys.stdout)
            seconds = ENDED_SECONDS if run.state.result is not None else STOPPED_SECONDS
            return say_ended(shown, settings, run.session, run.context_id, run.live, colour)
        finally:
            done.set()
            _say_unread(await drain(streams, signalled, seconds), settings, shown, begun)


def _say_unread(lines: int, settings: Settings, shown: RunOptions, begun: list[str]) -> None:
    """Say how much of the output its reader did not take, and how to see it."""
    if lines and begun:
        look = f"orchestra log{hint(settings, shown.store)} {begun[0]}"
        at_once(
            sys.stderr, f"the reader did not take the last {plural(lines, 'line')} of output; see {look}\n".encode()
        )


async def _walk_session(
    shown: RunOptions, settings: Settings, opening: Opening, view: View, control: Control
) -> Run:
    run: Run | None = None
    store: Store | None = None
    try:
        with progress() as tell:
            store = open_store(settings, progress=tell)
        listeners = (view.tell, *listeners_for(settings))
        run, pipeline = await opening(
            RunSetup(store=store, settings=settings, listeners=listeners, control=control)
        )
        with _mirror(settings):
            if run.state.result is None:
                _announce(run, pipeline, shown, view)
            await run.walk()
    except StoreError as error:
        error.fix = aim_commands(error.fix, hint(settings, shown.store))
        if run is not None and isinstance(error, StoreFull):
            again = f"orchestra resume{hint(settings, shown.store)} {run.session}"
            first = error.fix.removesuffix(", then run again") or "free some space"
            error.fix = f"{first}, then: {again}"
        if run is None:
            raise
        _report_stop(settings, run, error, view)
        raise StoppedRun(error, as_object(run.session, run.context_id, run.state)) from error
    finally:
        view.close()
        await _close(store)
    return run


def _mirror(settings: Settings) -> AbstractContextManager[None]:
    """Send new turns to the mirror meanwhile, in a separate process (S22)."""
    if settings.mirror is None:
        return nullcontext()
    from orchestra.app.mirroring import sending  # imported only if there is a mirror

    return sending(settings)


def _say_unused(pipeline: Pipeline, given: Mapping[str, str]) -> None:
    """Warn of variables that change nothing, as a mistyped name does (L40)."""
    for name, near in unused_variables(
        [one.written for one in pipeline.whole() if one.written is not None], given
    ).items():
        complain(f"warning: nothing in the pipeline uses the variable '{one_line(name, 100)}'")
        if near:
            complain(f"  help: did you mean {near}?")


def _announce(run: Run, pipeline: Pipeline, shown: RunOptions, view: View) -> None:
    if not shown.quiet:
        show_diagnostics(pipeline.diagnostics)
    graph = pipeline.checked_graph()
    origin = f"(forked from {run.state.parent})  " if run.state.why == "fork" else ""
    view.open(run.session, origin + (f"{graph.label}: {graph.goal}" if graph.goal else graph.label))


def _report_stop(settings: Settings, run: Run, error: StoreError, view: View) -> None:
    """Report that the store failed or another runner took the session during the run."""
    if isinstance(error, SessionTaken):
        view.note(f"another runner took over session {run.session}; stopping")
        return
    gone = isinstance(error, StoreGone)
    kept = "was recorded there, and is gone with it" if gone else "is safe up to its last recorded event"
    view.note(f"the store failed; session {run.session} {kept}")
    remember(settings, run, error.message, time.time_ns() // 1_000_000)


async def _close(store: Store | None) -> None:
    if store is None:
        return
    failing = sys.exc_info()[0] is not None
    try:
        await store.close()
    except StoreError:
        if not failing:
            raise
