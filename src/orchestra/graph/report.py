"""Diagnostics as text with a caret, as JSON data, GitHub annotations and SARIF 2.1.0.

Nothing from a pipeline file reaches a terminal as it is: control characters, bidirectional overrides and
lone surrogates are shown as escapes, in lines, messages, names and fixes alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from orchestra.errors import Diagnostic, Severity, Span

Json: TypeAlias = "bool | int | str | list[Json] | dict[str, Json] | None"

TAB = 4
"""Columns that a tab advances to a multiple of."""

SMALLEST_WIDTH = 24
"""Narrower than this, nothing is cut further."""

_COLOURS = {Severity.ERROR: "1;31", Severity.WARNING: "1;33", Severity.INFO: "1;36"}
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}


def text(diagnostics: Iterable[Diagnostic], *, width: int = 100, colour: bool = False) -> str:
    """All diagnostics as compilers show them, a blank line after each (diagnostics.md)."""
    return "".join(f"{format_diagnostic(d, width=width, colour=colour)}\n\n" for d in diagnostics)


def format_diagnostic(diagnostic: Diagnostic, *, width: int = 100, colour: bool = False) -> str:
    """One diagnostic: its sentence, the source line with a caret under the span, the fix as ``help:``."""
    width = max(width, SMALLEST_WIDTH)
    tone = _COLOURS[diagnostic.severity]
    head = f"{diagnostic.severity}[{safe(diagnostic.rule)}]"
    lines = wrap(f"{head}: ", safe(diagnostic.message), width, "  ")
    lines[0] = lines[0].replace(head, paint(head, tone, colour), 1)
    span = diagnostic.span
    gutter = 0
    if span is not None:
        gutter = len(str(span.line))
        lines += _snippet(span, gutter, width, tone if colour else "")
    if diagnostic.fix:
        lead = f"{' ' * gutter} = help: " if span is not None else "  help: "
        wrapped = wrap(lead, safe(diagnostic.fix), width, " " * (gutter + 3))
        wrapped[0] = wrapped[0].replace("help:", paint("help:", "1;32", colour), 1)
        lines += wrapped
    return "\n".join(lines)


def summary(diagnostics: Iterable[Diagnostic]) -> str:
    """The last line: ``2 errors, 1 warning``, or ``no problems found``."""
    tally = count(diagnostics)
    parts = [plural(tally[severity], _NOUNS[severity]) for severity in Severity if tally[severity]]
    return ", ".join(parts) if parts else "no problems found"


def count(diagnostics: Iterable[Diagnostic]) -> dict[Severity, int]:
    """How many there are of each severity."""
    tally = dict.fromkeys(Severity, 0)
    for diagnostic in diagnostics:
        tally[diagnostic.severity] += 1
    return tally


def safe(value: str) -> str:
    """The text with everything that could steer a terminal or hide itself shown as an escape."""
    if value.isascii() and value.isprintable():
        return value
    return "".join(c if _plain(c) else _escape(c) for c in value)


_NOUNS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}


def duration_words(milliseconds: float) -> str:
    """A duration for people: ``0.2 s``, ``3 min 5 s``, ``2 h 10 min``, ``4 d 3 h``."""
    seconds = max(0.0, milliseconds / 1000)
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    for size, unit, below, small in (
        (60, "min", 3600, "s"),
        (3600, "h", 86_400, "min"),
        (86_400, "d", 10**12, "h"),
    ):
        if whole < below:
            rest = (whole % size) // {"s": 1, "min": 60, "h": 3600}[small]
            return f"{whole // size} {unit}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


def plural(number: int, noun: str, many: str = "") -> str:
    """``1 node``, ``2 nodes``."""
    return f"{number} {noun}" if number == 1 else f"{number} {many or noun + 's'}"


def dollars(micros: float, places: int = 2) -> str:
    """Return an amount in millionths as ``$1.50``; an amount above zero never shows as zero."""
    while micros and places < 6 and not round(micros / 1e6, places):
        places += 2
    return f"${micros / 1e6:.{places}f}"


def paint(value: str, tone: str, colour: bool) -> str:
    """The text in a colour (an SGR code) where colours are used."""
    return f"\x1b[{tone}m{value}\x1b[0m" if colour and tone else value


def _plain(character: str) -> bool:
    return character.isprintable() or character == "\u3000"


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return {"\n": " ", "\t": " ", "\r": "\\r"}.get(character, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def wrap(lead: str, value: str, width: int, indent: str) -> list[str]:
    """``lead`` and the text after it in lines of at most ``width`` columns, broken at spaces.

    A word wider than a line is broken where it must be; a width too small for the indent has none.
    """
    width = max(width, 1)
    indent = indent if len(indent) < width else ""
    lines: list[str] = []
    line, used, fresh = lead, columns(lead), True
    for word in value.split(" "):
        for piece in _break_word(word, width - len(indent)):
            size = columns(piece)
            if used + (not fresh) + size > width and line != indent:
                lines.append(line.rstrip())
                line, used, fresh = indent, len(indent), True
            line += piece if fresh else f" {piece}"
            used += size + (not fresh)
            fresh = False
    return [*lines, line.rstrip()]


def _break_word(word: str, width: int) -> Iterator[str]:
    while columns(word) > width:
        cut = fitting(word, width)
        yield word[:cut]
        word = word[cut:]
    yield word


def fitting(line: str, width: int) -> int:
    """How many characters of a line fit in ``width`` columns, at least one."""
    used = 0
    for index, character in enumerate(line):
        used += _cells(character)
        if used > width:
            return max(index, 1)
    return len(line)


def columns(value: str) -> int:
    """How many terminal columns a text takes: two for East Asian wide characters, none for combining ones."""
    return len(value) if value.isascii() else sum(_cells(c) for c in value)


def _cells(character: str) -> int:
    if character < "\u0300":
        return 1
    from wcwidth import wcwidth  # only texts that need it pay for loading the table

    return max(wcwidth(character), 0)


def _snippet(span: Span, gutter: int, width: int, tone: str) -> list[str]:
    """The place, the line cut to what surrounds the span, and the caret under it."""
    line, column = span.source.position(span.start)
    room = width - gutter - 3
    before, marked, after = _pieces(span, column, room)
    bar = paint("|", "1;34", bool(tone))
    number = paint(f"{line:>{gutter}}", "1;34", bool(tone))
    arrow = paint("-->", "1;34", bool(tone))
    caret = paint("^" * max(columns(marked), 1), tone, bool(tone))
    return [
        f"{' ' * gutter}{arrow} {safe(span.source.name)}:{line}:{column}",
        f"{number} {bar} {before}{marked}{after}".rstrip(),
        f"{' ' * gutter} {bar} {' ' * columns(before)}{caret}",
    ]


def _pieces(span: Span, column: int, room: int) -> tuple[str, str, str]:
    """What stands before, under and after the caret, each as displayed, together at most ``room`` columns.

    Only characters near the span are read, so a line of a megabyte costs no more than a short one.
    """
    text = span.source.text
    begin = span.start - column + 1
    end = _line_end(text, span.start, min(span.start + room + 1, len(text)))
    stop = max(span.start, min(span.end, end))
    first = max(begin, span.start - room)
    # a tab's width depends on all that is before it; past a cut it is one step
    before = _display(text[first : span.start], 0 if first == begin else TAB)
    marked = _display(text[span.start : stop], columns(before))
    after = _display(text[stop:end], columns(before) + columns(marked))
    cut_left = first > begin
    more = end < len(text) and text[end] not in "\r\n"
    return _frame(before, marked, after, room, cut_left=cut_left, cut_right=more)


def _line_end(text: str, start: int, limit: int) -> int:
    ends = [at for at in (text.find("\n", start, limit), text.find("\r", start, limit)) if at >= 0]
    return min(ends, default=limit)


def _frame(
    before: str, marked: str, after: str, room: int, *, cut_left: bool, cut_right: bool
) -> tuple[str, str, str]:
    """Shortens the three pieces to ``room`` columns: the marked one first gets its share, then both sides."""
    if not cut_left and not cut_right and columns(before) + max(columns(marked) + columns(after), 1) <= room:
        return before, marked, after
    most = max(room - 6, 1)
    if columns(marked) > most:
        marked, after, cut_right = marked[: fitting(marked, most)], "", True
    rest = most - max(columns(marked), 1)
    left = min(columns(before), max(rest * 2 // 3, rest - columns(after)))
    kept = _tail(before, left)
    right = after[: fitting(after, rest - columns(kept))]
    if columns(right) > rest - columns(kept):  # not even one wide character fits
        right = ""
    lead = "..." if cut_left or len(kept) < len(before) else ""
    trail = "..." if cut_right or len(right) < len(after) else ""
    return lead + kept, marked, right + trail


def _tail(value: str, width: int) -> str:
    """The end of a text that fits in ``width`` columns."""
    used = 0
    for index in range(len(value) - 1, -1, -1):
        used += _cells(value[index])
        if used > width:
            return value[index + 1 :]
    return value


def _display(raw: str, column: int) -> str:
    """A piece of a line as it is shown: tabs as spaces up to the next stop, unprintable ones escaped."""
    if raw.isascii() and raw.isprintable():
        return raw
    parts: list[str] = []
    for character in raw:
        if character == "\t":
            piece = " " * (TAB - column % TAB)
        elif _plain(character):
            piece = character
        else:
            piece = _escape(character)
        parts.append(piece)
        column += columns(piece)
    return "".join(parts)


def data(diagnostic: Diagnostic) -> dict[str, Json]:
    """One diagnostic as JSON; lines and columns count from 1, the end column is not included.

    Each of the ``edits`` says which characters become ``text``, by lines and columns and by ``offset`` and
    ``length``; to make them all, begin with the last.
    """
    span = diagnostic.span
    return {
        "rule": diagnostic.rule,
        "severity": diagnostic.severity.value,
        "message": diagnostic.message,
        "node": diagnostic.node,
        "nodes": list(diagnostic.nodes or (() if diagnostic.node is None else (diagnostic.node,))),
        "edge": None if diagnostic.edge is None else list(diagnostic.edge),
        "span": None if span is None else _place(span),
        "fix": diagnostic.fix or None,
        "edits": [{**_place(edit.span), "offset": edit.span.start, "text": edit.text} for edit in diagnostic.edits],
    }


def report(diagnostics: Sequence[Diagnostic]) -> dict[str, Json]:
    """All of them as one JSON object, with the counts; ``ok`` is false when a run would be refused."""
    tally = count(diagnostics)
    return {
        "ok": not tally[Severity.ERROR],
        "counts": {severity.value: number for severity, number in tally.items()},
        "diagnostics": [data(d) for d in diagnostics],
    }


def _place(span: Span) -> dict[str, Json]:
    line, column = span.source.position(span.start)
    end_line, end_column = span.source.position(max(span.end, span.start))
    return {
        "file": span.source.name,
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
        "length": span.length,
    }


def github(diagnostics: Iterable[Diagnostic]) -> str:
    """Workflow commands, one line each, which GitHub shows beside the changed lines."""
    return "".join(f"{line}\n" for line in _annotations(diagnostics))


def _annotations(diagnostics: Iterable[Diagnostic]) -> Iterator[str]:
    for diagnostic in diagnostics:
        properties: dict[str, str] = {}
        if diagnostic.span is not None:
            place = _place(diagnostic.span)
            properties = {"file": str(place["file"]), "line": str(place["line"])}
            properties["endLine"] = str(place["end_line"])
            if place["line"] == place["end_line"]:
                properties["col"] = str(place["column"])
                properties["endColumn"] = str(place["end_column"])
        properties["title"] = diagnostic.rule
        message = diagnostic.message + (f"\nhelp: {diagnostic.fix}" if diagnostic.fix else "")
        written = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
        yield f"::{_COMMANDS[diagnostic.severity]} {written}::{_message(message)}"


def _message(value: str) -> str:
    plain = "".join(c if c == "\n" or _plain(c) else _escape(c) for c in value)
    return plain.replace("%", "%25").replace("\n", "%0A")


def _property(value: str) -> str:
    return _message(value).replace(":", "%3A").replace(",", "%2C")


def sarif(
    diagnostics: Sequence[Diagnostic], *, version: str, summaries: Mapping[str, str] | None = None
) -> dict[str, Json]:
    """A SARIF 2.1.0 log of one run; ``summaries`` says in a sentence what each rule means."""
    rules = list(dict.fromkeys(d.rule for d in diagnostics))
    places = {rule: index for index, rule in enumerate(rules)}
    described = summaries or {}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "orchestra",
                        "version": version,
                        "rules": [_rule(rule, described.get(rule, "")) for rule in rules],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(d, places[d.rule]) for d in diagnostics],
            }
        ],
    }


def _rule(rule: str, summary: str) -> dict[str, Json]:
    described: dict[str, Json] = {"id": rule, "name": rule}
    if summary:
        described["shortDescription"] = {"text": summary}
        described["help"] = {"text": f"orchestra explain {rule}"}
    return described


def _result(diagnostic: Diagnostic, index: int) -> dict[str, Json]:
    message = diagnostic.message + (f" Help: {diagnostic.fix}" if diagnostic.fix else "")
    result: dict[str, Json] = {
        "ruleId": diagnostic.rule,
        "ruleIndex": index,
        "level": _LEVELS[diagnostic.severity],
        "message": {"text": message},
    }
    location: dict[str, Json] = {}
    if diagnostic.span is not None:
        location["physicalLocation"] = _physical(diagnostic.span)
    logical = diagnostic.node or (" -> ".join(diagnostic.edge) if diagnostic.edge else "")
    if logical:
        location["logicalLocations"] = [{"name": logical, "kind": "element"}]
    if location:
        result["locations"] = [location]
    if diagnostic.edits:
        replaced: list[Json] = [
            {"deletedRegion": _physical(edit.span)["region"], "insertedContent": {"text": edit.text}}
            for edit in diagnostic.edits
        ]
        uri = _uri(diagnostic.edits[0].span.source.name)
        change: dict[str, Json] = {"artifactLocation": {"uri": uri}, "replacements": replaced}
        result["fixes"] = [{"description": {"text": diagnostic.fix}, "artifactChanges": [change]}]
    return result


def _physical(span: Span) -> dict[str, Json]:
    place = _place(span)
    return {
        "artifactLocation": {"uri": _uri(span.source.name)},
        "region": {
            "startLine": place["line"],
            "startColumn": place["column"],
            "endLine": place["end_line"],
            "endColumn": place["end_column"],
            "charOffset": span.start,
            "charLength": span.length,
        },
    }


_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/")


def _uri(name: str) -> str:
    """A file name as a URI reference: relative as it is, an absolute path as ``file://``."""
    encoded = name.encode("utf-8", "surrogateescape")
    quoted = "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in encoded)
    return f"file://{quoted}" if name.startswith("/") else quoted
