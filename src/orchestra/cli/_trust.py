"""What ``orchestra trust`` does."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from orchestra.agents.tools.trust import Trust, wanted_by
from orchestra.cli._errors import FAILED
from orchestra.cli._terminal import one_line, say
from orchestra.config.settings import state_directory
from orchestra.errors import ConfigError


def _trust(folder: Path) -> Trust:
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder")
    return Trust(state_directory(os.environ))


def allow(folder: Path, *, asked: bool, no_input: bool = False) -> int:
    """Show what a repository wants to use, and allow it if the user agrees. Return 1 if not."""
    trust = _trust(folder)
    wanted = wanted_by(folder)
    if not wanted:
        say(f"{folder.resolve()} names no MCP server in .mcp.json and has no skills in .agents/skills")
        return 0
    for one in wanted:
        state = "allowed" if trust.allows(folder, one) else "new or changed"
        say(f"{one.key}  {one_line(one.what, 1000)}")
        say(f"    sha256 {one.digest}  ({state})")
    if all(trust.allows(folder, one) for one in wanted):
        return 0
    if asked:
        if no_input or not sys.stdin.isatty():
            raise ConfigError("no terminal to ask on", fix="check the list above, then use --yes")
        say("Allow these? They run with your rights. Answer y or n:")
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            say("nothing was allowed")
            return FAILED
    trust.allow(folder, wanted)
    say(f"allowed for {folder.resolve()}")
    return 0


def forget(folder: Path) -> int:
    """Allow nothing of a repository any more."""
    had = _trust(folder).revoke(folder)
    say(f"nothing of {folder.resolve()} is allowed now" if had else "nothing was allowed")
    return 0
