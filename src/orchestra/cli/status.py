"""``orchestra status``."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestra.cli.options import AsJson, Colour, Config, Store, complete_session


def status(
    session: Annotated[
        str | None,
        typer.Argument(
            metavar="SESSION",
            help="Session id or unique prefix, 'last', or '#42' for a CXDB context (default: list all sessions).",
            show_default=False,
            autocompletion=complete_session,
        ),
    ] = None,
    detail: Annotated[bool, typer.Option("--detail", help="Show every node and why each edge was taken.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Keep updating until it ends, or Ctrl-C.")] = False,
    store: Store = None,
    config: Config = None,
    as_json: AsJson = False,
    color: Colour = "auto",
) -> None:
    """List sessions, those that need attention first, or show one session."""
    from orchestra.cli._status import show_status, watch_status

    show = watch_status if watch else show_status
    raise typer.Exit(show(session, detail=detail, store=store, config=config, as_json=as_json, color=color))
