"""``orchestra resume``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace

from orchestra.agents.scripts import read_script
from orchestra.app.pipelines import Pipeline, read
from orchestra.app.plans import ResumeChanges, changed_file
from orchestra.app.runs import Run, RunSetup
from orchestra.app.runs import resume as resumed_run
from orchestra.cli.commands.run import walk_shown
from orchestra.cli.options import Detach, EnvFile, MaxCost
from orchestra.cli.people import RunOptions
from orchestra.cli.screen.views import tell_reader
from orchestra.cli.stores import Session, StoreAccess
from orchestra.cli.terminal import complain, one_line, time_since
from orchestra.errors import SessionNotFound, SessionTaken, Undecided


def resume(
    session: Session,
    graph: Annotated[
        Path | None,
        typer.Option("--graph", metavar="FILE", help="Continue with this pipeline instead of the recorded one."),
    ] = None,
    simulate: Annotated[
        Path | None,
        typer.Option(
            "--simulate", metavar="FILE", help="Continue with these scripted results instead of the recorded ones."
        ),
    ] = None,
    interrupted: Annotated[
        str,
        typer.Option(
            "--interrupted",
            metavar="WHAT",
            help="rerun or fail an interrupted node (default: its on_interrupt).",
            show_default=False,
        ),
    ] = "",
    max_cost: MaxCost = None,
    detach: Detach = False,
    env_file: EnvFile = None,
    *,
    shown: RunOptions,
) -> int:
    """Resume a paused, crashed, canceled or failed session.

    Exit codes: 0: it succeeded, or had already; 1: it failed; 3: the pipeline is invalid; 4: a recorded secret is
    missing; 5: waiting for an answer, or an interrupted node needs a decision (--interrupted); 7: stopped by a
    limit; 8: another process runs the session; 9: no such session, or `last` has succeeded; 130: paused by an
    interrupt.
    """
    if interrupted not in ("", "rerun", "fail"):
        raise typer.BadParameter(f"--interrupted must be rerun or fail, not {interrupted!r}")
    at = shown.access(str(graph) if graph is not None else "-", max_cost)
    at.check(session)
    source, found = read(graph) if graph is not None else (None, ())
    script = read_script(simulate) if simulate is not None else None
    changes = ResumeChanges(graph=source, found=found, simulation=script, interrupted=interrupted)
    try:
        return _walk(session, changes, at, shown, detach=detach)
    except Undecided as error:
        if shown.no_input or not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise
        decided = replace(changes, interrupted=_ask_about_node(error))
    return _walk(session, decided, at, shown, detach=detach)


def _walk(session: str, changes: ResumeChanges, at: StoreAccess, shown: RunOptions, *, detach: bool) -> int:
    async def go_on(setup: RunSetup) -> tuple[Run, Pipeline]:
        try:
            run, pipeline = await resumed_run(setup, session, changes)
        except SessionTaken as error:
            error.fix = error.fix or f"watch: orchestra attach {one_line(session, 40)}"
            raise
        if session == "last" and run.state.result is not None and run.state.result.good:
            await run.opened.hold.release()
            raise _nothing_to_resume(run)
        _say_of(run, changes, at.aim, heard=not shown.quiet and not shown.json)
        return run, pipeline

    return walk_shown(shown, at, go_on, detach=detach)


def _nothing_to_resume(run: Run) -> SessionNotFound:
    """Return the error if ``last`` is a completed session: the intended run may never have begun."""
    ago = time_since(run.state.at)
    return SessionNotFound(
        f"nothing to resume: session {run.session} ({one_line(run.state.pipeline, 60)}) succeeded {ago} ago",
        fix="see them all: orchestra status; start a new run: orchestra run FILE.dot",
    )


def _say_of(run: Run, changes: ResumeChanges, aim: str, *, heard: bool) -> None:
    """Print what a user should know before the session continues."""
    if run.state.result is not None:
        if heard:
            unpushed = any(known.not_pushed for known in run.state.workspace.values())
            more = f"; its push failed, push again: orchestra pr{aim} {run.session}" if unpushed else ""
            tell_reader(f"session {run.session} has already ended; nothing to do{more}")
        return
    file = changed_file(run.state) if changes.graph is None else ""
    if file:
        command = f"orchestra resume{aim} {run.session} --graph {shlex.quote(file)}"
        complain(
            f"note: {one_line(file, 300)} has changed since the run started; using the recorded version\n"
            f"  to use the file: {one_line(command, 1000)}"
        )


def _ask_about_node(error: Undecided) -> str:
    """Ask the user what to do with the interrupted node; return ``rerun`` or ``fail``."""
    complain(f"{one_line(error.node, 80)} was interrupted while it was running.")
    while True:
        sys.stderr.write("  Run it again (r) or mark it as failed (f)? ")
        sys.stderr.flush()
        answer = sys.stdin.readline().strip().lower()
        if answer in ("r", "rerun"):
            return "rerun"
        if answer in ("f", "fail"):
            return "fail"
        if not answer:
            raise error
