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
        typer.Argument(
            help="serve: be a CXDB server over a store's folder. mirror: send what the mirror does not have yet."
        ),
    ],
    sessions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SESSION", help="mirror: these sessions, instead of all.", autocompletion=complete_session
        ),
    ] = None,
    path: Annotated[
        Path | None, typer.Option("--path", metavar="DIR", help="serve: the folder; else the store in force.")
    ] = None,
    store: Store = None,
    bind: Annotated[str, typer.Option(metavar="HOST:PORT", help="serve: binary protocol.")] = "127.0.0.1:9009",
    http: Annotated[str, typer.Option(metavar="HOST:PORT", help="serve: HTTP.")] = "127.0.0.1:9010",
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="serve: ask for the token in this file; needed beyond loopback."),
    ] = None,
    host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="serve: another Host to serve (repeat).")
    ] = None,
    origin: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="serve: a web page that may read the answers (repeat).")
    ] = None,
    as_json: AsJson = False,
    following: Annotated[bool, typer.Option("--follow", hidden=True)] = False,
    config: Config = None,
) -> None:
    """Serve a store by CXDB's own protocol and routes, for its clients and its web page, while runs use it; or send
    what a folder holds to the server that mirrors it (cxdb.mirror in orchestra.yaml).

    Exit code of mirror: 0: all is there; 1: a session cannot be sent whole; 6: the server cannot be used.
    """
    if action is Action.MIRROR:
        from orchestra.cli._mirror import follow_run, mirror

        if following:
            follow_run(store, config)
            return
        raise typer.Exit(mirror(tuple(sessions or ()), store=store, config=config, as_json=as_json))
    if sessions:
        raise typer.BadParameter("serve takes no session; a folder is named with --path DIR")
    from orchestra.cli._cxdb import serve

    serve(path, store, bind, http, token_file, tuple(host or ()), tuple(origin or ()), config)
