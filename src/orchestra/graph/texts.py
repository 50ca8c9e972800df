"""Parse values: strings, bare words and numbers, and what was written in their place (L5, L6)."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TypeAlias

from orchestra.errors import Edit, Span
from orchestra.graph.attributes import AttributeScope as Table
from orchestra.graph.attributes import Entry, Value
from orchestra.graph.reader import (
    Cursor,
    Resync,
    Stop,
    advance,
    ends_value,
    error,
    is_mark,
    line_end,
    move_to,
    on_new_line,
    peek,
    quote_piece,
    show_word,
    skip_wrong_quote,
    touches,
)
from orchestra.graph.tokens import BARE, KEYWORDS, NUMBER, in_quotes, touching_end, unescape
from orchestra.graph.values import Misfit, read_typed

Taken: TypeAlias = tuple[str, bool, Span]
"""A value's text, whether it was quoted, and where it stands."""

_LONGEST_UNOPENED = 1000
_UNOPENED = r"""(?: [^"\n=,] | =(?![ \t]*") | ,(?![ \t]*[\w.]+[ \t]*=) ){1,1000} "(?=[ \t\r]*(?:[,;\]\n]|\Z))"""


def read_value(here: Cursor, key: str, table: Table | None) -> Taken | None:
    """The value after ``=`` (or after what stood for it); None where there is none that can be used."""
    advance(here)
    if is_mark(here, "=") or (here.word == ">" and touches(here)):
        error(here, f"'={here.word}' is not an assignment", fix="write =", put="")
        advance(here)
    start = here.start
    if here.kind == "string":
        text = read_texts(here)
        return text, True, Span(here.source, start, here.before)
    if skip_unopened(here) or note_absent(here, key):
        return None
    if here.kind in ("id", "number", "bad", "point", "dash"):
        return read_bare(here, key, table)
    note_no_value(here, key)
    return None


def skip_unopened(here: Cursor) -> bool:
    """Note a text whose opening quote is missing: only its closing one stands on the line."""
    if here.kind == "html" or here.text.find('"', here.start, here.start + _LONGEST_UNOPENED) < 0:
        return False
    match = re.compile(_UNOPENED, re.VERBOSE).match(here.text, here.start)
    if match is None:
        return False
    text = match[0] if len(match[0]) <= 40 else match[0][:39] + '…"'
    insertion = (here.start, here.start, '"')
    error(here, "missing quote before this text", fix=f'write "{text}', end=match.end(), edits=[insertion])
    move_to(here, match.end())
    return True


def note_absent(here: Cursor, key: str) -> bool:
    """Note a value that is missing where the next attribute begins."""
    if here.kind != "id" or peek(here) != "=":
        return False
    if not on_new_line(here) and not re.compile(r'[ \t]*=[ \t]*"').match(here.text, here.end):
        return False
    error(here, f"{key!r} has no value", fix=f"write {key}=…", start=here.before - 1, end=here.before, astray=True)
    return True


def read_texts(here: Cursor) -> str:
    """A quoted text, or several joined by ``+`` (L5)."""
    parts = [unescape(here.word[1:-1])]
    advance(here)
    while here.kind == "point" and here.word == "+":
        advance(here)
        if here.kind != "string":
            put = f'"{here.word}"' if here.kind == "id" else None
            message = f"expected a quoted text after '+', not {show_word(here)}"
            error(here, message, fix='write it in "quotes"', put=put)
            if here.kind == "id":
                advance(here)
            break
        parts.append(unescape(here.word[1:-1]))
        advance(here)
    return "".join(parts)


def read_bare(here: Cursor, key: str, table: Table | None) -> Taken | None:
    """A value without quotes; None where it needs them (L5)."""
    if skip_wrong_quote(here):
        return None
    begin = here.start
    match = (BARE if here.kind == "id" else NUMBER).match(here.text, begin)
    stop = begin if match is None else match.end()
    whole = max(touching_end(here.text, begin), stop)
    ends = [at for mark in ("->", "//", "/*") if (at := here.text.find(mark, stop, whole)) >= 0]
    whole = min(ends, default=whole)
    text = here.text[begin:whole]
    if text.endswith(")") and "(" not in text:
        whole, text = whole - 1, text[:-1]
    span = Span(here.source, begin, max(whole, begin + 1))
    if not (begin < stop == whole and text.lower() not in KEYWORDS):
        note_unquoted(here, key, text, span, table)
        text = ""
    here.last_word = span if match is not None and match.re is BARE else Span(here.source, 0, 0)
    move_to(here, span.end)
    return (text, False, span) if text else None


def note_unquoted(here: Cursor, key: str, text: str, span: Span, table: Table | None) -> None:
    """Note a value that needs quotes; or that would not fit in quotes either."""
    entry = None if table is None else table.entry(table.canonical(key))
    if fit(here, entry, key, text, False, span) is None:
        return
    shown = quote_piece(text) if text and text.isprintable() else show_word(here)
    what = "is a keyword" if text.lower() in KEYWORDS else "must be quoted"
    fix = f'write {key}="{text if len(text) <= 40 else "…"}"' if key else ""
    astray = not ends_value(here, span.end)
    put = in_quotes(text) if text and not astray else None
    error(here, f"{shown} {what}", fix=fix, start=span.start, end=span.end, astray=astray, put=put)


def note_no_value(here: Cursor, key: str) -> None:
    """Something that is no value stands after ``=``."""
    if here.kind == "html":
        start = here.start
        at = len(here.found)
        error(here, "HTML labels are not supported", fix='write the text in quotes: label="…"', astray=True)
        skip_html(here)
        if len(here.found) > at:
            here.found[at] = replace(here.found[at], edits=(without_tags(here, start, here.before),))
        return
    if here.kind == "end" or (not key and is_mark(here, ",;]")):
        return
    error(
        here,
        f"{quote_piece(key)} has no value, but {show_word(here)}",
        fix=f'write {key}="…"' if here.word == "[" else f"write {key}=…",
    )
    if not is_mark(here, ",;]"):
        raise Resync


def without_tags(here: Cursor, start: int, end: int) -> Edit:
    """Write an HTML text as a quoted one."""
    text = re.sub(r"<br\s*/?>", " ", here.text[start:end], flags=re.IGNORECASE)
    return Edit(Span(here.source, start, end), in_quotes(re.sub("[<>]", "", re.sub("<[^<>]*>", "", text)).strip()))


def skip_html(here: Cursor) -> None:
    """Continue after an HTML text: after the bracket that closes it, and what touches that."""
    line = line_end(here, here.start)
    closing = here.text.find("]", here.start, line)
    nested = here.text.startswith("<<", here.start)
    depth = 0
    for match in re.compile("[<>]").finditer(here.text, here.start):
        depth += 1 if match[0] == "<" else -1
        if nested and match.start() > line and closing >= 0:
            break
        if depth == 0 and (nested or closing < 0):
            move_to(here, match.end())
            return
    if closing >= 0:
        last = here.text.rfind(">", here.start, closing)
        move_to(here, closing if nested else last + 1 if last >= 0 else closing)
        return
    raise Stop


def fit(
    here: Cursor, entry: Entry | None, key: str, text: str, quotes: bool, span: Span
) -> tuple[Value, str, str] | None:
    """The typed value with a remark and its fix; None where it does not fit, which is reported."""
    try:
        return read_typed(entry, text, quotes)
    except Misfit as misfit:
        error(
            here,
            f"{key} must be {misfit.wanted}, not {quote_piece(text)}",
            fix=misfit.fix,
            start=span.start,
            end=span.end,
            rule="attribute_type",
            put=None if misfit.put is None else in_quotes(misfit.put) if quotes else misfit.put,
        )
        return None
