"""Secrets in texts and values: found, and replaced by ``[redacted:NAME]`` (S18)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

SHORTEST = 8
"""Characters below which a value is left alone: replacing it would garble ordinary text."""

AROUND = 4096
"""Bytes on either side of a cut in which a secret is looked for; more where a known one is longer."""

FORMATS: tuple[tuple[str, str, str], ...] = (
    ("anthropic-key", "sk-ant-", r"sk-ant-[A-Za-z0-9_-]{16,}"),
    ("openai-key", "sk-", r"sk-(?:proj-|svcacct-)?[A-Za-z0-9_-]{20,}"),
    ("openrouter-key", "sk-or-", r"sk-or-[A-Za-z0-9_-]{16,}"),
    ("google-key", "AIza", r"AIza[A-Za-z0-9_-]{35}"),
    ("aws-key", "AKIA", r"AKIA[A-Z0-9]{16}"),
    ("aws-key", "ASIA", r"ASIA[A-Z0-9]{16}"),
    ("github-token", "gh", r"gh[pousr]_[A-Za-z0-9]{36,}"),
    ("github-token", "github_pat_", r"github_pat_[A-Za-z0-9_]{22,}"),
    ("gitlab-token", "glpat-", r"glpat-[A-Za-z0-9_-]{20,}"),
    ("slack-token", "xox", r"xox[abposr]-[A-Za-z0-9-]{10,}"),
    (
        "private-key",
        "-----BEGIN",
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    ),
)
"""The usual key formats: name, a fixed beginning (for a cheap first look), pattern."""


_MARKS = {"gh": "_", "github_pat_": "_", "xox": "-", "AIza": "AIza", "AKIA": "AKIA", "ASIA": "ASIA"}
"""What a key has by its beginning, where that is no hyphen; ordinary text seldom has hyphens or underscores."""

_BY_MARK = tuple(
    (mark, tuple(entry for entry in FORMATS if _MARKS.get(entry[1], "-") == mark))
    for mark in ("-", "_", "AIza", "AKIA", "ASIA")
)


def _redacted(text: str, values: Iterable[tuple[str, str]]) -> str:
    if len(text) < SHORTEST:
        return text
    for value, name in values:
        if value in text:
            text = text.replace(value, f"[redacted:{name}]")
    for mark, formats in _BY_MARK:
        if mark not in text:
            continue
        for name, start, pattern in formats:
            if start in text:
                text = re.sub(pattern, f"[redacted:{name}]", text)
    return text


def _found(text: str, values: Iterable[tuple[str, str]]) -> list[tuple[int, int, str]]:
    found = [
        (match.start(), match.end(), name)
        for name, start, pattern in FORMATS
        if start in text
        for match in re.finditer(pattern, text)
    ]
    for value, name in values:
        at = text.find(value)
        while at >= 0:
            found.append((at, at + len(value), name))
            at = text.find(value, at + 1)
    return sorted(found)


class Redactor:
    """Replaces known secret values and the usual key formats by ``[redacted:NAME]``."""

    __slots__ = ("_bytewise", "_values", "short")

    def __init__(self, secrets: Mapping[str, str]) -> None:
        usable = [(value, name) for name, value in secrets.items() if len(value) >= SHORTEST]
        self._values = sorted(usable, key=lambda pair: -len(pair[0]))
        self._bytewise = [
            (value.encode("utf-8", "surrogatepass").decode("latin-1"), name) for value, name in usable
        ]
        self.short = tuple(sorted(name for name, value in secrets.items() if 0 < len(value) < SHORTEST))

    def text(self, text: str) -> str:
        """The text without secrets; the same object when there is none."""
        return _redacted(text, self._values)

    def data(self, data: bytes) -> bytes:
        """The bytes without secrets, whatever else they are; the same object when there is none."""
        text = data.decode("latin-1")
        cleaned = _redacted(text, self._bytewise)
        return data if cleaned is text else cleaned.encode("latin-1", "replace")

    def find(self, text: str) -> Iterable[tuple[int, int, str]]:
        """Start, end and name of every secret in a text, in order."""
        return _found(text, self._values)

    def seam(self, data: bytes, at: int) -> int:
        """Where ``data`` may be cut so that no secret is in two: at ``at``, else before the secret that is there,
        or that begins before and has no end yet.

        What follows ``at`` by less than ``AROUND`` bytes has to be in ``data``, where anything follows.
        """
        around = max(AROUND, *(len(value) for value, _name in self._bytewise), 0)
        begin = max(0, at - around)
        text = data[begin : at + around].decode("latin-1")
        for start, end, _name in _found(text, self._bytewise)[::-1]:
            open_ended = (
                end == len(text) and text.startswith("-----BEGIN", start) and "-----END" not in text[start:]
            )
            if begin + start < at < begin + end + open_ended:
                at = begin + start
        return at

    def value(self, value: Any) -> Any:
        """A JSON-like value without secrets; the same object when there is none."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            changed = {
                self.text(key): new
                for key, item in value.items()
                if (new := self.value(item)) is not item or self.text(key) is not key
            }
            return {**{k: v for k, v in value.items() if self.text(k) is k}, **changed} if changed else value
        if isinstance(value, list | tuple):
            items = [self.value(item) for item in value]
            if all(new is old for new, old in zip(items, value, strict=True)):
                return value
            return type(value)(items)
        return value
