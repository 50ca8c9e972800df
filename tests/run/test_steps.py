"""What comes next: gates, bounds, skipped nodes, diamonds, the two ends of a run."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from orchestra.graph.model import Graph
from orchestra.graph.visits import RETURNS
from orchestra.run.events import (
    EdgeSelected,
    Event,
    Meta,
    PipelineStarted,
    Recorded,
    StageCompleted,
    StageFailed,
    StageStarted,
)
from orchestra.run.fold import evolve
from orchestra.run.state import NEW, Context, RunState
from orchestra.run.steps import Advance, Execute, Finish, Refuse, Step, next_step
from support import graph_of


class Walk:
    """The walk without a loop or a store: statuses come from a table, events go into the fold."""

    def __init__(self, text: str, statuses: Mapping[str, list[str]] | None = None) -> None:
        self.graph: Graph = graph_of(text)
        self.state: RunState = NEW
        self.statuses = statuses or {}
        self.path: list[str] = []
        self.outcomes: dict[str, object] = {}
        self._sequence = 0
        self.add(PipelineStarted(pipeline="t", dot="", graph_hash="", mailbox=1))

    def add(self, event: Event) -> None:
        self._sequence += 1
        meta = Meta(session="s", epoch=1, sequence=self._sequence, at=1000 + self._sequence)
        self.state = evolve(self.state, Recorded(meta, event))

    def step(self) -> Step:
        return next_step(self.graph, self.state, Context(self.graph, self.state))

    def run(self, limit: int = 2000) -> Finish:
        for _ in range(limit):
            step = self.step()
            match step:
                case Finish():
                    return step
                case Execute():
                    self.execute(step)
                case Refuse():
                    self.end(step.node, step.visit, "fail", step.reason, refused=True)
                case Advance():
                    self.add(
                        EdgeSelected(
                            source=step.source,
                            target=step.target,
                            edge=step.edge,
                            rule=step.rule,
                            reason=step.reason,
                            gate=step.gate,
                        )
                    )
        raise AssertionError(f"no end after {limit} steps: {self.path[-10:]}")

    def execute(self, step: Execute) -> None:
        kind = self.graph.type_of(step.node)
        self.add(StageStarted(node=step.node, handler=kind, visit=step.visit, of=step.of))
        if kind == "conditional":
            status = self.state.passed.status
        else:
            told = self.statuses.get(step.node, ["success"])
            status = told[min(step.visit, len(told)) - 1]
        self.end(step.node, step.visit, status, f"{step.node} said so")

    def end(self, node: str, visit: int, status: str, reason: str, *, refused: bool = False) -> None:
        self.path.append(node)
        kind = self.graph.type_of(node)
        if status in ("fail", "terminal") and (refused or kind != "conditional"):
            failure = "" if status == "fail" else status
            self.add(
                StageFailed(node=node, handler=kind, visit=visit, failure_reason=reason, failure_class=failure)
            )
        else:
            self.add(StageCompleted(node=node, handler=kind, visit=visit, status=status))
        self.outcomes[node] = self.state.context.get("outcome")


def walked(text: str, **statuses: list[str]) -> tuple[Walk, Finish]:
    walk = Walk(text, statuses)
    return walk, walk.run()


# --- a plain walk -----------------------------------------------------------------------------------


def test_a_run_begins_at_the_start_and_ends_well_at_the_exit() -> None:
    walk, end = walked("a start -> a -> exit")
    assert walk.path == ["start", "a", "exit"]
    assert (end.error, end.status, end.warnings) == ("", "success", ())


def test_a_run_that_ends_at_another_node_says_so_and_warns() -> None:
    walk, end = walked("a b start -> a a -> exit [condition=never] a -> b")
    assert walk.path[-1] == "b"
    assert (end.error, end.status) == ("", "completed (no exit)")
    assert any("b" in warning.message for warning in end.warnings)


def test_a_failing_node_without_a_way_on_ends_the_run_with_its_reason() -> None:
    walk, end = walked("a b start -> a -> b -> exit", a=["fail"])
    assert walk.path == ["start", "a"]
    assert "a said so" in end.error


def test_a_skipped_node_continues_and_leaves_the_outcome_as_it_was() -> None:
    walk, end = walked("a b start -> a -> b -> exit", a=["partial_success"], b=["skipped"])
    assert end.error == ""
    assert walk.state.nodes["b"].status == "skipped"
    assert walk.outcomes == {"start": "success", "a": "partial_success", "b": "partial_success", "exit": "success"}
    assert walk.state.context["last_stage"] == "exit"


# --- diamonds (E13) ---------------------------------------------------------------------------------

JUDGED = """
a retried
judge [shape=diamond]
start -> a -> judge
judge -> exit [condition="outcome=success"]
judge -> retried [condition="outcome=fail"]
retried -> exit
"""


def test_a_diamond_judges_a_failure_that_no_condition_took() -> None:
    walk, end = walked(JUDGED, a=["fail"])
    assert walk.path == ["start", "a", "judge", "retried", "exit"]
    assert end.error == ""


def test_a_diamond_passes_success_on() -> None:
    assert walked(JUDGED)[0].path == ["start", "a", "judge", "exit"]


def test_a_chain_of_diamonds_passes_the_same_outcome_on() -> None:
    walk, end = walked(
        "a b one [shape=diamond] two [shape=diamond] start -> a -> one -> two "
        'two -> b [condition="outcome=fail"] two -> exit b -> exit',
        a=["fail"],
    )
    assert walk.path == ["start", "a", "one", "two", "b", "exit"]
    assert end.error == ""


def test_a_failure_that_every_diamond_refuses_ends_the_run_with_the_first_nodes_reason() -> None:
    _walk, end = walked(
        'a judge [shape=diamond] start -> a -> judge judge -> exit [condition="outcome=success"]', a=["fail"]
    )
    assert end.error


def test_the_node_after_a_diamond_does_not_inherit_the_failure() -> None:
    walk, _end = walked(JUDGED, a=["fail"])
    assert walk.state.passed.status == "success"
    assert walk.state.context["outcome"] == "success"


# --- goal gates (E11) -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("node_targets", "graph_targets", "expected"),
    [
        ("retry_target=one, fallback_retry_target=two", "retry_target=three fallback_retry_target=four", "one"),
        ("fallback_retry_target=two", "retry_target=three fallback_retry_target=four", "two"),
        ("", "retry_target=three fallback_retry_target=four", "three"),
        ("", "fallback_retry_target=four", "four"),
        ("retry_target=gone, fallback_retry_target=two", "retry_target=three", "two"),
        ("retry_target=gone, fallback_retry_target=gone", "retry_target=gone fallback_retry_target=four", "four"),
    ],
)
def test_an_unmet_gate_sends_the_run_to_the_first_target_that_exists(
    node_targets: str, graph_targets: str, expected: str
) -> None:
    own = f", {node_targets}" if node_targets else ""
    text = (
        f"{graph_targets} one two three four g [goal_gate=true{own}] "
        'start -> g -> exit [condition="outcome!=x"] one -> g two -> g three -> g four -> g'
    )
    walk, end = walked(text, g=["fail", "success"])
    assert walk.path == ["start", "g", expected, "g", "exit"]
    assert end.error == ""
    assert walk.state.gates == {"g": 1}


ROUND = 'g [goal_gate=true{own}] w start -> w -> g -> exit [condition="outcome!=x"]'


def test_an_unmet_gate_without_a_target_fails_the_run_and_is_named() -> None:
    walk, end = walked(ROUND.format(own=""), g=["fail"])
    assert walk.path == ["start", "w", "g"]
    assert "g" in end.error
    assert "gate" in end.error


def test_partial_success_meets_a_gate_and_skipped_does_not() -> None:
    assert walked(ROUND.format(own=""), g=["partial_success"])[1].error == ""
    assert walked(ROUND.format(own=""), g=["skipped"])[1].error != ""


def test_the_last_outcome_of_a_gate_counts() -> None:
    text = 'g [goal_gate=true] w start -> g -> w w -> g [condition="internal.visits.w=1"] w -> exit'
    assert walked(text, g=["success", "fail"], w=["success"])[1].error != ""
    assert walked(text.replace("g -> w", "g -> w [condition=run.id]"), g=["fail", "success"])[1].error == ""


def test_a_gate_sends_the_run_back_as_often_as_its_target_may_be_visited() -> None:
    walk, end = walked(
        'g [goal_gate=true, retry_target=w] w [max_visits=4] start -> w -> g g -> exit [condition="outcome!=x"]',
        g=["skipped"],
    )
    assert walk.state.nodes["w"].executions == 4
    assert "w" in end.error


def test_a_gate_whose_target_has_no_bound_sends_the_run_back_fifty_times() -> None:
    walk, end = walked(
        "g [goal_gate=true, retry_target=other] other w start -> w -> g other -> g "
        'g -> exit [condition="outcome!=x"]',
        g=["skipped"],
    )
    assert walk.path.count("other") == RETURNS == 50
    assert "50 times" in end.error


def test_a_gate_that_failed_for_good_sends_the_run_back_three_times() -> None:
    walk, end = walked(
        "g [goal_gate=true, retry_target=w] w start -> w -> g "
        'g -> exit [condition="outcome=success"] g -> exit [condition="outcome=fail"]',
        g=["terminal"],
    )
    assert walk.path.count("w") == 4
    assert "3 times" in end.error


def test_the_first_unmet_gate_in_visiting_order_decides() -> None:
    walk, _end = walked(
        "z [goal_gate=true, retry_target=forz] a [goal_gate=true, retry_target=fora] forz [max_visits=1] fora "
        "start -> z -> a -> exit forz -> exit fora -> exit",
        z=["skipped"],
        a=["skipped"],
    )
    assert walk.path[3] == "forz"


def test_a_gate_that_the_run_went_round_is_a_warning() -> None:
    walk, end = walked("g [goal_gate=true] a start -> a -> exit a -> g [condition=never] g -> exit")
    assert end.error == ""
    assert walk.path == ["start", "a", "exit"]
    assert any("g" in warning.message for warning in end.warnings)


def test_a_gate_that_the_run_went_round_is_unmet_where_all_are_wanted() -> None:
    text = (
        "goal_gates=all g [goal_gate=true, retry_target=g] a start -> a -> exit a -> g [condition=never] g -> exit"
    )
    walk, end = walked(text)
    assert walk.path == ["start", "a", "g", "exit"]
    assert (end.error, end.warnings) == ("", ())


def test_the_exit_is_no_gate_that_it_could_have_gone_round() -> None:
    _walk, end = walked("goal_gates=all exit [shape=Msquare, goal_gate=true] a start -> a -> exit")
    assert (end.error, end.warnings) == ("", ())


def test_gates_are_checked_at_an_end_without_exit_too() -> None:
    walk, end = walked(
        "g [goal_gate=true, retry_target=g] b start -> g -> b g -> exit [condition=never]", g=["skipped", "success"]
    )
    assert walk.path == ["start", "g", "b", "g", "b"]
    assert end.status == "completed (no exit)"


# --- bounds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["n [max_visits=3]", "default_max_visits=3 n"])
def test_a_node_is_refused_after_its_last_visit(where: str) -> None:
    walk, end = walked(f"{where} start -> n n -> n n -> exit [condition=never]")
    assert walk.path.count("n") == 4
    assert walk.state.nodes["n"].status == "fail"
    assert walk.state.nodes["n"].executions == 3
    assert "max_visits exceeded" in end.error


def test_the_gate_that_a_refused_node_should_have_met_is_named() -> None:
    _walk, end = walked(
        'g [goal_gate=true, retry_target=w] w [max_visits=2] start -> w -> g g -> exit [condition="outcome!=x"]',
        g=["fail"],
    )
    assert "max_visits exceeded: w" in end.error
    assert "goal gate g" in end.error


def test_a_refused_node_is_routed_like_any_failure() -> None:
    walk, end = walked(
        "n [max_visits=2, retry_target=rescue] rescue start -> n n -> n rescue -> exit n -> exit [condition=never]"
    )
    assert walk.path == ["start", "n", "n", "n", "rescue", "exit"]
    assert end.error == ""


def test_a_refused_diamond_ends_its_loop_and_the_run() -> None:
    walk, end = walked(
        "n judge [shape=diamond, max_visits=3] start -> n -> judge -> n judge -> exit [condition=never]"
    )
    assert walk.path.count("judge") == 4
    assert "max_visits exceeded" in end.error
    assert walk.outcomes["judge"] == "fail"


def test_a_refused_diamond_goes_to_its_retry_target() -> None:
    walk, end = walked(
        "n out judge [shape=diamond, max_visits=1, retry_target=out] start -> n -> judge -> n out -> exit "
        "judge -> exit [condition=never]"
    )
    assert walk.path == ["start", "n", "judge", "n", "judge", "out", "exit"]
    assert end.error == ""


def test_a_node_whose_bound_is_zero_has_none() -> None:
    walk, end = walked("max_steps=40 n [max_visits=0] start -> n n -> n n -> exit [condition=never]")
    assert walk.path.count("n") == 39
    assert "max_steps" in end.error


LOOP = 'build{build} test{test} start -> build -> test test -> exit test -> build [condition="outcome=fail"{edge}]'


def test_a_loop_of_plain_edges_ends_when_a_node_of_it_has_failed_fifty_times_in_a_row() -> None:
    walk, end = walked(LOOP.format(build="", test="", edge=""), test=["fail"])
    assert walk.path.count("build") == walk.path.count("test") == RETURNS
    assert "50 times in a row" in end.error
    assert "test said so" in end.error
    assert "max_visits" in end.error


def test_a_success_between_two_failures_begins_the_count_again() -> None:
    text = (
        'a b start -> a -> b a -> a [condition="outcome=fail"] b -> exit b -> a [condition="internal.visits.b<3"]'
    )
    walk, end = walked(text, a=[*["fail"] * 49, "success", *["fail"] * 49, "success"])
    assert (end.error, walk.path.count("a")) == ("", 101)


def test_a_loop_over_a_diamond_ends_like_one_of_plain_edges() -> None:
    text = 'a ok [shape=diamond] start -> a -> ok ok -> exit [condition="outcome=success"] ok -> a'
    walk, end = walked(text, a=["fail"])
    assert (end.node, walk.path.count("a")) == ("a", RETURNS)


@pytest.mark.parametrize(
    "own",
    [
        {"test": " [max_visits=0]"},
        {"test": " [max_visits=99]"},
        {"build": " [max_visits=99]"},
        {"edge": ", max_visits=99"},
    ],
    ids=["none", "node", "other node", "edge"],
)
def test_a_bound_that_the_author_chose_decides_how_often_a_loop_may_fail(own: dict[str, str]) -> None:
    walk, end = walked(
        LOOP.format(**{"build": "", "test": "", "edge": "", **own}), test=[*["fail"] * 70, "success"]
    )
    assert (end.error, walk.path.count("test")) == ("", 71)


def test_a_node_that_failed_fifty_times_still_leaves_its_loop_by_another_edge() -> None:
    text = LOOP.format(build="", test="", edge="")
    text += ' other test -> other [condition="internal.visits.test=50", weight=2] other -> exit'
    walk, end = walked(text, test=["fail"])
    assert (end.error, walk.path[-2:]) == ("", ["other", "exit"])


def test_an_edge_is_closed_after_its_last_visit_and_another_is_taken() -> None:
    walk, end = walked("n start -> n n -> n [max_visits=2, weight=9] n -> exit")
    assert walk.path == ["start", "n", "n", "n", "exit"]
    assert (end.error, walk.state.edges["n->n"]) == ("", 2)


def test_a_run_whose_edges_are_all_used_up_says_which() -> None:
    _walk, end = walked("n start -> n n -> n [max_visits=2] n -> exit [condition=never]")
    assert "no edge applies" in end.error
    assert "max_visits" in end.error


@pytest.mark.parametrize("bound", [1, 2, 7])
def test_max_steps_ends_the_run_before_one_node_too_many(bound: int) -> None:
    walk, end = walked(f"max_steps={bound} n start -> n n -> n n -> exit [condition=never]")
    assert len(walk.path) == bound
    assert "max_steps exceeded" in end.error
    assert "set max_steps on the graph" in end.error


def test_max_steps_that_just_suffices_lets_the_run_end_well() -> None:
    assert walked("max_steps=3 n start -> n -> exit")[1].error == ""
