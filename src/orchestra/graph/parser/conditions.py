"""Parse edge conditions (L30 to L34): functions ``(text, position) -> (expression, position)``."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from orchestra.errors import ConditionError
from orchestra.graph.conditions import (
    UNCONDITIONAL,
    All,
    Compare,
    Condition,
    Expr,
    Not,
    Some,
    Truth,
    clauses,
    encodable,
)
from orchestra.graph.tokens import Token, unescape

MAX_DEPTH = 50
"""Parentheses and negations inside one another."""

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
_PHRASES = re.compile(
    r"(?:(greater|more|above|over)|(?:less|fewer|below|under))(?:\s+than)?(\s+or\s+equal(?:\s+to)?)?\b"
)
_LEADS = frozenset({"if", "only", "when", "where"})
"""Words that other languages put before a condition."""

_WORDS |= {"gt": ">", "lt": "<", "ge": ">=", "gte": ">=", "le": "<=", "lte": "<=", "like": "matches"}


@lru_cache(maxsize=4096)
def parse_condition(text: str) -> Condition:
    """Parse a condition; empty or blank text is ``UNCONDITIONAL``. Raises ``ConditionError``."""
    if not text.strip():
        return UNCONDITIONAL
    expr, at = _disjunction(text, _token_at(text, 0), 0)
    if at.kind != "end":
        raise _unexpected(text, at)
    found = list(clauses(expr))
    words = (
        clause.literal
        for clause in found
        if isinstance(clause, Compare) and clause.key == "outcome" and clause.op in ("=", "!=")
    )
    return Condition(text, expr, tuple(dict.fromkeys(clause.key for clause in found)), tuple(dict.fromkeys(words)))


def _token_at(text: str, offset: int) -> Token:
    match = _TOKEN.match(text, offset)
    assert match is not None
    kind = str(match.lastgroup)
    at = Token(kind, match[kind], *match.span(kind), offset)
    if kind == "quote":
        raise _fault(at, "this quote is never closed", fix='end the text with \\"', end=at.start + 1)
    if kind == "op" and at.text in _MEANT:
        put = _MEANT[at.text]
        raise _fault(at, f"{at.text!r} is not an operator", fix=f"write {put}", put=put)
    return at


def _is_op(at: Token, op: str) -> bool:
    return at.kind == "op" and at.text == op


def _show(at: Token) -> str:
    if at.kind == "end":
        return "the end"
    return repr(at.text if len(at.text) <= 30 else at.text[:29] + "…")


def _fault(
    at: Token, message: str, *, fix: str = "", end: int | None = None, put: str | None = None
) -> ConditionError:
    stop = max(at.end, at.start + 1) if end is None else end
    return ConditionError(message, start=at.start, end=stop, fix=fix, put=put)


def _disjunction(text: str, at: Token, depth: int) -> tuple[Expr, Token]:
    part, at = _conjunction(text, at, depth)
    parts = [part]
    while _is_op(at, "||"):
        part, at = _conjunction(text, _after_join(text, at), depth)
        parts.append(part)
    return parts[0] if len(parts) == 1 else Some(tuple(parts)), at


def _conjunction(text: str, at: Token, depth: int) -> tuple[Expr, Token]:
    part, at = _unary(text, at, depth)
    parts = [part]
    while _is_op(at, "&&"):
        part, at = _unary(text, _after_join(text, at), depth)
        parts.append(part)
    return parts[0] if len(parts) == 1 else All(tuple(parts)), at


def _after_join(text: str, at: Token) -> Token:
    after = _token_at(text, at.end)
    if after.kind == "end":
        raise _fault(at, f"nothing follows {at.text!r}", fix="remove it, or add a clause", put="")
    return after


def _unary(text: str, at: Token, depth: int) -> tuple[Expr, Token]:
    if depth > MAX_DEPTH:
        raise _fault(at, f"nested more than {MAX_DEPTH} levels deep", fix="use fewer parentheses")
    if _is_op(at, "!"):
        inner, at = _unary(text, _token_at(text, at.end), depth + 1)
        return Not(inner), at
    if not _is_op(at, "("):
        return _clause(text, at)
    opened = at
    inner, at = _disjunction(text, _token_at(text, at.end), depth + 1)
    if at.kind == "end":
        raise _fault(opened, "this parenthesis is never closed", fix="end it with )")
    if not _is_op(at, ")"):
        raise _unexpected(text, at)
    return inner, _token_at(text, at.end)


def _clause(text: str, at: Token) -> tuple[Expr, Token]:
    first = at
    key, at = _key(text, at)
    _refuse_negation(text, first, key, at)
    if (at.kind, at.text) not in _OPERATORS:
        return Truth(key), at
    return _comparison(text, key, at.text, _token_at(text, at.end))


def _refuse_negation(text: str, first: Token, key: str, at: Token) -> None:
    """Refuse ``key !contains value`` and ``key not contains value``: a negation stands before the clause."""
    if not (_is_op(at, "!") or (at.kind == "word" and at.text == "not")):
        return
    match = re.compile(r"\s*(contains|matches)\b").match(text, at.end)
    if match is not None:
        raise ConditionError(
            f"{at.text!r} cannot stand before {match[1]!r}: it stands before the whole clause",
            start=first.start,
            end=at.end,
            fix=f"write !{key} {match[1]} …",
            put=f"!{key}" if match[0][0].isspace() else f"!{key} ",
        )


def _key(text: str, at: Token) -> tuple[str, Token]:
    key = at.text
    if at.kind != "word":
        fix, put, end = _instead_of_key(text, at)
        message = f"expected a key such as outcome or context.name, not {_show(at)}"
        raise _fault(at, message, fix=fix, put=put, end=end)
    if not _KEY.fullmatch(key):
        name, colon, value = key.partition(":")
        put = f"{name}={value}" if colon and value and _KEY.fullmatch(name) else None
        message = f"a key has the letters a-z, digits, - and _, with single dots between, not {_show(at)}"
        raise _fault(at, message, fix=f"write {put}" if put else "", put=put)
    after = _token_at(text, at.end)
    if key.lower() in _LEADS and after.kind == "word" and (after.kind, after.text) not in _OPERATORS:
        raise _fault(at, f"{key!r} is not part of a condition", fix="remove it", put="")
    if key == "not" and (after.kind == "word" or _is_op(after, "(")):
        raise _fault(at, "'not' is not an operator", fix="write !", put="!")
    return key, after


def _instead_of_key(text: str, at: Token) -> tuple[str, str | None, int | None]:
    """Return what to do about something in the place of a key, what to write for it, and where it ends."""
    braced = re.compile(r"\{\{\s*([A-Za-z_][\w.]*)\s*\}\}").match(text, at.start)
    if braced is not None:
        return f"write {braced[1]}, without braces", braced[1], braced.end()
    if at.text.startswith("$"):
        return f"write {at.text.lstrip('${').rstrip('}')} or context.NAME", None, None
    if at.kind == "string" or at.text.startswith("'"):
        return "write keys without quotes", None, None
    return {"&": "write && for and", "|": "write || for or"}.get(at.text, ""), None, None


def _comparison(text: str, key: str, op: str, at: Token) -> tuple[Expr, Token]:
    """The value of a comparison, whose key and operator were read."""
    if at.kind == "odd":
        inner = at.text.strip("'")
        put = f'"{inner}"' if at.text == f"'{inner}'" or "'" not in at.text else None
        raise _fault(at, f"{_show(at)} must be quoted", fix=f'write \\"{inner[:40]}\\"', put=put)
    if at.kind not in ("string", "number", "word"):
        fix = 'write \\"\\" for an empty text'
        if at.kind == "op" and at.text in "=(<>":
            fix = "" if at.text == "(" else f"write {op} once"
        raise _fault(at, f"expected a value after {key} {op}, not {_show(at)}", fix=fix)
    value = unescape(at.text[1:-1]) if at.kind == "string" else at.text
    value = value.removeprefix("+") if at.kind == "number" else value
    pattern = _pattern(value, at) if op == "matches" else None
    return Compare(key, op, value, pattern), _token_at(text, at.end)


def _pattern(pattern: str, at: Token) -> Any:
    import re2  # a linear-time engine, so that no pattern can hang a run (L34)

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(encodable(pattern), options=options)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        fix = "look-around is not supported" if "(?" in reason else ""
        raise _fault(at, f"not a regular expression: {reason}", fix=fix) from error


def _unexpected(text: str, at: Token) -> ConditionError:
    """Return the error for something in the place of an operator or the end."""
    known = _foreign_operator(text, at) or _foreign_syntax(text, at)
    if known is not None:
        return known
    fix = "join clauses with && or ||"
    if at.kind == "word":
        fix += '; put a text of several words in \\"quotes\\"'
    return _fault(at, f"{_show(at)} is unexpected here", fix=fix)


def _foreign_operator(text: str, at: Token) -> ConditionError | None:
    """The error for an operator of another language."""
    phrase, negated = _PHRASES.match(text, at.start), re.compile(r"is\s+not\b").match(text, at.start)
    put, end = _WORDS.get(at.text.lower()) if at.kind == "word" else None, at.end
    if phrase is not None:
        put, end = (">" if phrase[1] else "<") + ("=" if phrase[2] else ""), phrase.end()
    if negated is not None:
        put, end = "!=", negated.end()
    if put is not None:
        return _fault(at, f"{text[at.start : end]!r} is not an operator", fix=f"write {put}", put=put, end=end)
    if at.text in ("&", "|"):
        put = at.text * 2
        return _fault(at, f"a single {at.text!r} is not an operator", fix=f"write {put}", put=put)
    if at.text in (",", ";"):
        last = not text[at.end :].strip()
        fix, put = ("remove it", "") if last else ("write && for and, || for or", " &&")
        return _fault(at, f"{at.text!r} does not join clauses", fix=fix, put=put)
    if _is_op(at, "!"):
        return _fault(at, "'!' is not an operator between a key and a value", fix="write !=", put="!=")
    if at.text.startswith("~") and text.startswith("=", at.end):
        return _fault(at, "'~=' is not an operator", fix="write =, != or matches", end=at.end + 1)
    return None


def _foreign_syntax(text: str, at: Token) -> ConditionError | None:
    """The error for a call, a comment or an index of another language."""
    if at.kind == "odd" and not at.text[0].isascii() and at.text[0].isalpha() and at.start == at.before:
        return _fault(at, "a key may have only the letters a-z, digits, - and _", fix=f"replace {_show(at)}")
    if _is_op(at, ")"):
        return _fault(at, "unmatched ')'", fix="remove it", put="")
    if _is_op(at, "("):
        return _fault(at, "a condition has no functions", fix="compare a key with a value: outcome=success")
    if at.text.startswith(("/*", "//", "#", "--")):
        return _fault(at, "a condition has no comments", fix="remove it", end=len(text), put="")
    if at.text.startswith("[") and text[at.start - 1 : at.start].isalnum():
        name = re.compile(r"\[['\"]?([A-Za-z_]\w*)['\"]?\]").fullmatch(at.text)
        before = re.compile(r"[\w.]*$").search(text, 0, at.start)
        if name is None or before is None:
            return _fault(at, "an index must be a number", fix="write a dot before a name: context.NAME")
        fix = f"write {before[0]}.{name[1]}"
        return _fault(at, "an index must be a number", fix=fix, put=f".{name[1]}")
    return None
