"""Every file in ``cases`` gives what the ``.txt`` beside it says, is stable when written back, and is Graphviz."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from html import unescape
from pathlib import Path

import pytest

from orchestra.errors import Severity, Source
from orchestra.graph.attributes import Duration, Value
from orchestra.graph.dot import decode, parse
from orchestra.graph.model import Attribute, Graph
from orchestra.graph.render import to_dot, to_drawing

CASES = sorted(Path(__file__).with_name("cases").glob("*.dot"))
NOP, DOT = shutil.which("nop"), shutil.which("dot")


def read(file: Path) -> tuple[Graph, str]:
    source, refused = decode(file.name, file.read_bytes())
    graph, found = parse(source)
    assert graph is not None
    notes = [
        f"{d.severity} {d.rule} {d.span.line}:{d.span.column} {d.span.text}" for d in (*refused, *found) if d.span
    ]
    return graph, "\n".join([*facts(graph), *notes, ""])


def facts(graph: Graph) -> Iterator[str]:
    """What a graph holds, one fact a line."""
    yield f"graph {graph.name}{written(graph.attributes)}"
    yield f"from {' '.join(graph.starts)} to {' '.join(graph.exits)}"
    for node in graph.nodes.values():
        classes = "".join(f" .{name}" for name in node.classes)
        inside = "".join(f" in {sub.name or '{}'}" for sub in node.subgraphs)
        mentioned = "" if node.declared else " mentioned"
        yield f"node {node.id} <{graph.type_of(node.id)}>{classes}{inside}{mentioned}{written(node.attributes)}"
    for edge in graph.edges:
        condition = f" if {' '.join(edge.condition.keys)}" if edge.condition else ""
        yield f"edge {edge.source} -> {edge.target}{condition}{written(edge.attributes)}"


def written(attributes: Mapping[str, Attribute]) -> str:
    return "".join(f" {key}={'~' * (a.origin == 'default')}{shown(a.value)}" for key, a in attributes.items())


def shown(value: Value) -> str:
    return f"<{value.milliseconds} ms>" if isinstance(value, Duration) else json.dumps(value, ensure_ascii=False)


@pytest.mark.parametrize("file", CASES, ids=[file.stem for file in CASES])
def test_a_file_means_what_is_written_beside_it(file: Path) -> None:
    assert read(file)[1] == file.with_suffix(".txt").read_text()


@pytest.mark.parametrize("file", CASES, ids=[file.stem for file in CASES])
def test_a_file_written_back_means_the_same(file: Path) -> None:
    graph, _ = read(file)
    again, found = parse(Source("again.dot", to_dot(graph)))
    assert not found
    assert again == graph
    assert list(again.nodes) == list(graph.nodes)
    assert to_dot(again) == to_dot(graph)


@pytest.mark.skipif(NOP is None, reason="Graphviz is not installed")
def test_what_is_written_back_is_graphviz() -> None:
    assert NOP is not None
    text = "".join(to_dot(read(file)[0]) for file in CASES)
    done = subprocess.run([NOP], input=text, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("digraph") == len(CASES)


@pytest.mark.skipif(DOT is None, reason="Graphviz is not installed")
def test_every_pipeline_can_be_drawn_with_an_id_for_each_node() -> None:
    assert DOT is not None
    graphs = [read(file)[0] for file in CASES]
    text = "".join(to_drawing(graph) for graph in graphs)
    done = subprocess.run([DOT, "-Tsvg"], input=text, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    drawn = unescape(done.stdout)
    assert all(f'id="node-{name}"' in drawn for graph in graphs for name in graph.nodes)


FORMS = {
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "a tab before each line": lambda text: text.replace("\n  ", "\n\t"),
    "no newline at the end": lambda text: text.rstrip(),
    "a byte order mark": lambda text: "\ufeff" + text,
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("file", CASES, ids=[file.stem for file in CASES])
def test_line_ends_tabs_and_marks_change_nothing(file: Path, form: Callable[[str], str], tmp_path: Path) -> None:
    other = tmp_path / file.name
    other.write_bytes(form(file.read_bytes().decode()).encode())
    assert read(other)[0] == read(file)[0]


def test_a_joined_line_is_joined_with_a_carriage_return_too() -> None:
    graph, found = parse(Source("p.dot", 'digraph g {\r\n a [prompt="one \\\r\ntwo"]\r\n}\r\n'))
    assert graph is not None
    assert (found, graph.nodes["a"].text("prompt")) == ((), "one two")


def test_every_case_is_free_of_errors() -> None:
    for file in CASES:
        _, found = parse(Source(file.name, file.read_text()))
        assert not [d for d in found if d.severity is Severity.ERROR], file.name
