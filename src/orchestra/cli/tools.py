"""``orchestra tools``."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestra.cli.options import AsJson, Config


def tools(
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE", help="A .dot file.")],
    node: Annotated[str, typer.Argument(metavar="[NODE]", help="Only this node.")] = "",
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """List the tools that each agent of a pipeline has, and where each comes from."""
    from orchestra.cli._tools import list_tools

    raise typer.Exit(list_tools(pipeline, node, as_json=as_json, config=config))
