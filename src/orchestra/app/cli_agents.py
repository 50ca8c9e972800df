"""Command-line agents from the settings: which one a node uses, and whether it can run (A6)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from difflib import get_close_matches
from pathlib import Path

from orchestra.agents.backends.cli import CliAgents
from orchestra.agents.bounds import Rules
from orchestra.agents.cli.presets import KEYS, PRESETS, Cli, from_preset
from orchestra.agents.models import agent_of
from orchestra.agents.tools.hooks import hook_commands
from orchestra.agents.tools.toolset import Toolset
from orchestra.app.guards import guarded_tools
from orchestra.config.model import Config
from orchestra.config.settings import Settings
from orchestra.errors import ConfigError
from orchestra.graph.model import Graph, Node
from orchestra.ports import AgentTask


def cli_of(config: Config, node: Node) -> Cli:
    """The command-line agent of a node: its own, its agent's, the only one that is configured.

    Raises ``ConfigError`` if none is named, or an unknown one.
    """
    agent = config.agents.get(node.text("agent"))
    known = {**dict.fromkeys(PRESETS), **config.cli}
    name = node.text("cli") or (agent.cli if agent is not None else "")
    if not name and len(config.cli) == 1:
        name = next(iter(config.cli))
    if not name:
        raise ConfigError(
            f"node {node.id!r} does not say which command-line agent it uses",
            fix=f"set cli=NAME on the node; there are: {', '.join(known)}",
        )
    if name not in known:
        near = get_close_matches(name, list(known), n=1)
        raise ConfigError(
            f"no command-line agent {name!r}",
            fix=f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}",
        )
    own = config.cli.get(name)
    if own is None:
        return PRESETS[name]
    return from_preset(
        name,
        preset=own.preset,
        command=own.command,
        args=own.args,
        env=own.env,
        input=own.input,
        events=own.events,
        model_arg=own.model_arg,
    )


def check_cli(settings: Settings, node: Node, graph: Graph, environment: Mapping[str, str] = os.environ) -> None:
    """Raise ``ConfigError`` where a node's command-line agent cannot run as it is configured."""
    config = settings.config
    cli = cli_of(config, node)
    if shutil.which(cli.command, path=environment.get("PATH")) is None:
        raise ConfigError(
            f"{cli.command} is not installed: no such command", fix=cli.install or "install it, or put it on PATH"
        )
    _check_asking(settings, cli, node, graph)
    if not cli.resume and (node.text("agent.mode") or agent_of(node, config).mode) == "interactive":
        raise ConfigError(
            f"{cli.name} cannot hold a conversation: it has no sessions to continue (H9)",
            fix="use claude, codex, gemini or backend=langgraph, or take agent.mode away",
        )
    sandbox = config.sandbox
    if cli.provider and sandbox.network == "none" and settings.sandbox(()).mode != "none":
        raise ConfigError(
            f"{cli.name} needs the network, which the sandbox does not give (A6)",
            fix="set sandbox: {mode: bwrap, network: full}",
        )


SWITCHES = ("--settings", "--bare", "--safe-mode", "--setting-sources")
"""Options of Claude Code that keep it from running our hooks."""


def _check_asking(settings: Settings, cli: Cli, node: Node, graph: Graph) -> None:
    """Raise ``ConfigError`` if calls need approval and the program cannot ask for it (A35, H11)."""
    agent = settings.config.agents.get(node.text("agent"))
    guarded = guarded_tools(settings, node)
    if agent is not None and agent.approve.rule not in ("", "never"):
        wanted = f"agent {agent.name!r} asks for approval of tool calls"
    elif guarded:
        wanted = f"calls of {', '.join(guarded)} need approval"
    elif hook_commands(graph, node)[0]:
        wanted = f"node {node.id!r} has tool_hooks.pre"
    else:
        return
    if not cli.asks:
        raise ConfigError(
            f"{wanted}, which {cli.name} cannot ask for (H11)",
            fix="use backend=langgraph, or cli=claude or codex; or take `approve` or the hook away",
        )
    for word in cli.args:
        if word.partition("=")[0] in SWITCHES:
            raise ConfigError(
                f"{wanted}, and {word} in cli.{cli.name}.args keeps {cli.command} from asking (H11)",
                fix=f"take {word} away",
            )


def cli_agents(
    settings: Settings,
    folders: Callable[[AgentTask], Mapping[str, Path]],
    rules: Callable[[AgentTask], Rules],
    tools: Callable[[AgentTask], AbstractAsyncContextManager[Toolset]],
) -> CliAgents:
    """The backend ``cli``."""
    return CliAgents(
        named=lambda task: cli_of(settings.config, task.node),
        folders=folders,
        environment=os.environ,
        keys=frozenset(settings.key_names) | KEYS,
        rules=rules,
        policy=settings.sandbox,
        store=settings.store,
        tools=tools,
    )
