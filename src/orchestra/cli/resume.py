"""``orchestra resume``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestra.cli.options import (
    Answers,
    ApproveTools,
    AsJson,
    AutoApprove,
    Colour,
    Config,
    Detach,
    EnvFile,
    JsonStream,
    MaxCost,
    NoInput,
    Plain,
    Quiet,
    Session,
    Store,
    Verbose,
    one_amount,
    one_json,
    people,
)


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
    auto_approve: AutoApprove = False,
    answers: Answers = None,
    approve_tools: ApproveTools = False,
    no_input: NoInput = False,
    max_cost: MaxCost = None,
    detach: Detach = False,
    store: Store = None,
    config: Config = None,
    env_file: EnvFile = None,
    as_json: AsJson = False,
    json_stream: JsonStream = False,
    plain: Plain = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    color: Colour = "auto",
) -> None:
    """Resume a paused, crashed, canceled or failed session.

    Exit codes: 0: it succeeded, or had already; 1: it failed; 3: the pipeline is invalid; 4: a recorded secret is
    missing; 5: an interrupted node needs a decision (--interrupted); 7: stopped by a limit; 8: another process runs
    the session; 9: no such session; 130: paused by an interrupt.
    """
    from orchestra.cli._ended import Shown
    from orchestra.cli._resume import resume_session

    one_amount(quiet, verbose)
    if interrupted not in ("", "rerun", "fail"):
        raise typer.BadParameter(f"--interrupted must be rerun or fail, not {interrupted!r}")
    shown = Shown(
        store=store,
        config=config,
        json=one_json(as_json, json_stream),
        plain=plain,
        quiet=quiet,
        verbose=verbose,
        color=color,
        people=people(auto_approve, answers, no_input, approve_tools),
    )
    raise typer.Exit(
        resume_session(
            session,
            graph=graph,
            simulate=simulate,
            interrupted=interrupted,
            max_cost=max_cost,
            detach=detach,
            shown=shown,
        )
    )
