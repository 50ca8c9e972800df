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
    whole: Annotated[
        str,
        typer.Option(
            "--whole",
            metavar="FIELD",
            help="Write one text of the turn, such as output or response, byte for byte.",
            show_default=False,
        ),
    ] = "",
    store: Store = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show one recorded turn whole."""
    from orchestra.cli._turns import show_turn, write_whole

    if whole and as_json:
        raise typer.BadParameter("--whole and --json say the opposite of one another; name one")
    if whole:
        raise typer.Exit(write_whole(place, whole, store=store, config=config))
    raise typer.Exit(show_turn(place, store=store, config=config, as_json=as_json))
