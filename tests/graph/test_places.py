"""Every character of a value is known by its place in the file, whatever escapes and joins stand before it."""

from __future__ import annotations

import pytest
from dot_texts import TEXTS
from hypothesis import given

from orchestra.errors import Source
from orchestra.graph.dot import parse
from orchestra.graph.edits import inside, places


@given(TEXTS)
def test_every_character_has_its_place(text: str) -> None:
    source = Source("g.dot", f"digraph g {{ a [prompt={text}] }}")
    graph, _ = parse(source)
    assert graph is not None
    attribute = graph.nodes["a"].attributes["prompt"]
    known = places(attribute.span)
    value = str(attribute.value)
    assert len(known) == len(value) + 1
    assert list(known) == sorted(set(known))
    for character, place in zip(value, known, strict=False):
        written = source.text[place]
        assert written in {character, "\\"} or source.text[place : place + 2] == "\r\n"


@pytest.mark.parametrize(
    ("condition", "marked"),
    [
        ('"outcome == success"', "=="),
        ('"a=\\"\\\\\\"\\" && b == c"', "=="),
        ('"a=b &&\\\n\\\n  c == d"', "=="),
        ('"a=b" + " && c" /* "==" */ + " == d"', "=="),
        ('"a=b\\n\\t && c == d"', "=="),
        ('"a=\\"x"', '\\"'),
        ('"a matches \\"(\\""', '\\"(\\"'),
        ('"a &&"', "&&"),
    ],
)
def test_a_mistake_in_a_condition_is_shown_at_its_position(condition: str, marked: str) -> None:
    text = f"digraph g {{\n  a -> b [condition={condition}]\n}}"
    _, found = parse(Source("g.dot", text))
    assert [d.rule for d in found] == ["condition_syntax"]
    assert found[0].span is not None
    assert found[0].span.text == marked
    assert found[0].span.end == text.rindex(marked) + len(marked)


def test_a_bare_value_has_its_places_too() -> None:
    graph, _ = parse(Source("g.dot", "digraph g { a -> b [condition=outcome] }"))
    assert graph is not None
    span = graph.edges[0].attributes["condition"].span
    assert inside(span, 3, 7).text == "come"
    assert inside(span, 99, 120).start == span.end
