"""``orchestra attach``."""

from __future__ import annotations

import typer

from orchestra.cli.options import (
    AsJson,
    Colour,
    Config,
    JsonStream,
    NoInput,
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
    no_input: NoInput = False,
    store: Store = None,
    config: Config = None,
    as_json: AsJson = False,
    json_stream: JsonStream = False,
    plain: Plain = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    color: Colour = "auto",
) -> None:
    """Watch a session from its start until it ends. Ctrl-C stops watching; the session keeps running.

    A node of a child session is shown after the node that runs the child: check/lint. With --json-stream, every
    line names its session.

    Exit codes: 0: it succeeded; 1: it failed; 9: no such session; 130: it is paused, its runner is gone, or you
    stopped watching.
    """
    from orchestra.cli._attach import attach_to
    from orchestra.cli._ended import People, Shown

    one_amount(quiet, verbose)
    shown = Shown(
        store=store,
        config=config,
        json=one_json(as_json, json_stream),
        plain=plain,
        quiet=quiet,
        verbose=verbose,
        color=color,
        people=People(no_input=no_input),
    )
    raise typer.Exit(attach_to(session, shown))
