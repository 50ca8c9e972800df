"""Which tools a node's agent has, where each comes from, and what models know them by (A30)."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from orchestra.agents.tools import FunctionTool, Tool
from orchestra.agents.tools.configured import make_tool
from orchestra.agents.tools.custom import PythonTool
from orchestra.agents.tools.files import file_tools
from orchestra.agents.tools.output import NAME as READ_OUTPUT
from orchestra.agents.tools.reporting import NAME as REPORT
from orchestra.agents.tools.search import search_tools
from orchestra.agents.tools.settings import ServerSpec, ToolSettings
from orchestra.agents.tools.shell import shell_tool
from orchestra.errors import ConfigError


def repository_tools(repos: Iterable[str]) -> list[FunctionTool]:
    """The tools of each repository, as ``backend:read-file``; without a prefix where there is only one."""
    names = list(repos) or [""]
    found: list[FunctionTool] = []
    for repo in names:
        prefix = f"{repo}:" if len(names) > 1 else ""
        found += [*file_tools(repo, prefix), *search_tools(repo, prefix), shell_tool(repo, prefix)]
    return found


def by_name(tools: Iterable[Tool]) -> dict[str, Tool]:
    """Tools by their names."""
    return {tool.name: tool for tool in tools}


def wire_names(tools: Mapping[str, Tool] | Iterable[str]) -> dict[str, str]:
    """Map a name that every provider accepts for each tool to our name.

    Letters, digits, ``_`` and ``-``, at most 64, a letter first, no two alike.
    """
    taken: dict[str, str] = {}
    for name in tools:
        plain = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in name.replace(":", "__"))
        plain = plain if plain[:1].isalpha() or plain[:1] == "_" else f"t_{plain}"
        wire, count = plain[:64], 1
        while wire in taken:
            count += 1
            ending = f"_{count}"
            wire = plain[: 64 - len(ending)] + ending
        taken[wire] = name
    return taken


ALWAYS = (REPORT, READ_OUTPUT, "ask-human")
"""Tools that are not in an inventory because they belong to a node; they may be named all the same."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """Every tool that can be named.

    ``base`` are those of an agent that names none, ``tools`` all whose names are known before a run, ``servers``
    those whose tools are known only when they are started.
    """

    base: tuple[str, ...]
    tools: Mapping[str, Tool]
    servers: Mapping[str, ServerSpec]
    repos: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolSelection:
    """An agent's tools: known ones by name, and the wanted ones of each server (``*``: all).

    ``unknown`` are names without a tool, each with a suggestion.
    """

    tools: tuple[str, ...]
    servers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)


def inventory(settings: ToolSettings, repos: Iterable[str], more: Sequence[Tool] = ()) -> Inventory:
    """Return all tools for these repositories.

    Raises ``ConfigError`` for a name that two have, or a module that fails.
    """
    names = tuple(repos)
    base: list[Tool] = [*repository_tools(names)]
    added: list[Tool] = [*_configured_tools(settings, names), *_of_modules(settings), *more]
    tools: dict[str, Tool] = {}
    for tool in (*base, *added):
        if tool.name in tools:
            raise ConfigError(f"two tools are called {tool.name!r}: {tools[tool.name].origin} and {tool.origin}")
        tools[tool.name] = tool
    for server in settings.servers:
        if server in names:
            raise ConfigError(f"an MCP server and a repository are both called {server!r}", fix="rename one")
    return Inventory(tuple(tool.name for tool in base), tools, settings.servers, names)


def _configured_tools(settings: ToolSettings, repos: tuple[str, ...]) -> list[Tool]:
    found: list[Tool] = []
    several = len(repos) > 1
    for spec in settings.shell_tools:
        if spec.repo and spec.repo not in repos:
            raise ConfigError(f"{spec.origin}: unknown repository {spec.repo!r}")
        own = (spec.repo,) if spec.repo else repos or ("",)
        found += [make_tool(spec, repo, f"{repo}:" if several else "") for repo in own]
    return found


def _of_modules(settings: ToolSettings) -> list[Tool]:
    found: list[Tool] = []
    for name in settings.modules:
        found += [_from(tool, name) for tool in tools_of(_import(name, settings.base), name)]
    return found


def _from(tool: Tool, name: str) -> Tool:
    """The tool, which says that it comes from a module as the settings name it."""
    return replace(tool, origin=f"{name}: {tool.function.__qualname__}") if isinstance(tool, PythonTool) else tool


def tools_of(value: Any, name: str) -> list[Tool]:
    """Return the tools in a module, a list or a single value.

    Raises ``ConfigError`` if there are none.
    """
    if isinstance(value, ModuleType):
        candidates: Iterable[Any] = vars(value).values()
    elif isinstance(value, list | tuple):
        candidates = value
    else:
        candidates = (value,)
    found = [one for one in candidates if is_tool(one)]
    if not found:
        raise ConfigError(f"{name} has no tools", fix="decorate a function with @tool")
    return found


def is_tool(value: Any) -> bool:
    """Whether something has what a tool has."""
    if isinstance(value, PythonTool):
        return True
    return not isinstance(value, type | ModuleType) and all(
        hasattr(value, name) for name in ("name", "description", "parameters", "read_only", "origin", "call")
    )


def _import(name: str, base: Path) -> ModuleType:
    """A module by its dotted name or by its file, relative to the settings."""
    try:
        if name.endswith(".py"):
            file = base / name
            return _from_file(file, file.stat().st_mtime_ns)
        if str(base) not in sys.path:
            sys.path.insert(0, str(base))
        return importlib.import_module(name)
    except Exception as error:
        raise ConfigError(f"tools_module: {name} cannot be loaded: {type(error).__name__}: {error}") from error


@cache
def _from_file(file: Path, _changed: int) -> ModuleType:
    """A module by its file, loaded once for as long as the file is the same."""
    label = f"orchestra_tools_{file.stem}"
    spec = importlib.util.spec_from_file_location(label, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[label] = module
    spec.loader.exec_module(module)
    return module


def choose(stock: Inventory, wanted: Sequence[str]) -> ToolSelection:
    """Return an agent's tools by its list: the base set without one, else exactly the named tools.

    If every name has a ``+``, they are added to the base set.
    """
    names = [name.strip() for name in wanted if name.strip()]
    restricted = [name for name in names if not name.startswith("+")]
    tools: dict[str, None] = {} if restricted else dict.fromkeys(stock.base)
    servers: dict[str, dict[str, None]] = {}
    unknown: dict[str, str] = {}
    for name in (one.removeprefix("+").strip() for one in names):
        found = _tools_named(stock, name)
        server, _, rest = name.partition(":")
        if found:
            tools.update(dict.fromkeys(found))
        elif server in stock.servers and rest:
            servers.setdefault(server, {})[rest] = None
            offered = stock.servers[server].offered
            if offered is not None and rest not in (*offered, "*"):
                unknown[name] = f"mcp.{server}.tools has: {', '.join(offered)}"
        elif name not in ALWAYS:
            unknown[name] = _near(stock, name)
    return ToolSelection(tuple(tools), {server: tuple(found) for server, found in servers.items()}, unknown)


def _tools_named(stock: Inventory, name: str) -> list[str]:
    """Return the tools of a name: its own, else that of each repository, or of the only one."""
    if name in stock.tools:
        return [name]
    repo, _, plain = name.partition(":")
    if plain and len(stock.repos) == 1 and repo == stock.repos[0] and plain in stock.tools:
        return [plain]
    return [f"{one}:{name}" for one in stock.repos if f"{one}:{name}" in stock.tools]


def _near(stock: Inventory, name: str) -> str:
    """What may be meant by an unknown name."""
    known = [*stock.tools, *ALWAYS, *(f"{server}:*" for server in stock.servers)]
    near = get_close_matches(name, known, n=1) or get_close_matches(name.replace("_", "-").lower(), known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
