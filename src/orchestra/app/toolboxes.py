"""The tools of agents: settings, installed packages and permissions joined (A30, A34, A36)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from orchestra.agents.models import CLI, agent_of, choose_backend, tool_names
from orchestra.agents.tools import Tool
from orchestra.agents.tools.mcp_client import specs_of
from orchestra.agents.tools.output import NAME as READ_OUTPUT
from orchestra.agents.tools.reporting import NAME as REPORT
from orchestra.agents.tools.selection import ALWAYS, Inventory, choose, tools_of
from orchestra.agents.tools.settings import ShellToolSpec, ToolSettings
from orchestra.agents.tools.skills import NAME as SKILLS
from orchestra.agents.tools.toolset import Toolbox
from orchestra.app.plugins import TOOLS, entry_points_of_ours, load_entry_point, origin
from orchestra.config.environment import state_directory
from orchestra.config.model import Agent, McpServer, ToolEntry
from orchestra.config.settings import Settings
from orchestra.errors import ConfigError, Diagnostic, Severity, Span
from orchestra.graph.model import Graph, Node
from orchestra.run.secrets import Redactor

TIMEOUT = 300.0
"""Seconds that a shell tool of the settings may take."""


def tool_settings(settings: Settings, environment: Mapping[str, str] = os.environ) -> ToolSettings:
    """What the settings say of tools. Raises ``ConfigError``."""
    config = settings.config
    base = settings.folder
    where = str(settings.file or "the settings")
    shell = [_shell_tool(name, entry, entry.repo, where) for name, entry in config.tools.items() if entry.command]
    for repo, entries in config.workspace.tools.items():
        shell += [_shell_tool(name, entry, repo, where) for name, entry in entries.items()]
    servers = {name: _plain(server, base) for name, server in config.mcp.items() if not server.disabled}
    return ToolSettings(
        base=base,
        state=state_directory(environment),
        store=settings.store,
        shell_tools=tuple(shell),
        modules=config.tools_module,
        servers=specs_of(servers, where, environment=environment),
        skills=tuple(base / Path(folder).expanduser() for folder in config.skills),
        sandbox=config.sandbox.mode,
        network=config.sandbox.network,
        readable=settings.readable,
        seconds={
            name: entry.timeout for name, entry in config.tools.items() if entry.timeout and not entry.command
        },
        cut={name: entry.output_limit for name, entry in config.tools.items() if entry.output_limit},
    )


def _shell_tool(name: str, entry: ToolEntry, repo: str, where: str) -> ShellToolSpec:
    return ShellToolSpec(
        name=name,
        command=entry.command,
        description=entry.description,
        arguments=entry.args,
        timeout=TIMEOUT if entry.timeout is None else entry.timeout,
        read_only=entry.read_only,
        idempotent=entry.idempotent,
        repo=repo,
        origin=where,
    )


def _plain(server: McpServer, base: Path) -> dict[str, object]:
    return {
        "command": server.command,
        "args": list(server.args),
        "env": dict(server.env),
        "url": server.url,
        "headers": dict(server.headers),
        "timeout": server.timeout,
        "cwd": str(base / Path(server.cwd).expanduser()) if server.cwd else "",
        "tools": server.tools,
        "sandbox": server.sandbox,
    }


def toolbox_of(settings: Settings, redactor: Redactor) -> Toolbox:
    """What makes the tools of nodes. Raises ``ConfigError``."""
    return Toolbox(
        settings=tool_settings(settings),
        environment=settings.tool_environment(),
        redactor=redactor,
        more=installed_tools(),
    )


def installed_tools() -> list[Tool]:
    """The tools that installed packages offer under ``orchestra.tools``. Raises ``ConfigError``."""
    found: list[Tool] = []
    for point in entry_points_of_ours()[TOOLS]:
        found += tools_of(load_entry_point(point), f"{point.value} of {origin(point)}")
    return found


@dataclass(frozen=True, slots=True)
class NodeTool:
    """A tool that a node's agent has, and where it comes from.

    ``name`` is ``server:*`` for all tools of a server.
    """

    node: str
    name: str
    origin: str
    read_only: bool


def folders_for(settings: Settings, folder: Path) -> dict[str, Path]:
    """The working folders of tools before a run: the repositories' own, else the pipeline's."""
    if settings.workspace is None or not settings.workspace.repos:
        return {"": folder}
    return {repo.name: repo.path for repo in settings.workspace.repos}


def node_tools(graph: Graph, settings: Settings, folder: Path, redactor: Redactor) -> list[NodeTool]:
    """What each node's agent has. Raises ``ConfigError`` for an unknown name."""
    toolbox, folders = toolbox_of(settings, redactor), folders_for(settings, folder)
    skills, _refused = toolbox.skills(folders)
    found: list[NodeTool] = []
    for node in graph.nodes.values():
        if graph.type_of(node.id) != "codergen":
            continue
        tools, had = toolbox.choose(folders, tool_names(node, agent_of(node, settings.config)))
        found += [NodeTool(node.id, name, tools[name].origin, tools[name].read_only) for name in had.tools]
        for server, names in had.servers.items():
            where = f"MCP server {server}"
            found += [NodeTool(node.id, f"{server}:{name}", where, False) for name in names]
        if skills:
            found.append(NodeTool(node.id, SKILLS, f"skills: {', '.join(one.name for one in skills)}", True))
        found.append(NodeTool(node.id, READ_OUTPUT, "built in", True))
        found.append(NodeTool(node.id, REPORT, "built in", False))
    return found


def _named_at(node: Node, name: str, settings: Settings) -> Span | None:
    """Where a tool is named: on the node, else in its agent's list in the settings."""
    agent, document = agent_of(node, settings.config), settings.document
    if not node.has("agent.tools") and document is not None and name in (agent.tools or ()):
        index = (agent.tools or ()).index(name)
        return document.span(("agents", agent.name, "tools", index))
    return node.span_of("agent.tools", node.span_of("agent", node.span))


def tool_problems(graph: Graph, settings: Settings, folder: Path) -> list[Diagnostic]:
    """Return a finding for every node that names an unknown tool, and for unusable tools (A30)."""
    config = settings.config
    nodes = [node for node in graph.nodes.values() if graph.type_of(node.id) == "codergen"]
    wanting = [(node, names) for node in nodes if (names := tool_names(node, agent_of(node, config)))]
    programs = any(section.backend in CLI for section in config.pipelines.values())
    guarded = {  # a command-line agent has tools of its own
        agent.name: agent
        for node in nodes
        if (agent := agent_of(node, config)).approve.tools
        and not (programs or choose_backend(node, config).value in CLI)
    }
    if not wanting and not guarded:
        return []
    folders = folders_for(settings, folder)
    toolbox = toolbox_of(settings, Redactor({}))
    try:
        stock = toolbox.stock(folders)
    except ConfigError as error:
        document = settings.document
        span = document.span(("tools_module",)) if document is not None else None
        return [
            Diagnostic(rule="tool_known", severity=Severity.ERROR, message=error.message, span=span, fix=error.fix)
        ]
    found: list[Diagnostic] = []
    for node, names in wanting:
        whose = "" if node.has("agent.tools") else f", which its agent {node.text('agent')!r} names,"
        found += [
            Diagnostic(
                rule="tool_known",
                severity=Severity.ERROR,
                message=f"node {node.id!r}: the tool {name!r}{whose} does not exist",
                span=_named_at(node, name, settings),
                node=node.id,
                fix=hint,
            )
            for name, hint in choose(stock, names).unknown.items()
        ]
    return found + [problem for agent in guarded.values() for problem in _guard_problems(agent, stock, settings)]


def _guard_problems(agent: Agent, stock: Inventory, settings: Settings) -> Iterator[Diagnostic]:
    """Yield a finding for each rule of approval whose tool does not exist: it would guard nothing (H11)."""
    known = {*stock.tools, *(name.rpartition(":")[2] for name in stock.tools), *ALWAYS}
    for name in agent.approve.tools or ():
        if name in known or name.partition(":")[0] in stock.servers:
            continue
        near = get_close_matches(name.rpartition(":")[2].lower(), known, n=1)
        document = settings.document
        yield Diagnostic(
            rule="tool_known",
            severity=Severity.ERROR,
            message=f"agent {agent.name!r}: approve names the tool {name!r}, which does not exist",
            span=document.key_span(("agents", agent.name, "approve", name)) if document is not None else None,
            fix=f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}",
        )
