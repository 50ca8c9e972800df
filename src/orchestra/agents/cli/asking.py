"""Command-line agents ask before they call their own tools, by hooks (A35, H11).

Claude Code and Codex run the hook before each call; it reaches the runner through the socket of the node's tools.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from orchestra.agents.cli import hook
from orchestra.agents.tools import ToolContext
from orchestra.agents.tools.hooks import before
from orchestra.agents.tools.people import EXEMPT, Guard, approval, needs_no_approval, part_of
from orchestra.agents.tools.tool_socket import NAME
from orchestra.run.outcome import Json

PATIENCE = 7 * 24 * 3600
"""Seconds that a call waits for a person at most, while the program runs."""

OUR_NAMES: Mapping[str, tuple[str, ...]] = {
    "Bash": ("shell",),
    "Write": ("write-file",),
    "Edit": ("edit-file",),
    "MultiEdit": ("edit-file",),
    "NotebookEdit": ("edit-file",),
    "Read": ("read-file",),
    "Glob": ("list-files",),
    "Grep": ("search-code",),
    "apply_patch": ("edit-file", "write-file"),
}
"""The programs' own tools, by the names that settings know ours by."""

LISTING = 30.0
"""Seconds within which Codex has to say which hooks it would run."""


class Approvals:
    """Decides about the calls of one attempt: hooks of the pipeline first, then the people.

    ``guard`` says which calls a person has to approve; ``context`` is that of the node's tools. ``asked`` are the
    ids of the calls that were asked for.
    """

    def __init__(self, guard: Guard, context: ToolContext) -> None:
        self._guard = guard
        self._context = context
        self._one = asyncio.Lock()
        self.asked: set[str] = set()
        self.waiting = False

    @property
    def wanted(self) -> bool:
        """Whether the program has to ask at all."""
        return self._guard is not needs_no_approval or bool(self._context.hooks.pre)

    async def refusal_of(self, tool: str, arguments: Mapping[str, Json], call: str) -> str:
        """Why a call of the program's own tools is denied, empty where it may be made. Raises ``Suspended``."""
        self.asked.add(call)
        if tool.startswith(f"mcp__{NAME}__"):
            return ""  # it comes through the socket, where it is asked for
        server, _, name = tool.removeprefix("mcp__").partition("__")
        tool = f"{server}:{name}" if tool.startswith("mcp__") else tool
        denied = await before(OUR_NAMES.get(tool, (tool,))[0], arguments, self._context)
        return denied or await self.denial_of(tool, arguments)

    async def denial_of(self, tool: str, arguments: Mapping[str, Json]) -> str:
        """Return why people deny a call of one of the node's own tools; empty if it may be made.

        One call is asked for at a time, so that each approval is for one call.
        """
        alike, ours = self.guard_of(tool, arguments), OUR_NAMES.get(tool, (tool,))[0]
        if not alike:
            return ""
        async with self._one:
            self.waiting = True
            try:
                part = part_of(self._context.scope, ours, arguments)
                refused = await approval(self._context, ours, arguments, alike, part)
            finally:
                self.waiting = False
        return refused.text if refused is not None else ""

    def guard_of(self, tool: str, arguments: Mapping[str, Any]) -> str:
        """What makes a call need approval: a tool, or a pattern; empty where it needs none."""
        if tool in EXEMPT:
            return ""
        names = dict.fromkeys((*OUR_NAMES.get(tool, ()), tool))
        return next((found for name in names if (found := self._guard(name, arguments))), "")


def hook_command() -> str:
    """The command of the hook. What ends it without an answer denies the call."""
    python = shlex.join([sys.executable, "-I", "-S", str(Path(hook.__file__).resolve())])
    return f"{python} || exit 2"


def hook_options(kind: str) -> tuple[str, ...]:
    """The options by which a program runs the hook before each of its tool calls."""
    command = hook_command()
    handler = {"type": "command", "command": command, "timeout": PATIENCE}
    if kind == "claude":
        settings = {
            "disableAllHooks": False,
            "hooks": {"PreToolUse": [{"matcher": "*", "hooks": [handler]}]},
        }
        return ("--settings", json.dumps(settings))
    identity = {"event_name": "pre_tool_use", "hooks": [{"async": False, **handler}], "matcher": "*"}
    plain = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    trusted = json.dumps(f"sha256:{sha256(plain.encode()).hexdigest()}")
    text = json.dumps(command, ensure_ascii=False)
    return (
        *("-c", "features.hooks=true"),
        *("-c", f'hooks.PreToolUse=[{{matcher="*",hooks=[{{type="command",command={text},timeout={PATIENCE}}}]}}]'),
        *("-c", f'hooks.state={{"{_CODEX_HOOK}"={{trusted_hash={trusted}}}}}'),
    )


_CODEX_HOOK = "/<session-flags>/config.toml:pre_tool_use:0:0"
"""How Codex names the first hook of its command line, whose hash says that it is trusted."""


async def codex_problem(argv: Sequence[str], folder: Path, environment: Mapping[str, str]) -> str:
    """Return why Codex would not run the hook, empty if it would.

    ``argv`` starts its app server with our options.

    It passes over a hook that it does not trust, so it is asked before a program runs whose calls are to be asked
    for.
    """
    server = await asyncio.create_subprocess_exec(
        *argv,
        cwd=folder,
        env=dict(environment),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=16 * 1024 * 1024,
    )
    try:
        async with asyncio.timeout(LISTING):
            return _hook_problem(await _list_hooks(server, folder))
    except (TimeoutError, OSError, ValueError) as error:
        return f"it does not say which hooks it runs ({type(error).__name__})"
    finally:
        with suppress(ProcessLookupError):
            server.kill()
        await server.wait()


async def _list_hooks(server: asyncio.subprocess.Process, folder: Path) -> Any:
    """The answer of Codex's app server to which hooks it would run in a folder."""
    assert server.stdin is not None
    assert server.stdout is not None
    client = {"name": "orchestra", "version": "1"}
    for request in (
        {"id": 1, "method": "initialize", "params": {"clientInfo": client}},
        {"method": "initialized"},
        {"id": 2, "method": "hooks/list", "params": {"cwds": [str(folder)]}},
    ):
        server.stdin.write(json.dumps(request).encode() + b"\n")
    await server.stdin.drain()
    while line := await server.stdout.readline():
        answer = json.loads(line)
        if isinstance(answer, dict) and answer.get("id") == 2:
            return answer.get("result")
    raise OSError("it ended")


def _hook_problem(listed: Any) -> str:
    found = [
        one
        for place in (listed or {}).get("data", ())
        for one in place.get("hooks", ())
        if one.get("key") == _CODEX_HOOK
    ]
    if not found:
        return "it does not take hooks from its command line"
    ours = found[0]
    if not ours.get("enabled") or ours.get("trustStatus") not in ("trusted", "managed"):
        return f"it would not run our hook: {ours.get('trustStatus')}"
    return ""
