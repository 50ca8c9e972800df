"""Every setting in force with where it came from, secrets hidden (``orchestra config show``)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

from orchestra.config.durations import write_duration
from orchestra.config.model import Approval
from orchestra.config.providers import Providers
from orchestra.config.schema import dotted_path, keys_of
from orchestra.config.settings import Settings
from orchestra.config.yaml import Path as Keys
from orchestra.run.secrets import Redactor


class SettingRow(NamedTuple):
    """One setting: its path, its value as plain data, and its origin (``default`` if not set)."""

    path: Keys
    value: Any
    origin: str

    @property
    def name(self) -> str:
        """The path as it is written."""
        return dotted_path(self.path)

    @property
    def written(self) -> Any:
        """The value as the file would have it: a length of time with its unit."""
        lasts = self.path[-1:] and self.path[-1] in _LENGTHS and isinstance(self.value, float)
        return write_duration(self.value) if lasts else self.value


_LENGTHS = frozenset({"time", "timeout", "patience"})
"""Settings that are lengths of time."""


def rows(settings: Settings) -> Iterator[SettingRow]:
    """Every setting in the order of the documentation."""
    redactor = Redactor(settings.secrets)
    for path, value in _leaves(settings.config, ()):
        if path[:1] == ("cxdb",):
            continue
        yield SettingRow(path, _hide(path, redactor.value(value)), origin_of(settings, path))
    place = "cxdb.url" if settings.server is not None else "cxdb.path"
    yield SettingRow(tuple(place.split(".")), settings.place, settings.origins[place])
    if settings.mirror is not None:
        yield SettingRow(("cxdb", "mirror"), str(settings.mirror), settings.origins["cxdb.mirror"])


def origin_of(settings: Settings, path: Keys) -> str:
    """Where a value came from: a flag, a variable, ``file:line``, or ``default``."""
    for end in range(len(path), 0, -1):
        if path[:end] in settings.given:
            return settings.given[path[:end]]
    document = settings.document
    if document is None:
        return "default"
    for each in _spellings(path):
        span = document.key_span(each) or document.span(each)
        if span is not None:
            return f"{span.source.name}:{span.line}"
    return "default"


def _spellings(path: Keys) -> Iterator[Keys]:
    """The path, and as it is written with another name of its last key or in a shorter form."""
    yield path
    if path[-1] == "base_url":
        yield (*path[:-1], "api_base")
    if path[:2] == ("mcp", path[1] if len(path) > 1 else ""):
        yield ("mcp", "mcpServers", *path[1:])
    if path in (("sandbox", "mode"), ("secrets", "names")):
        yield path[:1]


def _leaves(value: Any, path: Keys) -> Iterator[tuple[Keys, Any]]:
    if isinstance(value, Approval):
        yield path, _approval(value)
    elif isinstance(value, Providers):
        yield (*path, "default"), value.default
        yield from _leaves(value.named, path)
    elif is_dataclass(value) and not isinstance(value, type):
        for each in fields(value):
            if each.name in keys_of(type(value)):
                yield from _leaves(getattr(value, each.name), (*path, each.name))
    elif isinstance(value, Mapping) and value and all(is_dataclass(item) for item in value.values()):
        for name, item in value.items():
            yield from _leaves(item, (*path, name))
    else:
        yield path, _plain(value)


def _approval(value: Approval) -> Any:
    if value.tools is not None:
        return {name: _approval(each) for name, each in value.tools.items()}
    return list(value.patterns) if value.rule == "patterns" else value.rule or None


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return value


_HIDING = frozenset({"env", "headers"})
_REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}|\$[A-Za-z_][A-Za-z0-9_]*")
_TELLING = re.compile(r"key|token|secret|password|passphrase|credential|authorization", re.IGNORECASE)


def _hide(path: Keys, value: Any) -> Any:
    """A value that may be a secret, hidden: of an environment, of headers, or by its name."""
    if isinstance(value, dict):
        kept = path[-1:] and path[-1] in _HIDING
        return {
            name: "***" if isinstance(item, str) and (kept or _TELLING.search(name)) and not _public(item) else item
            for name, item in value.items()
        }
    return value


def _public(text: str) -> bool:
    """Whether a text only names a variable."""
    return bool(_REFERENCE.search(text)) or not text
