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


TOOL = "shape=parallelogram, tool_command"
LOOP = "start -> work -> review\nreview -> work [max_visits=3]\nreview -> exit"


@pytest.mark.parametrize(
    ("nodes", "flow_", "name"),
    [
        ('work [prompt="Heed {{ responses.review }}"]', LOOP, "responses.review"),
        ('work [prompt="Heed {{ responses.work }}"]', LOOP, "responses.work"),
        (
            f'work [{TOOL}="fix {{{{ tools.test.output }}}}"]\ntest [{TOOL}="make test"]',
            "start -> work -> test -> exit\ntest -> work [max_visits=2]",
            "tools.test.output",
        ),
    ],
)
def test_a_value_of_a_node_that_runs_only_later_is_a_warning(nodes: str, flow_: str, name: str) -> None:
    assert marked(flow(f"{nodes}\n{flow_}", "value_of_node")) == [name]


@pytest.mark.parametrize(
    "body",
    [
        f'review [prompt="Judge {{{{ responses.work }}}}"]\n{LOOP}',
        'work [prompt="{{ responses.review }}"]\nstart -> review -> work -> exit\nstart -> work [condition="x"]',
        f'work [agent=a, "agent.task"="task.yaml"]\n{LOOP}',
    ],
)
def test_a_value_that_may_be_there_in_time_is_fine(body: str) -> None:
    assert not flow(body, "value_of_node")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("human.gate.txt", "human.gate.text"),
        ("human.approve.text", "human.gate.text"),
        ("tool.ouput", "tool.output"),
        ("stack.child.staus", "stack.child.status"),
        ("parallel.sucess_count", "parallel.success_count"),
        ("human.review.comment", ""),
    ],
)
def test_a_name_that_only_the_engine_sets_and_does_not_is_a_warning(name: str, meant: str) -> None:
    prompts = flow(f'work [prompt="See {{{{ {name} }}}}"]\nstart -> work -> exit', "value_of_node")
    asked = flow(f'start -> work -> exit [condition="context.{name}=x"]', "value_of_node")
    lead = f'lead [shape=house, stack.child_dotfile="c.dot", manager.stop_condition="{name} > 2"]'
    stops = flow(f"{lead}\nstart -> lead -> exit", "value_of_node")
    for found_ in (prompts, asked[:1], stops):
        assert marked(found_) == [name]
        assert meant in found_[0].fix


@pytest.mark.parametrize(
    "name", ["parallel.results[0].response", "parallel.fan_in.best_id", "human.gate.text", "workspace.merged"]
)
def test_a_name_that_the_engine_sets_is_fine(name: str) -> None:
    assert not flow(f'work [prompt="See {{{{ {name} }}}}"]\nstart -> work -> exit', "value_of_node")


def test_a_status_that_no_child_has_is_a_warning() -> None:
    body = 'start -> work\nwork -> exit [condition="stack.child.status=complete"]\nwork -> exit'
    assert [d.fix for d in flow(body, "value_of_node")] == ["did you mean 'completed'?"]


FAN = "f [shape=component]\nm [shape=tripleoctagon{}]\nstart -> f -> {{a b}} -> m -> z -> exit\n"


@pytest.mark.parametrize("reader", ["z", "b"])
def test_what_a_branch_leaves_is_not_read_outside_of_it(reader: str) -> None:
    body = f'{reader} [prompt="{{{{ responses.a }}}}"]\n'
    assert marked(flow(body + FAN.format(""), "value_of_node")) == ["responses.a"]
    assert reader == "b" or not flow(body + FAN.format(", merge=all"), "value_of_node")


def test_a_later_node_of_a_branch_reads_what_an_earlier_one_left() -> None:
    body = 'c [prompt="{{ responses.a }}"]\nf [shape=component]\nm [shape=tripleoctagon]\n'
    assert not flow(f"{body}start -> f -> a -> c -> m -> exit\nf -> b -> m", "value_of_node")


def test_the_answer_of_a_gate_is_not_read_before_the_first_gate() -> None:
    gate = 'g [shape=hexagon]\nwork [prompt="{{ human.gate.text }}"]\n'
    assert marked(flow(f"{gate}start -> work -> g\ng -> work [max_visits=2]\ng -> exit", "value_of_node"))
    assert not flow(f"{gate}start -> g -> work -> exit\ng -> exit", "value_of_node")
