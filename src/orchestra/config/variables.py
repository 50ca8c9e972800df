"""Settings from variables and ``.env``: ``ORCHESTRA_LIMITS_RUN_COST`` is ``limits.run.cost``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from orchestra.config.model import Config, SandboxSetting
from orchestra.config.schema import Section, keys_of
from orchestra.config.yaml import Path as Keys
from orchestra.config.yaml import scalar
from orchestra.errors import ConfigError
from orchestra.graph.nearest import nearest

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
    return {**found, "ORCHESTRA_PROVIDER": ("providers", "default"), **_SANDBOX}


_SANDBOX: Mapping[str, Keys] = {
    "ORCHESTRA_SANDBOX": ("sandbox", "mode"),
    "ORCHESTRA_SANDBOX_MODE": ("sandbox", "mode"),
    "ORCHESTRA_SANDBOX_NETWORK": ("sandbox", "network"),
}


def _scalars(cls: type[Any], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, entry in keys_of(cls).items():
        here = (*path, name)
        if not path and name in _LISTS_AND_MAPS:
            continue
        if isinstance(entry.reader, Section):
            yield from _scalars(entry.reader.cls, here)
        elif isinstance(entry.default, str | int | float | None) and not isinstance(entry.default, SandboxSetting):
            yield here


def from_text(written: str) -> Any:
    """What a flag's or a variable's text says: a number, true or false, else the text."""
    value = scalar(written)
    return written if value is None else value


def from_environment(environment: Mapping[str, str]) -> dict[Keys, tuple[Any, str]]:
    """Return the settings in environment variables, each with its variable; empty ones are ignored."""
    return {
        path: (from_text(environment[name]), name) for name, path in variables().items() if environment.get(name)
    }


PREFIX = "ORCHESTRA_"
_OURS = ("MCP_TOKEN", "MCP_SOCKET")
"""Variables that a command-line agent's tools get (A6)."""
_STORE = tuple(f"{PREFIX}CXDB_{name}" for name in ("PATH", "URL", "ADDRESS", "MIRROR", "TOKEN"))


def unknown_variables(environment: Mapping[str, str]) -> list[ConfigError]:
    """Yield a fault for each variable that is named almost like a setting, or in a known section.

    Other names that begin with ``ORCHESTRA_`` are allowed: commands of a run get some, and scripts may have their
    own.
    """
    known = {name.removeprefix(PREFIX): name for name in (*variables(), *_STORE)}
    sections = tuple(f"{name.upper()}_" for name in keys_of(Config))
    faults: list[ConfigError] = []
    for name in sorted(environment):
        rest = name.removeprefix(PREFIX)
        if rest == name or rest in (*known, *_OURS) or not environment[name]:
            continue
        near = nearest(rest, known)
        if not near and not rest.startswith(sections) and rest.lower() not in keys_of(Config):
            continue
        if not near:
            near = next(iter(get_close_matches(rest, known, n=1, cutoff=0.75)), "")
        fix = f"did you mean {known[near]}?" if near else _instead(rest)
        faults.append(ConfigError(f"{name} is not a known variable", fix=fix))
    return faults


def _instead(rest: str) -> str:
    """What to do in place of a variable that does not exist."""
    section = max((name for name in keys_of(Config) if f"{rest}_".startswith(f"{name.upper()}_")), key=len)
    settable = [name for name, path in variables().items() if path[0] == section]
    if not settable:
        return f"set it under `{section}:` in orchestra.yaml, and unset the variable"
    return f"variables of {section}: {', '.join(settable)}"


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
