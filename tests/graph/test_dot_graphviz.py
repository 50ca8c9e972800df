"""Nothing is accepted that Graphviz would refuse, but for Attractor's bare forms; those it refuses (L13)."""

from __future__ import annotations

import random
import shutil
import subprocess

import pytest

from orchestra.errors import Severity, Source
from orchestra.graph.dot import parse
from orchestra.graph.render import to_dot

NOP = shutil.which("nop")
WORDS = """a b "c" -> { } [ ] = , ; subgraph s node edge graph label 5 -1 .5 1. + "" "p" - -- "node" x=1 [k=v] Node
    "k.l" "\\"" /**/ strict a->b x"y" {a} [] [k="v",]"""
PIECES = [*WORDS.split(), "\n", "\n# c\n", "// z\n", '"x\\\ny"']

pytestmark = pytest.mark.skipif(NOP is None, reason="Graphviz is not installed")


def refused(texts: list[str]) -> list[str]:
    """Those of the texts that Graphviz does not read."""
    assert NOP is not None
    done = subprocess.run([NOP], input="".join(texts), capture_output=True, text=True)
    if done.returncode == 0 and not done.stderr:
        return []
    half = len(texts) // 2
    return texts if len(texts) == 1 else refused(texts[:half]) + refused(texts[half:])


def accepted(text: str) -> bool:
    return not any(d.severity is Severity.ERROR for d in parse(Source("p.dot", text))[1])


def soups(count: int) -> list[str]:
    """Random statements, whose words are well apart, that our parser takes."""
    chance = random.Random(1)
    bodies = (" ".join(chance.choices(PIECES, k=chance.randint(1, 8))) for _ in range(count))
    return list(dict.fromkeys(text for body in bodies if accepted(text := f"digraph g {{\n{body}\n}}\n")))


@pytest.mark.parametrize("count", [10_000, pytest.param(300_000, marks=pytest.mark.long)])
def test_what_is_accepted_graphviz_accepts_too(count: int) -> None:
    texts = soups(count)
    assert len(texts) > count // 200
    assert refused(texts) == []


def test_what_is_written_back_graphviz_accepts_too() -> None:
    graphs = [parse(Source("p.dot", text))[0] for text in soups(10_000)]
    assert refused([to_dot(graph) for graph in graphs if graph is not None]) == []


BARE = [
    "a [timeout=15m]",
    "human.default_choice=b",
    "a [human.timeout=5s]",
    "a [fidelity=summary:low]",
    "a [x=gpt-mini]",
]


@pytest.mark.parametrize("body", BARE)
def test_attractor_s_bare_forms_are_accepted_and_written_back_in_quotes(body: str) -> None:
    text = f"digraph g {{ {body} }}\n"
    graph, found = parse(Source("p.dot", text))
    assert not found
    assert graph is not None
    assert refused([text]) == [text]
    assert refused([to_dot(graph)]) == []
