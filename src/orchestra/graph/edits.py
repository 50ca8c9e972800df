"""Apply the edits of diagnostics to a text."""

from __future__ import annotations

from collections.abc import Iterable

from orchestra.errors import Diagnostic, Source


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
