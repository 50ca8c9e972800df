"""What may be recorded: JSON of a bounded depth in clean Unicode, secrets replaced by ``[redacted:NAME]`` (S18)."""

from __future__ import annotations

import json
import math
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import is_
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, quote_plus, unquote_plus

from orchestra.run.key_formats import BY_MARK, FORMATS

if TYPE_CHECKING:
    from orchestra.run.outcome import Json  # a command that only checks a pipeline does not load what this needs

SHORTEST = 8
"""Characters below which a value is left alone: replacing it would garble ordinary text."""

AROUND = 4096
"""Bytes on either side of a cut in which a secret is looked for; more where a known one is longer."""


def forms(value: str) -> set[str]:
    """A secret as it is, URL-encoded, escaped as in JSON, and as a part of a text in base64."""
    encoded = quote(value, safe="")
    found = {value, encoded, quote_plus(value), re.sub("%..", lambda code: code[0].lower(), encoded)}
    found.add(json.dumps(value)[1:-1])
    return {form for form in found | base64_forms(value) if len(form) >= SHORTEST}


def base64_forms(value: str) -> set[str]:
    """Return the three forms that a secret can have in a base64 text, by its position.

    The characters that depend on its neighbours are left out.
    """
    data = value.encode("utf-8", "surrogatepass")
    found = set()
    for before in range(3):
        text = b64encode(bytes(before) + data).decode()
        whole = text[(before * 8 + 5) // 6 : (before + len(data)) * 8 // 6]
        found |= {whole, whole.translate(_URL_SAFE)}
    return {form for form in found if len(form) >= SHORTEST}


_URL_SAFE = str.maketrans("+/", "-_")

_BASE64 = "[A-Za-z0-9+/_-]"

_FOLD = re.compile(
    rf"\n(?:(?<={_BASE64}{{16}}\n)|(?<={_BASE64}{{16}}\r\n))(?=[ \t]*{_BASE64})"
    rf"|\\n(?:(?<={_BASE64}{{16}}\\n)|(?<={_BASE64}{{16}}\\r\\n))(?=[ \t]*{_BASE64})"
)
"""The end of a line in the middle of a base64 text, also as JSON escapes it."""

_BREAKS = re.compile(r"(?:\r|\\r)?(?:\n|\\n)[ \t]*")


class _Folded(NamedTuple):
    """What base64 texts that are parted into lines show of one secret."""

    name: str
    form: str

    @property
    def pattern(self) -> re.Pattern[str]:
        """The form, with an end of line between any two characters."""
        return re.compile(rf"(?:{_BREAKS.pattern})?".join(map(re.escape, self.form)))


class _Encoded(NamedTuple):
    """A secret of which any characters may be encoded as in a URL: programs differ in which they encode."""

    name: str
    value: str

    @property
    def pattern(self) -> re.Pattern[str]:
        """Each character as it is, or encoded."""
        return re.compile("".join(map(self._character, self.value)))

    def _character(self, character: str) -> str:
        encoded = quote(character, safe="", errors="replace")
        if encoded == character:
            return re.escape(character)
        plus = r"|\+" if character == " " else ""
        return f"(?:{re.escape(character)}|(?i:{encoded}){plus})"


class KnownSecrets(dict[str, str]):
    """Secrets by name; ``ignored`` are values, and names of key formats, that are none (language.md)."""

    def __init__(self, values: Mapping[str, str], ignored: Iterable[str] = ()) -> None:
        super().__init__(values)
        self.ignored = frozenset(ignored)


class Redactor:
    """Replaces known secrets in all their forms, and common key formats, by ``[redacted:NAME]``."""

    __slots__ = ("_bytewise", "_encoded", "_folded", "_ignored", "_values", "short")

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._ignored = secrets.ignored if isinstance(secrets, KnownSecrets) else frozenset[str]()
        long = [(name, value) for name, value in secrets.items() if len(value) >= SHORTEST]
        usable = [(form, name) for name, value in long for form in forms(value)]
        usable.sort(key=lambda pair: -len(pair[0]))
        self._values = usable
        self._folded = [_Folded(name, form) for name, value in long for form in base64_forms(value)]
        self._encoded = [_Encoded(name, value) for name, value in long if quote(value, safe="/") != value]
        self._bytewise = [
            (value.encode("utf-8", "surrogatepass").decode("latin-1"), name) for value, name in usable
        ]
        self.short = tuple(sorted(name for name, value in secrets.items() if 0 < len(value) < SHORTEST))

    def text(self, text: str) -> str:
        """The text without secrets; the same object when there is none."""
        return self._redact(text, self._values)

    def data(self, data: bytes) -> bytes:
        """The bytes without secrets, whatever else they are; the same object when there is none."""
        text = data.decode("latin-1")
        cleaned = self._redact(text, self._bytewise)
        return data if cleaned is text else cleaned.encode("latin-1", "replace")

    def _redact(self, text: str, values: Sequence[tuple[str, str]]) -> str:
        if len(text) < SHORTEST:
            return text
        for value, name in values:
            if value in text:
                text = text.replace(value, f"[redacted:{name}]")
        for name, pattern in self._patterns(text) if values else ():
            text = pattern.sub(f"[redacted:{name}]", text)
        for mark, formats in BY_MARK:
            if mark not in text:
                continue
            for entry in formats:
                if entry.start in text and entry.name not in self._ignored:
                    text = entry.redact(text, self._ignored)
        return text

    def _patterns(self, text: str) -> Iterator[tuple[str, re.Pattern[str]]]:
        """What finds the secrets that a text holds in other forms than those that ``_values`` lists."""
        yield from ((folded.name, folded.pattern) for folded in self._in_lines(text))
        yield from ((encoded.name, encoded.pattern) for encoded in self._in_urls(text))

    def _in_lines(self, text: str) -> list[_Folded]:
        """The secrets that a text holds in base64 with an end of line in the middle."""
        if not self._folded or _FOLD.search(text) is None:
            return []
        whole = _BREAKS.sub("", text)
        return [folded for folded in self._folded if folded.form in whole]

    def _in_urls(self, text: str) -> list[_Encoded]:
        """The secrets that a text may hold with some of their characters encoded as in a URL."""
        if not self._encoded or "%" not in text:
            return []
        plain = unquote_plus(text.replace("+", "%2B")), unquote_plus(text)
        return [one for one in self._encoded if any(one.value in each for each in plain)]

    def find(self, text: str) -> list[tuple[int, int, str]]:
        """Start, end and name of every secret in a text, in order."""
        return self._find(text, self._values)

    def _find(self, text: str, values: Iterable[tuple[str, str]]) -> list[tuple[int, int, str]]:
        found = [
            (match.start(), match.end(), entry.name)
            for entry in FORMATS
            if entry.start in text and entry.name not in self._ignored
            for match in entry.matches(text)
            if match[0] not in self._ignored
        ]
        for value, name in values:
            at = text.find(value)
            while at >= 0:
                found.append((at, at + len(value), name))
                at = text.find(value, at + 1)
        for name, pattern in self._patterns(text):
            found += [(match.start(), match.end(), name) for match in pattern.finditer(text)]
        return sorted(found)

    def seam(self, data: bytes, at: int) -> int:
        """Return where ``data`` may be cut without splitting a secret: at ``at`` or before.

        Before a secret that is there, or that begins before and has no end yet.

        What follows ``at`` by less than ``AROUND`` bytes has to be in ``data``, where anything follows.
        """
        around = max(AROUND, *(len(value) for value, _name in self._bytewise), 0)
        begin = max(0, at - around)
        text = data[begin : at + around].decode("latin-1")
        for start, end, _name in self._find(text, self._bytewise)[::-1]:
            open_ended = (
                end == len(text) and text.startswith("-----BEGIN", start) and "-----END" not in text[start:]
            )
            if begin + start < at < begin + end + open_ended:
                at = begin + start
        return at

    def value(self, value: Any) -> Any:
        """A JSON-like value without secrets; the same object when there is none."""
        if isinstance(value, str):
            return value if len(value) < SHORTEST else self.text(value)
        if isinstance(value, Mapping):
            cleaned = {self.text(key): self.value(item) for key, item in value.items()}
            same = len(cleaned) == len(value) and all(map(is_, cleaned.values(), value.values()))
            return value if same and all(map(is_, cleaned, value)) else cleaned
        if isinstance(value, list | tuple):
            items = [self.value(item) for item in value]
            if all(new is old for new, old in zip(items, value, strict=True)):
                return value
            return type(value)(items)
        return value


MAX_DEPTH = 64
_MAX_INT = 2**63


def clean(text: str) -> str:
    """The text itself without lone surrogates, which no UTF-8 file or payload can hold; never a subclass."""
    if type(text) is not str:
        text = str.__str__(text)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def plain_json(value: object, depth: int = 0) -> Json:
    """The same value as JSON; ``ValueError`` says why it is none."""
    if isinstance(value, str):
        return clean(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not -_MAX_INT <= value < _MAX_INT:
            raise ValueError("an integer of more than 64 bits")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a JSON number")
        return float(value)
    if depth >= MAX_DEPTH:
        raise ValueError(f"nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, Mapping):
        return {_key(key): plain_json(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(item, depth + 1) for item in value]
    raise ValueError(f"a {type(value).__name__} is not a JSON value")


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise ValueError(f"a key of type {type(key).__name__}; JSON keys are strings")
    return clean(key)
