"""YAML 1.2 scalars with the place of every key and value; duplicate keys are refused.

PyYAML's own scalar rules are YAML 1.1 (``no`` is false, ``12:30`` is a number) and it keeps the last of
two equal keys in silence; a configuration must do neither.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml

from orchestra.errors import ConfigError, Source, Span

Path: TypeAlias = tuple[str | int, ...]
"""Keys and list positions from the top to a value."""

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WORDS: Mapping[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
MAX_DEPTH = 50


_Base: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser where PyYAML was built with it: many times faster, the same places."""


class _Loader(_Base):  # type: ignore[misc,valid-type]
    """Composes nodes; every scalar comes as its text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  as PyYAML wants it


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML text as plain data, with the span of every key and value by path."""

    source: Source
    data: Any
    values: Mapping[Path, Span]
    keys: Mapping[Path, Span]

    def span(self, path: Path) -> Span | None:
        """Where the value at a path stands."""
        return self.values.get(path)

    def key_span(self, path: Path) -> Span | None:
        """Where the key at the end of a path stands."""
        return self.keys.get(path) or self.values.get(path)


def load(source: Source) -> Document:
    """Read one YAML document. Raises ``ConfigError`` with the place of the first fault."""
    try:
        node = _Loader(source.text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = mark.index if mark is not None else 0
        text = error.problem or error.context or "not YAML"
        raise ConfigError(f"{text}", span=Span(source, at, at + 1)) from error
    except (yaml.YAMLError, RecursionError) as error:
        message = "nested too deeply" if isinstance(error, RecursionError) else f"not YAML: {error}"
        raise ConfigError(message.partition("\n")[0], span=Span(source, 0, 1)) from error
    values: dict[Path, Span] = {}
    keys: dict[Path, Span] = {}
    data = _Builder(source, values, keys).build(node, ()) if node is not None else None
    return Document(source, data, values, keys)


class _Builder:
    def __init__(self, source: Source, values: dict[Path, Span], keys: dict[Path, Span]) -> None:
        self.source = source
        self.values = values
        self.keys = keys

    def build(self, node: yaml.Node, path: Path) -> Any:
        span = Span(self.source, node.start_mark.index, max(node.end_mark.index, node.start_mark.index + 1))
        self.values[path] = span
        if len(path) > MAX_DEPTH:
            raise ConfigError(f"nested more than {MAX_DEPTH} deep", span=span)
        if isinstance(node, yaml.ScalarNode):
            return scalar(node.value) if not node.style and node.tag.endswith(":str") else node.value
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._mapping(node, path)

    def _mapping(self, node: yaml.Node, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            span = Span(self.source, key_node.start_mark.index, key_node.end_mark.index)
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError("a key has to be a plain word", span=span)
            key = key_node.value
            if key == "<<":
                raise ConfigError("merge keys (<<) are not read here; write the keys out", span=span)
            if key in found:
                raise ConfigError(f"{key!r} stands here twice", span=span)
            self.keys[(*path, key)] = span
            found[key] = self.build(value_node, (*path, key))
        return found


def scalar(text: str) -> Any:
    """A plain scalar by the YAML 1.2 core rules."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        if text.startswith(("0o", "0x")):
            return int(text, 0)
        return int(text) if len(text) < 20 else text
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
