"""Parse values: strings, bare words and numbers, and what was written in their place (L5, L6)."""

from __future__ import annotations

import re
from typing import TypeAlias

from orchestra.errors import Span
from orchestra.graph.attributes import AttributeScope, Entry, Value, ValueKind
from orchestra.graph.parser.file import (
    File,
    Resync,
    Stop,
    ends_value,
    error,
    following,
    give_edits,
    line_end,
    on_new_line,
    peek,
    quote_piece,
    show_token,
    skip_wrong_quote,
    token_at,
)
from orchestra.graph.parser.typed import Misfit, read_typed
from orchestra.graph.tokens import BARE, KEYWORDS, NUMBER, Token, in_quotes, touching_end, unescape

Written: TypeAlias = tuple[str, bool, Span]
"""A value as it is written: its text, whether it was quoted, and where it stands."""


_LONGEST_UNOPENED = 1000
_UNOPENED = r"""(?: [^"\n=,] | =(?![ \t]*") | ,(?![ \t]*[\w.]+[ \t]*=) ){1,1000} "(?=[ \t\r]*(?:[,;\]\n]|\Z))"""


def read_value(file: File, at: Token, key: str, scope: AttributeScope | None) -> tuple[Written | None, Token]:
    """The value after ``=`` (or after what stood for it); None where there is none that can be used."""
    at = following(file, at)
    if at.is_mark("=") or (at.text == ">" and at.touches):
        error(file, at, f"'={at.text}' is not an assignment", fix="write =", put="")
        at = following(file, at)
    if at.kind == "string":
        start = at.start
        text, at = read_texts(file, at)
        return (text, True, Span(file.source, start, at.before)), at
    after = skip_unopened(file, at)
    if after is not None:
        return None, after
    if note_absent(file, at, key):
        return None, at
    if at.kind in ("id", "number", "bad", "point", "dash"):
        return read_bare(file, at, key, scope)
    return None, note_no_value(file, at, key)


def skip_unopened(file: File, at: Token) -> Token | None:
    """Note a text whose opening quote is missing, and skip it: only its closing one stands on the line."""
    if at.kind == "html" or file.text.find('"', at.start, at.start + _LONGEST_UNOPENED) < 0:
        return None
    match = re.compile(_UNOPENED, re.VERBOSE).match(file.text, at.start)
    if match is None:
        return None
    text = match[0] if len(match[0]) <= 40 else match[0][:39] + '…"'
    insertion = (at.start, at.start, '"')
    error(file, at, "missing quote before this text", fix=f'write "{text}', end=match.end(), edits=[insertion])
    return token_at(file, match.end())


def note_absent(file: File, at: Token, key: str) -> bool:
    """Note a value that is missing where the next attribute begins."""
    if at.kind != "id" or peek(file, at) != "=":
        return False
    if not on_new_line(file, at) and not re.compile(r'[ \t]*=[ \t]*"').match(file.text, at.end):
        return False
    message, fix = f"{key!r} has no value", f"write {key}=…"
    error(file, at, message, fix=fix, start=at.before - 1, end=at.before, astray=True)
    return True


def read_texts(file: File, at: Token) -> tuple[str, Token]:
    """A quoted text, or several joined by ``+`` (L5)."""
    parts = [unescape(at.text[1:-1])]
    at = following(file, at)
    while at.kind == "point" and at.text == "+":
        at = following(file, at)
        if at.kind != "string":
            put = f'"{at.text}"' if at.kind == "id" else None
            message = f"expected a quoted text after '+', not {show_token(file, at)}"
            error(file, at, message, fix='write it in "quotes"', put=put)
            return "".join(parts), following(file, at) if at.kind == "id" else at
        parts.append(unescape(at.text[1:-1]))
        at = following(file, at)
    return "".join(parts), at


def read_bare(file: File, at: Token, key: str, scope: AttributeScope | None) -> tuple[Written | None, Token]:
    """A value without quotes; None where it needs them (L5)."""
    after = skip_wrong_quote(file, at)
    if after is not None:
        return None, after
    begin = at.start
    match = (BARE if at.kind == "id" else NUMBER).match(file.text, begin)
    stop = begin if match is None else match.end()
    whole = max(touching_end(file.text, begin), stop)
    ends = [end for mark in ("->", "//", "/*") if (end := file.text.find(mark, stop, whole)) >= 0]
    whole = min(ends, default=whole)
    unit = re.compile(r"[ \t]+[A-Za-z]+(?=[ \t]*[,;\]\n])").match(file.text, whole) if at.kind == "number" else None
    if unit is not None and _kind(scope, key) is ValueKind.DURATION:
        whole = unit.end()
    text = file.text[begin:whole]
    if text.endswith(")") and "(" not in text:
        whole, text = whole - 1, text[:-1]
    span = Span(file.source, begin, max(whole, begin + 1))
    if not (begin < stop == whole and text.lower() not in KEYWORDS):
        note_unquoted(file, at, key, text, span, scope)
        text = ""
    file.last_word = span if match is not None and match.re is BARE else Span(file.source, 0, 0)
    return (text, False, span) if text else None, token_at(file, span.end)


def _kind(scope: AttributeScope | None, key: str) -> ValueKind | None:
    entry = None if scope is None else scope.entry(scope.canonical(key))
    return None if entry is None else entry.kind


def note_unquoted(file: File, at: Token, key: str, text: str, span: Span, scope: AttributeScope | None) -> None:
    """Note a value that needs quotes; or that would not fit in quotes either."""
    entry = None if scope is None else scope.entry(scope.canonical(key))
    if fit(file, at, entry, key, (text, False, span)) is None:
        return
    shown = quote_piece(text) if text and text.isprintable() else show_token(file, at)
    what = "is a keyword" if text.lower() in KEYWORDS else "must be quoted"
    fix = f'write {key}="{text if len(text) <= 40 else "…"}"' if key else ""
    astray = not ends_value(file, span.end)
    put = in_quotes(text) if text and not astray else None
    error(file, at, f"{shown} {what}", fix=fix, start=span.start, end=span.end, astray=astray, put=put)


def note_no_value(file: File, at: Token, key: str) -> Token:
    """Something that is no value stands after ``=``."""
    if at.kind == "html":
        noted = len(file.found)
        error(file, at, "HTML labels are not supported", fix='write the text in quotes: label="…"', astray=True)
        after = skip_html(file, at)
        give_edits(file, noted, (at.start, after.before, without_tags(file.text[at.start : after.before])))
        return after
    if at.kind == "end" or (not key and at.is_mark(",;]")):
        return at
    error(
        file,
        at,
        f"{quote_piece(key)} has no value, but {show_token(file, at)}",
        fix=f'write {key}="…"' if at.text in ("[", "{") else f"write {key}=…",
    )
    if not at.is_mark(",;]"):
        raise Resync(at)
    return at


def without_tags(html: str) -> str:
    """An HTML text as a quoted one."""
    text = re.sub(r"<br\s*/?>", " ", html, flags=re.IGNORECASE)
    return in_quotes(re.sub("[<>]", "", re.sub("<[^<>]*>", "", text)).strip())


def skip_html(file: File, at: Token) -> Token:
    """Continue after an HTML text: after the bracket that closes it, and what touches that."""
    line = line_end(file.text, at.start)
    closing = file.text.find("]", at.start, line)
    nested = file.text.startswith("<<", at.start)
    depth = 0
    for match in re.compile("[<>]").finditer(file.text, at.start):
        depth += 1 if match[0] == "<" else -1
        if nested and match.start() > line and closing >= 0:
            break
        if depth == 0 and (nested or closing < 0):
            return token_at(file, match.end())
    if closing < 0:
        raise Stop
    last = file.text.rfind(">", at.start, closing)
    return token_at(file, closing if nested or last < 0 else last + 1)


def fit(file: File, at: Token, entry: Entry | None, key: str, written: Written) -> tuple[Value, str, str] | None:
    """The typed value with a remark and its fix; None where it does not fit, which is reported."""
    text, quoted, span = written
    try:
        return read_typed(entry, text, quoted)
    except Misfit as misfit:
        error(
            file,
            at,
            f"{key} must be {misfit.wanted}, not {quote_piece(text)}",
            fix=misfit.fix,
            start=span.start,
            end=span.end,
            rule="attribute_type",
            put=None if misfit.put is None else in_quotes(misfit.put) if quoted else misfit.put,
        )
        return None
