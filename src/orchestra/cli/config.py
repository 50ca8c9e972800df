"""``orchestra config``: the settings in force."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestra.cli.options import AsJson, Config, EnvFile, Store


def config(
    action: Annotated[str, typer.Argument(metavar="show", help="What to do: show.")],
    pipeline: Annotated[
        str, typer.Argument(metavar="[PIPELINE]", help="Settings for this pipeline.", show_default=False)
    ] = "-",
    origin: Annotated[
        bool, typer.Option("--origin", help="Show where each value comes from, defaults included.")
    ] = False,
    store: Store = None,
    config: Config = None,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the settings in force. Secrets are not shown.

    A flag comes before an ORCHESTRA_* variable, a variable before orchestra.yaml, the file before the default.
    """
    from orchestra.cli._config import show_config

    if action != "show":
        raise typer.BadParameter(f"{action!r} is not show: write orchestra config show")
    raise typer.Exit(show_config(pipeline, origin=origin, store=store, config=config, as_json=as_json))
