"""What the environment alone says; imports next to nothing, so that ``compile`` stays quick."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from orchestra.errors import ConfigError

FILE = "orchestra.yaml"

PROVIDER_KEYS = (
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "AZURE_OPENAI_API_KEY",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CODEX_API_KEY",
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "OPENAI_API_KEY",
    "OPENROUTER_API_KEY",
)
"""Environment variables that are secret without being named."""


def folders_of(pipeline: str) -> tuple[Path, ...]:
    """Where settings for a pipeline are looked for: its folder, then the working directory, which is all there is
    for standard input (``-``). Raises ``ConfigError`` where the working directory is gone."""
    try:
        here = Path.cwd()
    except OSError as error:
        raise ConfigError("the working directory is gone", fix="cd to a folder that exists") from error
    return (here,) if pipeline == "-" else (Path(pipeline).absolute().parent, here)


def find(folders: tuple[Path, ...]) -> Path | None:
    """The first ``orchestra.yaml`` at or above one of ``folders``, tried in order.

    Whatever it is: one that cannot be read is a mistake to tell, not to pass over.
    """
    for folder in folders:
        for place in (folder, *folder.parents):
            candidate = place / FILE
            if os.path.lexists(candidate):  # false in a folder that we may not look into
                return candidate
    return None


def known_secrets(environment: Mapping[str, str] = os.environ, named: tuple[str, ...] = ()) -> dict[str, str]:
    """The values of provider keys and of the variables named, by name."""
    return {name: environment[name] for name in (*PROVIDER_KEYS, *named) if environment.get(name)}
