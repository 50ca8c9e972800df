"""Simulation scripts say per node what it answers; a mistake in one is shown at its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestra.agents.scripts import Cast, parse_script, read_script
from orchestra.agents.simulation import Script, ScriptedResult
from orchestra.errors import ConfigError, Source
from support import graph_of

GRAPH = graph_of("start -> plan -> review -> exit")


def script(text: str) -> Script:
    return parse_script(Source("script.yaml", text), Cast(nodes=GRAPH.nodes)).script


def test_each_node_has_its_results_in_order() -> None:
    found = script(
        """
        nodes:
          plan:
            - {status: fail, reason: no idea, failure_class: terminal, delay: 200ms}
            - {text: "1. do it", updates: {score: 9, "deep": {list: [1, null, x]}}, label: Go, suggest: [review]}
          review: {status: PARTIAL_SUCCESS, notes: half, delay: 2, retry_after: 1m}
        """
    )
    assert found["plan"] == (
        ScriptedResult(status="fail", reason="no idea", failure_class="terminal", delay=0.2),
        ScriptedResult(
            text="1. do it",
            updates={"score": 9, "deep": {"list": [1, None, "x"]}},
            label="Go",
            suggest=("review",),
        ),
    )
    assert found["review"] == (ScriptedResult(status="PARTIAL_SUCCESS", notes="half", delay=2.0, retry_after=60.0),)


@pytest.mark.parametrize(
    ("text", "seconds"), [("200ms", 0.2), ("1.5s", 1.5), ("3", 3.0), ("2m", 120.0), ("1h", 3600.0), ("0", 0.0)]
)
def test_a_delay_is_a_time_in_the_pipelines_units(text: str, seconds: float) -> None:
    assert script(f"nodes: {{plan: {{delay: {text}}}}}")["plan"][0].delay == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["text: no", "text: 'no'"])
def test_words_of_older_yaml_stay_words(text: str) -> None:
    assert script(f"nodes: {{plan: {{{text}}}}}")["plan"][0].text == "no"


def test_an_empty_script_scripts_nothing() -> None:
    assert script("") == {}
    assert script("# nothing yet") == {}
    assert parse_script(Source("script.yaml", ""), Cast(nodes=GRAPH.nodes)).text, "the agents are simulated"


@pytest.mark.parametrize(
    ("text", "place", "word"),
    [
        ("plan: {}", (1, 1), "nodes"),
        ("nodes: {}\nmore: 1", (2, 1), "nodes"),
        ("nodes: [plan]", (1, 8), "nodes"),
        ("nodes:\n  pln: {text: x}", (2, 3), "plan"),
        ("nodes:\n  plan: []", (2, 9), "list"),
        ("nodes:\n  plan:", (2, 8), "list"),
        ("nodes:\n  plan: [x]", (2, 10), "status"),
        ("nodes:\n  plan: {stats: fail}", (2, 10), "status"),
        ("nodes:\n  plan: {status: ''}", (2, 18), "success"),
        ("nodes:\n  plan: {delay: soon}", (2, 17), "duration"),
        ("nodes:\n  plan: {delay: -1}", (2, 17), "duration"),
        ("nodes:\n  plan: {updates: [1]}", (2, 19), "keys"),
        ("nodes:\n  plan: {updates: {n: 9223372036854775808}}", (2, 19), "64 bits"),
        ("nodes:\n  plan: {updates: {n: 1e400}}", (2, 19), "number"),
        ("nodes:\n  plan: {failure_class: bad}", (2, 25), "terminal"),
        ("nodes:\n  plan: {error: x, failure_class: canceled}", (2, 35), "terminal"),
        ("nodes:\n  plan: {retry_after: soon}", (2, 23), "duration"),
        ("nodes:\n  plan: {suggest: {a: b}}", (2, 19), "text"),
        ("nodes:\n  plan: {text: [a]}", (2, 16), "text"),
    ],
)
def test_a_mistake_is_shown_at_its_place(text: str, place: tuple[int, int], word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        script(text)
    error = caught.value
    assert error.span is not None
    assert (error.span.line, error.span.column) == place
    assert word in f"{error.message} {error.fix}"


def test_a_script_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        read_script(tmp_path / "nowhere.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"nodes: {plan: {text: caf\xe9}}")
    with pytest.raises(ConfigError, match="UTF-8"):
        read_script(tmp_path / "latin.yaml")


def command(text: str) -> Script:
    return parse_script(Source("script.yaml", text), Cast(nodes=GRAPH.nodes, tools={"plan"})).script


def test_a_tool_nodes_result_says_how_its_command_ends() -> None:
    found = command("nodes: {plan: [{exit_code: 2, text: out, stderr: err}, {status: fail}]}")
    assert found["plan"] == (ScriptedResult(exit_code=2, text="out", stderr="err"), ScriptedResult(status="fail"))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("nodes: {plan: {label: x}}", "exit_code"),
        ("nodes: {plan: {status: retry}}", "success"),
        ("nodes: {plan: {exit_code: 256}}", "255"),
        ("nodes: {plan: {exit_code: true}}", "whole number"),
        ("nodes: {plan: {status: fail, exit_code: 1}}", "same"),
        ("nodes: {review: {exit_code: 1}}", "exit_code"),
    ],
)
def test_what_only_an_agent_or_only_a_command_can_do_is_refused_of_the_other(text: str, word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        command(text)
    assert caught.value.span is not None
    assert word in f"{caught.value.message} {caught.value.fix}"


def test_a_recorded_script_may_say_of_any_node_what_either_kind_of_node_does() -> None:
    cast = Cast(nodes=GRAPH.nodes, tools=None)
    found = parse_script(Source("s", "nodes: {review: {exit_code: 1}, plan: {label: x}}"), cast).script
    assert (found["review"][0].exit_code, found["plan"][0].label) == (1, "x")


def test_so_may_a_recorded_script_of_a_child() -> None:
    cast = Cast(nodes=["check"], tools=None, children={"check": Cast(nodes=["t"], unasked=["t"])})
    found = parse_script(Source("s", "children: {check: {nodes: {t: {exit_code: 1}}}}"), cast)
    assert found.children["check"][0].script["t"][0].exit_code == 1


def test_a_label_that_an_edge_nearly_has_is_a_mistake_of_the_script() -> None:
    cast = Cast(nodes=["a"], labels=["[A] Approve", "Rework"])
    text = "nodes: {a: [{label: rework}, {label: Rewrok}]}"
    with pytest.raises(ConfigError, match="no edge has the label 'Rewrok'") as caught:
        parse_script(Source("s.yaml", text), cast)
    assert caught.value.fix == "did you mean 'Rework'?"
    parse_script(Source("s.yaml", "nodes: {a: [{label: Approve}, {label: elsewhere}]}"), cast)
