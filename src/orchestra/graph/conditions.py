"""Edge conditions: parsed once, evaluated against an outcome and the context (L30 to L34)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

from orchestra.errors import ConditionError
from orchestra.graph.paths import descend, parts_of
from orchestra.graph.tokens import unescape

Lookup: TypeAlias = Callable[[str], object]
"""Gives the value of a key as the condition writes it; ``""`` for a missing one."""

MAX_DEPTH = 50
"""Parentheses and negations inside one another."""

LONGEST_NUMBER = 300
"""Characters of a text that is still compared as a number."""

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>"[^"\\]*(?:\\[\s\S][^"\\]*)*")
    | (?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?![\w.:-]))
    | (?P<word>[A-Za-z_][A-Za-z0-9_.:-]*(?:\[[0-9]+\][A-Za-z0-9_.:-]*)*)
    | (?P<op>&&|\|\||===?|=~|=>|=<|<>|!=|>=|<=|[=><!()])
    | (?P<end>\Z)
    | (?P<quote>"[\s\S]*)
    | (?P<odd>[^\s"&|=<>!()]+|.)
    )""",
    re.VERBOSE | re.DOTALL,
)
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+|\[[0-9]+\])*")
_OPERATORS = frozenset(
    {("op", op) for op in ("=", "!=", ">", ">=", "<", "<=")} | {("word", "contains"), ("word", "matches")}
)
_MEANT = {"==": "=", "===": "=", "=~": "matches", "=>": ">=", "=<": "<=", "<>": "!="}
_WORDS = {"and": "&&", "or": "||", "not": "!", "is": "=", "eq": "=", "ne": "!=", "equals": "="}
_WORDS |= {"gt": ">", "lt": "<", "ge": ">=", "gte": ">=", "le": "<=", "lte": "<=", "like": "matches"}
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
        return clause.pattern.search(_encodable(text_of(value))) is not None
    if clause.op in ("=", "!="):
        return _same(clause.key, text_of(value), clause.literal) is (clause.op == "=")
    return _is_ordered(clause.op, _number(value), _number(clause.literal))


def _same(key: str, text: str, literal: str) -> bool:
    if key == "preferred_label":
        return normalize_label(text) == normalize_label(literal)
    return text == literal


def _number(value: object) -> int | float | None:
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


def _encodable(text: str) -> str:
    """The text as the pattern engine takes it: a lone surrogate, which is no character, becomes ``?``."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


@lru_cache(maxsize=4096)
def parse_condition(text: str) -> Condition:
    """Parse a condition; empty or blank text is ``UNCONDITIONAL``. Raises ``ConditionError``."""
    if not text.strip():
        return UNCONDITIONAL
    parser = _ConditionParser(text)
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


class _ConditionParser:
    """Recursive descent, bounded by ``MAX_DEPTH``; the current word is ``value``, of a ``kind``."""

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
        if self.kind == "quote":
            raise self.error("this quote is never closed", fix='end the text with \\"', end=self.start + 1)
        if self.kind == "op" and self.value in _MEANT:
            raise self.error(
                f"{self.value!r} is not an operator", fix=f"write {_MEANT[self.value]}", put=_MEANT[self.value]
            )

    def is_op(self, op: str) -> bool:
        return self.kind == "op" and self.value == op

    def show(self) -> str:
        if self.kind == "end":
            return "the end"
        return repr(self.value if len(self.value) <= 30 else self.value[:29] + "…")

    def error(
        self, message: str, *, fix: str = "", end: int | None = None, put: str | None = None
    ) -> ConditionError:
        stop = max(self.end, self.start + 1) if end is None else end
        return ConditionError(message, start=self.start, end=stop, fix=fix, put=put)

    def disjunction(self, depth: int) -> Expr:
        parts = [self.conjunction(depth)]
        while self.is_op("||"):
            self.advance()
            parts.append(self.conjunction(depth))
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def conjunction(self, depth: int) -> Expr:
        parts = [self.unary(depth)]
        while self.is_op("&&"):
            self.advance()
            parts.append(self.unary(depth))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def unary(self, depth: int) -> Expr:
        if depth > MAX_DEPTH:
            raise self.error(f"nested more than {MAX_DEPTH} levels deep", fix="use fewer parentheses")
        if self.is_op("!"):
            self.advance()
            return Not(self.unary(depth + 1))
        if not self.is_op("("):
            return self.clause()
        opened = self.start
        self.advance()
        inner = self.disjunction(depth + 1)
        if self.kind == "end":
            raise ConditionError(
                "this parenthesis is never closed", start=opened, end=opened + 1, fix="end it with )"
            )
        if not self.is_op(")"):
            raise self.unexpected_error()
        self.advance()
        return inner

    def clause(self) -> Expr:
        begin = self.start
        key = self.key()
        self.refuse_negation(key, begin)
        if self.kind == "word" and self.value in ("contains", "matches"):
            pass
        elif (self.kind, self.value) not in _OPERATORS:
            return Truth(key)
        op = self.value
        self.advance()
        return self.literal(key, op)

    def refuse_negation(self, key: str, begin: int) -> None:
        """Refuse ``key !contains value`` and ``key not contains value``: a negation stands before the clause."""
        if not (self.is_op("!") or (self.kind == "word" and self.value == "not")):
            return
        match = re.compile(r"\s*(contains|matches)\b").match(self.text, self.end)
        if match is not None:
            put = f"!{key}" if match[0][0].isspace() else f"!{key} "
            raise ConditionError(
                f"{self.value!r} cannot stand before {match[1]!r}: it stands before the whole clause",
                start=begin,
                end=self.end,
                fix=f"write !{key} {match[1]} …",
                put=put,
            )

    def key(self) -> str:
        key = self.value
        if self.kind == "word" and _KEY.fullmatch(key):
            start, end = self.start, self.end
            self.advance()
            if key == "not" and self.kind == "word":
                raise ConditionError("'not' is not an operator", start=start, end=end, fix="write !", put="!")
            return key
        if self.kind == "word":
            name, colon, value = self.value.partition(":")
            put = f"{name}={value}" if colon and value and _KEY.fullmatch(name) else None
            raise self.error(
                f"a key consists of letters, digits, - and _, separated by single dots, not {self.show()}",
                fix=f"write {put}" if put else "",
                put=put,
            )
        raise self.error(f"expected a key such as outcome or context.name, not {self.show()}", fix=self.instead())

    def instead(self) -> str:
        """Return what to write for something in the place of a key."""
        if self.value.startswith("'"):
            return "write keys without quotes"
        if self.value.startswith("$"):
            return f"write {self.value.lstrip('${').rstrip('}')} or context.NAME"
        return {"&": "write && for and", "|": "write || for or", "string": "write keys without quotes"}.get(
            self.kind if self.kind == "string" else self.value, ""
        )

    def literal(self, key: str, op: str) -> Expr:
        if self.kind == "odd":
            inner = self.value.strip("'")
            whole = inner if self.value == f"'{inner}'" or "'" not in self.value else None
            put = None if whole is None else f'"{whole}"'
            raise self.error(f"{self.show()} must be quoted", fix=f'write \\"{inner[:40]}\\"', put=put)
        if self.kind not in ("string", "number", "word"):
            fix = (
                f"write {op} once"
                if self.is_op("=")
                else ""
                if self.is_op("(")
                else 'write \\"\\" for an empty text'
            )
            raise self.error(f"expected a value after {key} {op}, not {self.show()}", fix=fix)
        value = self.value
        if self.kind == "string":
            value = unescape(value[1:-1])
        elif self.kind == "number":
            value = value.removeprefix("+")
        pattern = self.compile_pattern(value) if op == "matches" else None
        self.advance()
        return Compare(key, op, value, pattern)

    def compile_pattern(self, pattern: str) -> Any:
        import re2  # a linear-time engine, so that no pattern can hang a run (L34)

        options = re2.Options()
        options.log_errors = False
        try:
            return re2.compile(_encodable(pattern), options=options)
        except re2.error as error:
            reason = error.args[0] if error.args else error
            reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
            fix = "look-around is not supported" if "(?" in reason else ""
            raise self.error(f"not a regular expression: {reason}", fix=fix) from error

    def expect_end(self) -> None:
        if self.kind != "end":
            raise self.unexpected_error()

    def unexpected_error(self) -> ConditionError:
        """Return the error for something in the place of an operator or the end."""
        if self.is_op(")"):
            return self.error("unmatched ')'", fix="remove it", put="")
        if self.kind in ("odd", "op") and self.value in ("&", "|"):
            put = self.value * 2
            return self.error(f"a single {self.value!r} is not an operator", fix=f"write {put}", put=put)
        if self.kind == "word" and self.value.lower() in _WORDS:
            put = _WORDS[self.value.lower()]
            return self.error(f"{self.value!r} is not an operator", fix=f"write {put}", put=put)
        if self.kind == "odd" and self.value in (",", ";"):
            message = f"{self.value!r} does not join clauses"
            if not self.text[self.end :].strip():
                return self.error(message, fix="remove it", put="")
            return self.error(message, fix="write && for and, || for or", put=" &&")
        if self.kind == "word":
            return self.error(
                f"{self.show()} is unexpected here",
                fix='join clauses with && or ||; put a text of several words in \\"quotes\\"',
            )
        if self.value.startswith("[") and self.text[self.start - 1 : self.start].isalnum():
            return self.error("an index must be a number", fix="write a dot before a name: context.NAME")
        return self.error(f"{self.show()} is unexpected here", fix="join clauses with && or ||")
