"""``orchestra config``: the settings in force."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from orchestra.cli.options import AsJson, Config, EnvFile, StoreOption
from orchestra.cli.stores import settings_for
from orchestra.cli.terminal import one_line, say, say_json
from orchestra.config.showing import SettingRow, rows


def config(
    action: Annotated[str, typer.Argument(metavar="show", help="What to do: show.")],
    pipeline: Annotated[
        str, typer.Argument(metavar="[PIPELINE]", help="Settings for this pipeline.", show_default=False)
    ] = "-",
    origin: Annotated[
        bool, typer.Option("--origin", help="Show where each value comes from, defaults included.")
    ] = False,
    store: StoreOption = None,
    config: Config = None,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the settings in force. Secrets are not shown.

    A flag comes before an ORCHESTRA_* variable, a variable before orchestra.yaml, the file before the default.
    """
    if action != "show":
        raise typer.BadParameter(f"{action!r} is not show: write orchestra config show")
    raise typer.Exit(show_config(pipeline, origin=origin, store=store, config=config, as_json=as_json))


def show_config(pipeline: str, *, origin: bool, store: str | None, config: Path | None, as_json: bool) -> int:
    """Print what is set; with ``origin`` every setting, its default too, and where it came from."""
    settings = settings_for(store, config, pipeline)
    found = [row._replace(origin=_short(row.origin)) for row in rows(settings)]
    if as_json:
        file = str(settings.file) if settings.file is not None else None
        shown = {row.name: {"value": row.value, "origin": row.origin} for row in found}
        say_json({"file": file, "settings": shown}, indent=2)
        return 0
    shown_rows = [row for row in found if origin or row.origin != "default"]
    wide = max((len(_line(row)) for row in shown_rows if len(_line(row)) <= _WIDE), default=0) if origin else 0
    for row in shown_rows:
        say(f"{_line(row).ljust(wide)}  # {row.origin}" if origin else _line(row))
    return 0


_WIDE = 60


def _line(row: SettingRow) -> str:
    value = "" if row.value is None else row.value if isinstance(row.value, str) else json.dumps(row.value)
    return one_line(f"{row.name}: {value}".rstrip(), 1000)


def _short(origin: str) -> str:
    """An origin with the path of the file from the working directory, where it is below that."""
    here = f"{os.getcwd()}{os.sep}"  # noqa: PTH109  as text
    return origin.replace(here, "", 1) if origin.startswith(here) else origin
