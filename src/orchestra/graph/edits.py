"""Edits of a text, and the places in a file that parts of a value have, across escapes and joined lines (L10)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestra.errors import Diagnostic, Edit, Source, SourceError, Span
from orchestra.graph.tokens import TRIVIA, WORD, in_quotes, offsets


def places(span: Span) -> Sequence[int]:
    """Return the offset in the file of every character of a value's text, and of its end.

    ``span`` is the value's.
    """
    raw = span.text
    if not raw.startswith('"'):
        return range(span.start, span.end + 1)
    found: list[int] = []
    at = 0
    while at < len(raw):
        match = WORD.match(raw, at)
        if match is not None and match.lastgroup == "string":
            del found[-1:]
            found.extend(offsets(match[0][1:-1], span.start + at + 1))
        at = at + 1 if match is None else max(match.end(), at + 1)
        trivia = TRIVIA.match(raw, at)
        at = at if trivia is None else trivia.end()
    return found or [span.start]


def within(span: Span, known: Sequence[int], start: int, end: int) -> Span:
    """Return characters ``start`` to ``end`` of a value's text as a span of the file.

    ``known`` are its ``places``.
    """
    last = len(known) - 1
    first, final = known[min(start, last)], min(max(end - 1, start), last)
    after = known[min(final + 1, last)]
    size = 2 if after - known[final] == 2 else 1  # an escape stands for one character
    return Span(span.source, first, max(known[final] + size, first + 1))


def inside(span: Span, start: int, end: int) -> Span:
    """The same for one piece of a value."""
    return within(span, places(span), start, end)


def error_edit(span: Span, error: SourceError) -> tuple[Edit, ...]:
    """The edit of an error inside a value, of which ``span`` is the place; none where it has none."""
    return () if error.put is None else (rewritten(span, error.start, error.end, error.put),)


def rewritten(span: Span, start: int, end: int, text: str) -> Edit:
    """An edit that puts ``text`` in place of characters ``start`` to ``end`` of a value's text."""
    raw = in_quotes(text)[1:-1] if span.text.startswith('"') else text
    known = places(span)
    if start == end:
        at = known[min(start, len(known) - 1)]
        return Edit(Span(span.source, at, at), raw)
    return Edit(within(span, known, start, end), raw)


def apply(source: Source, diagnostics: Iterable[Diagnostic]) -> str:
    """Return the text with the diagnostics' edits made, the first of those that overlap.

    The edits of one diagnostic are made together or not at all. Edits of other files are left out.
    """
    taken: list[tuple[int, int, str]] = []
    for diagnostic in diagnostics:
        new = [(edit.span.start, edit.span.end, edit.text) for edit in diagnostic.edits]
        ours = all(edit.span.source.name == source.name for edit in diagnostic.edits)
        if ours and not any(_overlap(one, other) for one in new for other in taken):
            taken += new
    text = source.text
    for start, end, put in sorted(taken, key=lambda edit: edit[:2], reverse=True):
        text = text[:start] + put + text[end:]
    return text


def _overlap(one: tuple[int, int, str], other: tuple[int, int, str]) -> bool:
    return (one[0] < other[1] and other[0] < one[1]) or one[:2] == other[:2]
