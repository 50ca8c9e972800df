"""What single nodes need: prompts, commands, retry targets, choices."""

from __future__ import annotations

import pytest
from lint_cases import ENDS, edges, flow, found, marked, nodes, severities

from orchestra.errors import Severity


def test_a_goal_gate_without_retry_target_is_a_warning() -> None:
    diagnostics = flow("a [goal_gate=true]\nstart -> a -> exit")
    assert [(d.rule, d.node) for d in diagnostics] == [("goal_gate_has_retry", "a")]


@pytest.mark.parametrize(
    "body",
    [
        "a [goal_gate=true, retry_target=a]",
        "a [goal_gate=true, fallback_retry_target=a]",
        "retry_target=a\na [goal_gate=true]",
        "fallback_retry_target=a\na [goal_gate=true]",
        "a [goal_gate=false]",
        "a",
    ],
)
def test_a_goal_gate_with_somewhere_to_go_is_fine(body: str) -> None:
    assert not flow(f"{body}\nstart -> a -> exit")


def test_an_llm_node_without_a_prompt_is_a_warning() -> None:
    diagnostics = found(ENDS + "a\nstart -> a -> exit")
    assert [(d.rule, d.node) for d in diagnostics] == [("prompt_on_llm_nodes", "a")]


@pytest.mark.parametrize(
    "attributes",
    ["prompt=x", 'label="Write the plan"', "agent=planner", '"agent.task"="plan"', "llm_prompt=x"],
)
def test_an_llm_node_with_a_prompt_is_fine(attributes: str) -> None:
    assert not found(ENDS + f"a [{attributes}]\nstart -> a -> exit")


@pytest.mark.parametrize("shape", ["diamond", "hexagon", "component", "tripleoctagon", "house"])
def test_other_nodes_need_no_prompt(shape: str) -> None:
    assert not found(ENDS + f"a [shape={shape}]\nstart -> a -> exit", "prompt_on_llm_nodes")


def test_an_undeclared_node_is_not_reported_twice() -> None:
    assert not found(ENDS + "start -> a -> exit", "prompt_on_llm_nodes")


@pytest.mark.parametrize(
    "attributes", ["shape=parallelogram", 'type="tool"', 'shape=parallelogram, tool_command=" "']
)
def test_a_tool_node_without_command_is_a_warning(attributes: str) -> None:
    assert [d.rule for d in found(ENDS + f"a [{attributes}]\nstart -> a -> exit")] == ["tool_command_on_tool_nodes"]


@pytest.mark.parametrize("key", ["tool_command", "script"])
def test_a_tool_node_with_a_command_is_fine(key: str) -> None:
    assert not found(ENDS + f'a [shape=parallelogram, {key}="make"]\nstart -> a -> exit')


GATE = "ask [shape=hexagon, label=Ship]\nwork\nstart -> ask\nwork -> exit\n"


def test_a_human_gate_without_edges_is_a_warning_and_no_dead_end() -> None:
    diagnostics = flow('a\nask [shape=hexagon]\nstart -> a -> exit\na -> ask [condition="outcome=fail"]')
    assert [(d.rule, d.severity) for d in diagnostics] == [("human_choices", Severity.WARNING)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("[A] Approve", "[A] Amend"),
        ("Approve", "Amend"),
        ("[a] Yes", "A) No"),
        ("Y - Yes", "[y] Yay"),
        ("[P] Approve", "Pause"),
    ],
)
def test_two_choices_under_one_key_are_a_warning_at_the_second_label(first: str, second: str) -> None:
    diagnostics = flow(f'{GATE}ask -> exit [label="{first}"]\nask -> work [label="{second}"]')
    assert [(d.rule, d.severity) for d in diagnostics] == [("human_choices", Severity.WARNING)]
    assert edges(diagnostics) == [("ask", "work")]
    assert marked(diagnostics) == [f'"{second}"']


@pytest.mark.parametrize(
    ("first", "second"),
    [("[A] Approve", "[M] Amend"), ("Approve", "Fix"), ("[A] Approve", "B - Amend"), ("[X] Pause", "Pass")],
)
def test_choices_under_different_keys_are_fine(first: str, second: str) -> None:
    assert not flow(f'{GATE}ask -> exit [label="{first}"]\nask -> work [label="{second}"]')


def test_choices_without_labels_go_by_their_targets() -> None:
    assert not flow(f"{GATE}ask -> exit\nask -> work")
    assert flow(f"{GATE}ask -> exit\nask -> edit\nedit -> exit\nedit", "human_choices")


def test_choices_that_are_not_offered_together_may_share_a_key() -> None:
    share = '[label="[A] Approve", condition="{}"]'
    one, other = share.format("outcome=success"), share.format("outcome!=success")
    assert not flow(f"{GATE}ask -> exit {one}\nask -> work {other}", "human_choices")
    assert flow(f"{GATE}ask -> exit {one}\nask -> work {one}", "human_choices")
    assert flow(f'{GATE}ask -> exit {one}\nask -> work [label="[A] Amend"]', "human_choices")


def test_an_edge_for_free_text_has_no_key() -> None:
    assert not flow(f'{GATE}ask -> exit [label="Other"]\nask -> work [label="Or else", human.freeform=true]')


@pytest.mark.parametrize("choice", ["A", "a", "Approve", "exit", "work"])
def test_a_default_choice_is_a_key_a_label_or_a_target(choice: str) -> None:
    gate = GATE.replace("label=Ship", f'label=Ship, "human.default_choice"="{choice}"')
    assert not flow(f'{gate}ask -> exit [label="[A] Approve"]\nask -> work [label="[F] Fix"]')


def test_a_default_choice_that_is_none_of_them_is_a_warning() -> None:
    gate = GATE.replace("label=Ship", 'label=Ship, "human.default_choice"="later"')
    diagnostics = flow(f'{gate}ask -> exit [label="[A] Approve"]\nask -> work [label="[F] Fix"]')
    assert nodes(diagnostics) == ["ask"]
    assert severities(diagnostics) == [Severity.WARNING]
    assert marked(diagnostics) == ['"later"']


def test_a_gate_with_a_timeout_and_no_default_is_a_note() -> None:
    body = "a [shape=hexagon, human.timeout=5m{}]\nstart -> a -> exit"
    assert severities(flow(body.format(""), "human_choices")) == [Severity.INFO]
    assert not flow(body.format(", human.default_choice=exit"), "human_choices")


@pytest.mark.parametrize("node", ["shape=house", "type=pipeline", "shape=house, stack.child_autostart=false"])
def test_a_node_that_names_no_child_is_a_warning_as_it_fails_only_when_it_is_reached(node: str) -> None:
    assert severities(flow(f"a [{node}]\nstart -> a -> exit", "child_dotfile")) == [Severity.WARNING]
