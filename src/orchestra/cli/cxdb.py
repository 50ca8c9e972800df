"""``orchestra cxdb serve``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from orchestra.cli.options import Config


class Action(StrEnum):
    """What can be done."""

    SERVE = "serve"


def cxdb(
    action: Annotated[Action, typer.Argument(help="serve: be a CXDB server over a store's folder.")],
    path: Annotated[
        Path | None, typer.Option("--path", metavar="DIR", help="The folder; else the store in force.")
    ] = None,
    bind: Annotated[str, typer.Option(metavar="HOST:PORT", help="Binary protocol.")] = "127.0.0.1:9009",
    http: Annotated[str, typer.Option(metavar="HOST:PORT", help="HTTP.")] = "127.0.0.1:9010",
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Ask for the token in this file; needed beyond loopback.")
    ] = None,
    host: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Another Host to serve (repeat).")] = None,
    origin: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="A web page that may read the answers (repeat).")
    ] = None,
    config: Config = None,
) -> None:
    """Serve a store by CXDB's own protocol and routes, for its clients and its web page, while runs use it."""
    from orchestra.cli._cxdb import serve

    serve(path, bind, http, token_file, tuple(host or ()), tuple(origin or ()), config)
