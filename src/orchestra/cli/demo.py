"""``orchestra demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="A new or empty folder; else a temporary one.", show_default=False),
    ] = None,
) -> None:
    """Show a team of simulated agents at work on a scratch repository.

    Two agents work side by side, the runner is killed on purpose and the run is resumed, a person is asked, and the
    merged work is on a branch of its own. No key and no network are needed; git is.
    """
    from orchestra.cli._demo import show

    raise typer.Exit(show(folder))
