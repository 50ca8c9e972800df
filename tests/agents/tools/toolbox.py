"""What tools need to be called in tests: a scope that keeps everything in memory, and a context in a folder."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from orchestra.agents.tools import Hooks, Tool, ToolContext, ToolResult
from orchestra.agents.tools.calls import perform
from orchestra.agents.tools.output import output_tool
from orchestra.agents.tools.selection import by_name, repository_tools
from orchestra.agents.tools.tracking import WriteTracker
from orchestra.processes.sandbox import NO_SANDBOX, Sandbox
from orchestra.run.codec import refer
from orchestra.run.declare import BlobRef
from orchestra.run.secrets import Redactor


class MemoryScope:
    """The part of a handler's scope that tools use."""

    session = "s12345"

    def __init__(self, redactor: Redactor) -> None:
        self.redactor = redactor
        self.events: list[Any] = []
        self.blobs: dict[str, bytes] = {}
        self.settled = 0

    def record(self, event: Any) -> None:
        self.events.append(event)

    async def settle(self) -> None:
        self.settled = len(self.events)

    async def keep(self, data: bytes) -> BlobRef:
        clean = self.redactor.data(data)
        ref = refer(clean, clean[:200].decode("utf-8", "replace"))
        self.blobs[ref.hash] = clean
        return ref

    async def read_bytes(self, ref: BlobRef) -> bytes:
        return self.blobs[ref.hash]

    def seam(self, data: bytes, at: int) -> int:
        return self.redactor.seam(data, at)

    def show(self, output: Any) -> None:
        self.events.append(output)


class Box:
    """The built-in tools, and more, in a folder."""

    def __init__(
        self,
        folder: Path,
        *,
        secrets: dict[str, str] | None = None,
        hooks: Hooks | None = None,
        sandbox: Sandbox = NO_SANDBOX,
        more: tuple[Tool, ...] = (),
        repos: dict[str, Path] | None = None,
    ) -> None:
        redactor = Redactor(secrets or {})
        self.folder = folder
        self.scope = MemoryScope(redactor)
        self.shown = 0
        folders = repos or {"": folder}
        self.context = ToolContext(
            node="work",
            scope=self.scope,  # type: ignore[arg-type]
            folders=folders,
            environment={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")},
            redactor=redactor,
            tracker=WriteTracker(folders),
            hooks=hooks or Hooks(),
            sandbox=sandbox,
            show=self.show,
        )
        self.tools = by_name([*repository_tools(folders), output_tool(), *more])

    def show(self, _tool: str, text: str) -> None:
        self.shown += len(text)

    async def call(self, tool: str, /, **arguments: Any) -> ToolResult:
        return await perform(self.tools, tool, arguments, self.context)

    def run(self, tool: str, /, **arguments: Any) -> ToolResult:
        return asyncio.run(self.call(tool, **arguments))


def repository(folder: Path) -> Path:
    """Make a folder a git repository with everything in it committed."""
    folder.mkdir(parents=True, exist_ok=True)
    for command in (
        ("init", "-q", "-b", "main"),
        ("config", "user.email", "a@b.c"),
        ("config", "user.name", "A"),
        ("add", "-A"),
        ("commit", "-q", "--allow-empty", "-m", "first"),
    ):
        subprocess.run(("git", *command), cwd=folder, check=True, capture_output=True)
    return folder


HAS_GIT = shutil.which("git") is not None
