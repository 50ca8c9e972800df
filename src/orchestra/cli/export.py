"""``orchestra export`` and ``orchestra import``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestra.cli.options import AsJson, Config, Session, Store


def export(
    session: Session,
    to: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--to",
            metavar="FILE",
            help="File to create, - for standard output (default: SESSION.orchestra).",
        ),
    ] = None,
    logs: Annotated[
        Path | None,
        typer.Option("--logs", metavar="DIR", help="Write an Attractor run directory to this new folder instead."),
    ] = None,
    store: Store = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Write a session and its complete history to one file, for an archive or a bug report."""
    from orchestra.cli._export import export_logs, export_to

    if logs is not None:
        if to is not None:
            raise typer.BadParameter("--to and --logs exclude each other; use one")
        raise typer.Exit(export_logs(session, logs, store=store, config=config, as_json=as_json))
    if as_json and to == Path("-"):
        raise typer.BadParameter("--json and --to - both write to standard output; use one")
    raise typer.Exit(export_to(session, to, store=store, config=config, as_json=as_json))


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File written by export, - for standard input.")],
    store: Store = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Import a session from a file written by `export`."""
    from orchestra.cli._export import import_from

    raise typer.Exit(import_from(file, store=store, config=config, as_json=as_json))
