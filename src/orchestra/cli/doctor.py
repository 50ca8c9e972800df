"""``orchestra doctor``."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestra.cli.options import Config, Store


def doctor(
    deep: Annotated[bool, typer.Option("--deep", help="Check every stored record.")] = False,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Rebuild damaged files of the store from its other files; loses no data."),
    ] = False,
    drop_lost: Annotated[
        bool, typer.Option("--drop-lost", help="With --repair: delete the turns that depend on lost data.")
    ] = False,
    settle: Annotated[
        bool, typer.Option("--settle", help="Prepare the store's folder for the original CXDB server.")
    ] = False,
    store: Store = None,
    config: Config = None,
) -> None:
    """Check what works on this machine and in the store.

    Exit codes: 0: a run would work; 1: it would not; 6: repair would lose data.
    """
    from orchestra.cli._doctor import Wanted, examine

    if drop_lost and not repair:
        raise typer.BadParameter("--drop-lost needs --repair")
    wanted = Wanted(deep=deep, repair=repair, drop_lost=drop_lost, settle=settle)
    raise typer.Exit(examine(wanted, store=store, config=config))
