"""What ``orchestra run`` does."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from orchestra.app.pipelines import Pipeline, compile_pipeline, read
from orchestra.app.runs import Run, start
from orchestra.app.stores import open_store
from orchestra.cli._errors import FAILED, INTERRUPTED, INVALID, show_diagnostics, store_code
from orchestra.cli._json import say_json
from orchestra.cli._lines import GREEN, RED, YELLOW
from orchestra.cli._progress import progress
from orchestra.cli._signals import heeded
from orchestra.cli._stores import aimed, hint, settings_for
from orchestra.cli._terminal import coloured, lasted, one_line, room
from orchestra.cli._views import View, tell_reader, view_for
from orchestra.config.settings import Settings
from orchestra.config.simulation import read_script
from orchestra.engine.control import Control
from orchestra.engine.journal import Listener
from orchestra.errors import ConfigError, InvalidPipeline, StoreError
from orchestra.graph import report
from orchestra.graph.report import counted, paint, wrap
from orchestra.ports import Store
from orchestra.run.state import Result, RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Which store a run is in, and how it is shown."""

    store: str | None
    config: Path | None
    json: str
    plain: bool
    quiet: bool
    verbose: bool
    color: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for on the command line."""

    pipeline: str
    variables: tuple[str, ...]
    simulate: Path | None
    label: str
    shown: Shown


def run_pipeline(options: Options) -> int:
    """Check, run, and say how it ended; the exit code (C2)."""
    variables = _variables(options.variables)
    shown = options.shown
    settings = settings_for(shown.store, shown.config, options.pipeline)
    source, found = read(options.pipeline)
    pipeline = compile_pipeline(source, found, variables=variables, secrets=settings.secrets)

    async def begin(store: Store, listeners: tuple[Listener, ...], control: Control) -> tuple[Run, Pipeline]:
        script = read_script(options.simulate) if options.simulate is not None else None
        run = await start(
            pipeline,
            store=store,
            settings=settings,
            variables=variables,
            simulation=script,
            label=options.label,
            listeners=listeners,
            control=control,
        )
        return run, pipeline

    def checked() -> None:
        pipeline.checked()

    return walk_shown(shown, settings, begin, checked)


Opening: TypeAlias = Callable[[Store, tuple[Listener, ...], Control], Awaitable[tuple[Run, Pipeline]]]
"""Makes a run ready to walk, in a store, with who is told of its events and what may stop it."""


def walk_shown(
    shown: Shown, settings: Settings, opening: Opening, before: Callable[[], None] = lambda: None
) -> int:
    """Open a run, show it while it goes on, and say how it ended; the exit code (C2). ``before`` checks what can
    be checked without the store."""
    colour = coloured(shown.color, sys.stdout)
    gc.freeze()
    gc.enable()
    try:
        before()
        return asyncio.run(_run(shown, settings, opening, colour))
    except InvalidPipeline as error:
        if shown.json == "object":
            say_json(
                {"session": None, "status": "invalid", "exit_code": INVALID, **report.report(error.diagnostics)}
            )
        raise


def _variables(given: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise ConfigError(f"{item!r} is no key=value", fix="write a variable as key=value, such as colour=blue")
        if name in found:
            raise ConfigError(f"the variable {name!r} is given twice")
        found[name] = value
    return found


async def _run(shown: Shown, settings: Settings, opening: Opening, colour: bool) -> int:
    view = view_for(json=shown.json, plain=shown.plain, quiet=shown.quiet, verbose=shown.verbose, colour=colour)
    control = Control()
    with heeded(control, view.note, view.abandoned):
        run, result = await _walked(shown, settings, opening, view, control)
        return _ended(shown, settings, run, result, colour)


async def _walked(
    shown: Shown, settings: Settings, opening: Opening, view: View, control: Control
) -> tuple[Run, Result | None]:
    run: Run | None = None
    store: Store | None = None
    try:
        with progress() as tell:
            store = open_store(settings, progress=tell)
        run, pipeline = await opening(store, (view.tell,), control)
        if run.state.result is not None:
            return run, await run.walk()
        if not shown.quiet:
            show_diagnostics(pipeline.diagnostics)
        view.opened(run, pipeline)
        return run, await run.walk()
    except StoreError as error:
        error.fix = aimed(error.fix, hint(settings, shown.store))
        _stopped(shown, run, error, view)
        raise
    finally:
        view.closed()
        await _close(store)


def _stopped(shown: Shown, run: Run | None, error: StoreError, view: View) -> None:
    """The store failed, before there was a session or in the middle of one."""
    if run is not None:
        view.note(f"the store failed; session {run.session} stands as it was last recorded")
    if shown.json == "object":
        what = {"session": None} if run is None else _object(run)
        say_json({**what, "status": "stopped", "detail": error.message, "exit_code": store_code(error)}, indent=2)


async def _close(store: Store | None) -> None:
    if store is None:
        return
    failing = sys.exc_info()[0] is not None
    try:
        await store.close()
    except StoreError:
        if not failing:
            raise


# --- how it ended --------------------------------------------------------------------------------


def _ended(shown: Shown, settings: Settings, run: Run, result: Result | None, colour: bool) -> int:
    state = run.state
    code = INTERRUPTED if result is None else 0 if result.good else FAILED
    if shown.json == "object":
        status, detail = ("paused", state.paused) if result is None else (result.status, result.text)
        say_json({**_object(run), "status": status, "detail": detail, "exit_code": code}, indent=2)
    elif not shown.json:
        for line in (*_last_lines(state, result, colour), *_next(settings, shown.store, run.session, result)):
            tell_reader(line)
    return code


def _object(run: Run) -> dict[str, Any]:
    state = run.state
    result = state.result
    return {
        "session": run.session,
        "context": run.context_id,
        "pipeline": state.pipeline,
        "node": _at(state) if result is None else result.node,
        "steps": state.steps,
        "duration_ms": _took(state),
        "nodes": {
            node: {
                "status": record.status,
                "visits": record.visits - record.carried,
                "executions": record.executions - record.carried_executions,
                "reason": record.reason,
            }
            for node, record in state.nodes.items()
            if record.here
        },
    }


def _took(state: RunState) -> int:
    """Milliseconds that somebody was running it."""
    return max(0, (state.at if state.result is None else state.result.ended_ms) - state.started_ms - state.idle_ms)


def _at(state: RunState) -> str:
    return state.stage.node if state.stage is not None else state.next_node


def _last_lines(state: RunState, result: Result | None, colour: bool) -> list[str]:
    took = f"{counted(state.steps, 'node')} in {lasted(_took(state))}"
    if result is None:
        word, tone = "paused", YELLOW
        text = (
            f"before {_at(state) or 'it began'}" if state.stage is None else f"at {_at(state)}, which was not done"
        )
        more = [f"  {took}; everything up to there is recorded"]
        text = f"{text} ({state.paused})"
    elif result.good:
        word, tone = "completed", GREEN
        text, more = took + ("" if result.text == "success" else f"  {result.text}"), []
    else:
        word, tone = "failed", RED
        text, more = f"at {result.node}: {one_line(result.text, 600)}", [f"  {took}"]
    first = "\n".join(wrap(f"{word}  ", text, room(), "  "))
    return [first.replace(word, paint(word, tone, colour), 1), *more]


def _next(settings: Settings, flag: str | None, session: str, result: Result | None) -> list[str]:
    if settings.place == "memory":
        return ["  nothing was kept: the store was in memory"]
    aim = hint(settings, flag)
    on = [] if result is not None and result.good else [f"  go on: orchestra resume{aim} {session}"]
    return [f"  look: orchestra status{aim} {session} --detail", *on]
