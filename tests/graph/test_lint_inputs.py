"""Names in prompts and commands of a pipeline that declares its inputs (L40)."""

from __future__ import annotations

import pytest
from lint_cases import flow, marked

RULE = "input_declared"


def found(node: str, more: str = "") -> list[str]:
    return marked(flow(f'inputs="version, env=staging"\nwork [{node}]\n{more}start -> work -> exit', RULE))


@pytest.mark.parametrize(
    ("node", "name"),
    [
        ('shape=parallelogram, tool_command="ship {{ versoin }}"', "versoin"),
        ('shape=parallelogram, tool_command="ship {{ anything }}"', "anything"),
        ('shape=parallelogram, tool_command="ship {{ anything | raw }}"', "anything"),
        ('prompt="Deploy $verison now"', "verison"),
        ('prompt="Deploy {{ versoin }}"', "versoin"),
    ],
)
def test_a_name_that_is_nearly_an_input_or_that_nothing_could_set_is_a_warning(node: str, name: str) -> None:
    assert found(node) == [name]


@pytest.mark.parametrize(
    "node",
    [
        'shape=parallelogram, tool_command="ship {{ version }} {{ env }} {{ goal }} {{ last_response }}"',
        'shape=parallelogram, tool_command="echo {{ run.vars.version }} {{ tools.work.output }} {{ end }} {{.S}}"',
        'shape=parallelogram, tool_command="for vers in 1 2; do echo $vers $verison; done"',
        'prompt="Deploy $version to $env for $goal, it costs $5 in $HOME"',
        'prompt="Judge {{ score }}"',
    ],
)
def test_inputs_what_the_engine_sets_and_what_an_agent_could_set_are_fine(node: str) -> None:
    assert not found(node)


def test_where_an_agent_could_set_a_name_a_command_may_read_it() -> None:
    body = 'work [prompt="Judge it"]\nshow [shape=parallelogram, tool_command="echo {{ score }}"]\n'
    assert not flow(f'inputs="version"\n{body}start -> work -> show -> exit', RULE)


def test_without_inputs_any_variable_may_be_given() -> None:
    assert not flow('work [shape=parallelogram, tool_command="ship {{ versoin }}"]\nstart -> work -> exit', RULE)
