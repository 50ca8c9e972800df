"""What an agent can do besides answering: the protocol of a tool, and what a tool gets and gives back.

A tool is plain Python and knows no model library. A backend offers ``name``, ``description`` and ``parameters`` to
its model, and calls through ``calling.perform``, which adds what holds for every tool: checked arguments, hooks,
secrets removed, output cut, an exception as an error for the agent (A30-A35).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from orchestra.agents.tools.tracking import WriteTracker
from orchestra.ports import Scope
from orchestra.processes import tree
from orchestra.processes.sandbox import NO_SANDBOX, Sandbox
from orchestra.run.declare import BlobRef
from orchestra.run.outcome import Json
from orchestra.run.secrets import Redactor

CUT = 30_000
"""Characters of a result that the model gets by default (A32)."""

KEPT = 16 * 1024 * 1024
"""Bytes of one tool's output that are stored whole; of more, the beginning and the end are (A32)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """The result of a call.

    ``text`` is what the model gets. ``files_written`` are the files that changed, as ``path`` or ``repo:path``.
    ``parts`` hold the whole output where ``text`` does not, in order, and ``size`` is its size in bytes.
    ``outcome`` is what ``report_outcome`` was given.
    """

    text: str
    is_error: bool = False
    files_written: tuple[str, ...] = ()
    parts: tuple[BlobRef, ...] = ()
    size: int = 0
    outcome: Mapping[str, Json] | None = None
    duration_ms: int = 0


class ToolError(Exception):
    """A call that cannot be done, in words that help the agent to do it another way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Shell commands before and after every call (A35), empty for none; ``timeout`` is in seconds."""

    pre: str = ""
    post: str = ""
    timeout: float = 60.0


@dataclass(slots=True, kw_only=True)
class ToolContext:
    """What the tools of one attempt of a node share.

    ``folders`` are the working folders by repository; the only one without a workspace is called ``""``.
    ``environment`` holds no provider's key. ``marker`` stands in the environment of every process that a tool
    starts, so that what a dead runner left is found (E4). ``read`` remembers what the agent has seen of a file,
    for the guard against overwriting what it has not seen; ``outputs`` are the whole outputs of results that were
    cut, by the name that the agent reads them by.
    """

    node: str
    scope: Scope
    folders: Mapping[str, Path]
    environment: Mapping[str, str]
    redactor: Redactor
    tracker: WriteTracker
    session: str = ""
    sandbox: Sandbox = NO_SANDBOX
    hooks: Hooks = field(default_factory=Hooks)
    cut: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    show: Callable[[str, str], None] = lambda _tool, _text: None
    marker: str = field(default_factory=tree.new_marker)
    read: dict[tuple[str, str], tuple[int, ...]] = field(default_factory=dict)
    outputs: dict[str, tuple[BlobRef, ...]] = field(default_factory=dict)
    recorded: set[str] = field(default_factory=set)
    """The markers that are recorded."""
    part: str = ""
    """Which call is made: the turn and the number of the call, as the id of its question names it (H2)."""

    def folder(self, repo: str) -> Path:
        """Return a repository's working folder. Raises ``ToolError`` for an unknown name."""
        try:
            return self.folders[repo]
        except KeyError:
            known = ", ".join(sorted(self.folders))
            raise ToolError(f"unknown repository {repo!r}; known: {known}") from None


class Tool(Protocol):
    """One thing that an agent can do.

    ``name`` is ours (``read-file``, ``backend:read-file``); ``parameters`` is a JSON Schema of an object. A
    ``read_only`` tool changes nothing, so that a call whose result was lost is made again (A9). So is one with a
    true attribute ``idempotent``, which may be left out: made twice, it does what it does once. ``origin`` says
    where it comes from.
    """

    @property
    def name(self) -> str:
        """Its name in pipelines and settings."""

    @property
    def description(self) -> str:
        """The message for the model."""

    @property
    def parameters(self) -> Mapping[str, Json]:
        """The JSON Schema of its arguments."""

    @property
    def read_only(self) -> bool:
        """Whether it changes nothing."""

    @property
    def origin(self) -> str:
        """Where it comes from: ``built in``, a module, a line of the settings, an MCP server."""

    async def call(self, arguments: Mapping[str, Json], context: ToolContext) -> ToolResult:
        """Do it. Raises ``ToolError`` for what the agent can do better; any other exception is an error too."""


Call = Callable[[Mapping[str, Json], ToolContext], Awaitable[ToolResult]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionTool:
    """A tool that is an async function."""

    name: str
    description: str
    parameters: Mapping[str, Json]
    function: Call
    read_only: bool = False
    idempotent: bool = False
    origin: str = "built in"

    async def call(self, arguments: Mapping[str, Json], context: ToolContext) -> ToolResult:
        """Call the function."""
        return await self.function(arguments, context)
