"""``orchestra run``."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from orchestra.agents.scripts import read_script
from orchestra.app.briefs import asks
from orchestra.app.checking import with_agents
from orchestra.app.pipelines import Pipeline, compile_pipeline, read
from orchestra.app.runs import Run, RunSetup, start
from orchestra.app.stopped import remember
from orchestra.app.stores import OnServer, open_store
from orchestra.cli.errors import StoppedRun, show_diagnostics
from orchestra.cli.jobs import handle_signals, run_detached
from orchestra.cli.options import Detach, EnvFile, MaxCost
from orchestra.cli.outlet import (
    ENDED_SECONDS,
    LAST_SECONDS,
    STOPPED_SECONDS,
    Outlet,
    at_once,
    drain,
    outlets,
)
from orchestra.cli.people import RunOptions, interviews_for, listeners_for
from orchestra.cli.screen.ended import SessionEnd, as_object, read_end, say_ended
from orchestra.cli.screen.lines import View
from orchestra.cli.stores import StoreAccess, on_silence
from orchestra.cli.terminal import complain, one_line, progress, say_json
from orchestra.config.answers import check_answers, read_answers
from orchestra.config.settings import Settings
from orchestra.engine.control import Control, SessionControl
from orchestra.engine.sessions import find
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
        bool, typer.Option("--dry-cost", help="Print the highest possible cost, as far as known, and exit.")
    ] = False,
    detach: Detach = False,
    env_file: EnvFile = None,
    *,
    shown: RunOptions,
) -> int:
    """Check a pipeline and run it. Every step is recorded.

    Exit codes: 0: it succeeded; 1: it failed; 2: wrong usage or settings; 3: the pipeline is invalid; 4: a key is
    missing; 5: waiting for an answer; 6: the store cannot be used; 7: stopped by a limit or a full disk; 70:
    internal error; 130: paused by an interrupt.
    """
    given = key_values(tuple(variables or ()))
    at = shown.access(pipeline, max_cost, env_file)
    source, found = read(pipeline)
    compiled = compile_pipeline(source, found, variables=given, secrets=at.settings.secrets)
    simulated = simulate is not None and not dry_cost
    checked = with_agents(compiled, at.settings, pipeline, simulated=simulated)
    if dry_cost:
        return _say_cost(checked, at, pipeline, shown)
    if not shown.quiet:
        _say_unused(checked, given)

    async def begin(setup: RunSetup) -> tuple[Run, Pipeline]:
        script = read_script(simulate) if simulate is not None else None
        return await start(setup, checked, variables=given, simulation=script, label=label), checked

    return walk_shown(shown, at, begin, partial(_check_first, checked, shown.answers), detach=detach)


def _say_cost(pipeline: Pipeline, at: StoreAccess, file: str, shown: RunOptions) -> int:
    """Print what a run costs at most, as far as known; no store is opened, no model is called (A5)."""
    from orchestra.app.estimates import cost_bounds
    from orchestra.cli.screen.briefs import as_data, say_bounds

    bounds = cost_bounds(pipeline, at.settings, file)
    show_diagnostics(pipeline.diagnostics)
    if shown.json:
        say_json({"file": file, **as_data(bounds)}, indent=2)
    else:
        say_bounds(bounds)
    return 0


def _check_first(pipeline: Pipeline, answers: Path | None) -> None:
    """Check the pipeline and the file of answers, which need no store."""
    pipeline.checked_graph()
    if answers is not None:
        graphs = [graph for one in pipeline.whole() if (graph := one.graph) is not None]
        gates = {node for graph in graphs for node in graph.nodes if graph.type_of(node) == "wait.human"}
        agents = {node.id for graph in graphs for node in graph.nodes.values() if asks(graph, node)}
        check_answers(read_answers(answers), gates, agents)


OpenRun: TypeAlias = Callable[[RunSetup], Awaitable[tuple[Run, Pipeline]]]
"""Opens a run, ready to walk."""


YOUNG = 20_000
"""New objects after which Python looks for cycles among them. Running branches make many that stay: with 700, as
Python has it, the search takes a fifth of the time of a thousand branches."""


def walk_shown(
    shown: RunOptions,
    at: StoreAccess,
    opening: OpenRun,
    before: Callable[[], None] = lambda: None,
    *,
    detach: bool = False,
) -> int:
    """Open a run, show it, and print the result. Return the exit code (C2).

    ``before`` checks what can be checked without the store. ``detach`` moves the run to the background once its
    session exists.
    """
    gc.freeze()
    gc.set_threshold(YOUNG)
    gc.enable()
    before()
    if detach:
        return run_detached(shown, at, lambda view: ShownRun(shown, at, opening, view, always=True).finish())
    with outlets() as streams:  # output that never makes the run wait
        return ShownRun(shown, at, opening, shown.view(), streams=streams).finish()


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


class ShownRun:
    """A run that is shown as it goes, paused by signals, and whose result is printed.

    ``always`` waits for answers from elsewhere (H5).
    """

    def __init__(
        self,
        shown: RunOptions,
        at: StoreAccess,
        opening: OpenRun,
        view: View,
        *,
        streams: tuple[Outlet, ...] = (),
        always: bool = False,
    ) -> None:
        self._shown = shown
        self._at = at
        self._opening = opening
        self._view = view
        self._streams = streams
        interviews = interviews_for(shown, view, at.settings, always=always)
        self._control = Control(SessionControl(interviews, note=self._note))
        self._store: Store | None = None
        self._run: Run | None = None
        self._done = False
        self._signalled = asyncio.Event()

    def finish(self) -> int:
        """Run, and print the result. Return the exit code."""
        return asyncio.run(self._finish())

    async def _finish(self) -> int:
        seconds = STOPPED_SECONDS
        with handle_signals(self._control, self._note, self._leave, self._hurry):
            try:
                end = await self._walk()
                seconds = ENDED_SECONDS if end.state.result is not None else STOPPED_SECONDS
                return say_ended(self._shown, self._at, end)
            finally:
                self._done = True
                self._say_unread(await drain(self._streams, self._signalled, seconds))

    async def _walk(self) -> SessionEnd:
        try:
            with self._at.aiming():
                run, pipeline = await self._open()
                with _mirror(self._at.settings):
                    if run.state.result is None:
                        self._announce(run, pipeline)
                    await run.walk()
                return await self._end(run)
        except StoreError as error:
            if self._run is None:
                raise
            self._report_stop(self._run, error)
            data = as_object(self._run.session, self._run.context_id, self._run.state)
            raise StoppedRun(error, data) from error
        finally:
            self._view.close()
            await _close(self._store)

    async def _end(self, run: Run) -> SessionEnd:
        """What the closing lines say; most runs have neither open questions nor repositories to read about."""
        state = run.live
        if not (state.waiting or state.workspace):
            return SessionEnd(session=run.session, context_id=run.context_id, state=state)
        assert self._store is not None
        return await read_end(self._store, self._at, await find(self._store, run.session), state)

    async def _open(self) -> tuple[Run, Pipeline]:
        with progress() as tell:
            self._store = open_store(self._at.settings, progress=tell)
        on_silence(self._at.settings, self._store, self._show_silence)
        if self._signalled.is_set():
            self._hurry()
        listeners = (self._view.tell, *listeners_for(self._at.settings))
        setup = RunSetup(store=self._store, settings=self._at.settings, listeners=listeners, control=self._control)
        self._run, pipeline = await self._opening(setup)
        return self._run, pipeline

    @property
    def _resume(self) -> str:
        """The command that resumes the run; empty before its session exists."""
        return f"orchestra resume{self._at.aim} {self._run.session}" if self._run is not None else ""

    def _hurry(self) -> None:
        """Wait for a lost server no longer than a moment: a signal came."""
        self._signalled.set()
        if self._store is not None and isinstance(self._store, OnServer):
            self._store.hurry(LAST_SECONDS)

    def _note(self, text: str) -> None:
        if not self._done:
            self._view.note(text)

    def _leave(self) -> None:
        """Restore the terminal and print the last line, without waiting for anything."""
        self._view.abandon()
        line = f"stopped before its pause was recorded; resume: {self._resume}\n" if self._run else "stopped\n"
        at_once(sys.stderr, line.encode())

    def _show_silence(self, event: StoreSilent) -> None:
        session = self._run.session if self._run is not None else ""
        meta = Meta(session=session, epoch=0, sequence=0, at=time.time_ns() // 1_000_000)
        self._view.tell(LiveEvent(meta, event))

    def _announce(self, run: Run, pipeline: Pipeline) -> None:
        if not self._shown.quiet:
            show_diagnostics(pipeline.diagnostics)
        graph = pipeline.checked_graph()
        origin = f"(forked from {run.state.parent})  " if run.state.why == "fork" else ""
        self._view.open(run.session, origin + (f"{graph.label}: {graph.goal}" if graph.goal else graph.label))

    def _report_stop(self, run: Run, error: StoreError) -> None:
        """Report that the store failed or another runner took the session during the run."""
        if isinstance(error, StoreFull):
            first = error.fix.removesuffix(", then run again") or "free some space"
            error.fix = f"{first}, then: {self._resume}"
        if isinstance(error, SessionTaken):
            self._view.note(f"another runner took over session {run.session}; stopping")
            return
        gone = isinstance(error, StoreGone)
        kept = "was recorded there, and is gone with it" if gone else "is safe up to its last recorded event"
        self._view.note(f"the store failed; session {run.session} {kept}")
        remember(self._at.settings, run, error.message, time.time_ns() // 1_000_000)

    def _say_unread(self, lines: int) -> None:
        """Say how much of the output its reader did not take, and how to see it."""
        if lines and self._run is not None:
            look = f"orchestra log{self._at.aim} {self._run.session}"
            text = f"the reader did not take the last {plural(lines, 'line')} of output; see {look}\n"
            at_once(sys.stderr, text.encode())


def _mirror(settings: Settings) -> AbstractContextManager[None]:
    """Send new turns to the mirror meanwhile, in a separate process (S22)."""
    if settings.mirror is None:
        return nullcontext()
    from orchestra.app.mirroring import sending  # imported only if there is a mirror

    return sending(settings)


async def _close(store: Store | None) -> None:
    if store is None:
        return
    failing = sys.exc_info()[0] is not None
    try:
        await store.close()
    except StoreError:
        if not failing:
            raise


def _say_unused(pipeline: Pipeline, given: Mapping[str, str]) -> None:
    """Warn of variables that change nothing, as a mistyped name does (L40)."""
    for name, near in unused_variables(
        [one.written for one in pipeline.whole() if one.written is not None], given
    ).items():
        complain(f"warning: nothing in the pipeline uses the variable '{one_line(name, 100)}'")
        if near:
            complain(f"  help: did you mean {near}?")
