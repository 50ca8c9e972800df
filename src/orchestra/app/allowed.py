"""What nodes may use, from the settings: named tools, environment, sandbox (A30, A36)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestra.config.model import Agent
from orchestra.config.settings import Settings
from orchestra.graph.model import Node
from orchestra.processes.sandbox import Policy, Sandbox, policy


def readable(settings: Settings) -> tuple[Path, ...]:
    """The folders that the settings let the sandbox read."""
    base = settings.file.parent.absolute() if settings.file is not None else Path.cwd()
    return tuple(base / Path(folder).expanduser() for folder in settings.config.sandbox.read)


def sandbox_of(settings: Settings) -> Policy:
    """What commands may touch, for the folders that they work in.

    Raises ``ConfigError`` where the settings ask for a sandbox that does not work here.
    """
    chosen = settings.config.sandbox
    if chosen.mode != "none":
        policy(chosen.mode, chosen.network, ())
    folders_read = readable(settings)

    def of(folders: Sequence[Path]) -> Sandbox:
        return policy(chosen.mode, chosen.network, folders, folders_read)

    return of


def tool_environment(settings: Settings, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of commands: ours without the providers' keys (A36)."""
    hidden = {*settings.key_names}
    return {name: value for name, value in environment.items() if name not in hidden}


def tool_names(node: Node, agent: Agent) -> tuple[str, ...]:
    """The list of tools that counts for a node: its own, else its agent's; empty for the base set (A30).

    The servers that the agent names are in it with all their tools.
    """
    own = tuple(word.strip() for word in node.text("agent.tools").split(",") if word.strip())
    named = own or (agent.tools or ())
    servers = agent.mcp or ()
    plus = "" if any(not name.startswith("+") for name in named) else "+"
    return (*named, *(f"{plus}{server}:*" for server in servers))


ONLY_READ = frozenset({"read-file", "list-files", "search-code", "read-output", "report_outcome"})
"""The tools of the base set that change no file."""


def only_reads(node: Node, agent: Agent) -> bool:
    """Whether the tools of a node's agent are restricted to those that change no file."""
    names = tool_names(node, agent)
    return bool(names) and ONLY_READ.issuperset(names)
