"""The environment in which git is asked about a folder without being led elsewhere by it."""

from __future__ import annotations

from collections.abc import Mapping


def git_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for git: quiet, English, without repository variables and optional locks."""
    kept = {name: value for name, value in environment.items() if not name.startswith("GIT_")}
    return {**kept, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
