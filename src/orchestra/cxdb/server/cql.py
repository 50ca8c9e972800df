"""CXDB's query language: parse a query, find its contexts. Nesting is bounded.

A search sees every context that has a turn, as it stands now, forks included.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias

from orchestra.cxdb.format.metadata import provenance_of
from orchestra.cxdb.server.core import Core
from orchestra.cxdb.server.meters import now_ms
from orchestra.ports.store import ContextRow

DEEPEST = 64
"""How deeply parentheses may be nested."""

_FIELDS = "id tag title label user service host trace_id parent root created depth is_live".split()
_OPERATORS = {
    "=": "Eq", "!=": "Neq", "^=": "Starts", "~=": "EqCi", "^~=": "StartsCi",
    ">": "Gt", ">=": "Gte", "<": "Lt", "<=": "Lte", "IN": "In",
}  # fmt: skip
_FROM_PROVENANCE = {
    "user": "on_behalf_of",
    "service": "service_name",
    "host": "host_name",
    "trace_id": "trace_id",
    "parent": "parent_context_id",
    "root": "root_context_id",
}
_TEXTS = {"tag", "title", "user", "service", "host"}
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|(?P<number>-?\d+(?:\.\d*)?)"""
    r"""|(?P<word>[^\W\d]\w*)|(?P<sign>\^~=|\^=|~=|!=|>=|<=|[=<>(),])|(?P<end>\Z))""",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_RELATIVE = re.compile(r"-(\d+)([hdm])", re.ASCII)
_UNITS = {"h": 3_600_000, "d": 86_400_000, "m": 60_000}

Value: TypeAlias = "str | float | tuple[str | float, ...]"


class Position(NamedTuple):
    """Where in the text: line and column from 1, offset in bytes."""

    line: int
    column: int
    offset: int


class CqlError(Exception):
    """A query that cannot be answered."""

    def __init__(self, kind: str, text: str, position: Position | None = None, field: str | None = None) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text
        self.position = position
        self.field = field

    def as_json(self) -> dict[str, object]:
        """The error as the route tells it."""
        position = None if self.position is None else self.position._asdict()
        return {"error": self.text, "error_type": self.kind, "position": position, "field": self.field}


@dataclass(frozen=True, slots=True)
class Both:
    """All of the parts."""

    parts: tuple[Query, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """Any of the parts."""

    parts: tuple[Query, ...]


@dataclass(frozen=True, slots=True)
class Without:
    """All contexts but these."""

    part: Query


@dataclass(frozen=True, slots=True)
class Comparison:
    """One field against a value; the operator goes by CXDB's name for it."""

    field: str
    operator: str
    value: Value


Query: TypeAlias = Both | Either | Without | Comparison


class _QueryToken(NamedTuple):
    kind: str
    text: str
    at: int


def _tokens(text: str) -> list[_QueryToken]:
    found: list[_QueryToken] = []
    at = 0
    while not found or found[-1].kind != "end":
        match = _TOKEN.match(text, at)
        if match is None:
            raise _unreadable(text, at)
        kind = match.lastgroup or ""
        found.append(_QueryToken(kind, match[kind], match.start(kind)))
        at = match.end()
    return found


def _unreadable(text: str, at: int) -> CqlError:
    rest = text[at:]
    at += len(rest) - len(rest.lstrip())
    position = _position(text, at)
    where = f"at line {position.line}, column {position.column}"
    if text[at] in "\"'":
        return CqlError("SyntaxError", f"Unterminated string starting {where}", position)
    if text[at] in "!^~":
        sign = "^~" if text.startswith("^~", at) else text[at]
        wanted = "'=' or '~='" if sign == "^" else "'='"
        return CqlError("SyntaxError", f"Expected {wanted} after '{sign}' {where}", position)
    return CqlError("SyntaxError", f"Unexpected character '{text[at]}' {where}", position)


def _position(text: str, at: int) -> Position:
    before = text[:at]
    start = before.rfind("\n") + 1
    return Position(before.count("\n") + 1, at - start + 1, len(before.encode("utf-8", "replace")))


def parse(text: str) -> Query:
    """The tree of a query. Raises ``CqlError``."""
    return _CqlParser(text).query()


class _CqlParser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._at = 0

    def query(self) -> Query:
        if self._now.kind == "end":
            raise self._wrong("Empty query")
        found = self._either(0)
        if self._now.kind != "end":
            raise self._wrong("Unexpected token after expression")
        return found

    @property
    def _now(self) -> _QueryToken:
        return self._tokens[self._at]

    def _wrong(self, text: str) -> CqlError:
        return CqlError("SyntaxError", text, _position(self._text, self._now.at))

    def _take(self, *, word: str = "", sign: str = "") -> bool:
        now = self._now
        found = now.kind == "word" and now.text.upper() == word if word else (now.kind, now.text) == ("sign", sign)
        self._at += found
        return found

    def _either(self, depth: int) -> Query:
        parts = [self._both(depth)]
        while self._take(word="OR"):
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _both(self, depth: int) -> Query:
        parts = [self._unary(depth)]
        while self._take(word="AND"):
            parts.append(self._unary(depth))
        return parts[0] if len(parts) == 1 else Both(tuple(parts))

    def _unary(self, depth: int) -> Query:
        if self._take(word="NOT"):
            return Without(self._primary(depth))
        return self._primary(depth)

    def _primary(self, depth: int) -> Query:
        if not self._take(sign="("):
            return self._comparison()
        if depth >= DEEPEST:
            raise self._wrong(f"Parentheses are nested more than {DEEPEST} deep")
        found = self._either(depth + 1)
        if not self._take(sign=")"):
            raise self._wrong("Expected ')' after expression")
        return found

    def _comparison(self) -> Query:
        field = self._now
        if field.kind != "word" or field.text.upper() in ("AND", "OR", "NOT", "IN"):
            raise self._wrong("Expected field name")
        if field.text not in _FIELDS:
            known = f"Unknown field '{field.text}'. Valid fields: {', '.join(_FIELDS)}"
            raise CqlError("UnknownField", known, _position(self._text, field.at), field.text)
        self._at += 1
        operator = _OPERATORS.get(self._now.text.upper()) if self._now.kind in ("sign", "word") else None
        if operator is None:
            raise self._wrong("Expected operator")
        self._at += 1
        return Comparison(field.text, operator, self._list() if operator == "In" else self._value())

    def _value(self) -> str | float:
        kind, text, _ = self._now
        if kind == "number":
            self._at += 1
            return float(text)
        if kind == "text":
            self._at += 1
            return _ESCAPE.sub(lambda match: _ESCAPES.get(match[1], match[1]), text[1:-1])
        if kind == "word" and text.lower() in ("true", "false"):
            self._at += 1
            return text.lower()
        raise self._wrong("Expected value")

    def _list(self) -> tuple[str | float, ...]:
        if not self._take(sign="("):
            raise self._wrong("Expected '(' after IN")
        values = [self._value()]
        while self._take(sign=","):
            values.append(self._value())
        if not self._take(sign=")"):
            raise self._wrong("Expected ')' after list values")
        return tuple(values)


@dataclass(frozen=True, slots=True)
class _Known:
    """What is searched: the rows, what each says of each field, and which contexts are live."""

    rows: Mapping[int, ContextRow]
    facts: Mapping[int, Mapping[str, object]]
    live: set[int]


async def search(core: Core, query: Query) -> tuple[list[ContextRow], int]:
    """Return the contexts that a query finds, by descending id, and the milliseconds it took.

    Raises ``CqlError``.
    """
    began = time.monotonic()
    rows = {row.context_id: row for row in await core.store.contexts()}
    wanted = bool(_fields(query) & _FROM_PROVENANCE.keys())
    facts = {row.context_id: await _facts(core, row, provenance=wanted) for row in rows.values() if row.head_turn}
    found = _find(query, _Known(rows, facts, core.sessions.live()))
    ordered = [rows[context_id] for context_id in sorted(found, reverse=True) if context_id in rows]
    return ordered, int((time.monotonic() - began) * 1000)


def _fields(query: Query) -> set[str]:
    match query:
        case Comparison(field):
            return {field}
        case Without(part):
            return _fields(part)
        case Both(parts) | Either(parts):
            return set().union(*map(_fields, parts))


async def _facts(core: Core, row: ContextRow, *, provenance: bool) -> Mapping[str, object]:
    facts: dict[str, object] = {
        "id": row.context_id,
        "tag": row.client_tag or None,
        "title": row.title or None,
        "label": row.labels,
        "created": row.appended_ms,
        "depth": row.head_depth,
    }
    if provenance:
        first = await core.store.first_turn(row.head_turn)
        told = provenance_of(first.payload) or {}
        facts |= {field: told.get(name) for field, name in _FROM_PROVENANCE.items()}
    return facts


def _find(query: Query, known: _Known) -> set[int]:
    match query:
        case Both(parts):
            return set.intersection(*[_find(part, known) for part in parts])
        case Either(parts):
            return set().union(*[_find(part, known) for part in parts])
        case Without(part):
            return set(known.facts) - _find(part, known)
        case Comparison(field, operator, value):
            return _compare(field, operator, value, known)


def _compare(field: str, operator: str, value: Value, known: _Known) -> set[int]:
    if field == "is_live":
        return _live(operator, value, known)
    if operator == "Neq":
        return set(known.facts) - _compare(field, "Eq", value, known)
    if field in ("created", "depth"):
        bound = _moment(value) if field == "created" else _whole(value, field)
        test = _ORDER.get(operator)
        if test is None:
            raise _unsupported_operator(operator, field)
        return {key for key, facts in known.facts.items() if test(_number(facts[field]), bound)}
    values = _values(operator, value, field)
    if operator in ("Eq", "In"):
        return {key for key, facts in known.facts.items() if _has(facts[field], values)}
    return _alike(field, operator, values, known)


_ORDER = {
    "Eq": lambda a, b: a == b,
    "Gt": lambda a, b: a > b,
    "Gte": lambda a, b: a >= b,
    "Lt": lambda a, b: a < b,
    "Lte": lambda a, b: a <= b,
}


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _has(fact: object, values: set[object]) -> bool:
    return any(label in values for label in fact) if isinstance(fact, tuple) else fact in values


def _alike(field: str, operator: str, values: set[object], known: _Known) -> set[int]:
    wanted = str(next(iter(values)))
    fold = operator.endswith("Ci") and field != "host"
    wanted = wanted.lower() if fold else wanted
    found = set()
    for key, facts in known.facts.items():
        fact = facts[field]
        if isinstance(fact, str):
            fact = fact.lower() if fold else fact
            if fact.startswith(wanted) if operator.startswith("Starts") else fact == wanted:
                found.add(key)
    return found


def _values(operator: str, value: Value, field: str) -> set[object]:
    """What a field is compared with, checked for its kind."""
    numbers = field in ("id", "parent", "root")
    allowed = {"Eq", "In"} if field != "trace_id" else {"Eq"}
    if field in _TEXTS:
        allowed |= {"Starts", "EqCi", "StartsCi"}
    if operator not in allowed:
        raise _unsupported_operator(operator, field)
    if isinstance(value, tuple):
        return {_cast(item) if numbers else item for item in value if isinstance(item, float) == numbers}
    if numbers:
        return {_whole(value, field)}
    if not isinstance(value, str):
        raise CqlError("InvalidValue", "Expected string value")
    return {value}


def _unsupported_operator(operator: str, field: str) -> CqlError:
    what = "string fields" if field in _TEXTS else f"{field} field"
    return CqlError("InvalidOperator", f"Operator {operator} not supported for {what}")


def _whole(value: Value, field: str) -> int:
    if not isinstance(value, float):
        raise CqlError("InvalidValue", f"Expected numeric value for {field}")
    return _cast(value)


def _cast(value: str | float) -> int:
    return max(0, int(value)) if isinstance(value, float) and value < 1e300 else 0


def _moment(value: Value) -> int:
    if isinstance(value, float):
        return _cast(value)
    if not isinstance(value, str):
        raise CqlError("InvalidValue", "Expected date value")
    relative = _RELATIVE.fullmatch(value)
    if relative:
        span = int(relative[1]) * _UNITS[relative[2]] if len(relative[1]) <= 20 else 1 << 64
        if span >= 1 << 64:  # more milliseconds than a u64 holds
            raise CqlError("InvalidValue", f"Invalid number in relative date: {value}")
        return max(0, now_ms() - span)
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise CqlError("InvalidValue", f"Invalid date format: {value}") from None
    if at.tzinfo is None:
        if len(value) != len("2026-01-01"):
            raise CqlError("InvalidValue", f"Invalid date format: {value}")
        at = at.replace(tzinfo=UTC)
    return max(0, int(at.timestamp() * 1000))


def _live(operator: str, value: Value, known: _Known) -> set[int]:
    if not isinstance(value, str):
        raise CqlError("InvalidValue", "Expected boolean value for is_live")
    if operator != "Eq":
        raise _unsupported_operator(operator, "is_live")
    return set(known.live) if value == "true" else set(known.facts) - known.live
