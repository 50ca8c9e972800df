"""``orchestra init``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Folder to write to.", show_default=False)
    ] = Path(),
    template: Annotated[
        str,
        typer.Option(
            "--template", metavar="NAME", help="agent (plan, implement, test, review), minimal or pr-review."
        ),
    ] = "agent",
    provider: Annotated[
        str,
        typer.Option(
            "--provider",
            metavar="NAME",
            help="anthropic, openai or google; otherwise the one whose key is set.",
            show_default=False,
        ),
    ] = "",
) -> None:
    """Write a starter: a pipeline, orchestra.yaml and prompts. No existing file is overwritten."""
    from orchestra.cli._init import write_starter

    raise typer.Exit(write_starter(folder, template, provider))
