"""``orchestra cxdb serve`` and ``orchestra cxdb mirror``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from orchestra.cli.options import AsJson, Config, Store, complete_session


class Action(StrEnum):
    """What can be done."""

    SERVE = "serve"
    MIRROR = "mirror"


def cxdb(
    action: Annotated[
        Action,
        typer.Argument(help="serve: run a CXDB server on a store's folder. mirror: send new turns to the mirror."),
    ],
    sessions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SESSION", help="mirror: send only these sessions.", autocompletion=complete_session
        ),
    ] = None,
    path: Annotated[
        Path | None,
        typer.Option("--path", metavar="DIR", help="serve: the folder (default: the configured store)."),
    ] = None,
    store: Store = None,
    bind: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="serve: address of the binary protocol.")
    ] = "127.0.0.1:9009",
    http: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="serve: address of the HTTP API.")
    ] = "127.0.0.1:9010",
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="serve: require the token in this file; needed for a non-loopback address."
        ),
    ] = None,
    host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="serve: accept this Host header too (repeatable).")
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="serve: allow this web origin to read responses (repeatable)."),
    ] = None,
    as_json: AsJson = False,
    following: Annotated[bool, typer.Option("--follow", hidden=True)] = False,
    config: Config = None,
) -> None:
    """Run a CXDB server on a store, or send a store to its mirror.

    `serve` speaks CXDB's binary protocol and HTTP API, also while runs write to the store. `mirror` sends new turns
    to the server named by cxdb.mirror in orchestra.yaml.

    Exit codes of mirror: 0: the mirror has everything; 1: a session could not be sent completely; 6: the server
    cannot be used.
    """
    if action is Action.MIRROR:
        from orchestra.cli._mirror import follow_run, mirror

        if following:
            follow_run(store, config)
            return
        raise typer.Exit(mirror(tuple(sessions or ()), store=store, config=config, as_json=as_json))
    if sessions:
        raise typer.BadParameter("serve takes no SESSION; name the folder with --path DIR")
    from orchestra.cli._cxdb import serve

    serve(path, store, bind, http, token_file, tuple(host or ()), tuple(origin or ()), config)
