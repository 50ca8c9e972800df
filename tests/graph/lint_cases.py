"""How the linter's tests write pipelines and look at what was found."""

from __future__ import annotations

from orchestra.errors import Diagnostic, Severity, Source
from orchestra.graph.dot import parse
from orchestra.graph.lint import lint
from orchestra.graph.model import Graph

ENDS = "start [shape=Mdiamond]\nexit [shape=Msquare]\n"
WORK = 'node [prompt="Do it"]\n'


def graph_of(body: str) -> Graph:
    """The graph of these statements."""
    graph, _found = parse(Source("case.dot", f"digraph case {{\n{body}\n}}\n"))
    assert graph is not None
    return graph


def found(body: str, rule: str = "", **options: object) -> list[Diagnostic]:
    """What the linter says of these statements, or what one rule says."""
    everything = lint(graph_of(body), **options)  # type: ignore[arg-type]
    return [d for d in everything if not rule or d.rule == rule]


def flow(body: str, rule: str = "", **options: object) -> list[Diagnostic]:
    """The same, with a start, an exit and a prompt for every node."""
    return found(ENDS + WORK + body, rule, **options)


def nodes(diagnostics: list[Diagnostic]) -> list[str | None]:
    return [d.node for d in diagnostics]


def edges(diagnostics: list[Diagnostic]) -> list[tuple[str, str] | None]:
    return [d.edge for d in diagnostics]


def marked(diagnostics: list[Diagnostic]) -> list[str]:
    """The text under the carets."""
    return [d.span.text for d in diagnostics if d.span is not None]


def severities(diagnostics: list[Diagnostic]) -> list[Severity]:
    return [d.severity for d in diagnostics]
