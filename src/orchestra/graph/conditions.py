"""Edge conditions as values, evaluated against an outcome and the context (L30 to L34)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from orchestra.graph.paths import descend, parts_of

Lookup: TypeAlias = Callable[[str], object]
"""Gives the value of a key as the condition writes it; ``""`` for a missing one."""

LONGEST_NUMBER = 300
"""Characters of a text that is still compared as a number."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
ACCELERATOR = re.compile(r"\[(\w+)\]\s*|(\w)\)\s*|(\w)\s+-\s+")
"""The key before a label: ``[K] Label``, ``K) Label``, ``K - Label``."""


def text_of(value: object) -> str:
    """Return how a value compares (L32): ``true``/``false``, ``""`` for nothing, lists and maps as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e16 else repr(value)
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str)
    return str(value)


def normalize_label(text: str) -> str:
    """Return a label as routing compares it: lower case, trimmed, without accelerator (rule 2)."""
    trimmed = text.strip()
    match = ACCELERATOR.match(trimmed)
    return (trimmed[match.end() :] or trimmed).lower() if match is not None else trimmed.lower()


def resolve(key: str, outcome: str, preferred_label: str, context: Mapping[str, object]) -> object:
    """The value of a condition's key, or of a part of one (L31); a missing one is ``""``."""
    if key == "outcome":
        return outcome
    if key == "preferred_label":
        return preferred_label
    for known, rest in parts_of(key):
        value = context.get(known)
        if value is not None:
            found = descend(rest, value)[1]
            return "" if found is None else found
    return ""


@dataclass(frozen=True, slots=True)
class Truth:
    """A bare key (L33)."""

    key: str


@dataclass(frozen=True, slots=True)
class Compare:
    """A key against a literal."""

    key: str
    op: str
    literal: str
    pattern: Any = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Not:
    """A negation."""

    inner: Expr


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds."""

    parts: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """At least one part holds."""

    parts: tuple[Expr, ...]


Expr: TypeAlias = Truth | Compare | Not | All | Some


@dataclass(frozen=True, slots=True)
class Condition:
    """A parsed condition; an empty one is falsy, its edge unconditional (L30)."""

    text: str
    expr: Expr | None
    keys: tuple[str, ...] = ()
    outcome_words: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.expr is not None

    def holds(self, lookup: Lookup) -> bool:
        """Whether it holds for the values that ``lookup`` gives."""
        return self.expr is None or _holds(self.expr, lookup)


UNCONDITIONAL = Condition("", None)


def clauses(expr: Expr | None) -> Iterator[Compare | Truth]:
    """The clauses of a condition."""
    match expr:
        case Compare() | Truth():
            yield expr
        case Not(inner):
            yield from clauses(inner)
        case All(parts) | Some(parts):
            for part in parts:
                yield from clauses(part)
        case None:
            return


def _holds(expr: Expr, lookup: Lookup) -> bool:
    match expr:
        case Truth(key):
            return text_of(lookup(key)) not in ("", "false", "0")
        case Compare():
            return _compare(expr, lookup(expr.key))
        case Not(inner):
            return not _holds(inner, lookup)
        case All(parts):
            return all(_holds(part, lookup) for part in parts)
        case Some(parts):
            return any(_holds(part, lookup) for part in parts)


def _compare(clause: Compare, value: object) -> bool:
    if clause.op == "contains":
        if isinstance(value, list | tuple):
            return any(text_of(item) == clause.literal for item in value)
        return clause.literal in text_of(value)
    if clause.op == "matches":
        return clause.pattern.search(encodable(text_of(value))) is not None
    if clause.op in ("=", "!="):
        return _same(clause.key, text_of(value), clause.literal) is (clause.op == "=")
    return _is_ordered(clause.op, as_number(value), as_number(clause.literal))


def _same(key: str, text: str, literal: str) -> bool:
    if key == "preferred_label":
        return normalize_label(text) == normalize_label(literal)
    return text == literal


def as_number(value: object) -> int | float | None:
    """Return a value as a number, else None; whole numbers stay exact."""
    if isinstance(value, int | float):
        return None if isinstance(value, bool) else value
    text = value.strip() if isinstance(value, str) and len(value) <= LONGEST_NUMBER else ""
    if not _NUMBER.fullmatch(text):
        return None
    return float(text) if any(c in text for c in ".eE") else int(text)


def _is_ordered(op: str, left: float | None, right: float | None) -> bool:
    if left is None or right is None:
        return False
    return {">": left > right, ">=": left >= right, "<": left < right, "<=": left <= right}[op]


def encodable(text: str) -> str:
    """The text as the pattern engine takes it: a lone surrogate, which is no character, becomes ``?``."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
