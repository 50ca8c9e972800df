"""``orchestra show``."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestra.cli.options import AsJson, Config, Store, complete_session


def show(
    place: Annotated[
        str,
        typer.Argument(
            metavar="SESSION[:DEPTH]|COMMIT",
            help="Session, and the depth of a turn in it (default: the newest turn); or a commit of a session.",
            autocompletion=complete_session,
        ),
    ],
    whole: Annotated[
        str,
        typer.Option(
            "--whole",
            metavar="FIELD",
            help="Write one field of the turn, such as output or response, byte for byte.",
            show_default=False,
        ),
    ] = "",
    diff: Annotated[bool, typer.Option("--diff", help="Show the change that the turn committed.")] = False,
    store: Store = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show one recorded turn in full."""
    from orchestra.cli._turns import show_turn, write_whole

    if whole and as_json:
        raise typer.BadParameter("--whole and --json exclude each other; use one")
    if diff:
        from orchestra.cli._diff import show_diff

        raise typer.Exit(show_diff(place, store=store, config=config))
    if whole:
        raise typer.Exit(write_whole(place, whole, store=store, config=config))
    raise typer.Exit(show_turn(place, store=store, config=config, as_json=as_json))
