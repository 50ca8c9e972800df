"""The built-in tools of a node: those of each repository, and ``report_outcome`` (A30)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestra.agents.tools import FunctionTool, Tool
from orchestra.agents.tools.files import file_tools
from orchestra.agents.tools.search import search_tools
from orchestra.agents.tools.shell import shell_tool


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
