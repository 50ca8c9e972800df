"""The formats of common providers' keys, by which unnamed secrets are found (S18)."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator
from typing import NamedTuple

_LEFT = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt])|(?<=%[0-9A-Fa-f]{2}))"
"""What stands before a key: no letter or digit, other than those of an escape such as ``\\n`` or ``%3D``."""


def _has_run(tail: str) -> bool:
    """Whether a text has a run of 12 letters and digits or more with a digit in it: words seldom do."""
    return any(re.search("[0-9]", run) is not None for run in re.findall("[A-Za-z0-9]{12,}", tail))


def _is_random(tail: str) -> bool:
    """Whether letters and digits are mixed as in a key, not as in words, dates, version numbers and UUIDs."""
    if _UUID.fullmatch(tail):
        return False
    pieces = re.split("[^A-Za-z0-9]+", tail)
    long = (piece for piece in pieces if len(piece) >= 16)
    return _is_mixed(pieces) or any((len(piece) >= 32 and _has_run(piece)) or _is_mixed([piece]) for piece in long)


def _is_mixed(pieces: list[str]) -> bool:
    """Whether at least a quarter of neighbouring characters, and six pairs, are of different kinds.

    A capital and the small letter after it count as one kind, so that names of any style are words.
    """
    pairs = sum(max(len(piece) - 1, 0) for piece in pieces)
    breaks = sum(len(_BREAK.findall(piece)) for piece in pieces)
    return breaks >= 6 and 4 * breaks >= pairs


_UUID = re.compile("[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_BREAK = re.compile("(?<=[a-z])(?=[A-Z])|(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])")


def _is_no_word(tail: str) -> bool:
    """Whether kinds of characters change inside its pieces at least twice."""
    return len(_BREAK.findall(tail)) >= 2


def _has_digits(tail: str) -> bool:
    """Whether a text has six digits or more."""
    return len(re.findall("[0-9]", tail)) >= 6


class Format(NamedTuple):
    """The format of one kind of key.

    Its name in ``[redacted:NAME]``, a fixed beginning for a cheap search, the pattern, and a further condition on
    what follows the beginning; None if the pattern is enough.
    """

    name: str
    start: str
    pattern: str
    judge: Callable[[str], bool] | None = None

    def matches(self, text: str) -> Iterator[re.Match[str]]:
        """Every key of this kind in a text."""
        for match in re.finditer(self.pattern, text):
            if self.judge is None or self.judge(match[0][len(self.start) :]):
                yield match

    def redact(self, text: str, ignored: Container[str] = ()) -> str:
        """The text with every key of this kind replaced but those ignored; the same object when there is none."""

        def instead(match: re.Match[str]) -> str:
            judged = match[0] not in ignored and (self.judge is None or self.judge(match[0][len(self.start) :]))
            return f"[redacted:{self.name}]" if judged else match[0]

        changed = re.sub(self.pattern, instead, text)
        return text if changed == text else changed


FORMATS = (
    Format("anthropic-key", "sk-ant-", _LEFT + r"sk-ant-[A-Za-z0-9_-]{16,}", _has_run),
    Format("openrouter-key", "sk-or-", _LEFT + r"sk-or-[A-Za-z0-9_-]{16,}", _has_run),
    Format("openai-key", "sk-", _LEFT + r"sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{20,}", _has_run),
    Format("openai-key", "sk-", _LEFT + r"sk-[A-Za-z0-9_-]{20,}", _is_random),
    Format("google-key", "AIza", r"(?<![A-Za-z0-9_-])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    Format("aws-key", "AKIA", r"(?<![A-Za-z0-9+/])AKIA[A-Z0-9]{16}(?![A-Za-z0-9+/])"),
    Format("aws-key", "ASIA", r"(?<![A-Za-z0-9+/])ASIA[A-Z0-9]{16}(?![A-Za-z0-9+/])"),
    Format("github-token", "gh", _LEFT + r"gh[pousr]_[A-Za-z0-9]{36,}", _has_run),
    Format("github-token", "github_pat_", _LEFT + r"github_pat_[A-Za-z0-9_]{22,}", _has_run),
    Format("gitlab-token", "glpat-", _LEFT + r"glpat-[A-Za-z0-9_-]{20,}", _is_no_word),
    Format("slack-token", "xox", _LEFT + r"xox[abposr]-[A-Za-z0-9-]{10,}", _has_digits),
    Format(
        "private-key",
        "-----BEGIN",
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    ),
)
"""The usual key formats. Each has boundaries and, where ordinary names look alike, a judge (S18)."""


_MARKS = {"gh": "_", "github_pat_": "_", "xox": "-", "AIza": "AIza", "AKIA": "AKIA", "ASIA": "ASIA"}
"""What a key has by its beginning, where that is no hyphen; ordinary text seldom has hyphens or underscores."""

BY_MARK = tuple(
    (mark, tuple(entry for entry in FORMATS if _MARKS.get(entry.start, "-") == mark))
    for mark in ("-", "_", "AIza", "AKIA", "ASIA")
)
"""The formats by their marks: a text without a mark need not be searched for its formats."""
