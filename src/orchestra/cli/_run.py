"""What ``orchestra run`` does."""

from __future__ import annotations

import asyncio
import gc
import json as json_
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from orchestra.app.pipelines import Pipeline, compile_pipeline, read
from orchestra.app.runs import Run, start
from orchestra.app.stores import open_store
from orchestra.cli._errors import FAILED, INTERRUPTED, show_diagnostics
from orchestra.cli._lines import GREEN, RED, YELLOW, Ends, headline
from orchestra.cli._stores import hint, settings_for
from orchestra.cli._terminal import coloured, complain, lasted, mute, one_line, paint, say, width
from orchestra.config.settings import Settings
from orchestra.config.simulation import read_script
from orchestra.engine.control import Control
from orchestra.errors import ConfigError, InvalidPipeline, StoreError
from orchestra.run.codec import plain
from orchestra.run.events import Recorded
from orchestra.run.state import Result, RunState

SCHEMA = "orchestra.events.v1"
"""The schema that the first line of ``--json-stream`` names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for on the command line."""

    pipeline: str
    variables: tuple[str, ...]
    simulate: Path | None
    label: str
    store: str | None
    config: Path | None
    json: str
    plain: bool
    quiet: bool
    verbose: bool
    color: str


class View(Protocol):
    """What shows a run while it goes on."""

    def opened(self, run: Run, pipeline: Pipeline, settings: Settings) -> None:
        """The session exists; nothing has been done yet."""

    def tell(self, recorded: Recorded) -> None:
        """An event is durable."""

    def note(self, text: str) -> None:
        """A word of ours in between."""

    def closed(self) -> None:
        """No event follows."""


def run_pipeline(options: Options) -> int:
    """Check, run, and say how it ended; the exit code (C2)."""
    variables = _variables(options.variables)
    settings = settings_for(options.store, options.config, options.pipeline)
    colour = coloured(options.color, sys.stdout)
    source, found = read(options.pipeline)
    pipeline = compile_pipeline(source, found, variables=variables, secrets=settings.secrets)
    if not pipeline.valid:
        raise InvalidPipeline(pipeline.diagnostics)
    if not options.quiet:
        show_diagnostics(pipeline.diagnostics)
    gc.freeze()
    gc.enable()
    return asyncio.run(_run(options, settings, pipeline, variables, colour))


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


async def _run(
    options: Options, settings: Settings, pipeline: Pipeline, variables: dict[str, str], colour: bool
) -> int:
    script = read_script(options.simulate) if options.simulate is not None else None
    view = _view(options, colour)
    store = open_store(settings)
    run: Run | None = None
    try:
        run = await start(
            pipeline,
            store=store,
            settings=settings,
            variables=variables,
            simulation=script,
            label=options.label,
            listeners=(view.tell,),
        )
        view.opened(run, pipeline, settings)
        _watch_signals(run.control, view)
        result = await run.walk()
    except StoreError:
        if run is not None:
            view.note(f"the store failed; session {run.session} stands as it was last recorded")
        raise
    finally:
        view.closed()
        await _close(store)
    return _ended(options, run, result, colour)


async def _close(store: Any) -> None:
    failing = sys.exc_info()[0] is not None
    try:
        await store.close()
    except StoreError:
        if not failing:
            raise


# --- signals (engine.md 8) -----------------------------------------------------------------------


def _watch_signals(control: Control, view: View) -> None:
    loop = asyncio.get_running_loop()
    count = 0

    def interrupted() -> None:
        nonlocal count
        count += 1
        if count == 1:
            control.pause("interrupt")
            view.note("pausing after the node at work; Ctrl-C again interrupts it, once more leaves at once")
        elif count == 2:
            control.interrupt("interrupt")
            view.note("interrupting the node at work")
        else:
            view.closed()
            os._exit(INTERRUPTED)

    def ended(name: str) -> Callable[[], None]:
        return lambda: control.interrupt(name)

    loop.add_signal_handler(signal.SIGINT, interrupted)
    for number, name in ((signal.SIGTERM, "terminated"), (signal.SIGHUP, "the terminal was closed")):
        loop.add_signal_handler(number, ended(name))


# --- views ---------------------------------------------------------------------------------------


def _view(options: Options, colour: bool) -> View:
    if options.json:
        return _Json(stream=options.json == "stream")
    terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    if terminal and not options.plain and not options.quiet:
        from orchestra.cli._live import Live  # Rich, which a run without a terminal does not need

        return Live(colour=colour, verbose=options.verbose)
    return _Plain(colour=colour, quiet=options.quiet, verbose=options.verbose)


def _tell_reader(text: str) -> None:
    """Write a line; when the reader has left, the run goes on unread."""
    try:
        say(text)
    except BrokenPipeError:
        mute()


class _Plain:
    """Plain lines with UTC times."""

    def __init__(self, *, colour: bool, quiet: bool, verbose: bool) -> None:
        self._colour = colour
        self._quiet = quiet
        self._ends = Ends(write=self._write, colour=colour, width=width(sys.stdout), times=True, verbose=verbose)

    def opened(self, run: Run, pipeline: Pipeline, settings: Settings) -> None:
        if not self._quiet:
            self._write(headline(run.session, pipeline.checked(), self._colour))

    def tell(self, recorded: Recorded) -> None:
        if not self._quiet:
            self._ends.tell(recorded)

    def note(self, text: str) -> None:
        complain(text)

    def closed(self) -> None:
        self._ends.settle()

    def _write(self, text: str) -> None:
        _tell_reader(text)


class _Json:
    """One object at the end, or every event as a line."""

    def __init__(self, *, stream: bool) -> None:
        self._stream = stream
        self._first = True

    def opened(self, run: Run, pipeline: Pipeline, settings: Settings) -> None:
        pass

    def tell(self, recorded: Recorded) -> None:
        if not self._stream:
            return
        line = plain(recorded)
        if self._first:
            line = {"schema": SCHEMA, **line}
            self._first = False
        _tell_reader(json_.dumps(line, ensure_ascii=False, default=str))

    def note(self, text: str) -> None:
        complain(text)

    def closed(self) -> None:
        pass


# --- how it ended --------------------------------------------------------------------------------


def _ended(options: Options, run: Run, result: Result | None, colour: bool) -> int:
    state = run.state
    code = INTERRUPTED if result is None else 0 if result.good else FAILED
    if options.json == "object":
        say(json_.dumps(_object(run, state, result, code), ensure_ascii=False, indent=2))
    elif not options.json:
        for line in _last_lines(options, run, state, result, colour):
            _tell_reader(line)
    return code


def _object(run: Run, state: RunState, result: Result | None, code: int) -> dict[str, Any]:
    return {
        "session": run.session,
        "context": run.context_id,
        "pipeline": state.pipeline,
        "status": "paused" if result is None else result.status,
        "detail": state.paused if result is None else result.text,
        "node": state.next_node if result is None else result.node,
        "steps": state.steps,
        "duration_ms": max(0, (state.at if result is None else result.ended_ms) - state.started_ms),
        "exit_code": code,
        "nodes": {
            node: {
                "status": record.status,
                "visits": record.visits,
                "executions": record.executions,
                "reason": record.reason,
            }
            for node, record in state.nodes.items()
        },
    }


def _last_lines(options: Options, run: Run, state: RunState, result: Result | None, colour: bool) -> list[str]:
    took = f"{state.steps} node{'s' if state.steps != 1 else ''} in {lasted(max(0, state.at - state.started_ms))}"
    look = f"  look: orchestra status{hint(options.store)} {run.session} --detail"
    if result is None:
        at = state.stage.node if state.stage is not None else state.next_node
        word = paint("paused", YELLOW, colour)
        return [f"{word}  before {at} ({state.paused})", f"  {took}; all of it is recorded", look]
    if result.good:
        extra = "" if result.text == "success" else f"  {result.text}"
        return [f"{paint('completed', GREEN, colour)}  {took}{extra}", look]
    return [f"{paint('failed', RED, colour)}  at {result.node}: {one_line(result.text, 600)}", f"  {took}", look]
