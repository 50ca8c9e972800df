"""Why a run went where it went: every rule leaves a record that explains it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from orchestra.agents.simulation import ScriptedResult
from orchestra.graph.model import Graph, Node
from orchestra.ports import Scope
from orchestra.run.codec import encode
from orchestra.run.events import ContextValue, EdgeSelected
from orchestra.run.outcome import Outcome, Status
from orchestra.run.reasons import Reason, leading_to, reasons
from support import Steps, opened, ran

AB = "a b n start -> n a -> exit b -> exit"

RULES: list[tuple[str, Steps, int | None, str, dict[str, object]]] = [
    (
        f'{AB} n -> a [condition="outcome=success && x=2"] n -> b [condition="x>0", weight=3]',
        [ScriptedResult(updates={"x": 2})],
        1,
        "b",
        {"edge": "n->b", "condition": "x>0", "holds": True, "values": {"x": "2"}, "weight": 3},
    ),
    (f"{AB} n -> a [label=Yes] n -> b", [ScriptedResult(label="yes")], 2, "a", {"edge": "n->a", "label": "Yes"}),
    (f"{AB} n -> a n -> b", [ScriptedResult(suggest=("b",))], 3, "b", {"edge": "n->b"}),
    (f"{AB} n [retry_target=b] n -> a n -> exit", ["fail"], 4, "b", {"edge": "n->a"}),
    (f"{AB} n -> a [weight=1] n -> b", ["success"], 5, "a", {"edge": "n->a", "weight": 1}),
    (f"{AB} n -> a [condition=never]", ["success"], 6, "", {"edge": "n->a", "condition": "never", "holds": False}),
    (f"{AB} n -> a n -> b", ["fail"], 4, "", {"edge": "n->b"}),
    (f"{AB}", ["success"], None, "", {}),
]


@pytest.mark.parametrize(("text", "steps", "rule", "target", "seen"), RULES)
async def test_each_rule_leaves_where_it_led_and_what_it_saw(
    text: str, steps: Steps, rule: int | None, target: str, seen: dict[str, object]
) -> None:
    (found,) = reasons((await ran(text, {"n": steps})).seen, "n")
    assert (found.rule, found.target, found.visit) == (rule, target, 1)
    assert found.why
    if seen:
        (candidate,) = [c for c in found.candidates if c["edge"] == seen["edge"]]
        assert seen.items() <= candidate.items()


async def test_the_edge_that_a_handler_chose_is_in_the_reason() -> None:
    async def choosing(node: Node, context: Mapping[str, ContextValue], graph: Graph, scope: Scope) -> Outcome:
        return Outcome(status=Status.SUCCESS, edge="n->b")

    session = await ran(f"{AB} n [type=choosing] n -> a [weight=9] n -> b", more={"choosing": choosing})
    (found,) = reasons(session.seen, "n")
    assert (found.rule, found.chosen, found.target) == (0, "n->b", "b")


async def test_the_label_and_nodes_that_a_node_suggests_are_in_the_reason() -> None:
    session = await ran(f"{AB} n -> a n -> b", {"n": [ScriptedResult(label="perhaps", suggest=("nowhere", "b"))]})
    (found,) = reasons(session.seen, "n")
    assert (found.preferred_label, found.suggested_next_ids) == ("perhaps", ("nowhere", "b"))


async def test_an_edge_with_a_bound_shows_how_often_it_was_taken() -> None:
    text = "n a start -> n n -> a [max_visits=2, weight=1] n -> exit a -> n"
    found = reasons((await ran(text)).seen, "n")
    taken = [next(c["taken"] for c in reason.candidates if c["edge"] == "n->a") for reason in found]
    assert taken == [0, 1, 2]
    assert [reason.target for reason in found] == ["a", "a", "exit"]


async def test_a_gate_that_sends_the_run_back_is_a_decision_at_the_exit_before_it_is_entered() -> None:
    text = "n [goal_gate=true, retry_target=n] start -> n -> exit [condition=outcome]"
    found = reasons((await ran(text, {"n": ["fail", "success"]})).seen, "exit")
    assert [(r.visit, r.gate, r.target) for r in found] == [(0, "n", "n"), (1, "", "")]


async def test_a_run_that_a_bound_ended_says_so_at_the_node_that_it_kept_out() -> None:
    found = reasons((await ran("graph [max_steps=2] a start -> a -> exit")).seen, "exit")
    assert [r.visit for r in found] == [0]
    assert "max_steps" in found[0].why


async def test_a_running_node_is_a_visit_without_a_decision() -> None:
    seen = (await ran("n start -> n -> exit")).seen
    begun = next(number for number, r in enumerate(seen) if getattr(r.event, "node", "") == "n")
    assert reasons(seen[: begun + 1], "n") == (Reason(visit=1, attempt=1, depth=begun),)


async def test_a_node_that_was_passed_over_is_known_by_where_that_happened() -> None:
    seen = (await ran(f'{AB} n -> a n -> b [condition="outcome=fail"]')).seen
    assert reasons(seen, "b") == ()
    assert leading_to(seen, "b") == ("n",)


async def test_a_record_of_routing_stays_as_small_in_the_last_step_as_in_the_first() -> None:
    text = "n a start -> n n -> a [max_visits=300, weight=1] n -> exit a -> n"
    session = await opened(text)
    await session.walk()
    sizes = [len(encode(r.meta, r.event)) for r in session.seen if isinstance(r.event, EdgeSelected)]
    assert len(sizes) > 600
    assert max(sizes) - min(sizes[1:]) < 150
    plain = [len(encode(r.meta, r.event)) for r in session.seen if getattr(r.event, "source", "") == "a"]
    assert max(plain) - min(plain) < 16
