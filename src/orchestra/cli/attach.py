"""``orchestra attach``."""

from __future__ import annotations

import typer

from orchestra.cli.options import (
    AsJson,
    Colour,
    Config,
    JsonStream,
    Plain,
    Quiet,
    Session,
    Store,
    Verbose,
    one_amount,
    one_json,
)


def attach(
    session: Session,
    store: Store = None,
    config: Config = None,
    as_json: AsJson = False,
    json_stream: JsonStream = False,
    plain: Plain = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    color: Colour = "auto",
) -> None:
    """Watch a session: what happened so far, then what happens, until it ends. Ctrl-C leaves; the run goes on.

    The nodes of its children stand behind the nodes that run them: check/lint. With --json-stream every line names
    its session.

    Exit code 0: it reached its goal; 1: it failed; 9: there is no such session; 130: it is paused, or its runner
    is gone, or you left.
    """
    from orchestra.cli._attach import attach_to
    from orchestra.cli._ended import Shown

    one_amount(quiet, verbose)
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
