"""Whether a condition can hold at all, and whether it says something twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf

from orchestra.graph.conditions import All, Compare, Expr, Not, Some, Truth, as_number, normalize_label
from orchestra.graph.lint.survey import quote

_FALSE = frozenset({"", "false", "0"})
_ORDERS = frozenset({">", ">=", "<", "<="})


def contradiction(expr: Expr) -> str:
    """Why a condition can never hold; empty where it may."""
    if isinstance(expr, Some):
        reasons = [contradiction(part) for part in expr.parts]
        return reasons[0] if all(reasons) else ""
    parts = list(_flat(expr))
    for part in parts:
        reason = contradiction(part) if isinstance(part, Some) else ""
        if reason:
            return reason
    return _clash(parts)


def repeated_clause(expr: Expr) -> str:
    """Return a clause that a condition says twice, else an empty text."""
    if isinstance(expr, Not):
        return repeated_clause(expr.inner)
    if not isinstance(expr, (All, Some)):
        return ""
    seen: set[Expr] = set()
    for part in expr.parts:
        if part in seen:
            return write(part)
        seen.add(part)
    return next((found for part in expr.parts if (found := repeated_clause(part))), "")


def write(expr: Expr) -> str:
    """An expression as one would write it."""
    match expr:
        case Truth(key):
            return key
        case Compare(key, op, literal):
            return f"{key}{op}{literal}" if op in {"=", "!="} else f"{key} {op} {literal}"
        case Not(inner):
            return f"!({write(inner)})" if isinstance(inner, (All, Some)) else f"!{write(inner)}"
        case All(parts):
            return " && ".join(f"({write(p)})" if isinstance(p, Some) else write(p) for p in parts)
        case Some(parts):
            return " || ".join(write(part) for part in parts)


def _flat(expr: Expr) -> Iterator[Expr]:
    """The parts that must all hold."""
    if isinstance(expr, All):
        for part in expr.parts:
            yield from _flat(part)
    elif isinstance(expr, Not) and isinstance(expr.inner, Not):
        yield from _flat(expr.inner.inner)
    elif isinstance(expr, Not) and isinstance(expr.inner, Compare) and expr.inner.op in {"=", "!="}:
        inner = expr.inner
        yield Compare(inner.key, "!=" if inner.op == "=" else "=", inner.literal)
    else:
        yield expr


def _clash(parts: Iterable[Expr]) -> str:
    demands: dict[str, _Demand] = {}
    for part in parts:
        match part:
            case Truth(key):
                reason = demands.setdefault(key, _Demand(key)).true(key)
            case Not(Truth(key)):
                reason = demands.setdefault(key, _Demand(key)).false(key)
            case Compare(key, op, literal):
                reason = demands.setdefault(key, _Demand(key)).compare(op, literal, write(part))
            case _:
                continue
        if reason:
            return reason
    return ""


class _Demand:
    """What the clauses so far want of one key; each new one is tried against them."""

    __slots__ = ("equal", "high", "is_true", "key", "low", "other", "said")

    def __init__(self, key: str) -> None:
        self.key = key
        self.equal: str | None = None
        self.other: set[str] = set()
        self.is_true: bool | None = None
        # the bounds as numbers, and whether the bound itself is left out
        self.low: tuple[float, bool] = (-inf, False)
        self.high: tuple[float, bool] = (inf, False)
        self.said: dict[str, str] = {}

    def true(self, clause: str) -> str:
        self.said["true"] = clause
        if self.is_true is False:
            return f"{clause} and !{clause} exclude each other"
        self.is_true = True
        return self._check()

    def false(self, clause: str) -> str:
        self.said["true"] = f"!{clause}"
        if self.is_true is True:
            return f"{clause} and !{clause} exclude each other"
        self.is_true = False
        return self._check()

    def compare(self, op: str, literal: str, clause: str) -> str:
        value = normalize_label(literal) if self.key == "preferred_label" else literal
        if op == "=":
            if self.equal is not None and self.equal != value:
                return f"{self.said['=']} and {clause} exclude each other"
            self.equal = value
            self.said["="] = clause
        elif op == "!=":
            self.other.add(value)
            self.said[f"!={value}"] = clause
        elif op in _ORDERS:
            number = as_number(literal)
            if number is None:
                return f"{quote(literal)} in {clause} is not a number"
            self._add_bound(op, number, clause)
        return self._check()

    def _add_bound(self, op: str, number: float, clause: str) -> None:
        open_end = op in {">", "<"}
        if op[0] == ">" and (number, open_end) > self.low:
            self.low = (number, open_end)
            self.said["low"] = clause
        elif op[0] == "<" and (number, not open_end) < (self.high[0], not self.high[1]):
            self.high = (number, open_end)
            self.said["high"] = clause

    def _check(self) -> str:
        if self.low[0] > self.high[0] or (self.low[0] == self.high[0] and (self.low[1] or self.high[1])):
            return f"{self.said['low']} and {self.said['high']} exclude each other"
        if self.equal is None:
            return ""
        against = self._against(self.equal)
        return f"{self.said['=']} and {against} exclude each other" if against else ""

    def _against(self, value: str) -> str:
        """The clause that a value does not meet."""
        if value in self.other:
            return self.said[f"!={value}"]
        if self.is_true is not None and self.is_true is (value in _FALSE):
            return self.said["true"]
        number = as_number(value)
        if "low" in self.said and (number is None or (number, False) < self.low):
            return self.said["low"]
        if "high" in self.said and (number is None or (number, True) > (self.high[0], not self.high[1])):
            return self.said["high"]
        return ""
