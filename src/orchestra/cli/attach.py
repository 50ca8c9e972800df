"""``orchestra attach``."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestra.cli.options import AsJson, Colour, Config, Session, Store, one_json


def attach(
    session: Session,
    store: Store = None,
    config: Config = None,
    as_json: AsJson = False,
    json_stream: Annotated[
        bool, typer.Option("--json-stream", help="Print every event as a line of JSON as it happens.")
    ] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Plain lines, also on a terminal.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only how it ended.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say why each edge was taken.")] = False,
    color: Colour = "auto",
) -> None:
    """Watch a session: what happened so far, then what happens, until it ends. Ctrl-C leaves; the run goes on.

    Exit code 0: it reached its goal; 1: it failed; 9: there is no such session; 130: it is paused, or its runner
    is gone, or you left.
    """
    from orchestra.cli._attach import attach_to
    from orchestra.cli._ended import Shown

    if quiet and verbose:
        raise typer.BadParameter("-q and -v say the opposite of one another; name one")
    shown = Shown(
        store=store,
        config=config,
        json=one_json(as_json, json_stream),
        plain=plain,
        quiet=quiet,
        verbose=verbose,
        color=color,
    )
    raise typer.Exit(attach_to(session, shown))
