"""``orchestra resume`` and ``replay``: continue a recorded session, or start another from a point of it."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace

from orchestra.agents.scripts import read_script
from orchestra.app.pipelines import Pipeline, read
from orchestra.app.plans import ResumeChanges, changed_file
from orchestra.app.rewalking import rewalk
from orchestra.app.runs import Future, Run, RunSetup
from orchestra.app.runs import replay as replayed_run
from orchestra.app.runs import resume as resumed_run
from orchestra.cli.commands.run import key_values, walk_shown
from orchestra.cli.errors import FAILED
from orchestra.cli.options import Detach, EnvFile, MaxCost
from orchestra.cli.people import RunOptions
from orchestra.cli.screen.views import tell_reader
from orchestra.cli.screen.why import say_rewalk
from orchestra.cli.stores import Session, StoreAccess
from orchestra.cli.terminal import complain, one_line, time_since
from orchestra.engine.forking import TurnChoice
from orchestra.errors import ConfigError, SessionNotFound, SessionTaken, Undecided


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
            help="What to do with an interrupted node: rerun or fail (default: its on_interrupt).",
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
    at = shown.access(str(graph) if graph is not None else "-", max_cost, env_file)
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
    async def continue_run(setup: RunSetup) -> tuple[Run, Pipeline]:
        try:
            run, pipeline = await resumed_run(setup, session, changes)
        except SessionTaken as error:
            error.fix = error.fix or f"watch: orchestra attach {one_line(session, 40)}"
            raise
        if session == "last" and run.state.result is not None and run.state.result.good:
            await run.opened.hold.release()
            raise _nothing_to_resume(run)
        if session == "last":
            at.say_origin(run.session, run.state.file)
        _say_of(run, pipeline, changes, at.aim, heard=not shown.quiet and not shown.json)
        return run, pipeline

    return walk_shown(shown, at, continue_run, detach=detach)


def _nothing_to_resume(run: Run) -> SessionNotFound:
    """Return the error if ``last`` is a completed session: the intended run may never have begun."""
    ago = time_since(run.state.at)
    return SessionNotFound(
        f"nothing to resume: session {run.session} ({one_line(run.state.pipeline, 60)}) succeeded {ago} ago",
        fix="see them all: orchestra status; start a new run: orchestra run FILE.dot",
    )


def _say_of(run: Run, pipeline: Pipeline, changes: ResumeChanges, aim: str, *, heard: bool) -> None:
    """Print what a user should know before the session continues."""
    if run.state.result is not None:
        if heard:
            unpushed = any(known.not_pushed for known in run.state.workspace.values())
            more = f"; its push failed, push again: orchestra pr{aim} {run.session}" if unpushed else ""
            tell_reader(f"session {run.session} has already ended; nothing to do{more}")
        return
    file = changed_file(pipeline) if changes.graph is None else ""
    if file:
        command = f"orchestra resume{aim} {run.session} --graph {shlex.quote(pipeline.source.name)}"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRequest:
    """The turn from which a session is replayed, and what is changed."""

    checkpoint: Annotated[
        str,
        typer.Option(
            "--checkpoint",
            metavar="T",
            help="Start from this checkpoint: a depth, #ID or 'last'.",
            show_default=False,
        ),
    ] = ""
    turn: Annotated[
        str,
        typer.Option(
            "--turn",
            metavar="T",
            help="Start from this turn: a depth as shown by `log`, or #ID (also of a child's or a branch's turn).",
            show_default=False,
        ),
    ] = ""
    node: Annotated[
        str, typer.Option("--node", metavar="NODE", help="Start from this node.", show_default=False)
    ] = ""
    visit: Annotated[
        int | None,
        typer.Option(
            "--visit", metavar="N", min=1, help="With --node: start from its N-th visit (default: the newest)."
        ),
    ] = None
    variables: Annotated[
        list[str] | None,
        typer.Option("--var", metavar="KEY=VALUE", help="Set a variable of the new session (repeatable)."),
    ] = None
    values: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set a context value of the new session (repeatable)."),
    ] = None
    graph: Annotated[Path | None, typer.Option("--graph", metavar="FILE", help="Continue with this pipeline.")] = (
        None
    )
    simulate: Annotated[
        Path | None, typer.Option("--simulate", metavar="FILE", help="Continue with these scripted results.")
    ] = None
    label: Annotated[
        str, typer.Option("--label", metavar="TEXT", help="Name of the new session.", show_default=False)
    ] = ""
    detach: Detach = False


def replay(
    session: Session,
    *,
    asked: ReplayRequest,
    recorded: Annotated[
        bool,
        typer.Option("--recorded", help="Run nothing: repeat the recorded decisions and report any that differ."),
    ] = False,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against", metavar="FILE", help="Like --recorded, with this pipeline: report where it diverges."
        ),
    ] = None,
    shown: RunOptions,
) -> int:
    """Start a new session from a point in the history of another session, which is not changed.

    Without --checkpoint, --turn or --node it starts from the beginning. SESSION/FAN/BRANCH names a parallel
    branch: depths and nodes are then those of the branch. Exit codes are those of run and resume.

    With --recorded or --against nothing is run or written: the recorded results of agents and commands are used.
    Exit codes: 0: the same nodes, edges and prompts; 1: something differs.
    """
    if sum(map(bool, (asked.checkpoint, asked.turn, asked.node))) > 1:
        raise typer.BadParameter("--checkpoint, --turn and --node exclude each other; use one")
    if asked.visit is not None and not asked.node:
        raise typer.BadParameter("--visit needs --node")
    if recorded or against is not None:
        if asked != ReplayRequest() or shown.json_stream or (recorded and against is not None):
            wrong = "--recorded and --against start no session: combine them only with --store, --config and --json"
            raise typer.BadParameter(wrong)
        return _walk_again(session, against, shown)
    at = shown.access(str(asked.graph) if asked.graph is not None else "-")
    at.check(session)
    source, found = read(asked.graph) if asked.graph is not None else (None, ())
    script = read_script(asked.simulate) if asked.simulate is not None else None
    wanted = _turn_choice(asked)
    future = Future(
        variables=key_values(tuple(asked.variables or ()), "variable"),
        values=key_values(tuple(asked.values or ()), "value"),
        changes=ResumeChanges(graph=source, found=found, simulation=script),
        label=asked.label,
    )

    async def fork(setup: RunSetup) -> tuple[Run, Pipeline]:
        return await replayed_run(setup, session, wanted, future)

    return walk_shown(shown, at, fork, detach=asked.detach)


def _turn_choice(asked: ReplayRequest) -> TurnChoice:
    if asked.node:
        return TurnChoice(node=asked.node, visit=asked.visit)
    if asked.checkpoint == "last":
        return TurnChoice(newest=True)
    text = asked.checkpoint or asked.turn
    if not text:
        return TurnChoice()
    number = text.removeprefix("#")
    if not (number.isascii() and number.isdigit() and len(number) < 19):
        raise ConfigError(
            f"{one_line(text, 40)!r} is not a turn",
            fix="use a depth, as `orchestra log SESSION` shows it, or #ID for a CXDB turn id",
        )
    if text.startswith("#"):
        return TurnChoice(turn_id=int(number), checkpoint=bool(asked.checkpoint))
    return TurnChoice(depth=int(number), checkpoint=bool(asked.checkpoint))


def _walk_again(session: str, against: Path | None, shown: RunOptions) -> int:
    """Repeat recorded decisions and print what differs. Return 0 if nothing does, else 1 (C2)."""
    at = shown.access(str(against) if against is not None else "-")
    source, found = read(against) if against is not None else (None, ())
    changes = ResumeChanges(graph=source, found=found)
    report = at.read(
        lambda store: rewalk(session, store=store, settings=at.settings, changes=changes),
        session,
    )
    say_rewalk(report, str(against) if against is not None else "", as_json=shown.as_json)
    return 0 if report.same else FAILED
