"""From a YAML document to a ``Config``: every fault of it at once, also those between two settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from orchestra.config.model import (
    BACKEND_GROUP,
    BACKENDS,
    BUILT_IN_TOOLS,
    CLI_PRESETS,
    Agent,
    Bounds,
    Config,
    LimitSettings,
    ToolEntry,
)
from orchestra.config.providers import KINDS
from orchestra.config.schema import Section, SettingPlace, kind_of, suggestion
from orchestra.config.yaml import Document, Path
from orchestra.errors import ConfigError


def read_config(
    document: Document | None, given: Mapping[Path, tuple[Any, str]] | None = None
) -> tuple[Config, list[ConfigError]]:
    """The settings of a document, and every fault in them.

    ``given`` holds values from flags and the environment by path, each with where it came from; they stand before
    the document's.
    """
    given = given or {}
    faults: list[ConfigError] = []
    place = SettingPlace((), document, faults, {path: origin for path, (_value, origin) in given.items()})
    data = document.data if document is not None else None
    if data is not None and not isinstance(data, dict):
        place.fault(f"expected settings, not {kind_of(data)}", "write each setting as `key: value`")
        data = None
    merged = overlaid(data or {}, {path: value for path, (value, _origin) in given.items()})
    config = Section(Config)(merged, place)
    if document is None or document.whole:
        _cross_checks(config, place)
    if document is not None:
        faults += document.faults
    return config, sorted(faults, key=lambda fault: -1 if fault.span is None else fault.span.start)


def overlaid(data: Mapping[str, Any], given: Mapping[Path, Any]) -> dict[str, Any]:
    """The data with values at paths replaced; what is in their way is left for the reader to report."""
    merged = dict(data)
    for path, value in given.items():
        level: Any = merged
        for step in path[:-1]:
            below = level.get(step)
            if step == "sandbox" and isinstance(below, str):
                below = {"mode": below}
            level[step] = dict(below) if isinstance(below, dict) else {}
            level = level[step]
        level[path[-1]] = value
    return merged


_FALLBACK = re.compile(r"[^:\s]+:\S+")


def _cross_checks(config: Config, place: SettingPlace) -> None:
    """Names that have to exist elsewhere in the settings, and bounds that have to agree."""
    _check_backend(config.backend, place.at("backend"))
    _check_soft(config.limits, place.at("limits"))
    for name, section in config.pipelines.items():
        _check_backend(section.backend, place.at("pipelines", name, "backend"))
        _check_soft(section.limits, place.at("pipelines", name, "limits"))
    for agent in config.agents.values():
        _check_agent(config, agent, place.at("agents", agent.name))
    for name, provider in config.providers.named.items():
        _fallbacks(config, provider.fallbacks, place.at("providers", name, "fallbacks"))
    if config.providers.default:
        _check_provider(config, config.providers.default, place.at("providers", "default"))
    _check_programs(config, place)


def _check_programs(config: Config, place: SettingPlace) -> None:
    """What has to say which program it runs, and in which repository."""
    for name, entry in config.tools.items():
        if not entry.command and name not in BUILT_IN_TOOLS and not place.at("tools", name).faulty:
            place.at("tools", name).key_fault("command is missing", "add `command: …`")
        _arguments_known(entry, place.at("tools", name, "command"))
    for name, cli in config.cli.items():
        if not (cli.command or cli.preset or name in CLI_PRESETS or place.at("cli", name).faulty):
            place.at("cli", name).key_fault("command is missing", "add `command: PROGRAM` or `preset: claude`")
    for repo in config.workspace.tools:
        if repo not in config.workspace.repos:
            place.at("workspace", "tools", repo).key_fault(
                "no such repository", suggestion(repo, config.workspace.repos)
            )


def _arguments_known(entry: ToolEntry, place: SettingPlace) -> None:
    """Check that a shell tool's command names only its own arguments (A34)."""
    if "{{" not in entry.command:
        return
    from orchestra.graph.shell import expressions  # only a command with arguments pays for it

    for name in dict.fromkeys(one.name for one in expressions(entry.command)):
        if name not in entry.args:
            place.fault(
                f"no argument {name!r}",
                suggestion(name, entry.args) if entry.args else f"add `args: {{{name}: {{type: string}}}}`",
            )


def _check_agent(config: Config, agent: Agent, place: SettingPlace) -> None:
    _check_backend(agent.backend, place.at("backend"))
    if agent.provider:
        _check_provider(config, agent.provider, place.at("provider"))
    for index, server in enumerate(agent.mcp or ()):
        if server not in config.mcp:
            place.at("mcp", index).fault(f"no MCP server {server!r}", suggestion(server, config.mcp))
    known = (*config.cli, *CLI_PRESETS)
    if agent.cli and agent.cli not in known:
        place.at("cli").fault(f"no command-line agent {agent.cli!r}", suggestion(agent.cli, known))
    _fallbacks(config, agent.fallbacks, place.at("fallbacks"))


def _check_backend(name: str, place: SettingPlace) -> None:
    """A backend of ours, or of an installed package (A16)."""
    if name in ("", *BACKENDS):
        return
    from importlib.metadata import entry_points  # only for a name that is not ours

    known = (*BACKENDS, *entry_points(group=BACKEND_GROUP).names)
    if name not in known:
        place.fault(f"no backend {name!r}", suggestion(name, known))


def _check_soft(limits: LimitSettings, place: SettingPlace) -> None:
    for whose, limit in (("run", limits.run), ("node", limits.node)):
        for each in fields(Bounds):
            soft, hard = getattr(limit.soft, each.name), getattr(limit, each.name)
            if soft is not None and hard is not None and soft > hard:
                place.at(whose, "soft", each.name).fault(
                    f"is above {place.at(whose, each.name).name}, so the warning would never appear",
                    "make it smaller than the limit itself",
                )


def _check_provider(config: Config, name: str, place: SettingPlace) -> None:
    if config.provider(name) is None:
        place.fault(f"no provider {name!r}", suggestion(name, (*config.providers.named, *KINDS)))


def _fallbacks(config: Config, named: tuple[str, ...], place: SettingPlace) -> None:
    for index, item in enumerate(named):
        here = place.at(index)
        if not _FALLBACK.fullmatch(item):
            here.fault(f"{item!r} is not provider:model", "write it as openai:gpt-5")
        else:
            _check_provider(config, item.partition(":")[0], here)
