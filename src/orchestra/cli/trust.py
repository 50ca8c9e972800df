"""``orchestra trust``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def trust(
    folder: Annotated[Path, typer.Argument(help="The repository's folder.")] = Path(),
    yes: Annotated[bool, typer.Option("--yes", help="Allow without asking.")] = False,
    revoke: Annotated[bool, typer.Option("--revoke", help="Allow nothing of it any more.")] = False,
) -> None:
    """Allow what a repository's own files name: MCP servers in .mcp.json, skills in .agents/skills.

    Shows each command and its hash first. What changes afterwards has to be allowed again.
    """
    from orchestra.cli._trust import allow, forget

    raise typer.Exit(forget(folder) if revoke else allow(folder, asked=not yes))
