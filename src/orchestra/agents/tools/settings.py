"""The settings of tools as plain values: shell tools, modules, MCP servers, skills, sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellToolSpec:
    """A shell tool (A34).

    ``command`` names its arguments as ``{{ name }}``; ``timeout`` is in seconds. With an empty ``repo`` it exists
    in every repository. ``origin`` is the place in the settings.
    """

    name: str
    command: str
    description: str = ""
    arguments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    timeout: float = 300.0
    read_only: bool = False
    idempotent: bool = False
    repo: str = ""
    origin: str = "orchestra.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSpec:
    """An MCP server: a ``command`` that speaks on its standard streams, or a ``url``.

    ``timeout`` is in seconds; ``offered`` are the only tools of it that are used, None for all. Its program runs in
    the sandbox of the node's tools if it is ``confined``.

    ``repository`` is the folder whose own file names it; empty for one that the operator's settings name. The first
    is started only when the operator has said so (``orchestra trust``).
    """

    name: str
    command: str = ""
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 60.0
    folder: str = ""
    offered: tuple[str, ...] | None = None
    confined: bool = True
    repository: str = ""
    origin: str = "orchestra.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSettings:
    """All settings of tools.

    ``base`` is the folder of the settings, ``state`` where trust is kept, ``store`` that of runs; ``cut``
    is how many characters of a tool's result a model gets, ``seconds`` how long a built-in tool may take.
    """

    base: Path = Path()
    state: Path = Path()
    store: Path | None = None
    shell_tools: tuple[ShellToolSpec, ...] = ()
    modules: tuple[str, ...] = ()
    servers: Mapping[str, ServerSpec] = field(default_factory=dict)
    skills: tuple[Path, ...] = ()
    sandbox: str = "none"
    network: str = "none"
    readable: tuple[Path, ...] = ()
    cut: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    hook_timeout: float = 60.0
