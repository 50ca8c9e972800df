"""Entry points of the pipeline language: bytes to text, text to graph (language.md#syntax)."""

from __future__ import annotations

from collections.abc import Iterator

from orchestra.errors import Diagnostic, Severity, Source, Span, StylesheetError
from orchestra.graph.collector import collector_paused
from orchestra.graph.edits import error_edit, inside
from orchestra.graph.model import Graph
from orchestra.graph.parser.file import MAX_ERRORS
from orchestra.graph.parser.statements import parse_graph
from orchestra.graph.stylesheet import parse_stylesheet


def decode(name: str, data: bytes) -> tuple[Source, tuple[Diagnostic, ...]]:
    """Return the text of a UTF-8 file (L1) without byte order mark; other bytes are an ERROR."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _refusal(name, "", 0, "the file is UTF-16; pipelines must be UTF-8", "save it as UTF-8")
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        text = data.decode("utf-8", "replace")
        at = len(data[: error.start].decode("utf-8", "replace"))
        return _refusal(
            name, text, at, f"byte {data[error.start]:#04x} is not UTF-8 text", "save the file as UTF-8"
        )
    at = text.find("\0")
    if at >= 0:
        return _refusal(name, text, at, "NUL byte: this is not a text file", "")
    return Source(name, text), ()


def _refusal(name: str, text: str, at: int, message: str, fix: str) -> tuple[Source, tuple[Diagnostic, ...]]:
    source = Source(name, text)
    span = Span(source, at, at + 1)
    return source, (Diagnostic(rule="syntax", severity=Severity.ERROR, message=message, span=span, fix=fix),)


def parse(source: Source) -> tuple[Graph | None, tuple[Diagnostic, ...]]:
    """The graph in a text and every finding about the text, in source order; never raises.

    The graph is None where not even ``digraph NAME {`` could be read.
    """
    with collector_paused():
        graph, noted = parse_graph(source)
    styled = () if graph is None else _stylesheet(graph)
    found = sorted((*noted, *styled), key=lambda d: d.span.start if d.span is not None else 0)
    errors = [d for d in found if d.severity is Severity.ERROR]
    if len(errors) > MAX_ERRORS:
        keep = set(map(id, errors[:MAX_ERRORS]))
        found = [d for d in found if d.severity is not Severity.ERROR or id(d) in keep]
    return graph, tuple(found)


def _stylesheet(graph: Graph) -> Iterator[Diagnostic]:
    """Return the faults of the model stylesheet, with their places."""
    attribute = graph.attributes.get("model_stylesheet")
    if attribute is None or not isinstance(attribute.value, str):
        return
    try:
        parse_stylesheet(attribute.value)
    except StylesheetError as error:
        yield Diagnostic(
            rule="stylesheet_syntax",
            severity=Severity.ERROR,
            message=error.message,
            span=inside(attribute.span, error.start, error.end),
            fix=error.fix,
            edits=error_edit(attribute.span, error),
        )
