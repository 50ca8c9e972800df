"""``orchestra show``."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestra.cli.options import AsJson, Config, Store, complete_session


def show(
    place: Annotated[
        str,
        typer.Argument(
            metavar="SESSION[:DEPTH]",
            help="A session and a turn's depth in it; the newest without one.",
            autocompletion=complete_session,
        ),
    ],
    store: Store = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show one recorded turn whole."""
    from orchestra.cli._turns import show_turn

    raise typer.Exit(show_turn(place, store=store, config=config, as_json=as_json))
