"""``orchestra resume``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestra.cli.options import (
    Answers,
    AsJson,
    AutoApprove,
    Colour,
    Config,
    Detach,
    JsonStream,
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
        typer.Option("--graph", metavar="FILE", help="Go on with this pipeline instead of the recorded one."),
    ] = None,
    simulate: Annotated[
        Path | None,
        typer.Option("--simulate", metavar="FILE", help="Go on with this script instead of the recorded one."),
    ] = None,
    interrupted: Annotated[
        str,
        typer.Option(
            "--interrupted",
            metavar="WHAT",
            help="rerun or fail: what becomes of a node that was cut off; else its on_interrupt says.",
            show_default=False,
        ),
    ] = "",
    auto_approve: AutoApprove = False,
    answers: Answers = None,
    no_input: NoInput = False,
    detach: Detach = False,
    store: Store = None,
    config: Config = None,
    as_json: AsJson = False,
    json_stream: JsonStream = False,
    plain: Plain = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    color: Colour = "auto",
) -> None:
    """Go on with a session that was paused, crashed or failed, from where it stands.

    Exit code 0: it reached its goal, or had already; 1: it failed; 3: the pipeline is not valid; 4: a secret that
    it had is missing; 5: it asks what becomes of a node that was cut off; 8: another process runs it;
    9: there is no such session; 130: paused by an interrupt.
    """
    from orchestra.cli._ended import Shown
    from orchestra.cli._resume import resume_session

    one_amount(quiet, verbose)
    if interrupted not in ("", "rerun", "fail"):
        raise typer.BadParameter(f"--interrupted is rerun or fail, not {interrupted!r}")
    shown = Shown(
        store=store,
        config=config,
        json=one_json(as_json, json_stream),
        plain=plain,
        quiet=quiet,
        verbose=verbose,
        color=color,
        people=people(auto_approve, answers, no_input),
    )
    raise typer.Exit(
        resume_session(session, graph=graph, simulate=simulate, interrupted=interrupted, detach=detach, shown=shown)
    )
