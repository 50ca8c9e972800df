"""``orchestra log``."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestra.cli.options import AsJson, Config, Session, Store, one_json


def log(
    session: Session,
    store: Store = None,
    config: Config = None,
    as_json: AsJson = False,
    json_stream: Annotated[
        bool, typer.Option("--json-stream", help="Print every event as a line of JSON.")
    ] = False,
    why: Annotated[
        str | None,
        typer.Option("--why", metavar="NODE", help="Show for each visit of a node which edge was taken, and why."),
    ] = None,
) -> None:
    """Show every recorded event of a session, oldest first; SESSION:DEPTH shows those from that depth on."""
    if why is not None:
        from orchestra.cli._why import show_why

        raise typer.Exit(show_why(session, why, store=store, config=config, json=one_json(as_json, json_stream)))
    from orchestra.cli._turns import show_log

    raise typer.Exit(show_log(session, store=store, config=config, json=one_json(as_json, json_stream)))
