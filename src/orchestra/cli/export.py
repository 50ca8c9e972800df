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
            help="The new file, - for standard output; else SESSION.orchestra in this folder.",
        ),
    ] = None,
    logs: Annotated[
        Path | None,
        typer.Option(
            "--logs", metavar="DIR", help="Write Attractor's run directory instead, a new folder for other tools."
        ),
    ] = None,
    store: Store = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Write a session to one file, with everything that is recorded of it, for an archive or a bug report."""
    from orchestra.cli._export import export_logs, export_to

    if logs is not None:
        if to is not None:
            raise typer.BadParameter("--to and --logs are two forms; name one")
        raise typer.Exit(export_logs(session, logs, store=store, config=config, as_json=as_json))
    if as_json and to == Path("-"):
        raise typer.BadParameter("--json and --to - would write to the same place; name one")
    raise typer.Exit(export_to(session, to, store=store, config=config, as_json=as_json))


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that export wrote; - for standard input.")],
    store: Store = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Put the session in a file into a store, where it is looked at, resumed and replayed like any other."""
    from orchestra.cli._export import import_from

    raise typer.Exit(import_from(file, store=store, config=config, as_json=as_json))
