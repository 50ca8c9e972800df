"""Settings are read by YAML 1.2's rules, with the place of every key and value, and nothing is guessed."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestra.config.yaml import Document, load
from orchestra.errors import ConfigError, Source


def read(text: str) -> Document:
    return load(Source("test.yaml", text))


def fault(text: str) -> tuple[int, int]:
    """Where a text is refused."""
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.span is not None
    return caught.value.span.line, caught.value.span.column


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("12:30", "12:30"), ("2026-01-01", "2026-01-01"),
        ("12", 12), ("-3", -3), ("+5", 5), ("007", 7), ("0o17", 15), ("0x1F", 31), ("1_000", "1_000"),
        ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("-0.25", -0.25), (".inf", ".inf"), (".nan", ".nan"),
        ("12345678901234567890", "12345678901234567890"),
        ("'12'", "12"), ('"true"', "true"), ("''", ""), ('"a\\nb"', "a\nb"), ("|\n  12", "12"),
        ("[1, two]", [1, "two"]), ("{a: {b: c}}", {"a": {"b": "c"}}),
    ],
)  # fmt: skip
def test_a_value_is_what_yaml_1_2_says(text: str, value: object) -> None:
    assert read(f"key: {text}").data == {"key": value}
    assert type(read(f"key: {text}").data["key"]) is type(value)


@pytest.mark.parametrize("text", ["", "# only a remark", "---\n"])
def test_a_text_without_a_value_holds_nothing(text: str) -> None:
    assert read(text).data is None


def test_every_key_and_value_knows_its_place() -> None:
    document = read('größe: 😀\nlist:\n  - {inner: "x y"}\n')
    span = document.span(("list", 0, "inner"))
    assert span is not None
    assert (span.line, span.column, span.text) == (3, 13, '"x y"')
    key = document.key_span(("list", 0, "inner"))
    assert key is not None
    assert key.text == "inner"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: 1\nb: 2\na: 3", (3, 1)),
        ("a: {x: 1, 'x': 2}", (1, 11)),
        ("a: 1\n? [x]\n: y", (2, 3)),
        ("a: &name 1\nb: *name", (2, 4)),
        ("a: &name [*name]", (1, 11)),
        ("<<: {a: 1}", (1, 1)),
        ("a: !!int '3'", (1, 4)),
        ("a: !!python/object/apply:os.system ['true']", (1, 4)),
        ("a: 1\n--- \nb: 2", (2, 1)),
        ("a: [1,\n2", (1, 4)),
        ("a:\n\t- b", (2, 1)),
        ("a: @b", (1, 4)),
        ("a: \x00", (1, 1)),
        ("a: \ud800", (1, 1)),
    ],
)
def test_what_is_doubtful_is_refused_with_its_place(text: str, place: tuple[int, int]) -> None:
    assert fault(text) == place


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_no_depth_of_nesting_does_harm(opening: str) -> None:
    fault("a:\n  " + opening * 100_000)


def test_a_text_cannot_multiply_itself() -> None:
    nine = ", ".join(["*a"] * 9)
    fault("a: &a [x]\n" + "\n".join(f"b{n}: &a [{nine}]" for n in range(30)))


_PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text("ab 1:-#'\"\\{}[],&*!|>%@\n\té😀", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abcé", min_size=1, max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(_PLAIN, st.booleans())
def test_what_a_yaml_writer_writes_is_read_as_it_was(value: Any, flow: bool) -> None:
    text = yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True)
    assert read(text.replace("...\n", "")).data == value


@given(st.text("ab:-[]{},'\"&*!|> \n\t#?0.", max_size=40))
def test_any_text_is_read_or_refused_in_our_words(text: str) -> None:
    with contextlib.suppress(ConfigError):
        read(text)


@pytest.mark.parametrize(
    ("text", "place", "word"),
    [
        ("a: [\n", (1, 4), "["),
        ("a: {b: [1, 2]\n\n", (1, 4), "{"),
        ('a: "open\n', (1, 4), '"'),
        ("a:\n\tb: 1\n", (2, 1), "tab"),
        ("\ta: 1\n", (1, 1), "tab"),
    ],
)
def test_a_fault_is_reported_in_words_where_it_begins(text: str, place: tuple[int, int], word: str) -> None:
    assert fault(text) == place
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert word in caught.value.message


@pytest.mark.parametrize("text", ["a: b: c\n", "a: @b\n", "a: `b`\n"])
def test_a_value_that_needs_quotes_is_reported_as_such(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert "quote" in caught.value.fix
