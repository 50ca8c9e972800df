"""YAML 1.2 scalars with the place of every key and value; duplicate keys are refused.

PyYAML's own scalar rules are YAML 1.1 (``no`` is false, ``12:30`` is a number) and it keeps the last of
two equal keys in silence; a configuration must do neither.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias, TypeVar

import yaml

from orchestra.errors import ConfigError, InvalidConfig, Source, Span

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
_T = TypeVar("_T")


_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser where PyYAML was built with it: many times faster, the same places."""


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML text as plain data, with the span of every key and value by path."""

    source: Source
    data: Any
    values: Mapping[Path, Span]
    keys: Mapping[Path, Span]
    faults: tuple[ConfigError, ...] = ()
    whole: bool = True
    """False where the text is no YAML from some place on: ``data`` is what was complete before that."""

    def span(self, path: Path) -> Span | None:
        """Return where the value at a path is."""
        return self.values.get(path)

    def key_span(self, path: Path) -> Span | None:
        """Return where the key at the end of a path is."""
        return self.keys.get(path) or self.values.get(path)


def read_all(reads: Iterable[Callable[[], _T]]) -> list[_T]:
    """Call every function and return the values.

    Raises their ``ConfigError``, ``InvalidConfig`` for several.
    """
    found: list[_T] = []
    faults: list[ConfigError] = []
    for read in reads:
        try:
            found.append(read())
        except ConfigError as error:
            faults += error.faults if isinstance(error, InvalidConfig) else [error]
    if faults:
        raise InvalidConfig(tuple(faults)) if len(faults) > 1 else faults[0]
    return found


def load(source: Source) -> Document:
    """Read one YAML document. Raises ``ConfigError`` with its fault, ``InvalidConfig`` with several."""
    document = load_leniently(source)
    if len(document.faults) > 1:
        raise InvalidConfig(document.faults)
    if document.faults:
        raise document.faults[0]
    return document


def load_leniently(source: Source) -> Document:
    """Read one YAML document as far as it goes; what is wrong with it is in its ``faults``."""
    builder = _Builder(source)
    whole = False
    try:
        builder.read()
        whole = True
    except yaml.MarkedYAMLError as error:
        builder.faults.append(_yaml_error(source, error))
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        message = f"not YAML: {error}".partition("\n")[0]
        builder.faults.append(ConfigError(message, span=Span(source, 0, 1)))
    except _Unreadable as unreadable:
        builder.faults.append(unreadable.fault)
    return Document(source, builder.data, builder.values, builder.keys, tuple(builder.faults), whole)


class _Unreadable(Exception):
    """A fault after which the rest of the text cannot be read."""

    def __init__(self, fault: ConfigError) -> None:
        super().__init__(fault.message)
        self.fault = fault


_FIXES = {
    "mapping values are not allowed": "quote a value that contains ': '",
    "cannot start any token": "put the value in quotes",
}
"""The fix, by a part of the parser's message."""


def _yaml_error(source: Source, error: yaml.MarkedYAMLError) -> ConfigError:
    """Return the parser's error with its place; an unclosed part is reported where it begins."""
    text = error.problem or error.context or "not YAML"
    mark = error.problem_mark or error.context_mark
    at = mark.index if mark is not None else 0
    if source.text[at : at + 1] == "\t":
        return ConfigError("YAML must be indented with spaces, not tabs", span=Span(source, at, at + 1))
    begun = error.context_mark.index if error.context_mark is not None else at
    begun = begun if begun < at else len(source.text.rstrip()) - 1
    ended = not source.text[at:].strip()
    if ended and source.text[begun : begun + 1] in {"[", "{", '"', "'"}:
        return ConfigError(f"this {source.text[begun]} is never closed", span=Span(source, begun, begun + 1))
    fix = next((fix for part, fix in _FIXES.items() if part in text), "")
    if not fix and source.text[begun : begun + 1] in {"[", "{"} and "\n" in source.text[begun:at]:
        fix = f"close the {source.text[begun]} of line {source.position(begun)[0]}"
    return ConfigError(f"invalid YAML: {text}", span=Span(source, at, at + 1), fix=fix)


_ABSENT: Any = object()
"""Placeholder for a value that cannot be known; it is left out."""


class _Builder:
    """Builds plain data from the parser's events, which come one by one: no nesting can exhaust the stack."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.values: dict[Path, Span] = {}
        self.keys: dict[Path, Span] = {}
        self.faults: list[ConfigError] = []
        self.data: Any = None
        self.next: Callable[[], Any]

    def read(self) -> None:
        """Read the whole text. Raises what the parser does, and ``_Unreadable``."""
        loader: Any = _Loader(self.source.text)
        self.next = loader.get_event
        self.next()  # the stream's start
        if not isinstance(self.next(), yaml.StreamEndEvent):
            self.data = self.build(self.next(), ())
            self.next()  # the document's end
            following = self.next()
            if not isinstance(following, yaml.StreamEndEvent):
                self.unreadable("a second YAML document; only one is allowed", following)

    def build(self, event: Any, path: Path) -> Any:
        if len(path) > MAX_DEPTH:
            self.unreadable(f"nested more than {MAX_DEPTH} levels deep", event)
        if isinstance(event, yaml.AliasEvent):
            self.fault("aliases (*name) are not supported; write the value in full", event)
            return _ABSENT
        self.refuse(event)
        end, data = event, None
        if isinstance(event, yaml.ScalarEvent):
            data = event.value if event.style else scalar(event.value)
        elif isinstance(event, yaml.SequenceStartEvent):
            data = []
            while not isinstance(end := self.next(), yaml.SequenceEndEvent):
                if (item := self.build(end, (*path, len(data)))) is not _ABSENT:
                    data.append(item)
        else:
            data, end = self.mapping(path)
        self.values[path] = self.span(event, end)
        return data

    def mapping(self, path: Path) -> tuple[dict[str, Any], Any]:
        found: dict[str, Any] = {}
        if not path:
            self.data = found  # what is complete when the rest cannot be read
        while not isinstance(event := self.next(), yaml.MappingEndEvent):
            self.refuse(event)
            if not isinstance(event, yaml.ScalarEvent):
                self.unreadable("a key must be a plain word", event)
            key = event.value
            if key == "<<":
                self.fault("merge keys (<<) are not supported; write the keys in full", event)
                self.build(self.next(), (*path, key))
                continue
            known: Any = found.get(key)
            if key in found:
                self.fault(f"{key!r} is set twice", event)
            self.keys[(*path, key)] = self.span(event)
            value = self.build(self.next(), (*path, key))
            if value is not _ABSENT:
                both = isinstance(known, dict) and isinstance(value, dict)
                found[key] = {**known, **value} if both else value  # so that what is in either is checked
        return found, event

    def refuse(self, event: Any) -> None:
        """Types of YAML's own: they are never needed here, and hide what is meant, as references do."""
        if getattr(event, "tag", None) is not None:
            self.fault("type tags (!name) are not supported", event)

    def fault(self, message: str, event: Any) -> None:
        self.faults.append(ConfigError(message, span=self.span(event)))

    def unreadable(self, message: str, event: Any) -> NoReturn:
        raise _Unreadable(ConfigError(message, span=self.span(event)))

    def span(self, first: Any, last: Any = None) -> Span:
        last = last or first
        start = first.start_mark.index
        return Span(self.source, start, max(last.end_mark.index, start + 1))


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
