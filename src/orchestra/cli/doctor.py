"""``orchestra doctor``."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestra.cli.options import Config, Store


def doctor(
    deep: Annotated[bool, typer.Option("--deep", help="Check every stored record.")] = False,
    mend: Annotated[
        bool,
        typer.Option("--mend", help="Make anew what a damaged store's other files tell, and go on with the rest."),
    ] = False,
    settle: Annotated[
        bool, typer.Option("--settle", help="Leave the store's folder so that a CXDB server can open it.")
    ] = False,
    store: Store = None,
    config: Config = None,
) -> None:
    """Say what works and what does not. Exit code 0 only if a run would work."""
    from orchestra.cli._doctor import Wanted, examine

    raise typer.Exit(examine(Wanted(deep=deep, mend=mend, settle=settle), store=store, config=config))
