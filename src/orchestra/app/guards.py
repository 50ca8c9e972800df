"""Which tool calls of an agent a person has to approve, from the settings (H11)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestra.agents.models import agent_of, tool_names
from orchestra.agents.tools.people import Guard, matching, needs_no_approval
from orchestra.config.model import Approval
from orchestra.config.settings import Settings
from orchestra.graph.model import Node


def guard_of(node: Node, settings: Settings) -> Guard:
    """Return the guard of a node's agent: its own rules, then the tool's, then the server's.

    It is ``needs_no_approval`` where there are no rules at all.
    """
    agent = agent_of(node, settings.config)
    if not _asks(agent.approve) and not guarded_tools(settings, node):
        return needs_no_approval

    def guard(tool: str, arguments: Mapping[str, Any]) -> str:
        for rule in _rules(agent.approve, tool, settings):
            if rule.rule == "always":
                return tool
            if rule.rule == "never":
                return ""
            if rule.rule == "patterns" and (found := matching(rule.patterns, arguments)):
                return f"{tool}: {found}"
        return ""

    return guard


def guarded_tools(settings: Settings, node: Node) -> tuple[str, ...]:
    """The tools and servers of a node's agent that have rules of their own for approval."""
    config = settings.config
    named = tool_names(node, agent_of(node, settings.config))
    used = {name.removeprefix("+").strip().rpartition(":")[2] for name in named}
    servers = {name.removeprefix("+").strip().partition(":")[0] for name in named}
    entries = {**config.tools, **{n: e for tools in config.workspace.tools.values() for n, e in tools.items()}}
    found = [name for name, entry in entries.items() if _asks(entry.approve) and (not used or name in used)]
    found += [name for name, server in config.mcp.items() if _asks(server.approve) and name in servers]
    return tuple(found)


def _asks(rule: Approval) -> bool:
    return rule.rule in ("always", "patterns")


def _rules(own: Approval, tool: str, settings: Settings) -> list[Approval]:
    """The rules that may apply to a tool, those that decide first before the others."""
    config, (prefix, _, plain) = settings.config, tool.rpartition(":")
    found: list[Approval] = []
    if own.tools is not None:
        found += [own.tools[name] for name in (tool, plain) if name in own.tools]
    else:
        found.append(own)
    found += [config.tools[name].approve for name in dict.fromkeys((tool, plain)) if name in config.tools]
    repo = config.workspace.tools.get(prefix, {})
    found += [repo[plain].approve] if plain in repo else []
    found += [config.mcp[prefix].approve] if prefix in config.mcp else []
    return found
