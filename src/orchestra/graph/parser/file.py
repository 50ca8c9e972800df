"""A file that is parsed, its tokens one by one, and the list of its diagnostics (L7, L10, L11)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from orchestra.errors import Diagnostic, Edit, Severity, Source, Span
from orchestra.graph.parser.draft import BraceScope, EdgeDraft, NodeDraft
from orchestra.graph.parser.layout import statement_at
from orchestra.graph.tokens import FIRST_LINE, QUOTES, TRIVIA, WORD, Token, end_of_glued, in_quotes

MAX_ERRORS = 50
"""Errors after which the parser stops (L11)."""


class Resync(Exception):
    """The statement cannot be read any further than ``at``."""

    def __init__(self, at: Token) -> None:
        super().__init__()
        self.at = at


class Stop(Exception):
    """Nothing after this can be read."""


@dataclass(slots=True)
class File:
    """What is known of a text whatever the position: the diagnostics, and the graph in the making.

    ``found`` is the list of all diagnostics. ``lost`` is the statement of which nothing more is reported, and
    ``untold`` how much was not; ``long_string`` is where the last text of several lines began, ``ended`` says that
    the end was reported. ``listing`` says that a list is open, ``undirected`` that edges are written ``--``,
    ``fenced`` that the text stands in a Markdown fence. ``last_word`` is the last value that was a bare word,
    ``illegal_end`` where the last id ended that was none. ``root`` is the scope of the graph's own braces, ``last``
    the name that the statement before ended with; ``pairs`` are names side by side, with their spans, and whether
    an arrow may be missing between them.
    """

    source: Source
    text: str
    scope: BraceScope
    root: BraceScope
    last_word: Span
    found: list[Diagnostic] = field(default_factory=list)
    lost: tuple[int, int] = (0, 0)
    untold: int = 0
    long_string: int | None = None
    ended: bool = False
    unseen: set[str] = field(default_factory=set)
    listing: bool = False
    undirected: bool = False
    fenced: bool = False
    illegal_end: int = -1
    nodes: dict[str, NodeDraft] = field(default_factory=dict)
    edges: list[EdgeDraft] = field(default_factory=list)
    set_edges: int = 0
    last: tuple[str, Span] | None = None
    pairs: list[tuple[str, str, Span, Span, bool]] = field(default_factory=list)

    @property
    def errors(self) -> int:
        """How many errors were reported."""
        return sum(each.severity is Severity.ERROR for each in self.found)


def file_of(source: Source) -> File:
    """Return a text of which nothing was read yet."""
    root = BraceScope(parent=None, opened=0)
    return File(source=source, text=source.text, scope=root, root=root, last_word=Span(source, 0, 0))


def first_token(file: File) -> Token:
    """The first token of a text."""
    match = FIRST_LINE.match(file.text)
    return token_at(file, 0 if match is None else match.end())


def following(file: File, at: Token) -> Token:
    """The token after this one."""
    return token_at(file, at.end)


def token_at(file: File, offset: int) -> Token:
    """The next token from an offset on. Raises ``Stop`` at a string or a comment that never ends."""
    at = next_token(file.text, offset, offset)
    while at.kind == "bad" and not at.text.isprintable():
        note_invisible(file, at)
        at = next_token(file.text, at.end, offset)
    if at.kind == "string":
        return close_string(file, at)
    if at.kind in ("open_string", "open_comment"):
        refuse_open_end(file, at)
    return at


def next_token(text: str, offset: int, before: int) -> Token:
    """The next token as it stands."""
    trivia = TRIVIA.match(text, offset)
    match = WORD.match(text, offset if trivia is None else trivia.end())
    assert match is not None
    return _make(Token, (match.lastgroup or "", match[0], match.start(), match.end(), before))


_make = tuple.__new__
"""Makes a named tuple in half the time that its name takes; most of a parse makes words and spans."""


def note_invisible(file: File, at: Token) -> None:
    """Note a character that looks like white space, or like nothing, and is neither; each only once."""
    if at.text not in file.unseen:
        file.unseen.add(at.text)
        error(
            file,
            at,
            f"the invisible character U+{ord(at.text):04X} is not whitespace in DOT",
            fix="use a plain space, here and wherever else it occurs",
            edits=[(m.start(), m.end(), " ") for m in re.finditer(re.escape(at.text), file.text)],
        )


def next_start(file: File, at: Token) -> int:
    """Where the token after this one begins."""
    trivia = TRIVIA.match(file.text, at.end)
    return at.end if trivia is None else trivia.end()


def peek(file: File, at: Token, length: int = 1) -> str:
    """The characters that follow a token, white space and comments skipped."""
    start = next_start(file, at)
    return file.text[start : start + length]


def on_new_line(file: File, at: Token) -> bool:
    """Whether a token is the first on its line."""
    return file.text.find("\n", at.before, at.start) >= 0


def close_string(file: File, at: Token) -> Token:
    """Check whether a text's closing quote looks like an opening one, so that its own is missing.

    Then the text is read as if it ended before (L7).
    """
    touched = file.text[at.end : at.end + 1] not in " \t\r\n,;]}+"
    if not touched or not at.text[:-1].rstrip(" \t").endswith("="):
        if "\n" in at.text:
            file.long_string = at.start
        return at
    quoted = re.compile(r'([\w.: -]*)""(?=[ \t]*[,;\]\n])').match(file.text, at.end)
    if quoted is not None:
        error(
            file,
            at,
            "quotes inside a text end it",
            fix='write \\" for a quote inside a text',
            start=at.end - 1,
            edits=[(at.end - 1, at.end, '\\"'), (quoted.end() - 2, quoted.end() - 1, '\\"')],
        )
        return at._replace(end=quoted.end(), text=f'{at.text[:-1]}\\"{quoted[1]}\\""')
    inner = at.text[1:-1]
    match = re.search(r"\][ \t;]*\n|[,;\s]+[\w.]+[ \t]*=[ \t]*$|=[ \t]*$", inner)
    assert match is not None
    closing = at.start + 1 + match.start()
    error(
        file,
        at,
        "this quote is never closed",
        fix='end the text with "',
        end=at.start + 1,
        edits=[(closing, closing, '"')],
    )
    line = inner.rfind("\n") + 1
    if line and (match[0][0] == "=" or not file.listing):
        raise Resync(token_at(file, min(at.start + 1 + line, statement_at(file.text, at.start)[1])))
    return at._replace(end=closing, text=f'"{inner[: match.start()]}"')


def refuse_open_end(file: File, at: Token) -> None:
    """A string or a comment that never ends is reported where it began (L7)."""
    if at.kind == "open_string":
        error(file, at, "this quote is never closed", fix='end the text with "')
    else:
        error(file, at, "this comment is never closed", fix="end it with */")
    raise Stop


def span_of(file: File, start: int, end: int) -> Span:
    """A span inside the text, of at least one character."""
    first = min(start, max(len(file.text) - 1, 0))
    return Span(file.source, first, max(first + 1, min(end, len(file.text))))


def error(
    file: File,
    at: Token,
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
    """Note an error about a token, or about the offsets from ``start`` to ``end``.

    ``astray`` if the rest of the statement is misread from here on: no more is reported of it (L11). ``put`` is
    what to write in its place; ``edits`` are other changes that fix it, as offsets and texts.

    Raises ``Stop`` when there are too many, and after the first at the end of the file.
    """
    if file.ended:
        raise Stop
    file.ended = at.kind == "end" and rule == "syntax"
    if file.long_string is not None and rule == "syntax" and not fix:
        line, column = file.source.position(file.long_string)
        fix = f"check where the text that starts at line {line}, column {column} is closed"
    file.long_string = None
    first, last = at.start if start is None else start, at.end if end is None else end
    span = span_of(file, first, last)
    known = rule == "syntax" and is_lost(file, span.start)
    if astray:
        mark_lost(file, span.start)
    if known:
        file.untold += 1
        if file.untold > MAX_ERRORS:
            raise Stop
        return
    if put is not None:
        edits = [(first, last, put), *edits]
    changes = tuple(Edit(Span(file.source, begin, stop), text) for begin, stop, text in edits)
    file.found.append(
        Diagnostic(rule=rule, severity=Severity.ERROR, message=message, span=span, fix=fix, edits=changes)
    )
    if file.errors > MAX_ERRORS:
        raise Stop


def mark_lost(file: File, offset: int) -> None:
    """From here on the statement around an offset is read in a wrong way."""
    if not is_lost(file, offset):
        file.lost = statement_at(file.text, offset)


def is_lost(file: File, offset: int) -> bool:
    """Whether the statement around an offset is read in a wrong way."""
    return file.lost[0] <= offset < file.lost[1]


def note_remark(file: File, rule: str, message: str, span: Span, fix: str, put: str) -> None:
    """Note something that is understood, but should be written otherwise: as ``put``."""
    file.found.append(
        Diagnostic(rule=rule, severity=Severity.INFO, message=message, span=span, fix=fix, edits=(Edit(span, put),))
    )


def give_edits(file: File, number: int, *edits: tuple[int, int, str], fix: str | None = None) -> None:
    """Give the diagnostic with this number, if it was reported, its edits, as offsets and texts."""
    if len(file.found) > number:
        known = file.found[number]
        changes = tuple(Edit(Span(file.source, start, end), text) for start, end, text in edits)
        file.found[number] = replace(known, edits=changes, fix=known.fix if fix is None else fix)


def show_token(file: File, at: Token) -> str:
    """A token as a message shows it."""
    if at.kind == "end":
        return "the end of the file"
    glued = file.text[at.start : end_of_glued(file.text, at.start)] if at.kind == "bad" else ""
    return quote_piece(glued or at.text)


def skip_wrong_quote(file: File, at: Token) -> Token | None:
    """Note a quote that is none, and skip to what closes it on this line; None where no such quote stands."""
    if at.kind != "bad" or at.text not in QUOTES:
        return None
    noted = len(file.found)
    error(file, at, f"{at.text} is not a quote in DOT", fix='use the plain "')
    line, end, closed = line_end(file.text, at.start), at.start, True
    while file.text[end : end + 1] in QUOTES:
        ends = [found for mark in QUOTES[file.text[end]] if (found := file.text.find(mark, end + 1, line)) >= 0]
        end = min(ends, default=end) + 1
        if not ends:
            closed = False
            break
    if not closed or not ends_value(file, end):
        mark_lost(file, at.start)
    else:
        whole = file.text[at.start : end]
        inner = whole.strip("".join(QUOTES) + whole[-1])
        give_edits(file, noted, (at.start, end, in_quotes(inner)))
    return token_at(file, end)


def ends_value(file: File, offset: int) -> bool:
    """Whether a list continues or ends right after an offset."""
    return re.compile(r"\s*(?:[,\]}]|[\w.]+[ \t]*=)").match(file.text, offset) is not None


def line_end(text: str, offset: int) -> int:
    """Where the line ends that an offset is in."""
    found = text.find("\n", offset)
    return found if found >= 0 else len(text)


def quote_piece(text: str) -> str:
    """A piece of the author's text, short and on one line."""
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= 30 else flat[:29] + "…")
