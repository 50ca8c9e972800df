"""What ``orchestra cxdb serve`` does."""

from __future__ import annotations

import asyncio
from pathlib import Path

from orchestra.app.serving import Served
from orchestra.app.serving import serve as serve_store
from orchestra.cli._stores import settings_for
from orchestra.cli._terminal import say
from orchestra.cxdb.server.serve import Addresses
from orchestra.errors import ConfigError


def serve(
    path: Path | None,
    store: str | None,
    bind: str,
    http: str,
    token_file: Path | None,
    hosts: tuple[str, ...],
    origins: tuple[str, ...],
    config: Path | None,
) -> None:
    """Serve until Ctrl-C."""
    folder = path.absolute() if path is not None else settings_for(store, config).store
    if folder is None:
        raise ConfigError(
            "the configured store is not a folder, so it cannot be served", fix="name a folder with --path DIR"
        )
    what = Served(folder=folder, bind=bind, http=http, token_file=token_file, hosts=hosts, origins=origins)

    new = " (new, empty store)" if what.is_new else ""

    def tell(at: Addresses) -> None:
        say(f"serving {folder}{new}")
        say(f"binary {at.binary}   http {at.http}   (Ctrl-C to stop)")

    asyncio.run(serve_store(what, tell))
