"""Edge conditions: parsed once, evaluated against an outcome and the context (language.md 5, L30 to L34)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

from orchestra.errors import ConditionError

Lookup: TypeAlias = Callable[[str], object]
"""Gives the value of a key as the condition writes it; ``""`` for a missing one."""

MAX_DEPTH = 50
"""Parentheses and negations inside one another."""

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>"(?:[^"\\]|\\.)*")
    | (?P<number>[+-]?(?:\d+\.\d*|\.\d+|\d+)(?![\w.]))
    | (?P<word>[A-Za-z_][A-Za-z0-9_.-]*)
    | (?P<op>&&|\|\||==|!=|>=|<=|[=><!()])
    | (?P<end>$)
    | (?P<bad>.)
    )""",
    re.VERBOSE | re.DOTALL,
)
_OPERATORS = frozenset(
    {("op", op) for op in ("=", "!=", ">", ">=", "<", "<=")} | {("word", "contains"), ("word", "matches")}
)
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)")
_ACCELERATOR = re.compile(r"^(?:\[\w+\]\s*|\w\)\s*|\w\s+-\s+)")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


# --- values --------------------------------------------------------------------------------------


def text_of(value: object) -> str:
    """How a value compares (L32): booleans as ``true``/``false``, nothing as ``""``, lists and maps as JSON."""
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
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str)


def normalize_label(text: str) -> str:
    """A label as routing compares it: lower-cased, trimmed, its accelerator stripped (engine.md 3, rule 2)."""
    trimmed = text.strip()
    return _ACCELERATOR.sub("", trimmed).strip().lower() or trimmed.lower()


def resolve(key: str, outcome: str, preferred_label: str, context: Mapping[str, object]) -> object:
    """The value of a condition's key (L31); a missing one is ``""``."""
    if key == "outcome":
        return outcome
    if key == "preferred_label":
        return preferred_label
    value = context.get(key)
    if value is None and key.startswith("context."):
        value = context.get(key[8:])
    return "" if value is None else value


# --- the tree ------------------------------------------------------------------------------------


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
    """A parsed condition. It is falsy where there is none: such an edge is unconditional (L30)."""

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
    text = text_of(value)
    if clause.op == "matches":
        return clause.pattern.search(text) is not None
    if clause.op in ("=", "!="):
        same = _same(clause.key, text, clause.literal)
        return same if clause.op == "=" else not same
    return _ordered(clause.op, text, clause.literal)


def _same(key: str, text: str, literal: str) -> bool:
    if key == "preferred_label":
        return normalize_label(text) == normalize_label(literal)
    return text == literal


def _ordered(op: str, left: str, right: str) -> bool:
    if not (_NUMBER.fullmatch(left.strip()) and _NUMBER.fullmatch(right.strip())):
        return False
    a, b = float(left), float(right)
    return {">": a > b, ">=": a >= b, "<": a < b, "<=": a <= b}[op]


# --- the parser ----------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def parse_condition(text: str) -> Condition:
    """Parse a condition; empty or blank text is ``UNCONDITIONAL``. Raises ``ConditionError``."""
    if not text.strip():
        return UNCONDITIONAL
    parser = _Parser(text)
    expr = parser.disjunction(0)
    parser.expect_end()
    keys: dict[str, None] = {}
    words: dict[str, None] = {}
    _collect(expr, keys, words)
    return Condition(text, expr, tuple(keys), tuple(words))


def _collect(expr: Expr, keys: dict[str, None], words: dict[str, None]) -> None:
    match expr:
        case Truth(key):
            keys[key] = None
        case Compare(key, op, literal):
            keys[key] = None
            if key == "outcome" and op in ("=", "!="):
                words[literal] = None
        case Not(inner):
            _collect(inner, keys, words)
        case All(parts) | Some(parts):
            for part in parts:
                _collect(part, keys, words)


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.kind = ""
        self.value = ""
        self.start = self.end = 0
        self.advance()

    def advance(self) -> None:
        match = _TOKEN.match(self.text, self.end)
        assert match is not None
        assert match.lastgroup is not None
        self.kind, self.value = match.lastgroup, match[match.lastgroup]
        self.start, self.end = match.span(self.kind)
        if self.kind == "bad":
            raise self.stray()

    def stray(self) -> ConditionError:
        if self.value == '"':
            return self.error("this quote is never closed", end=len(self.text))
        if self.value == "&":
            return self.error("a single '&' is no operator", fix="write && for and")
        if self.value == "|":
            return self.error("a single '|' is no operator", fix="write || for or")
        if self.value == "'":
            return self.error("single quotes are not read here", fix='use double quotes: \\"…\\"')
        return self.error(f"{self.value!r} cannot stand in a condition")

    def error(self, message: str, *, fix: str = "", end: int | None = None) -> ConditionError:
        stop = max(self.end, self.start + 1) if end is None else end
        return ConditionError(message, start=self.start, end=stop, fix=fix)

    def disjunction(self, depth: int) -> Expr:
        parts = [self.conjunction(depth)]
        while self.kind == "op" and self.value == "||":
            self.advance()
            parts.append(self.conjunction(depth))
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def conjunction(self, depth: int) -> Expr:
        parts = [self.unary(depth)]
        while self.kind == "op" and self.value == "&&":
            self.advance()
            parts.append(self.unary(depth))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def unary(self, depth: int) -> Expr:
        if depth > MAX_DEPTH:
            raise self.error(f"nested more than {MAX_DEPTH} deep")
        if self.kind == "op" and self.value == "!":
            self.advance()
            return Not(self.unary(depth + 1))
        if self.kind == "op" and self.value == "(":
            opened = self.start
            self.advance()
            inner = self.disjunction(depth + 1)
            if self.value != ")" or self.kind != "op":
                raise ConditionError("this parenthesis is never closed", start=opened, end=opened + 1)
            self.advance()
            return inner
        return self.clause()

    def clause(self) -> Expr:
        if self.kind != "word":
            found = "the end" if self.kind == "end" else repr(self.value)
            raise self.error(f"a key such as outcome or context.name is wanted here, not {found}")
        key = self.value
        self.advance()
        if self.kind == "op" and self.value == "==":
            raise self.error("'==' is no operator", fix="write = for equality")
        if (self.kind, self.value) in _OPERATORS:
            op = self.value
        else:
            return Truth(key)
        self.advance()
        return self.literal(key, op)

    def literal(self, key: str, op: str) -> Expr:
        if self.kind not in ("string", "number", "word"):
            found = "the end" if self.kind == "end" else repr(self.value)
            raise self.error(f"a value is wanted after {key} {op}, not {found}")
        value = self.value
        if self.kind == "string":
            value = _ESCAPE.sub(r"\1", value[1:-1])
        elif self.kind == "number" and value.startswith("+"):
            value = value[1:]
        pattern = self.compiled(value) if op == "matches" else None
        self.advance()
        return Compare(key, op, value, pattern)

    def compiled(self, pattern: str) -> Any:
        import re2  # a linear-time engine, so that no pattern can hang a run (L34)

        options = re2.Options()
        options.log_errors = False
        try:
            return re2.compile(pattern, options=options)
        except re2.error as error:
            raise self.error(f"not a regular expression: {error}") from error

    def expect_end(self) -> None:
        if self.kind == "end":
            return
        if self.kind == "word" and self.value.lower() in ("and", "or"):
            raise self.error(
                f"{self.value!r} is no operator", fix=f"write {'&&' if self.value.lower() == 'and' else '||'}"
            )
        raise self.error(f"{self.value!r} is not expected here", fix="join clauses with && or ||")
