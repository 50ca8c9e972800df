"""One slip of the pen in the examples gives one error: no mistake drags others behind it (L11)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestra.errors import Severity, Source
from orchestra.graph.dot import parse

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.dot"))
WORD = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|->|[A-Za-z_]\w*|-?\d+\w*|\s+|.', re.DOTALL)
MISTAKEN = {
    "->": ["--", "=>", "→", "-", ">", "-->", "->>", "- >"],
    "=": [":", "==", ":=", "=>"],
    "[": ["(", "{", "[["],
    "]": [")", "}", "]]"],
    "{": ["[", "{{"],
    "}": ["]", "}}"],
    ",": [".", ",,"],
}


def slips(text: str) -> Iterator[tuple[str, str]]:
    """What went wrong, and the text with it."""
    for match in WORD.finditer(text):
        word = match[0]
        if word.isspace() or word.startswith("//"):
            continue
        wrong = {f"without {word}": "", **{f"{it} for {word}": it for it in MISTAKEN.get(word, [])}}
        if word.startswith('"'):
            inner = word[1:-1]
            wrong |= {f"no opening quote: {word}": inner + '"', f"no closing quote: {word}": '"' + inner}
            wrong |= {f"single quotes: {word}": f"'{inner}'", f"typographic quotes: {word}": f"“{inner}”"}
            wrong |= {f"no quotes: {word}": inner.replace("'", ""), f"HTML: {word}": f"<<b>{inner}</b>>"}
        for what, instead in wrong.items():
            yield what, text[: match.start()] + instead + text[match.end() :]


def spoiled(whole: str) -> list[tuple[str, list[str]]]:
    """The slips in a text that give more than one error, and these errors."""
    found = []
    for what, text in slips(whole):
        _, diagnostics = parse(Source("p.dot", text))
        errors = [
            f"{d.span.line}: {d.message}"
            for d in diagnostics
            if d.severity is Severity.ERROR and d.span is not None
        ]
        if len(errors) > 1:
            found.append((what, errors))
    return found


@pytest.mark.parametrize("file", EXAMPLES, ids=[file.stem for file in EXAMPLES])
def test_one_slip_is_one_error(file: Path) -> None:
    assert spoiled(file.read_text()) == []


LAYOUTS = {
    "a line an attribute": """digraph g {
    start [shape=Mdiamond]
    work [
        label="Do it",
        prompt="Think. Then act.",
        max_retries=2
    ]
    start -> work
}
""",
    "without commas": """digraph g
{
\tgraph [
\t\tgoal="Be done"
\t\trankdir=LR
\t]
\twork [ label="Do it"
\t\tprompt="Think." ]

\twork -> done [
\t\tlabel="on"
\t]
}
""",
    "in a subgraph": """digraph g {
  subgraph cluster_one {
    label = "One"
    node [shape=box,
          timeout=900s]
    plan; build
    plan -> build
  }
  build -> {a b}
  a [label="A", tool_command="
    for f in *.py; do
      test -s \\"$f\\" || exit 1
    done
  "]
}
""",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_slip_is_one_error_in_any_layout(layout: str) -> None:
    assert spoiled(LAYOUTS[layout]) == []


def test_after_a_broken_statement_the_next_ones_are_read() -> None:
    text = """digraph g {
    work
        label="Do it",
        shape=box
    ]
    a --> b
    c [label: "x",
       prompt: "y"]
    d [max_retries=many]
}
"""
    _, found = parse(Source("p.dot", text))
    assert [d.span.line for d in found if d.span is not None and d.severity is Severity.ERROR] == [3, 6, 7, 8, 9]


FRAME = "digraph g {{ start [shape=Mdiamond] exit [shape=Msquare] a b\n{}\n}}"


@pytest.mark.parametrize(
    ("body", "fix"),
    [
        ("start -> a b", "write a -> b"),
        ("start -> a\nb -> exit\na b", "write a -> b"),
        ("start -> b -> exit\na exit", "write a -> exit"),
    ],
)
def test_between_names_side_by_side_an_arrow_may_be_missing(body: str, fix: str) -> None:
    _, found = parse(Source("p.dot", FRAME.format(body)))
    assert [d.fix for d in found] == [fix]


@pytest.mark.parametrize(
    "body", ["start -> a -> exit a", "start -> a -> b -> exit\na b", "subgraph s { a b } start -> a b -> exit"]
)
def test_names_side_by_side_are_fine_where_no_arrow_can_be_missing(body: str) -> None:
    _, found = parse(Source("p.dot", FRAME.format(body)))
    assert not found
