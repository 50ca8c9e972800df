"""``orchestra trust``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestra.cli.options import NoInput


def trust(
    folder: Annotated[Path, typer.Argument(help="The repository's folder.")] = Path(),
    yes: Annotated[bool, typer.Option("--yes", help="Allow without asking.")] = False,
    revoke: Annotated[bool, typer.Option("--revoke", help="Revoke what was allowed.")] = False,
    no_input: NoInput = False,
) -> None:
    """Allow a repository's own MCP servers (.mcp.json) and skills (.agents/skills).

    Shows each command and its hash first. Later changes must be allowed again.
    """
    from orchestra.cli._trust import allow, forget

    raise typer.Exit(forget(folder) if revoke else allow(folder, asked=not yes, no_input=no_input))
