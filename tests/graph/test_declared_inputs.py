"""Declared variables of a pipeline (L40)."""

from __future__ import annotations

import pytest

from orchestra.errors import ConfigError
from orchestra.graph.inputs import inputs, unused_variables, with_defaults
from support import graph_of

DECLARED = 'inputs="version, env=staging, note="\na start -> a -> exit'


def test_inputs_are_names_with_defaults_or_without() -> None:
    assert inputs(graph_of(DECLARED)) == {"version": None, "env": "staging", "note": ""}


def test_given_values_win_over_defaults() -> None:
    assert with_defaults(graph_of(DECLARED), {"version": "1", "env": "live"}) == {
        "version": "1",
        "env": "live",
        "note": "",
    }


@pytest.mark.parametrize(
    ("given", "words", "fix"),
    [
        ({}, "needs the variable version", "version=VALUE"),
        ({"version": "1", "evn": "x"}, "'evn'", "did you mean env?"),
    ],
)
def test_a_missing_and_an_undeclared_variable_are_named_with_the_place_of_the_declaration(
    given: dict[str, str], words: str, fix: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        with_defaults(graph_of(DECLARED), given)
    assert words in caught.value.message
    assert fix in caught.value.fix
    assert caught.value.span is not None


def test_without_a_declaration_any_variable_may_be_given() -> None:
    assert with_defaults(graph_of("a start -> a -> exit"), {"x": "1"}) == {"x": "1"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('a [prompt="Paint the color $colour"] start -> a -> exit', {"color": "colour"}),
        ('a [prompt="Paint it"] start -> a -> exit', {"color": ""}),
        ('a [prompt="Paint it $color"] start -> a -> exit', {}),
        ('a [prompt="{% if x %}{{ context.color | upper }}{% endif %}"] start -> a -> exit', {}),
        ('a [shape=parallelogram, tool_command="echo {{ color }}"] start -> a -> exit', {}),
        ('a start -> a -> exit [condition="color=red"]', {}),
        ("a [agent=painter] start -> a -> exit", {}),
        ('inputs="size=1"\na start -> a -> exit', {}),
    ],
)
def test_without_declared_inputs_a_variable_that_is_used_nowhere_is_found(text: str, found: dict[str, str]) -> None:
    assert unused_variables([graph_of(text)], {"color": "red"}) == found
