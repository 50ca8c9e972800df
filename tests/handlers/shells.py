"""Tool nodes under test: sessions that run real commands on the memory store."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestra.handlers.tool import ToolHandler
from orchestra.processes.tree import members
from orchestra.run.events import ToolExecuted, ToolStarted
from orchestra.run.outcome import Json
from support import Session, opened

OWN = {"tool": frozenset({"tool", "tools"})}


def tool(folder: Path, **options: Any) -> ToolHandler:
    return ToolHandler(folder=folder, environment={"PATH": os.environ["PATH"]}, **options)


def node(command: str, attributes: str = "") -> str:
    """A pipeline of one tool node, ``t``."""
    written = command.replace("\\", "\\\\").replace('"', '\\"')
    return f't [shape=parallelogram, tool_command="{written}" {attributes}] start -> t -> exit'


async def prepared(
    text: str,
    folder: Path,
    variables: Mapping[str, Json] | None = None,
    handler: ToolHandler | None = None,
    **more: Any,
) -> Session:
    return await opened(text, more={"tool": handler or tool(folder)}, own_keys=OWN, variables=variables, **more)


async def tooled(
    text: str,
    folder: Path,
    variables: Mapping[str, Json] | None = None,
    handler: ToolHandler | None = None,
    **more: Any,
) -> Session:
    return await (await prepared(text, folder, variables, handler, **more)).walk()


def started(session: Session) -> ToolStarted:
    (found,) = session.of(ToolStarted)
    assert isinstance(found, ToolStarted)
    return found


def executed(session: Session) -> ToolExecuted:
    (found,) = session.of(ToolExecuted)
    assert isinstance(found, ToolExecuted)
    return found


def nothing_runs(marker: str) -> bool:
    """Whether no process of a tool is left; what was just killed may need a moment to go."""
    limit = time.monotonic() + 5
    while members(marker) and time.monotonic() < limit:
        time.sleep(0.02)
    return not members(marker)
