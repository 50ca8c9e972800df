"""Types, shapes, fidelity modes, retry targets, attribute names."""

from __future__ import annotations

import pytest
from lint_cases import ENDS, edges, flow, found, marked, nodes, severities

from orchestra.errors import Severity
from orchestra.graph.attributes import BUILT_IN_TYPES, EDGE, FIDELITIES, GRAPH, NODE, SHAPES


def test_a_type_without_handler_is_a_warning_at_its_value() -> None:
    diagnostics = flow('a [type="wait.humn"]\nstart -> a -> exit', "type_known")
    assert severities(diagnostics) == [Severity.WARNING]
    assert marked(diagnostics) == ['"wait.humn"']
    assert "'wait.human'" in diagnostics[0].fix


def test_a_registered_type_is_known() -> None:
    body = 'a [type="my.deploy"]\nstart -> a -> exit'
    assert flow(body, "type_known")
    assert not flow(body, known_types={*BUILT_IN_TYPES, "my.deploy"})


@pytest.mark.parametrize("kind", sorted(BUILT_IN_TYPES - {"start", "exit"}))
def test_the_built_in_types_are_known(kind: str) -> None:
    assert not flow(f'a [type="{kind}"]\nstart -> a -> exit', "type_known")


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_the_shapes_of_the_language_are_known(shape: str) -> None:
    assert not flow(f"a [shape={shape}]\nstart -> a -> exit", "type_known")


def test_a_shape_without_meaning_is_a_warning_that_names_those_with_one() -> None:
    diagnostics = flow("a [shape=cloud]\nstart -> a -> exit")
    assert [d.rule for d in diagnostics] == ["type_known"]
    assert marked(diagnostics) == ["cloud"]
    assert "tripleoctagon" in diagnostics[0].fix


def test_a_shape_in_the_wrong_case_is_recognised() -> None:
    diagnostics = flow("a [shape=Hexagon]\nstart -> a -> exit", "type_known")
    assert "'hexagon'" in diagnostics[0].fix


def test_a_shape_only_draws_a_node_whose_type_says_what_it_is() -> None:
    assert not flow('a [shape=cloud, type="codergen"]\nstart -> a -> exit')
    assert not found('start [shape=circle]\nexit [shape=doublecircle]\na [prompt="x"]\nstart -> a -> exit')


def test_a_default_for_many_nodes_is_one_finding() -> None:
    diagnostics = flow("node [shape=cloud]\na\nb\nc\nstart -> a -> b -> c -> exit")
    assert nodes(diagnostics) == ["a"]


@pytest.mark.parametrize("mode", FIDELITIES)
def test_the_fidelity_modes_are_valid(mode: str) -> None:
    body = f'default_fidelity="{mode}"\na [fidelity="{mode}"]\nstart -> a -> exit [fidelity="{mode}"]'
    assert not flow(body)


def test_a_wrong_fidelity_is_a_warning_on_graph_node_and_edge() -> None:
    diagnostics = flow("default_fidelity=ful\na [fidelity=brief]\nstart -> a -> exit [fidelity=compct]")
    assert {d.rule for d in diagnostics} == {"fidelity_valid"}
    assert marked(diagnostics) == ["ful", "brief", "compct"]
    assert edges(diagnostics) == [None, None, ("start", "a")]


def test_a_retry_target_that_is_no_node_is_a_warning() -> None:
    diagnostics = flow(
        "retry_target=nobody\nimplement [fallback_retry_target=implment]\nstart -> implement -> exit"
    )
    assert {d.rule for d in diagnostics} == {"retry_target_exists"}
    assert nodes(diagnostics) == [None, "implement"]
    assert "'implement'" in diagnostics[1].fix


def test_a_retry_target_that_is_a_node_is_fine() -> None:
    assert not flow("retry_target=a\na [fallback_retry_target=a]\nstart -> a -> exit", "retry_target_exists")


@pytest.mark.parametrize(
    ("body", "key", "meant"),
    [
        ("a [max_retrys=2]\nstart -> a -> exit", "max_retrys", "max_retries"),
        ("a [promt=x]\nstart -> a -> exit", "promt", "prompt"),
        ("a [human.defualt_choice=x]\nstart -> a -> exit", "human.defualt_choice", "human.default_choice"),
        ("a\nstart -> a -> exit [wieght=2]", "wieght", "weight"),
        ("gaol=x\na\nstart -> a -> exit", "gaol", "goal"),
        ("a [goal_gates=true]\nstart -> a -> exit", "goal_gates", "goal_gate"),
        ("a [toolcommand=x]\nstart -> a -> exit", "toolcommand", "tool_command"),
    ],
)
def test_a_misspelt_key_is_a_warning_at_the_key(body: str, key: str, meant: str) -> None:
    diagnostics = flow(body)
    assert [(d.rule, d.severity) for d in diagnostics] == [("unknown_attribute", Severity.WARNING)]
    assert marked(diagnostics) == [key]
    assert f"'{meant}'" in diagnostics[0].fix


@pytest.mark.parametrize(
    ("body", "owner"),
    [
        ('a [condition="outcome=success"]\nstart -> a -> exit', "edge"),
        ("a\nstart -> a -> exit [goal_gate=true]", "node"),
        ("a [max_steps=5]\nstart -> a -> exit", "graph"),
        ('tool_command="x"\na\nstart -> a -> exit', "node"),
    ],
)
def test_a_key_in_the_wrong_place_is_a_warning_that_names_the_right_one(body: str, owner: str) -> None:
    diagnostics = flow(body)
    assert [d.rule for d in diagnostics] == ["unknown_attribute"]
    assert owner in diagnostics[0].fix


def test_keys_of_custom_handlers_and_of_graphviz_are_left_alone() -> None:
    keys = "branch=main, xlabel=x, color=red, height=2, penwidth=2, region=eu, ticket=7, code=3, id=x, pos=x"
    assert not flow(f"a [{keys}]\nstart -> a -> exit")
    assert not flow("a\nstart -> a -> exit [xlabel=x, style=dashed, headlabel=y, color=red]")
    assert not flow("rankdir=LR\nbgcolor=white\nteam=core\na\nstart -> a -> exit")


def test_a_custom_handler_may_read_what_means_something_elsewhere() -> None:
    body = 'a [type="my.kind", condition="x", goal="y"]\nstart -> a -> exit'
    assert not flow(body, known_types={*BUILT_IN_TYPES, "my.kind"})


def test_every_known_key_is_known() -> None:
    for scope in (GRAPH, NODE, EDGE):
        for key in scope.entries:
            written = f'"{key}"=""'
            body = {
                "graph": f"{written}\na\nstart -> a -> exit",
                "node": f"a [{written}]\nstart -> a -> exit",
                "edge": f"a\nstart -> a -> exit [{written}]",
            }[scope.name]
            assert not flow(body, "unknown_attribute"), key


def test_a_misspelt_key_of_a_default_block_or_a_chain_is_one_finding() -> None:
    assert len(found(f"node [promt=x]\n{ENDS}a [label=A]\nb [label=B]\nstart -> a -> b -> exit")) == 1
    assert len(flow("a\nb\nstart -> a -> b -> exit [wieght=1]")) == 1


@pytest.mark.parametrize("key", ["retry_target", "fallback_retry_target"])
def test_the_exit_as_a_retry_target_is_an_error(key: str) -> None:
    diagnostics = flow(f"a [{key}=exit]\nstart -> a -> exit", "retry_target_exists")
    assert [d.severity for d in diagnostics] == [Severity.ERROR]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("modl=gpt", "llm_model"),
        ("modle=gpt", "llm_model"),
        ("max_attempts=3", "max_retries=2"),
        ("maxAttempts=3", "max_retries=2"),
        ("timeout_ms=1000", "timeout=1000ms"),
        ('timeout_minutes="5"', "timeout=5m"),
        ('"tool.timeut"=5s', "timeout"),
        ("on_error=exit", "retry_target"),
        ("on_error=fail_fast", "error_policy"),
        ("system=x", "agent.role"),
        ("toolCommand=x", "tool_command"),
        ("human_default=x", "human.default_choice"),
        ("cwd=src", "cd FOLDER"),
        ("temperature=0.2", "orchestra.yaml"),
        ("max_turn=5", "orchestra.yaml"),
        ("max_turns=5", "orchestra.yaml"),
    ],
)
def test_words_of_other_tools_lead_to_ours_also_misspelt(written: str, meant: str) -> None:
    (one,) = flow(f"a [{written}]\nstart -> a -> exit", "unknown_attribute")
    assert meant in one.fix


@pytest.mark.parametrize(
    ("shape", "kind"),
    [("parallel", "component"), ("human", "hexagon"), ("decision", "diamond"), ("cmd", "parallelogram")],
)
def test_a_shape_that_is_called_like_its_handler_is_led_to_the_shape(shape: str, kind: str) -> None:
    (one,) = flow(f"a [shape={shape}]\nstart -> a -> exit", "type_known")
    assert one.fix == f"did you mean '{kind}'?"


@pytest.mark.parametrize(
    ("effort", "meant"), [("hi", "high"), ("max", "xhigh"), ("HIGH", "high"), ("hgih", "high")]
)
def test_an_effort_that_models_do_not_know_is_led_to_one_that_they_know(effort: str, meant: str) -> None:
    (one,) = flow(f"a [reasoning_effort={effort}]\nstart -> a -> exit", "value_known")
    assert one.fix == f"did you mean '{meant}'?"


@pytest.mark.parametrize(
    ("braces", "place", "fix"),
    [
        ("{{ tools.test.outptu }}", "outptu", "'output'"),
        ("{{ tools.test.code }}", "code", "'exit_code'"),
        ("{{ tools.test.size }}", "size", "name a node and one of"),
        ("{{ tools.work.output }}", "tools.work.output", "'responses.work'"),
        ("{{ responses.test }}", "responses.test", "'tools.test.output'"),
        ("{{ tools.test.output }}", "", ""),
        ("{{ tools.test.exit_code }}", "", ""),
        ("{{ responses.work.items[0] }}", "", ""),
        ("{{ tools.mine.anything }}", "", ""),
    ],
)
def test_a_value_that_a_node_does_not_leave_is_a_warning(braces: str, place: str, fix: str) -> None:
    body = f"""test [shape=parallelogram, tool_command=ls]\nmine [type="my.kind"]\nwork
    last [prompt="Look: {braces}"]\nstart -> work -> test -> mine -> last -> exit"""
    diagnostics = flow(body, known_types={*BUILT_IN_TYPES, "my.kind"})
    assert marked(diagnostics) == [place] * bool(place)
    assert all(fix in d.fix for d in diagnostics)


@pytest.mark.parametrize("name", ["gaol", "gol", "goals"])
def test_a_misspelt_goal_in_a_prompt_is_a_warning(name: str) -> None:
    (one,) = flow(f'work [prompt="Work towards ${name}"]\nstart -> work -> exit')
    assert (one.rule, one.fix) == ("input_declared", "did you mean 'goal'?")


def test_other_names_in_prompts_may_be_variables() -> None:
    assert not flow('work [prompt="Cost: $5, $PATH, $version, ${HOME}, {{ version }}"]\nstart -> work -> exit')


@pytest.mark.parametrize(
    ("attribute", "owner"),
    [
        ('"human.timeout"=2h', "hexagon"),
        ('"human.default_choice"=a', "hexagon"),
        ("k=2", "component"),
        ("merge=all", "tripleoctagon"),
    ],
)
def test_an_attribute_that_only_another_type_reads_is_a_warning(attribute: str, owner: str) -> None:
    (one,) = flow(f"work [{attribute}]\nstart -> work -> exit")
    assert one.rule == "unused_attribute"
    assert f"shape={owner}" in one.fix


def test_a_number_of_another_join_policy_is_a_warning() -> None:
    body = "fan [shape=component, k=1]\njoin [shape=tripleoctagon]\na\nb\nstart -> fan -> {a b} -> join -> exit"
    (one,) = flow(body)
    assert (one.rule, one.fix) == ("unused_attribute", "add `join_policy=k_of_n`, or remove it")


def test_an_unknown_key_of_a_known_family_is_a_warning_that_lists_the_family() -> None:
    (one,) = flow('a ["agent.colour"=red]\nstart -> a -> exit')
    assert one.rule == "unknown_attribute"
    assert "agent.role" in one.fix
    body = 'a [type="my.kind", "agent.colour"=red]\nstart -> a -> exit'
    assert not flow(body, known_types={*BUILT_IN_TYPES, "my.kind"})
