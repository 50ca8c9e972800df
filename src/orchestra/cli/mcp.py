"""``orchestra mcp``."""

from __future__ import annotations

import typer


def mcp() -> None:
    """Offer a running node's tools to the CLI agent that started this (an MCP server on standard input and output).

    A run writes this command into the settings of the CLI agents that it starts; by hand it does nothing.
    """
    import asyncio
    import os
    from importlib.util import find_spec

    from orchestra.agents.tools.door import SOCKET, TOKEN, serve_stdio
    from orchestra.errors import ConfigError

    socket, token = os.environ.get(SOCKET), os.environ.get(TOKEN)
    if not socket or not token:
        raise ConfigError(
            "this is started by a CLI agent inside a run, which names its run in the environment",
            fix="orchestra tools PIPELINE lists what each node has",
        )
    if find_spec("mcp") is None:
        raise ConfigError("the package mcp is missing", fix="pip install 'orchestra-dot[mcp]'")
    try:
        asyncio.run(serve_stdio(socket, token))
    except OSError as error:
        raise ConfigError(f"the run behind {socket} cannot be reached: {error.strerror or error}") from error
    raise typer.Exit
