"""The parser's cursor: read words one by one and collect diagnostics (L7, L10, L11)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from orchestra.errors import Diagnostic, Edit, Severity, Source, Span
from orchestra.graph.draft import BraceScope, EdgeDraft, NodeDraft
from orchestra.graph.layout import statement_at
from orchestra.graph.tokens import FIRST_LINE, QUOTES, TRIVIA, WORD, end_of_glued, in_quotes

MAX_ERRORS = 50
"""Errors after which the parser stops (L11)."""


class Resync(Exception):
    """This statement cannot be read any further."""


class Stop(Exception):
    """Nothing after this can be read."""


@dataclass(slots=True)
class Cursor:
    """Where a text is read: the word at hand, what is wrong so far, and the graph in the making.

    ``kind``, ``word``, ``start`` and ``end`` are of the word at hand; ``before`` is where the previous one ended.
    ``found`` is the list of all diagnostics. ``last_word`` is the last value that was a bare word, ``illegal_end``
    where the last id ended that was none, ``root`` the scope of the graph's own braces, ``last`` the name that the
    statement before ended with; ``pairs`` are names side by side, with their
    spans, and whether an arrow may be missing between them.
    """

    source: Source
    text: str
    scope: BraceScope
    root: BraceScope
    last_word: Span
    end: int = 0
    start: int = 0
    before: int = 0
    kind: str = ""
    word: str = ""
    found: list[Diagnostic] = field(default_factory=list)
    errors: int = 0
    long_string: int | None = None
    unseen: set[str] = field(default_factory=set)
    ended: bool = False
    listing: bool = False
    lost: tuple[int, int] = (0, 0)
    untold: int = 0
    undirected: bool = False
    illegal_end: int = -1
    fenced: bool = False
    nodes: dict[str, NodeDraft] = field(default_factory=dict)
    edges: list[EdgeDraft] = field(default_factory=list)
    set_edges: int = 0
    last: tuple[str, Span] | None = None
    pairs: list[tuple[str, str, Span, Span, bool]] = field(default_factory=list)


def at_start(source: Source) -> Cursor:
    """Return the cursor before the first word of a text."""
    match, root = FIRST_LINE.match(source.text), BraceScope(parent=None, opened=0)
    return Cursor(
        source=source,
        text=source.text,
        scope=root,
        root=root,
        last_word=Span(source, 0, 0),
        end=0 if match is None else match.end(),
    )


def advance(here: Cursor) -> None:
    """Read the next word. Raises ``Stop`` at a string or a comment that never ends."""
    here.before = here.end
    next_word(here)
    while here.kind == "bad" and not here.word.isprintable():
        note_invisible(here)
        next_word(here)
    if here.kind == "string":
        check_closing(here)
    elif here.kind in ("open_string", "open_comment"):
        refuse_open_end(here)


def next_word(here: Cursor) -> None:
    """The next word as it stands."""
    text, at = here.text, here.end
    trivia = TRIVIA.match(text, at)
    match = WORD.match(text, at if trivia is None else trivia.end())
    assert match is not None
    here.kind, here.word = match.lastgroup or "", match[0]
    here.start, here.end = match.span()


def note_invisible(here: Cursor) -> None:
    """Note a character that looks like white space, or like nothing, and is neither; each only once."""
    if here.word not in here.unseen:
        here.unseen.add(here.word)
        error(
            here,
            f"the invisible character U+{ord(here.word):04X} is not whitespace in DOT",
            fix="use a plain space, here and wherever else it occurs",
            edits=[(m.start(), m.end(), " ") for m in re.finditer(re.escape(here.word), here.text)],
        )


def move_to(here: Cursor, at: int) -> None:
    """Read on from an offset."""
    here.end = at
    advance(here)


def next_start(here: Cursor) -> int:
    """Where the next word begins."""
    trivia = TRIVIA.match(here.text, here.end)
    return here.end if trivia is None else trivia.end()


def peek(here: Cursor, length: int = 1) -> str:
    """The characters that follow the word at hand, white space and comments skipped."""
    at = next_start(here)
    return here.text[at : at + length]


def is_mark(here: Cursor, marks: str) -> bool:
    """Whether the word at hand is one of these marks."""
    return here.kind == "mark" and here.word in marks


def touches(here: Cursor) -> bool:
    """Whether nothing stands between the current word and the previous one."""
    return here.start == here.before


def on_new_line(here: Cursor) -> bool:
    """Whether the word at hand is the first on its line."""
    return here.text.find("\n", here.before, here.start) >= 0


def check_closing(here: Cursor) -> None:
    """Check whether a text's closing quote looks like an opening one, so that its own is missing.

    Then the text is read as if it ended before (L7).
    """
    touched = here.text[here.end : here.end + 1] not in " \t\r\n,;]}+"
    if not touched or not here.word[:-1].rstrip(" \t").endswith("="):
        if "\n" in here.word:
            here.long_string = here.start
        return
    inner = here.word[1:-1]
    match = re.search(r"\][ \t;]*\n|[,;\s]+[\w.]+[ \t]*=[ \t]*$|=[ \t]*$", inner)
    assert match is not None
    closing = here.start + 1 + match.start()
    error(
        here,
        "this quote is never closed",
        fix='end the text with "',
        end=here.start + 1,
        edits=[(closing, closing, '"')],
    )
    line = inner.rfind("\n") + 1
    if line and (match[0][0] == "=" or not here.listing):
        move_to(here, min(here.start + 1 + line, statement_at(here.text, here.start)[1]))
        raise Resync
    here.end = here.start + 1 + match.start()
    here.word = f'"{inner[: match.start()]}"'


def refuse_open_end(here: Cursor) -> None:
    """A string or a comment that never ends is reported where it began (L7)."""
    if here.kind == "open_string":
        error(here, "this quote is never closed", fix='end the text with "')
    else:
        error(here, "this comment is never closed", fix="end it with */")
    raise Stop


def span_at(here: Cursor, start: int | None = None, end: int | None = None) -> Span:
    """A span inside the text, of the word at hand where nothing else is said."""
    first = here.start if start is None else start
    last = here.end if end is None else end
    first = min(first, max(len(here.text) - 1, 0))
    return Span(here.source, first, max(first + 1, min(last, len(here.text))))


def error(
    here: Cursor,
    message: str,
    *,
    fix: str = "",
    start: int | None = None,
    end: int | None = None,
    rule: str = "syntax",
    astray: bool = False,
    put: str | None = None,
    edits: Sequence[tuple[int, int, str]] = (),
) -> None:
    """Note an error.

    ``astray`` if the rest of the statement is misread from here on: no more is reported of it (L11). ``put`` is
    what to write in its place; ``edits`` are other changes that fix it, as offsets and texts.

    Raises ``Stop`` when there are too many, and after the first at the end of the file.
    """
    if here.ended:
        raise Stop
    here.ended = here.kind == "end" and rule == "syntax"
    if here.long_string is not None and rule == "syntax" and not fix:
        line, column = here.source.position(here.long_string)
        fix = f"check where the text that starts at line {line}, column {column} is closed"
    here.long_string = None
    span = span_at(here, start, end)
    known = rule == "syntax" and is_lost(here, span.start)
    if astray:
        mark_lost(here, span.start)
    if known:
        here.untold += 1
        if here.untold > MAX_ERRORS:
            raise Stop
        return
    if put is not None:
        edits = [(here.start if start is None else start, here.end if end is None else end, put), *edits]
    changes = tuple(Edit(Span(here.source, first, last), text) for first, last, text in edits)
    here.found.append(
        Diagnostic(rule=rule, severity=Severity.ERROR, message=message, span=span, fix=fix, edits=changes)
    )
    here.errors += 1
    if here.errors > MAX_ERRORS:
        raise Stop


def mark_lost(here: Cursor, at: int) -> None:
    """From here on the statement around an offset is read in a wrong way."""
    if not is_lost(here, at):
        here.lost = statement_at(here.text, at)


def is_lost(here: Cursor, at: int) -> bool:
    """Whether the statement around an offset is read in a wrong way."""
    return here.lost[0] <= at < here.lost[1]


def note_remark(here: Cursor, rule: str, message: str, span: Span, fix: str, put: str) -> None:
    """Note something that is understood, but should be written otherwise: as ``put``."""
    here.found.append(
        Diagnostic(
            rule=rule,
            severity=Severity.INFO,
            message=message,
            span=span,
            fix=fix,
            edits=(Edit(span, put),),
        )
    )


def show_word(here: Cursor) -> str:
    """The word at hand as a message shows it."""
    if here.kind == "end":
        return "the end of the file"
    text = (
        here.word
        if here.kind != "bad"
        else here.text[here.start : end_of_glued(here.text, here.start)] or here.word
    )
    return quote_piece(text)


def skip_wrong_quote(here: Cursor) -> bool:
    """Note a quote that is none, and skip to what closes it on this line."""
    if here.kind != "bad" or here.word not in QUOTES:
        return False
    start, closed = here.start, True
    noted = len(here.found)
    error(here, f"{here.word} is not a quote in DOT", fix='use the plain "')
    line, at = line_end(here, here.start), here.start
    while here.text[at : at + 1] in QUOTES:
        ends = [end for mark in QUOTES[here.text[at]] if (end := here.text.find(mark, at + 1, line)) >= 0]
        at = min(ends, default=at) + 1
        if not ends:
            closed = False
            break
    if not closed or not ends_value(here, at):
        mark_lost(here, start)
    elif len(here.found) > noted:
        whole = here.text[start:at]
        inner = whole.strip("".join(QUOTES) + whole[-1])
        here.found[noted] = replace(here.found[noted], edits=(Edit(span_at(here, start, at), in_quotes(inner)),))
    move_to(here, at)
    return True


def ends_value(here: Cursor, at: int) -> bool:
    """Whether a list continues or ends right after an offset."""
    return re.compile(r"\s*(?:[,\]}]|[\w.]+[ \t]*=)").match(here.text, at) is not None


def indent_of(here: Cursor, at: int) -> int:
    """How far the line is indented that an offset is in."""
    line = here.text[here.text.rfind("\n", 0, at) + 1 : at]
    return len(line) - len(line.lstrip(" \t"))


def line_end(here: Cursor, at: int) -> int:
    """Where the line ends that an offset is in."""
    found = here.text.find("\n", at)
    return found if found >= 0 else len(here.text)


def quote_piece(text: str) -> str:
    """A piece of the author's text, short and on one line."""
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= 30 else flat[:29] + "…")
