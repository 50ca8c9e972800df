"""No text, however broken, gives a traceback, takes long, or gets a diagnostic outside of itself.

500 mutated pipelines in the suite, 10 000 with ``--long``. A failure names the seed that makes the same text again.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from orchestra.errors import Diagnostic, Severity, Source
from orchestra.graph import report
from orchestra.graph.dot import decode, parse
from orchestra.graph.lint import lint
from orchestra.graph.parser.file import MAX_ERRORS
from orchestra.graph.render import dumps, to_dot, to_drawing
from orchestra.graph.stylesheet import apply

ROOT = Path(__file__).resolve().parents[2]
FILES = [*sorted((ROOT / "examples").glob("*.dot")), *sorted((ROOT / "tests/graph/cases").glob("*.dot"))]
SEEDS = [file.read_text() for file in FILES] + [
    """digraph whole {
    graph [goal="Build \\"it\\"", model_stylesheet="
        * { llm_model: m; } .fast { llm_provider: p } #gate { reasoning_effort: low }"]
    rankdir=LR; default_max_retries = 2
    node [shape=box, timeout=900s]; edge [weight=0]
    start [shape=Mdiamond label="Start"]; exit [shape=Msquare];
    subgraph cluster_loop { label="Loop A" node [thread_id="loop", max_visits=3]
        plan -> build [label="[B] Build", condition="outcome=success && !context.stop || x matches \\"a.*b\\""]
        build [prompt="Line 1\\nLine 2 \\
joined" + " and more", human.default_choice=b, class="fast,cheap"]
    }
    gate [shape=hexagon goal_gate=true][retry_target=plan]  // a comment
    /* several
       lines */
    start -> plan; build -> {gate "tool"} -> exit [condition="count >= 3", loop_restart=false]
    # the end
    tool [type="tool", tool_command="make", retry_policy=linear, quorum=0.5]
}
"""
]
WORD = re.compile(r'"(?:[^"\\]|\\.)*"|->|--|[A-Za-z_]\w*|-?\d+\w*|\s+|.', re.DOTALL)
POOL = [
    *"{}[]();,=:.+-<>\"'`#/\\$&|!@*?~^%\n\t\r \0\u00a0\u200b\u2028\ufeff\ud800\U0001f600é“”→",
    *(
        "->",
        "--",
        "/*",
        "*/",
        "//",
        "\n#",
        "==",
        "=>",
        '"""',
        '\\"',
        "<<b>",
        "</b>>",
        "\\\n",
        "::",
        ";;",
        ",,",
        "a:n:sw",
    ),
    *(
        "digraph",
        "graph",
        "node",
        "edge",
        "subgraph",
        "strict",
        "subgraph x {",
        "digraph y {",
        "{{{{",
        "}}}}",
        "[[",
        "]]",
    ),
    *(
        "label=",
        "=x",
        "condition=",
        'condition="a==b"',
        'condition="("',
        "model_stylesheet=",
        'model_stylesheet="x {"',
    ),
    *(
        "max_retries=-1",
        "timeout=10",
        "timeout=1h30m",
        "goal_gate=yes",
        "llm_prompt=x",
        "weight=1e9",
        "9" * 50,
        "1.5.2",
    ),
]


def mutated(seed: int) -> bytes:
    """A seed text after one to six mutations of its words and, one time in three, of its bytes."""
    chance = random.Random(seed)
    words = WORD.findall(chance.choice(SEEDS))
    for _ in range(chance.choice([1, 1, 1, 2, 3, 6])):
        words = chance.choice(MUTATIONS)(words, chance)
    data = bytearray("".join(words).encode("utf-8", "surrogatepass"))
    if seed % 3 == 0 and data:
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(data))
            data[at : at + chance.choice([0, 1, 1, 2, 30])] = chance.randbytes(chance.choice([0, 1, 1, 3]))
            data = data or bytearray(b"{")
    return bytes(data)


Mutation = Callable[[list[str], random.Random], list[str]]


def drop(words: list[str], chance: random.Random) -> list[str]:
    at = chance.randrange(len(words) + 1)
    return words[:at] + words[at + chance.choice([1, 1, 1, 2, 5, 40]) :]


def insert(words: list[str], chance: random.Random) -> list[str]:
    at = chance.randrange(len(words) + 1)
    return [*words[:at], chance.choice(POOL), *words[at:]]


def replace(words: list[str], chance: random.Random) -> list[str]:
    at = chance.randrange(len(words) + 1)
    return [*words[:at], chance.choice(POOL), *words[at + 1 :]]


def repeat(words: list[str], chance: random.Random) -> list[str]:
    at, size = chance.randrange(len(words) + 1), chance.choice([1, 2, 10, 60])
    return words[:at] + words[at : at + size] * chance.choice([2, 2, 3, 50]) + words[at + size :]


def swap(words: list[str], chance: random.Random) -> list[str]:
    at, size, by = chance.randrange(len(words) + 1), chance.choice([1, 2, 8]), chance.choice([1, 2, 20])
    return words[:at] + words[at + size : at + size + by] + words[at : at + size] + words[at + size + by :]


def cut(words: list[str], chance: random.Random) -> list[str]:
    at = chance.randrange(len(words) + 1)
    return words[:at] if chance.random() < 0.5 else words[at:]


def join(words: list[str], chance: random.Random) -> list[str]:
    return [word for word in words if not word.isspace()] if chance.random() < 0.2 else [*words, *words]


def open_word(words: list[str], chance: random.Random) -> list[str]:
    at = chance.randrange(len(words) + 1)
    word = "".join(words[at : at + 1])
    return [*words[:at], word[: chance.randrange(len(word) + 1)], *words[at + 1 :]]


MUTATIONS: list[Mutation] = [drop, drop, insert, insert, replace, replace, repeat, swap, cut, join, open_word]


def check(data: bytes, label: str, seconds: float = 1) -> None:
    """Everything that ``orchestra compile`` does with a text, in at most so many seconds of the processor."""
    began = time.process_time()
    source, refused = decode("fuzz.dot", data)
    graph, found = parse(source)
    diagnostics = [*refused, *found]
    if graph is not None:
        diagnostics += lint(apply(graph))
        to_drawing(graph)
        dumps(graph)
    report.text(diagnostics)
    took = time.process_time() - began
    assert took < seconds, f"{label} took {took:.2f} s"
    assert inside(source, diagnostics) == [], label
    errors = [d for d in found if d.severity is Severity.ERROR]
    assert len(errors) <= MAX_ERRORS, label
    starts = [d.span.start for d in found if d.span is not None]
    assert starts == sorted(starts), label
    assert graph is not None or errors or refused, label
    if graph is not None and not errors and not refused:
        assert parse(Source("again.dot", to_dot(graph)))[0] == graph, label


def inside(source: Source, diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Those whose place is not in the file; an empty file has the place 1:1."""
    lines = source.text.count("\n") + 1
    return [
        d
        for d in diagnostics
        if d.span is None
        or not 1 <= d.span.line <= lines
        or not 1 <= d.span.column <= len(source.line(d.span.line)) + 1
        or not 0 <= d.span.start < max(d.span.end, 1) <= max(len(source.text), 1)
    ]


@pytest.mark.parametrize("first", range(0, 500, 50))
def test_mutated_pipelines_are_read_or_refused_in_time(first: int) -> None:
    for seed in range(first, first + 50):
        check(mutated(seed), f"seed {seed}")


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("first", range(1000, 11_000, 500))
def test_many_mutated_pipelines_are_read_or_refused_in_time(first: int) -> None:
    for seed in range(first, first + 500):
        check(mutated(seed), f"seed {seed}")


LARGE = 200_000
EXTREMES = {
    "braces": "digraph g " + "{" * LARGE,
    "nested subgraphs": "digraph g {" + "subgraph s {" * 1000 + "a" + "}" * 1000 + "}",
    "nested sets in an edge": "digraph g { a -> " + "{" * 1000 + "b" + "}" * 1000 + "}",
    "closing braces": "digraph g {" + "}" * LARGE,
    "brackets": "digraph g { a " + "[" * LARGE,
    "empty lists": "digraph g { a " + "[]" * (LARGE // 2) + "}",
    "quotes": "digraph g { a [label=" + '"' * LARGE + "] }",
    "escapes": 'digraph g { a [label="' + "\\" * LARGE + '"] }',
    "joined texts": "digraph g { a [label=" + ' "a" +' * (LARGE // 8) + ' "b"] }',
    "angles": "digraph g { a [label=" + "<" * LARGE + "] }",
    "comments": "digraph g { " + "/**/" * (LARGE // 4) + "a }",
    "open comments": "digraph g { " + "/*" * LARGE,
    "slashes": "digraph g { " + "/" * LARGE,
    "hashes": "digraph g {\n" + "#\n" * (LARGE // 2) + "}",
    "line breaks": "digraph g {" + "\n" * LARGE + "}",
    "lines of faults": "digraph g {\n" + "a b = = c [\n" * (LARGE // 12) + "}",
    "points": "digraph g { a [" + "." * LARGE + "=1] }",
    "a long key": "digraph g { a [" + "a." * (LARGE // 2) + "a=1] }",
    "a long id": "digraph g { " + "a" * LARGE + " }",
    "a long odd id": "digraph g { " + "a-é" * (LARGE // 3) + " -> b }",
    "a long number": "digraph g { a [max_retries=" + "9" * LARGE + "] }",
    "many attributes": "digraph g { a [" + ",".join(f"k{i}=1" for i in range(LARGE // 10)) + "] }",
    "one attribute again and again": "digraph g { a [" + "label=x," * (LARGE // 8) + "] }",
    "a long chain": "digraph g { " + " -> ".join(f"n{i}" for i in range(LARGE // 20)) + " }",
    "sets of sets": "digraph g { " + " -> ".join(["{" + " ".join(f"n{i}" for i in range(300)) + "}"] * 20) + " }",
    "ports": "digraph g { a" + ":n" * (LARGE // 2) + " }",
    "commas": "digraph g { a [" + "," * LARGE + "] }",
    "semicolons": "digraph g { " + ";" * LARGE + " }",
    "arrows": "digraph g { a " + "-> " * (LARGE // 3) + "}",
    "dashes": "digraph g { a " + "-" * LARGE + " b }",
    "odd quotes": "digraph g { a [label=" + "“”" * (LARGE // 2) + "] }",
    "open odd quotes": "digraph g { a [label=" + "‘“" * (LARGE // 2) + "] }",
    "texts that open where they should close": "digraph g {\n" + 'a [x="\n' * (LARGE // 7) + "}",
    "unbalanced texts": "digraph g {\n" + 'a [label="x]\n' * (LARGE // 12) + "}",
    "bad conditions": "digraph g {\n" + 'a -> b [condition="=="]\n' * (LARGE // 25) + "}",
    "a deep condition": 'digraph g { a -> b [condition="' + "(" * LARGE + '"] }',
    "a long condition": 'digraph g { a -> b [condition="' + "a && " * (LARGE // 10) + 'b"] }',
    "a broken long condition": 'digraph g { a -> b [condition="' + "\\n" * (LARGE // 2) + '=="] }',
    "a stylesheet of faults": 'digraph g { model_stylesheet="' + "* { llm_model: a; } " * (LARGE // 40) + '@" }',
    "open comments in a stylesheet": 'digraph g { model_stylesheet="' + "/*" * (LARGE // 2) + '" }',
    "spaces in a stylesheet": 'digraph g { model_stylesheet="* { llm_model: a' + " " * LARGE + '" }',
    "many old words": "digraph g {\n" + "\n".join(f"n{i} [llm_prompt=x]" for i in range(LARGE // 40)) + "}",
    "many defaults": "digraph g {\n" + "\n".join(f"node [k{i}=1] n{i}" for i in range(1000)) + "}",
    "subgraphs in a row": "digraph g {" + "subgraph s { a }" * (LARGE // 40) + "}",
    "no text at all": "",
    "only white space": " \n\t " * 1000,
    "invisible characters": "digraph g {" + "\u00a0\u200b\u2028" * 10_000 + "}",
    "lone surrogates": "digraph g {" + "\ud800" * 10_000 + "}",
    "NUL bytes": "\0" * 10_000,
}


@pytest.mark.parametrize("text", EXTREMES.values(), ids=EXTREMES.keys())
def test_extreme_texts_are_read_or_refused_in_time(text: str) -> None:
    check(text.encode("utf-8", "surrogatepass"), text[:60], seconds=5)
    began = time.process_time()
    graph, found = parse(Source("direct.dot", text))
    assert time.process_time() - began < 1
    assert graph is not None or found


def test_nesting_without_bound_is_one_clear_error() -> None:
    text = "digraph g {\n" + "subgraph s {\n" * 100_000 + "a\n" + "}\n" * 100_000 + "}\n"
    _graph, found = parse(Source("deep.dot", text))
    assert [d.rule for d in found] == ["syntax"]
    assert "nested" in found[0].message
