"""The checklist of Attractor's specification (its section 11), one test a line, through the command line.

Agents are simulated. Lines about people, fan-out and the HTTP server (11.8, parts of 11.6, 11.11 and 11.12) are not
here. Where Orchestra leaves the specification on purpose, the last section asserts what it does instead.
"""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.calls import begin, call, shell

ENDS = "start [shape=Mdiamond] exit [shape=Msquare] "
WAYS = f"{ENDS} n [prompt=x] a [prompt=x] b [prompt=x] start -> n a -> exit b -> exit "


# --- what the tests say and see ---------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Done:
    """A run: its exit code, and every event of it."""

    code: int
    events: list[dict[str, Any]]
    folder: Path

    def of(self, *names: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] in names]

    @property
    def path(self) -> list[str]:
        """The nodes that ended, in order."""
        return [event["node"] for event in self.of("StageCompleted", "StageFailed")]

    @property
    def status(self) -> str:
        (end,) = self.of("PipelineCompleted", "PipelineFailed")
        return "fail" if end["event"] == "PipelineFailed" else str(end["status"])

    @property
    def prompts(self) -> dict[str, str]:
        return {event["node"]: event["prompt"] for event in self.events if "prompt" in event}

    def tree(self) -> Path:
        """The run directory."""
        logs = self.folder / "logs"
        if not logs.exists():
            assert call(self.folder, "export", "last", "--logs", "logs").returncode == 0
        return logs

    def file(self, place: str) -> Any:
        text = (self.tree() / place).read_text()
        return json.loads(text) if place.endswith(".json") else text


def run(folder: Path, body: str, *args: str, **nodes: object) -> Done:
    """Run a pipeline with these statements; ``nodes`` are the results scripted for each."""
    (folder / "p.dot").write_text(body if "digraph" in body else f"digraph g {{ {body} }}")
    (folder / "s.yaml").write_text(json.dumps({"nodes": nodes}))
    done = call(folder, "run", "p.dot", "--simulate", "s.yaml", "--json-stream", *args)
    assert done.returncode in (0, 1), done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return Done(code=done.returncode, events=events, folder=folder)


def compiled(folder: Path, body: str, *args: str) -> dict[str, Any]:
    (folder / "p.dot").write_text(body if "digraph" in body else f"digraph g {{ {body} }}")
    found: dict[str, Any] = json.loads(call(folder, "compile", "p.dot", "--format", "json", *args).stdout)
    return found


def graph(folder: Path, body: str) -> dict[str, Any]:
    found: dict[str, Any] = compiled(folder, body)["graph"]
    return found


def node(found: dict[str, Any], name: str) -> dict[str, Any]:
    (attributes,) = [each["attributes"] for each in found["nodes"] if each["id"] == name]
    assert isinstance(attributes, dict)
    return attributes


def edges(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["source"], each["target"]) for each in found["edges"]]


def findings(folder: Path, body: str, *args: str) -> dict[str, str]:
    """The severity of each rule that found something."""
    return {each["rule"]: each["severity"] for each in compiled(folder, body, *args)["diagnostics"]}


# --- 11.1 DOT parsing -------------------------------------------------------------------------------


def test_a_digraph_with_graph_node_and_edge_attributes_is_accepted(tmp_path: Path) -> None:
    body = f"graph [goal=g] node [max_retries=1] edge [weight=2] {ENDS} n [prompt=x] start -> n -> exit"
    assert compiled(tmp_path, body)["ok"]


def test_graph_attributes_are_read(tmp_path: Path) -> None:
    body = f'goal="ship" graph [label="L", model_stylesheet="* {{ llm_model: m }}"] {ENDS} start -> exit'
    found = graph(tmp_path, body)["attributes"]
    assert found == {"goal": "ship", "label": "L", "model_stylesheet": "* { llm_model: m }"}


def test_attributes_of_a_node_may_take_several_lines(tmp_path: Path) -> None:
    found = graph(tmp_path, f'{ENDS} n [\n  prompt="one\ntwo",\n  max_retries=2\n] start -> n -> exit')
    assert node(found, "n") == {"prompt": "one\ntwo", "max_retries": 2}


def test_label_condition_and_weight_of_an_edge_are_read(tmp_path: Path) -> None:
    found = graph(tmp_path, f'{ENDS} start -> exit [label=Go, condition="outcome=success", weight=3]')
    assert found["edges"][0]["attributes"] == {"label": "Go", "condition": "outcome=success", "weight": 3}


def test_a_chain_makes_an_edge_of_each_pair(tmp_path: Path) -> None:
    found = graph(tmp_path, f"{ENDS} a [prompt=x] b [prompt=x] start -> a -> b -> exit [weight=2]")
    assert edges(found) == [("start", "a"), ("a", "b"), ("b", "exit")]
    assert [each["attributes"]["weight"] for each in found["edges"]] == [2, 2, 2]


def test_defaults_hold_for_what_follows(tmp_path: Path) -> None:
    body = f"{ENDS} a [prompt=x] node [max_retries=3] b [prompt=x] c [prompt=x, max_retries=1] start->a->b->c->exit"
    found = graph(tmp_path, body)
    assert [node(found, name).get("max_retries") for name in "abc"] == [None, 3, 1]


def test_a_subgraph_keeps_what_is_in_it_and_vanishes(tmp_path: Path) -> None:
    body = f'{ENDS} subgraph cluster_a {{ label="Loop A" node [timeout=9s] a [prompt=x] }} start -> a -> exit'
    found = graph(tmp_path, body)
    (inner,) = [each for each in found["nodes"] if each["id"] == "a"]
    assert inner["classes"] == ["loop-a"]
    assert inner["attributes"]["timeout"] == "9s"


def test_a_class_brings_what_the_stylesheet_says_of_it(tmp_path: Path) -> None:
    body = (
        f'graph [model_stylesheet=".fast {{ llm_model: quick }}"] {ENDS} a [prompt=x, class="fast"] start->a->exit'
    )
    assert node(graph(tmp_path, body), "a")["llm_model"] == "quick"


def test_values_may_be_quoted_or_bare(tmp_path: Path) -> None:
    found = graph(tmp_path, f'{ENDS} a [prompt="x", max_retries="2"] b [prompt=x, max_retries=2] start->a->b->exit')
    assert node(found, "a") == node(found, "b") == {"prompt": "x", "max_retries": 2}


def test_comments_are_skipped(tmp_path: Path) -> None:
    found = graph(tmp_path, f'// one\n/* two\nlines */ {ENDS} a [prompt="x // y"] start -> a /* z */ -> exit')
    assert node(found, "a")["prompt"] == "x // y"


# --- 11.2 validation --------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["s [shape=Mdiamond]", "start", "Start"])
@pytest.mark.parametrize("end", ["e [shape=Msquare]", "exit", "end"])
def test_start_and_exit_are_known_by_shape_or_by_name(start: str, end: str, tmp_path: Path) -> None:
    found = graph(tmp_path, f"{start} {end} {start.split()[0]} -> {end.split()[0]}")
    assert (found["start"], found["exit"]) == (start.split()[0], end.split()[0])


@pytest.mark.parametrize(
    ("rule", "body"),
    [
        ("start_node", "a [prompt=x] exit [shape=Msquare] a -> exit"),
        ("start_node", f"{ENDS} two [shape=Mdiamond] start -> exit two -> exit"),
        ("terminal_node", "a [prompt=x] start [shape=Mdiamond] start -> a"),
        ("terminal_node", f"{ENDS} two [shape=Msquare] start -> exit start -> two"),
        ("start_no_incoming", f"{ENDS} a [prompt=x] start -> a -> exit a -> start"),
        ("exit_no_outgoing", f"{ENDS} a [prompt=x] start -> a -> exit -> a"),
        ("reachability", f"{ENDS} a [prompt=x] start -> exit a -> exit"),
        ("condition_syntax", f'{ENDS} start -> exit [condition="outcome = "]'),
        ("stylesheet_syntax", f'graph [model_stylesheet="box {{"] {ENDS} start -> exit'),
    ],
)
def test_a_pipeline_that_breaks_a_rule_is_refused_by_it(rule: str, body: str, tmp_path: Path) -> None:
    assert findings(tmp_path, body)[rule] == "error"
    assert call(tmp_path, "run", "p.dot").returncode == 3


def test_an_agent_node_without_a_prompt_is_a_warning(tmp_path: Path) -> None:
    assert findings(tmp_path, f"{ENDS} a [shape=box] start -> a -> exit") == {"prompt_on_llm_nodes": "warning"}


def test_a_refused_pipeline_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text("digraph g { a -> b }")
    assert call(tmp_path, "run", "p.dot").returncode == 3
    assert [path.name for path in tmp_path.iterdir()] == ["p.dot"]


def test_a_finding_has_its_rule_severity_place_and_message(tmp_path: Path) -> None:
    (found,) = compiled(tmp_path, f"{ENDS} a [shape=box] start -> a -> exit")["diagnostics"]
    assert (found["rule"], found["severity"], found["node"]) == ("prompt_on_llm_nodes", "warning", "a")
    assert found["message"]


# --- 11.3 execution ---------------------------------------------------------------------------------


def test_a_run_begins_at_the_start_goes_from_node_to_node_and_ends_at_the_exit(tmp_path: Path) -> None:
    done = run(tmp_path, f"{ENDS} a [prompt=x] b [prompt=x] start -> a -> b -> exit")
    assert done.path == ["start", "a", "b", "exit"]
    assert (done.code, done.status) == (0, "success")


def test_the_shape_says_which_handler_runs_a_node(tmp_path: Path) -> None:
    body = f"{ENDS} a [prompt=x] d [shape=diamond] t [shape=parallelogram, tool_command=true] start->a->d->t->exit"
    kinds = {event["node"]: event["handler"] for event in run(tmp_path, body).of("StageStarted")}
    assert kinds == {"start": "start", "a": "codergen", "d": "conditional", "t": "tool", "exit": "exit"}


def test_the_outcome_of_a_node_is_in_its_status_file(tmp_path: Path) -> None:
    done = run(tmp_path, f"{ENDS} a [prompt=x] start -> a -> exit", a={"label": "L", "updates": {"k": 1}})
    found = done.file("a/status.json")
    assert (found["outcome"], found["preferred_label"], found["context_updates"]) == ("success", "L", {"k": 1})


@pytest.mark.parametrize(
    ("ways", "result", "target", "rule"),
    [
        ('n -> a [weight=9, label=L] n -> b [condition="outcome=success"]', {"label": "L"}, "b", 1),
        ("n -> a [weight=9] n -> b [label=L]", {"label": "l", "suggest": ["a"]}, "b", 2),
        ("n -> a [weight=9] n -> b", {"suggest": ["b"]}, "b", 3),
        ("n -> a n -> b [weight=9]", {}, "b", 5),
        ("n -> b n -> a", {}, "a", 5),
    ],
    ids=["condition", "preferred label", "suggested node", "weight", "name"],
)
def test_an_edge_is_chosen_by_condition_label_suggestion_weight_and_name_in_this_order(
    ways: str, result: dict[str, object], target: str, rule: int, tmp_path: Path
) -> None:
    done = run(tmp_path, WAYS + ways, n=result)
    (chosen,) = [event for event in done.of("EdgeSelected") if event["source"] == "n"]
    assert (chosen["target"], chosen["rule"]) == (target, rule)


@pytest.mark.parametrize(
    ("status", "end"), [("success", "success"), ("partial_success", "success"), ("fail", "fail")]
)
def test_a_run_is_a_success_when_its_goal_gates_are(status: str, end: str, tmp_path: Path) -> None:
    body = f"{ENDS} a [prompt=x, goal_gate=true] start -> a -> exit [condition=outcome]"
    assert run(tmp_path, body, a={"status": status}).status == end


# --- 11.4 goal gates --------------------------------------------------------------------------------


def test_the_exit_is_not_entered_while_a_gate_is_unmet_and_its_retry_target_is(tmp_path: Path) -> None:
    body = (
        f"{ENDS} plan [prompt=x] a [prompt=x, goal_gate=true] b [prompt=x] graph [retry_target=plan]"
        " start -> plan -> a -> b [condition=outcome] b -> exit"
    )
    done = run(tmp_path, body, a=[{"status": "fail"}, {}])
    assert done.path == ["start", "plan", "a", "b", "plan", "a", "b", "exit"]
    assert [event["gate"] for event in done.of("EdgeSelected") if "gate" in event] == ["a"]


def test_a_gate_that_holds_lets_the_run_end(tmp_path: Path) -> None:
    body = f"{ENDS} a [prompt=x, goal_gate=true, retry_target=a] start -> a -> exit"
    assert run(tmp_path, body).path == ["start", "a", "exit"]


def test_without_a_retry_target_an_unmet_gate_fails_the_run(tmp_path: Path) -> None:
    body = f"{ENDS} a [prompt=x, goal_gate=true] start -> a -> exit [condition=outcome]"
    done = run(tmp_path, body, a={"status": "fail"})
    assert (done.code, done.status) == (1, "fail")
    assert "a" in done.of("PipelineFailed")[0]["error"]


# --- 11.5 retries -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["retry", "fail"])
def test_retry_and_fail_are_tried_again_as_often_as_the_node_allows(status: str, tmp_path: Path) -> None:
    body = f"{ENDS} a [prompt=x, max_retries=2] b [prompt=x] start -> a -> b -> exit"
    done = run(tmp_path, body, a=[{"status": status}, {"status": status}, {}])
    assert [event.get("attempt", 1) for event in done.of("StageStarted") if event["node"] == "a"] == [1, 2, 3]
    assert done.status == "success"


def test_used_up_retries_leave_the_failure_to_the_edges(tmp_path: Path) -> None:
    done = run(tmp_path, WAYS + 'n [max_retries=1] n -> a n -> b [condition="outcome=fail"]', n={"status": "retry"})
    assert done.path == ["start", "n", "b", "exit"]
    assert len(done.of("StageRetrying")) == 1


@pytest.mark.parametrize(
    ("policy", "first", "second"), [("standard", 200, 400), ("linear", 500, 500), ("aggressive", 500, 1000)]
)
def test_waits_grow_as_the_policy_says_and_are_jittered(
    policy: str, first: int, second: int, tmp_path: Path
) -> None:
    body = f"{ENDS} a [prompt=x, max_retries=2, retry_policy={policy}] start -> a -> exit"
    done = run(tmp_path, body, a=[{"status": "retry"}, {"status": "retry"}, {}])
    waits = [event["delay_ms"] for event in done.of("StageRetrying")]
    assert all(0.5 * whole <= wait <= 1.5 * whole for wait, whole in zip(waits, (first, second), strict=True))
    assert waits != [first, second]


# --- 11.6 handlers ----------------------------------------------------------------------------------


def test_start_and_exit_do_nothing_well(tmp_path: Path) -> None:
    assert [event["status"] for event in run(tmp_path, f"{ENDS} start -> exit").of("StageCompleted")] == [
        "success"
    ] * 2


def test_an_agent_is_asked_with_the_goal_and_question_and_answer_are_kept(tmp_path: Path) -> None:
    done = run(
        tmp_path, f'graph [goal="a boat"] {ENDS} a [prompt="Build $goal"] start -> a -> exit', a={"text": "ok"}
    )
    assert done.file("a/prompt.md") == "Build a boat"
    assert done.file("a/response.md") == "ok"


def test_without_a_script_an_agent_answers_with_its_stage(tmp_path: Path) -> None:
    done = run(tmp_path, f"{ENDS} a [prompt=x] start -> a -> exit")
    assert done.file("a/response.md") == "[Simulated] Response for stage: a"


def test_a_label_is_used_where_there_is_no_prompt(tmp_path: Path) -> None:
    assert run(tmp_path, f'{ENDS} a [label="Do it"] start -> a -> exit').prompts == {"a": "Do it"}


def test_a_diamond_leaves_the_choice_to_the_conditions(tmp_path: Path) -> None:
    body = f"{ENDS} w [prompt=x] d [shape=diamond] y [prompt=x] start -> w -> d y -> exit d -> y d -> exit "
    done = run(tmp_path, body + '[condition="context.ok=yes"]', w={"updates": {"ok": "yes"}})
    assert done.path == ["start", "w", "d", "exit"]


def test_a_tool_runs_its_command_and_returns_its_output(tmp_path: Path) -> None:
    body = f'{ENDS} t [shape=parallelogram, tool_command="echo 4$((1+1))"] start -> t -> exit'
    context = run(tmp_path, body).file("checkpoint.json")["context"]
    assert context["tool.output"].strip() == "42"


def test_a_tool_that_fails_fails_its_node(tmp_path: Path) -> None:
    body = f'{ENDS} t [shape=parallelogram, tool_command="exit 3"] start -> t -> exit'
    (failure,) = run(tmp_path, body).of("StageFailed")
    assert "3" in failure["failure_reason"]


PLUGIN = """
from dataclasses import replace
from orchestra.errors import Diagnostic, Severity
from orchestra.run.outcome import Outcome, Status

async def paint(node, context, graph, scope):
    return Outcome(status=Status.SUCCESS, context_updates={"painted": context["colour"], "goal": graph.goal})

def first(graph):
    return _with(graph, graph.goal + " one")

def second(graph):
    return _with(graph, graph.goal + " two")

def _with(graph, goal):
    return replace(graph, attributes={**graph.attributes, "goal": graph.attributes["goal"]._replace(value=goal)})

def house(graph):
    if "blue" in graph.nodes:
        yield Diagnostic(rule="no_blue", severity=Severity.ERROR, message="no", span=None, node="blue")
"""


def plugged(folder: Path, command: str) -> Any:
    """What a command prints where a package is installed that adds a handler, two transforms and a rule."""
    about = folder / "site" / "paint-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: paint\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[orchestra.handlers]\npaint = paint:paint\n[orchestra.lint]\nhouse = paint:house\n"
        "[orchestra.transforms]\na = paint:first\nb = paint:second\n"
    )
    (folder / "site" / "paint.py").write_text(PLUGIN)
    done = shell(folder, command, PYTHONPATH=str(folder / "site"))
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_a_handler_of_ones_own_is_registered_by_its_type_and_reads_the_context(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(f"digraph g {{ goal=w {ENDS} p [type=paint] start -> p -> exit }}")
    data = plugged(tmp_path, "orchestra run p.dot colour=red -q >run.txt; orchestra log last --json")
    (done,) = [event for event in data["events"] if event.get("handler") == "paint" and "status" in event]
    assert done["context_updates"]["painted"] == "red"


# --- 11.7 state and context -------------------------------------------------------------------------


def test_updates_of_a_node_reach_the_conditions_and_the_context_of_those_after_it(tmp_path: Path) -> None:
    done = run(tmp_path, WAYS + 'n -> a n -> b [condition="context.score>5"]', n={"updates": {"score": 7}})
    assert done.path == ["start", "n", "b", "exit"]
    assert done.file("checkpoint.json")["context"]["score"] == 7


def test_a_checkpoint_follows_every_node(tmp_path: Path) -> None:
    done = run(tmp_path, f"{ENDS} a [prompt=x] start -> a -> exit")
    assert [event["current_node"] for event in done.of("CheckpointSaved")] == done.path


def test_the_checkpoint_holds_the_nodes_the_context_and_the_retries(tmp_path: Path) -> None:
    body = f"{ENDS} a [prompt=x, max_retries=1] start -> a -> exit"
    found = run(tmp_path, body, a={"status": "retry"}).file("checkpoint.json")
    assert (found["current_node"], found["completed_nodes"]) == ("a", ["start", "a"])
    assert found["node_retries"]["a"] == 1
    assert found["context"]["outcome"] == "fail"


def test_a_killed_run_continues_at_its_node_and_ends_like_one_that_was_not(tmp_path: Path) -> None:
    process = begin(tmp_path, delay="1s")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert call(tmp_path, "resume", "last", "-q").returncode == 0
    (tmp_path / "whole").mkdir()
    whole = begin(tmp_path / "whole", delay="0s")
    whole.communicate()
    ends = []
    for folder in (tmp_path, tmp_path / "whole"):
        assert call(folder, "export", "last", "--logs", "logs").returncode == 0
        found = json.loads((folder / "logs" / "checkpoint.json").read_text())
        ends.append((found["completed_nodes"], {k: v for k, v in found["context"].items() if k != "run.id"}))
    assert ends[0] == ends[1]


# --- 11.9 conditions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "result", "holds"),
    [
        ("outcome=success", {}, True),
        ("outcome=success", {"status": "partial_success"}, False),
        ("outcome!=success", {"status": "fail"}, True),
        ("context.k=v", {"updates": {"k": "v"}}, True),
        ("context.k=V", {"updates": {"k": "v"}}, False),
        ("context.k=v && outcome=success", {"updates": {"k": "v"}}, True),
        ("context.k=v && context.l=w && outcome=success", {"updates": {"k": "v"}}, False),
        ("preferred_label=Fix", {"label": "Fix"}, True),
        ("context.gone=", {}, None),
        ("context.gone!=x", {}, True),
        ("context.gone", {}, False),
        ("context.context.deep=1", {"updates": {"context.deep": 1}}, True),
    ],
)
def test_a_condition_compares_as_the_specification_says(
    condition: str, result: dict[str, object], holds: bool | None, tmp_path: Path
) -> None:
    body = WAYS + f'n -> b [condition="{condition}"] n -> a [condition="outcome!=never", weight=-1]'
    if holds is None:
        assert findings(tmp_path, body)["condition_syntax"] == "error"
        return
    assert run(tmp_path, body, n=result).path == ["start", "n", "b" if holds else "a", "exit"]


def test_an_empty_condition_is_none(tmp_path: Path) -> None:
    assert run(tmp_path, f'{ENDS} start -> exit [condition=""]').of("EdgeSelected")[0]["rule"] == 5


# --- 11.10 stylesheet -------------------------------------------------------------------------------

SHEET = "* { llm_model: any } box { llm_model: boxed } .fast { llm_model: quick } #one { llm_model: single }"


@pytest.mark.parametrize(
    ("name", "attributes", "model"),
    [
        ("a", "shape=parallelogram, tool_command=true", "any"),
        ("a", "prompt=x, shape=box", "boxed"),
        ("a", 'prompt=x, class="fast"', "quick"),
        ("one", 'prompt=x, class="fast"', "single"),
        ("one", "prompt=x, llm_model=mine", "mine"),
    ],
    ids=["universal", "shape", "class", "id", "the node's own"],
)
def test_the_most_specific_rule_wins_and_the_node_over_all(
    name: str, attributes: str, model: str, tmp_path: Path
) -> None:
    body = f'graph [model_stylesheet="{SHEET}"] {ENDS} {name} [{attributes}] start -> {name} -> exit'
    assert node(graph(tmp_path, body), name)["llm_model"] == model


# --- 11.11 transforms -------------------------------------------------------------------------------


def test_transforms_of_ones_own_change_the_graph_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(f"digraph g {{ goal=w {ENDS} p [type=paint] start -> p -> exit }}")
    data = plugged(tmp_path, "orchestra run p.dot colour=red -q >run.txt; orchestra log last --json")
    (done,) = [event for event in data["events"] if event.get("handler") == "paint" and "status" in event]
    assert done["context_updates"]["goal"] == "w one two"


def test_a_rule_of_ones_own_is_checked_with_the_others(tmp_path: Path) -> None:
    (tmp_path / "p.dot").write_text(f"digraph g {{ goal=w {ENDS} blue [prompt=x] start -> blue -> exit }}")
    data = plugged(tmp_path, "orchestra compile p.dot --format json")
    assert {each["rule"]: each["severity"] for each in data["diagnostics"]} == {"no_blue": "error"}


# --- 11.12 what is not said above --------------------------------------------------------------------


def test_success_and_failure_go_different_ways(tmp_path: Path) -> None:
    ways = WAYS + 'n -> a [condition="outcome=success"] n -> b [condition="outcome=fail"]'
    assert run(tmp_path, ways, n={}).path[2] == "a"
    assert run(tmp_path, ways, n={"status": "fail"}).path[2] == "b"


def test_a_pipeline_of_a_dozen_nodes_ends_well(tmp_path: Path) -> None:
    names = [f"n{number}" for number in range(12)]
    body = ENDS + " ".join(f"{name} [prompt=x]" for name in names) + f" start -> {' -> '.join(names)} -> exit"
    done = run(tmp_path, body)
    assert done.path == ["start", *names, "exit"]
    assert done.status == "success"


def test_a_restart_edge_begins_again_with_a_fresh_context(tmp_path: Path) -> None:
    body = f"{ENDS} a [prompt=x] b [prompt=x] start -> a -> b -> exit b -> a [condition=again, loop_restart=true]"
    done = run(tmp_path, body, b=[{"updates": {"again": True}}, {}])
    assert done.path == ["start", "a", "b", "a", "b", "exit"]
    assert len({event["session"] for event in done.events}) == 2
    assert "again" not in done.file("checkpoint.json")["context"]


@pytest.mark.parametrize(("ways", "status"), [("a -> exit", "success"), ("a -> exit [condition=never]", "fail")])
def test_a_manager_ends_as_the_child_that_it_supervises(ways: str, status: str, tmp_path: Path) -> None:
    (tmp_path / "child.dot").write_text(f"digraph c {{ {ENDS} a [prompt=x] start -> {ways} }}")
    done = run(tmp_path, f'{ENDS} m [shape=house, stack.child_dotfile="child.dot"] start -> m -> exit')
    ends = [event for event in done.of("StageCompleted", "StageFailed") if event["node"] == "m"]
    assert [event.get("status", "fail") for event in ends] == [status]


# --- 11.13 the smoke test ---------------------------------------------------------------------------

SMOKE = """digraph smoke {
    graph [goal="Write a script that greets"]
    start     [shape=Mdiamond]
    plan      [shape=box, prompt="Plan this: $goal"]
    implement [shape=box, prompt="Write it by the plan", goal_gate=true]
    review    [shape=box, prompt="Is it right?"]
    done      [shape=Msquare]
    start -> plan -> implement
    implement -> review    [condition="outcome=success"]
    implement -> plan      [condition="outcome=fail", label="Retry"]
    review    -> done      [condition="outcome=success"]
    review    -> implement [condition="outcome=fail", label="Fix"]
}"""


def test_plan_implement_review_from_the_text_to_the_checkpoint(tmp_path: Path) -> None:
    found = compiled(tmp_path, SMOKE)
    assert found["counts"]["error"] == 0
    assert found["graph"]["attributes"]["goal"] == "Write a script that greets"
    assert (len(found["graph"]["nodes"]), len(found["graph"]["edges"])) == (5, 6)
    done = run(tmp_path, SMOKE, implement=[{"status": "fail"}, {}], review=[{"status": "fail"}, {}])
    assert done.status == "success"
    for name in ("plan", "implement", "review"):
        assert {path.name for path in (done.tree() / name).iterdir()} == {"prompt.md", "response.md", "status.json"}
    assert done.file("implement/status.json")["outcome"] == "success"
    checkpoint = done.file("checkpoint.json")
    assert checkpoint["current_node"] == "done"
    assert {"plan", "implement", "review"} <= set(checkpoint["completed_nodes"])


# --- where Orchestra leaves the specification -------------------------------------------------------


def test_ours_a_node_of_whose_edges_none_applies_fails_the_run(tmp_path: Path) -> None:
    done = run(tmp_path, WAYS + 'n -> a [condition="context.k=1"] n -> b [condition="context.k=2"]')
    assert (done.code, done.status) == (1, "fail")
    assert "no edge applies" in done.of("PipelineFailed")[0]["error"]


def test_ours_a_failure_does_not_follow_a_plain_edge(tmp_path: Path) -> None:
    done = run(tmp_path, f"{ENDS} a [prompt=x] start -> a -> exit", a={"status": "fail"})
    assert done.path == ["start", "a"]
    assert done.status == "fail"


def test_ours_a_failure_goes_to_a_diamond_which_judges_it(tmp_path: Path) -> None:
    body = f"{ENDS} a [prompt=x] d [shape=diamond] m [prompt=x] start -> a -> d -> m -> exit"
    done = run(tmp_path, f'{body} d -> exit [condition="outcome=success"]', a={"status": "fail"})
    assert done.path == ["start", "a", "d", "m", "exit"]


def test_ours_an_unreached_node_is_an_error(tmp_path: Path) -> None:
    assert findings(tmp_path, f"{ENDS} a [prompt=x] start -> exit a -> exit")["reachability"] == "error"


def test_ours_an_undeclared_node_is_a_warning_and_with_strict_an_error(tmp_path: Path) -> None:
    body = f"{ENDS} start -> somewhere -> exit"
    assert findings(tmp_path, body)["edge_target_exists"] == "warning"
    assert findings(tmp_path, body, "--strict")["edge_target_exists"] == "error"


def test_ours_a_failure_that_would_come_again_is_not_tried_again(tmp_path: Path) -> None:
    body = f"{ENDS} a [prompt=x, max_retries=3] start -> a -> exit"
    done = run(tmp_path, body, a={"status": "fail", "failure_class": "terminal"})
    assert done.of("StageRetrying") == []


def test_ours_a_partial_success_is_never_made_of_a_failure(tmp_path: Path) -> None:
    body = f"{ENDS} a [prompt=x, allow_partial=true, max_retries=1] start -> a -> exit"
    (tmp_path / "r").mkdir()
    assert run(tmp_path, body, a={"status": "fail"}).status == "fail"
    assert run(tmp_path / "r", body, a={"status": "retry"}).status == "success"
