"""``orchestra tools``."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from orchestra.agents.tools.trust import Trust, uses_of
from orchestra.app.briefs import folder_of, whereabouts
from orchestra.app.pipelines import compile_pipeline, read
from orchestra.app.toolboxes import NodeTool, node_tools, tool_problems
from orchestra.cli.errors import FAILED
from orchestra.cli.options import AsJson, Config
from orchestra.cli.stores import settings_for
from orchestra.cli.terminal import one_line, say, say_json, table
from orchestra.config.environment import state_directory
from orchestra.errors import ConfigError, InvalidPipeline
from orchestra.graph.report import plural
from orchestra.run.secrets import Redactor


def tools(
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE", help="A .dot file.")],
    node: Annotated[str, typer.Argument(metavar="[NODE]", help="Only this node.")] = "",
    as_json: AsJson = False,
    config: Config = None,
) -> int:
    """List the tools that each agent of a pipeline has, and where each comes from."""
    settings = settings_for(None, config, pipeline)
    source, found = read(pipeline)
    graph = compile_pipeline(source, found, variables={}, secrets=settings.secrets).checked_graph()
    folder = folder_of(whereabouts(source), settings)
    problems = tool_problems(graph, settings, folder)
    if problems:
        raise InvalidPipeline(tuple(problems))
    if node and node not in graph.nodes:
        raise ConfigError(f"unknown node {node!r} in {pipeline}", fix=f"it has: {', '.join(graph.nodes)}")
    every = node_tools(graph, settings, folder, Redactor(settings.secrets))
    rows = [row for row in every if node in ("", row.node)]
    if as_json:
        say_json({"tools": [asdict(row) for row in rows]})
    elif rows:
        _say_table(rows)
    else:
        say(f"{node or pipeline} has no agent, so it has no tools")
    return 0


def trust(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="The repository's folder.")] = Path(),
    yes: Annotated[bool, typer.Option("--yes", help="Allow without asking.")] = False,
    revoke: Annotated[bool, typer.Option("--revoke", help="Revoke what was allowed.")] = False,
    no_input: Annotated[
        bool, typer.Option("--no-input", help="Do not ask; without --yes nothing is allowed.")
    ] = False,
) -> int:
    """Allow a repository's own MCP servers (.mcp.json) and skills (.agents/skills).

    Shows each command and its hash first. Later changes must be allowed again.
    """
    return _revoke(folder) if revoke else _allow(folder, asked=not yes, no_input=no_input)


def mcp() -> int:
    """Offer a running node's tools to the CLI agent that started this (an MCP server over stdio).

    A run writes this command into the settings of the CLI agents that it starts; run by hand it does nothing.
    """
    from orchestra.agents.tools.mcp_server import serve_stdio
    from orchestra.agents.tools.tool_socket import SOCKET, TOKEN

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
        raise ConfigError(f"the run at {socket} cannot be reached: {error.strerror or error}") from error
    return 0


def _say_table(rows: list[NodeTool]) -> None:
    access = {True: "read", False: "write"}
    cells = [(row.node, one_line(row.name), access[row.read_only], one_line(row.origin, 1000)) for row in rows]
    for line in table([("NODE", "TOOL", "ACCESS", "FROM"), *cells]):
        say(line)
    nodes = len({row.node for row in rows})
    say(f"{plural(len(rows), 'tool')} in {plural(nodes, 'node')}")


def _trust(folder: Path) -> Trust:
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder")
    return Trust(state_directory(os.environ))


def _allow(folder: Path, *, asked: bool, no_input: bool = False) -> int:
    """Show what a repository wants to use, and allow it if the user agrees. Return 1 if not."""
    trust = _trust(folder)
    wanted = uses_of(folder)
    if not wanted:
        say(f"{folder.resolve()} names no MCP server in .mcp.json and has no skills in .agents/skills")
        return 0
    for one in wanted:
        state = "allowed" if trust.allows(folder, one) else "new or changed"
        say(f"{one.key}  {one_line(one.what, 1000)}")
        say(f"    sha256 {one.digest}  ({state})")
    if all(trust.allows(folder, one) for one in wanted):
        return 0
    if asked:
        if no_input or not sys.stdin.isatty():
            raise ConfigError("no terminal to ask on", fix="check the list above, then use --yes")
        say("Allow these? They run with your rights. Answer y or n:")
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            say("nothing was allowed")
            return FAILED
    trust.allow(folder, wanted)
    say(f"allowed for {folder.resolve()}")
    return 0


def _revoke(folder: Path) -> int:
    """Revoke everything that was allowed of a repository."""
    had = _trust(folder).revoke(folder)
    say(f"nothing of {folder.resolve()} is allowed now" if had else "nothing was allowed")
    return 0
