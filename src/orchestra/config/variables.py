"""Settings from the environment: ``ORCHESTRA_LIMITS_RUN_COST`` is ``limits.run.cost``, and ``.env`` files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from orchestra.config.model import Config, SandboxSetting, from_text
from orchestra.config.schema import Section, keys_of
from orchestra.config.yaml import Path as Keys
from orchestra.errors import ConfigError

_LISTS_AND_MAPS = frozenset(
    {
        "providers",
        "prices",
        "agents",
        "tools",
        "tools_module",
        "mcp",
        "cli",
        "skills",
        "secrets",
        "pipelines",
        "cxdb",
    }
)
"""Settings that a variable cannot hold; those of the store have variables of their own meaning."""


@cache
def variables() -> Mapping[str, Keys]:
    """Every environment variable that is a setting, with the setting's path."""
    found = {f"ORCHESTRA_{'_'.join(path).upper()}": path for path in _scalars(Config, ())}
    return {**found, "ORCHESTRA_PROVIDER": ("providers", "default"), "ORCHESTRA_SANDBOX": ("sandbox",)}


def _scalars(cls: type[Any], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, entry in keys_of(cls).items():
        here = (*path, name)
        if not path and name in _LISTS_AND_MAPS:
            continue
        if isinstance(entry.reader, Section):
            yield from _scalars(entry.reader.cls, here)
        elif isinstance(entry.default, str | int | float | None) and not isinstance(entry.default, SandboxSetting):
            yield here


def from_environment(environment: Mapping[str, str]) -> dict[Keys, tuple[Any, str]]:
    """The settings that environment variables hold, each with its variable; an empty variable is none."""
    return {
        path: (from_text(environment[name]), name) for name, path in variables().items() if environment.get(name)
    }


_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")


def read_env_file(file: Path) -> dict[str, str]:
    """The variables of a ``.env`` file: ``NAME=value`` lines, with comments and quotes.

    Nothing is expanded. Raises ``ConfigError`` with the line that cannot be read.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror or error}") from error
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        match = _LINE.fullmatch(stripped)
        if match is not None:
            found[match[1]] = _value(match[2])
        elif stripped and not stripped.startswith("#"):
            # The line is not shown: it may hold a secret.
            raise ConfigError(f"{file}:{number}: not NAME=value", fix="write NAME=value, and # before a comment")
    return found


def _value(text: str) -> str:
    if len(text) > 1 and text[0] in "'\"":
        end = text.find(text[0], 1)
        if end > 0:
            return text[1:end]
    return re.split(r"\s#", text, maxsplit=1)[0].strip()
