"""``orchestra tools``."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from orchestra.agents.tools.trust import Trust, uses_of
from orchestra.app.pipelines import compile_pipeline, read
from orchestra.app.plans import folder_of, whereabouts
from orchestra.app.toolboxes import NodeTool, node_tools, tool_problems
from orchestra.cli.errors import FAILED
from orchestra.cli.options import AsJson, Config
from orchestra.cli.stores import settings_for
from orchestra.cli.terminal import one_line, say, say_json
from orchestra.config.settings import state_directory
from orchestra.errors import ConfigError, InvalidPipeline
from orchestra.graph.report import plural
from orchestra.run.secrets import Redactor


def tools(
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE", help="A .dot file.")],
    node: Annotated[str, typer.Argument(metavar="[NODE]", help="Only this node.")] = "",
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """List the tools that each agent of a pipeline has, and where each comes from."""
    raise typer.Exit(list_tools(pipeline, node, as_json=as_json, config=config))


def trust(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="The repository's folder.")] = Path(),
    yes: Annotated[bool, typer.Option("--yes", help="Allow without asking.")] = False,
    revoke: Annotated[bool, typer.Option("--revoke", help="Revoke what was allowed.")] = False,
    no_input: Annotated[
        bool, typer.Option("--no-input", help="Do not ask; without --yes nothing is allowed.")
    ] = False,
) -> None:
    """Allow a repository's own MCP servers (.mcp.json) and skills (.agents/skills).

    Shows each command and its hash first. Later changes must be allowed again.
    """
    raise typer.Exit(forget(folder) if revoke else allow(folder, asked=not yes, no_input=no_input))


def mcp() -> None:
    """Offer a running node's tools to the CLI agent that started this (an MCP server over stdio).

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
        raise ConfigError(f"the run at {socket} cannot be reached: {error.strerror or error}") from error
    raise typer.Exit


def list_tools(name: str, node: str, *, as_json: bool, config: Path | None) -> int:
    """Print a row for each tool of each node. Raises ``InvalidPipeline`` and ``ConfigError``."""
    settings = settings_for(None, config, name)
    source, found = read(name)
    pipeline = compile_pipeline(source, found, variables={}, secrets=settings.secrets)
    graph = pipeline.checked_graph()
    folder = folder_of(whereabouts(source), settings)
    problems = tool_problems(graph, settings, folder)
    if problems:
        raise InvalidPipeline(tuple(problems))
    if node and node not in graph.nodes:
        raise ConfigError(f"unknown node {node!r} in {name}", fix=f"it has: {', '.join(graph.nodes)}")
    rows = [
        one for one in node_tools(graph, settings, folder, Redactor(settings.secrets)) if node in ("", one.node)
    ]
    if as_json:
        say_json([asdict(row) for row in rows])
    elif rows:
        _table(rows)
    else:
        say(f"{node or name} has no agent, so it has no tools")
    return 0


def _table(rows: list[NodeTool]) -> None:
    lines = [("NODE", "TOOL", "ACCESS", "FROM")]
    lines += [
        (row.node, one_line(row.name), "read" if row.read_only else "write", one_line(row.origin, 1000))
        for row in rows
    ]
    wide = [max(len(line[column]) for line in lines) for column in range(3)]
    for line in lines:
        cells = [cell.ljust(room) for cell, room in zip(line, wide, strict=False)]
        say("  ".join((*cells, line[3])))
    nodes = len({row.node for row in rows})
    say(f"{plural(len(rows), 'tool')} in {plural(nodes, 'node')}")


def _trust(folder: Path) -> Trust:
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder")
    return Trust(state_directory(os.environ))


def allow(folder: Path, *, asked: bool, no_input: bool = False) -> int:
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


def forget(folder: Path) -> int:
    """Revoke everything that was allowed of a repository."""
    had = _trust(folder).revoke(folder)
    say(f"nothing of {folder.resolve()} is allowed now" if had else "nothing was allowed")
    return 0
