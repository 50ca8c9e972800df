"""``orchestra doctor``."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestra.cli.options import Config, Store


def doctor(
    deep: Annotated[bool, typer.Option("--deep", help="Check every stored record.")] = False,
    mend: Annotated[
        bool,
        typer.Option("--mend", help="Make anew what a damaged store's other files tell; no turn is given up."),
    ] = False,
    drop_lost: Annotated[
        bool, typer.Option("--drop-lost", help="With --mend: give up the turns of a lost end, and go on without.")
    ] = False,
    settle: Annotated[
        bool, typer.Option("--settle", help="Leave the store's folder so that a CXDB server can open it.")
    ] = False,
    store: Store = None,
    config: Config = None,
) -> None:
    """Say what works and what does not. Exit code 0 only if a run would work; 6: a mend would give up turns."""
    from orchestra.cli._doctor import Wanted, examine

    if drop_lost and not mend:
        raise typer.BadParameter("--drop-lost says how to mend; write --mend --drop-lost")
    wanted = Wanted(deep=deep, mend=mend, drop_lost=drop_lost, settle=settle)
    raise typer.Exit(examine(wanted, store=store, config=config))
