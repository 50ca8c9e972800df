"""``orchestra resume``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestra.cli.options import AsJson, Colour, Config, Session, Store, one_json


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
    detach: Annotated[
        bool, typer.Option("--detach", help="Run in the background; orchestra attach watches it.")
    ] = False,
    store: Store = None,
    config: Config = None,
    as_json: AsJson = False,
    json_stream: Annotated[
        bool, typer.Option("--json-stream", help="Print every event as a line of JSON as it happens.")
    ] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Plain lines, also on a terminal.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only errors and how it ended.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say why each edge was taken.")] = False,
    color: Colour = "auto",
) -> None:
    """Go on with a session that was paused, crashed or failed, from where it stands.

    Exit code 0: it reached its goal, or had already; 1: it failed; 3: the pipeline is not valid; 4: a secret that
    it had is missing; 5: it asks what becomes of a node that was cut off; 8: another process runs it;
    9: there is no such session; 130: paused by an interrupt.
    """
    from orchestra.cli._ended import Shown
    from orchestra.cli._resume import resume_session

    if quiet and verbose:
        raise typer.BadParameter("-q and -v say the opposite of one another; name one")
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
    )
    raise typer.Exit(
        resume_session(session, graph=graph, simulate=simulate, interrupted=interrupted, detach=detach, shown=shown)
    )
