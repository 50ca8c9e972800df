"""Where a run goes after a node: the six rules, against a slow reading of them written apart."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from orchestra.graph.model import Edge, Graph
from orchestra.run.routing import Decision, End, Fail, Follow, Jump, RoutingRule, edge_keys, route, survey
from orchestra.run.state import NodeEnd
from support import graph_of

NODES = "a b c g judge [shape=diamond] other [shape=diamond]"


def decide(
    graph: Graph,
    ended: NodeEnd,
    context: Mapping[str, object] | None = None,
    spent: Mapping[str, int] | None = None,
) -> Decision:
    return route(graph, ended, survey(graph, ended, context or {}, spent or {}))


def went(decision: Decision) -> tuple[str, object, int]:
    """What a decision comes to: its kind, where it leads, by which rule."""
    match decision:
        case Follow(edge=edge, rule=rule):
            return "follow", edge.index, rule
        case Jump(target=target):
            return "jump", target, RoutingRule.FAILURE
        case End():
            return "end", "", 6
        case Fail(rule=rule):
            return "fail", "", rule


# --- an independent reading of engine.md#routing, one rule after the other, as slow as it likes ----------


def strip(label: str) -> str:
    text = label.strip()
    for form in ("[X] ", "X) ", "X - "):
        shape = form.replace("X", "?")
        if len(text) > len(shape) and all(s in ("?", c) for s, c in zip(shape, text, strict=False)):
            letter = text[shape.index("?")]
            if letter.isalnum() or letter == "_":
                text = text[len(shape) :]
                break
    return text.strip().lower()


def holds(condition: str, ended: NodeEnd, context: Mapping[str, object]) -> bool:
    """Conditions of the one form that the tables use: ``key=value`` and ``key!=value``."""
    key, _, value = condition.partition("=")
    negated = key.endswith("!")
    key = key.rstrip("!")
    if key == "outcome":
        found = ended.word or ended.status
    elif key == "preferred_label":
        return (strip(ended.preferred_label) == strip(value)) != negated
    else:
        found = str(context.get(key, context.get(key.removeprefix("context."), "")))
    return (found == value) != negated


def heaviest(edges: list[Edge], rule: int) -> tuple[str, object, int]:
    most = max(e.weight for e in edges)
    first = min((e.target, e.index) for e in edges if e.weight == most)
    return "follow", first[1], rule


def slow(
    graph: Graph, ended: NodeEnd, context: Mapping[str, object], spent: Mapping[str, int]
) -> tuple[str, object, int]:
    edges = list(graph.outgoing(ended.node))
    if ended.edge:
        return slow_choice(graph, ended, edges, context, spent)
    usable = [e for e in edges if spent.get(slow_key(graph, e), 0) < (e.integer("max_visits") or 10**9)]
    met = [e for e in usable if e.text("condition") and holds(e.text("condition"), ended, context)]
    if met:
        return heaviest(met, 1)
    plain = [e for e in usable if not e.text("condition")]
    wanted = strip(ended.preferred_label)
    labelled = [e for e in plain if wanted and strip(e.label) == wanted]
    suggested = [e for target in ended.suggested_next_ids for e in plain if e.target == target]
    if labelled or suggested:
        return "follow", (labelled or suggested)[0].index, 2 if labelled else 3
    if ended.status == "fail" and not ended.passing:
        return slow_failure(graph, ended.node, plain)
    if plain:
        return heaviest(plain, 5)
    if not edges and ended.status != "fail":
        return "end", "", 6
    return "fail", "", 6


def slow_key(graph: Graph, edge: Edge) -> str:
    twins = [e for e in graph.outgoing(edge.source) if e.target == edge.target]
    place = twins.index(edge) + 1
    return f"{edge.source}->{edge.target}" + (f"#{place}" if place > 1 else "")


def slow_choice(
    graph: Graph, ended: NodeEnd, edges: list[Edge], context: Mapping[str, object], spent: Mapping[str, int]
) -> tuple[str, object, int]:
    for edge in edges:
        key, bound, condition = slow_key(graph, edge), edge.integer("max_visits"), edge.text("condition")
        free = not bound or spent.get(key, 0) < bound
        if key == ended.edge and free and (not condition or holds(condition, ended, context)):
            return "follow", edge.index, 0
    return "fail", "", 0


def slow_failure(graph: Graph, node: str, plain: list[Edge]) -> tuple[str, object, int]:
    for key in ("retry_target", "fallback_retry_target"):
        if graph.nodes[node].text(key) in graph.nodes:
            return "jump", graph.nodes[node].text(key), 4
    judging = [e for e in plain if graph.nodes[e.target].shape == "diamond"]
    return heaviest(judging, 4) if judging else ("fail", "", 4)


# --- a generated table ------------------------------------------------------------------------------

EDGES = (
    "a -> {n} -> b",
    "{n} -> c",
    "{n} -> b [weight=2]",
    '{n} -> c [label="[Y] Yes"]',
    '{n} -> g [condition="outcome=fail"]',
    '{n} -> b [condition="context.x=1", weight=1]',
    '{n} -> c [condition="preferred_label=yes"]',
    "{n} -> other",
    '{n} -> g [max_visits=1, label="no"]',
    '{n} -> c [condition="outcome=success", weight=3, max_visits=2]',
    "{n} -> judge [weight=-1]",
)
STATUSES = ("success", "partial_success", "fail", "skipped")


def endings(node: str) -> list[NodeEnd]:
    found = []
    for status, label, suggested in itertools.product(
        STATUSES, ("", "yes", " N) No "), ((), ("nowhere", "g", "c"))
    ):
        found.append(NodeEnd(node=node, status=status, preferred_label=label, suggested_next_ids=suggested))
    chosen = [NodeEnd(node=node, status="success", edge=f"{node}->{end}") for end in ("b", "g", "nowhere")]
    passing = [replace(ended, passing=True) for ended in found] if node == "judge" else []
    return [*found, *chosen, *passing, NodeEnd(node=node, status="success", word="has_tests")]


def graphs() -> list[tuple[str, Graph]]:
    found = []
    for node, targets in (
        ("n", ""),
        ("n", 'retry_target="gone", fallback_retry_target="b"'),
        ("n", 'retry_target="c", fallback_retry_target="b"'),
        ("judge", ""),
    ):
        for chosen in itertools.chain.from_iterable(itertools.combinations(EDGES, size) for size in (0, 1, 2, 3)):
            own = f"n [{targets}]" if targets else "n"
            text = f"{NODES} {own} start -> a -> exit\n" + "\n".join(e.format(n=node) for e in chosen)
            found.append((node, graph_of(text)))
    return found


def test_every_outcome_takes_the_edge_of_an_independent_reading_of_the_rules() -> None:
    compared, cases = set(), 0
    for nth, (node, graph) in enumerate(graphs()):
        taken = {f"{node}->{target}{twin}": 1 for target in "gc" for twin in ("", "#2", "#3")}
        moments = (({}, {}), ({"x": 1}, taken), ({"x": 1}, dict.fromkeys(taken, 2)))
        for number, ended in enumerate(endings(node)):
            context, spent = moments[(nth + number) % 3]  # over the graphs, every moment meets every ending
            expected = slow(graph, ended, context, spent)
            assert went(decide(graph, ended, context, spent)) == expected, (ended, graph.edges, spent)
            compared.add((expected[0], expected[2]))
            cases += 1
    assert cases > 20_000
    assert compared == {
        ("follow", 0), ("fail", 0), ("follow", 1), ("follow", 2), ("follow", 3), ("follow", 4), ("follow", 5),
        ("jump", 4), ("fail", 4), ("fail", 6), ("end", 6),
    }  # fmt: skip


# --- properties -------------------------------------------------------------------------------------

KEYS = st.sampled_from(["outcome", "preferred_label", "context.x", "y"])
VALUES = st.sampled_from(["success", "fail", "yes", "1", ""])
CLAUSES = st.builds("{}{}{}".format, KEYS, st.sampled_from(["=", "!="]), VALUES.filter(bool))
BOUNDS = st.integers(0, 2)


@st.composite
def branching(draw: st.DrawFn) -> tuple[Graph, list[str]]:
    conditions = draw(st.lists(st.one_of(st.just(""), CLAUSES), min_size=1, max_size=5))
    edges = []
    for condition in conditions:
        target = draw(st.sampled_from(["a", "b", "judge"]))
        wanted = f'condition="{condition}", ' if condition else ""
        label = draw(st.sampled_from(["", "yes"]))
        edges.append(f'n -> {target} [{wanted}label="{label}", max_visits={draw(BOUNDS)}, weight={draw(BOUNDS)}]')
    return graph_of(NODES + " start -> n -> exit [condition=never]\n" + "\n".join(edges)), conditions


@settings(max_examples=150, deadline=None)
@given(
    branching(),
    st.sampled_from(STATUSES),
    VALUES,
    st.dictionaries(st.sampled_from(["x", "y"]), VALUES | st.integers(0, 1)),
    st.dictionaries(st.sampled_from(["n->a", "n->b", "n->judge", "n->a#2"]), BOUNDS),
)
def test_an_edge_whose_condition_is_false_or_whose_visits_are_spent_is_never_followed(
    drawn: tuple[Graph, list[str]], status: str, label: str, context: dict[str, object], spent: dict[str, int]
) -> None:
    graph, _conditions = drawn
    ended = NodeEnd(node="n", status=status, preferred_label=label, suggested_next_ids=("b", "a"))
    decision = decide(graph, ended, context, spent)
    if isinstance(decision, Follow):
        condition = decision.edge.text("condition")
        assert not condition or holds(condition, ended, context)
        bound = decision.edge.integer("max_visits")
        assert not bound or spent.get(decision.key, 0) < bound
    assert decision == decide(graph, ended, context, spent)


# --- single sentences -------------------------------------------------------------------------------


def test_the_edge_that_the_handler_chose_wins_over_a_condition_that_holds() -> None:
    graph = graph_of('a b n start -> n -> exit n -> a [condition="outcome=success"] n -> b')
    decision = decide(graph, NodeEnd(node="n", status="success", edge="n->b"))
    assert went(decision) == ("follow", 3, 0)


@pytest.mark.parametrize(
    ("edge", "word"), [("n->nowhere", "does not exist"), ("n->a", "condition"), ("n->b", "max_visits")]
)
def test_where_the_handlers_choice_cannot_be_taken_no_other_edge_is_taken_in_its_place(
    edge: str, word: str
) -> None:
    graph = graph_of("a b n start -> n -> exit n -> a [condition=never] n -> b [max_visits=1]")
    decision = decide(graph, NodeEnd(node="n", status="success", edge=edge), spent={"n->b": 1})
    assert isinstance(decision, Fail)
    assert decision.rule == 0
    assert word in decision.reason


def test_a_handler_that_chose_an_edge_it_does_not_have_has_not_ended_the_run_well() -> None:
    graph = graph_of("n start -> n start -> exit")
    assert went(decide(graph, NodeEnd(node="n", status="success", edge="n->exit"))) == ("fail", "", 0)


def test_a_diamond_that_was_refused_does_not_take_its_else_branch() -> None:
    graph = graph_of('judge [shape=diamond] a start -> judge -> exit [condition="outcome=success"] judge -> a')
    assert went(decide(graph, NodeEnd(node="judge", status="fail"))) == ("fail", "", 4)


def test_parallel_edges_have_different_keys_and_keys_survive_edits_elsewhere() -> None:
    graph = graph_of("a n start -> n n -> a n -> exit n -> a [label=again]")
    assert edge_keys(graph, "n") == ["n->a", "n->exit", "n->a#2"]
    edited = graph_of("z -> a a n start -> n n -> exit n -> a n -> a [label=again]")
    assert edge_keys(edited, "n") == ["n->exit", "n->a", "n->a#2"]


@pytest.mark.parametrize("label", ["Yes", " yes ", "[Y] Yes", "Y) YES", "y - yes"])
def test_labels_compare_without_case_blanks_and_accelerator(label: str) -> None:
    graph = graph_of('a n start -> n -> exit [weight=9] n -> a [label="[Y] Yes"]')
    assert went(decide(graph, NodeEnd(node="n", status="success", preferred_label=label))) == ("follow", 2, 2)


def test_a_label_that_fits_no_edge_decides_nothing() -> None:
    graph = graph_of('a n start -> n -> exit [weight=9] n -> a [label="yes"]')
    assert went(decide(graph, NodeEnd(node="n", status="success", preferred_label="maybe"))) == ("follow", 1, 5)


def test_where_nothing_applies_the_reason_names_conditions_and_the_values_they_saw() -> None:
    graph = graph_of('n start -> n -> exit [condition="context.color=red"]')
    decision = decide(graph, NodeEnd(node="n", status="success"), {"color": "blue"})
    assert isinstance(decision, Fail)
    for part in ("no edge applies", "context.color=red", "blue"):
        assert part in decision.reason


def test_the_values_in_a_reason_are_the_recorded_texts_without_pythons_escapes() -> None:
    graph = graph_of('n start -> n -> exit [condition="context.color=red"]')
    decision = decide(graph, NodeEnd(node="n", status="success"), {"color": "\\u001b it's\u00a0so"})
    assert isinstance(decision, Fail)
    assert "saw context.color='\\u001b it's\u00a0so'" in decision.reason


def test_a_failure_without_a_next_node_has_the_nodes_own_reason() -> None:
    graph = graph_of("n start -> n -> exit")
    decision = decide(graph, NodeEnd(node="n", status="fail", failure_reason="the tests are red"))
    assert isinstance(decision, Fail)
    assert "the tests are red" in decision.reason


def test_a_failure_whose_edge_is_used_up_says_how_often_that_was_taken() -> None:
    graph = graph_of('n m start -> n -> exit n -> m [condition="outcome=fail", max_visits=3]')
    decision = decide(graph, NodeEnd(node="n", status="fail", failure_reason="red"), spent={"n->m": 3})
    assert isinstance(decision, Fail)
    assert decision.reason == "n->m was taken 3 of 3 times: red"


def test_a_failing_diamond_takes_its_else_branch() -> None:
    graph = graph_of('judge [shape=diamond] a start -> judge -> exit [condition="outcome=success"] judge -> a')
    assert went(decide(graph, NodeEnd(node="judge", status="fail", passing=True))) == ("follow", 2, 5)


@pytest.mark.parametrize(
    ("edges", "word"),
    [
        ("n -> a", ""),
        ("n -> a [weight=1] n -> b", "highest weight"),
        ("n -> a n -> b", "alphabetical"),
        ("n -> a [condition=x] n -> b [condition=x, weight=-1]", "highest weight"),
    ],
)
def test_the_reason_says_why_one_of_several_was_taken(edges: str, word: str) -> None:
    graph = graph_of(f"a b n start -> n a -> exit b -> exit {edges}")
    decision = decide(graph, NodeEnd(node="n", status="success"), {"x": 1})
    assert isinstance(decision, Follow)
    assert decision.edge.target == "a"
    assert word in decision.reason
    assert bool(word) == ("," in decision.reason)


def test_the_record_of_a_decision_shows_each_edge_as_it_was_seen() -> None:
    graph = graph_of('n start -> n -> exit [condition="outcome=fail && k=1", weight=3] n -> start [max_visits=1]')
    seen = survey(graph, NodeEnd(node="n", status="success"), {"k": 1}, {"n->start": 1})
    assert [c.as_map() for c in seen] == [
        {
            "edge": "n->exit",
            "condition": "outcome=fail && k=1",
            "holds": False,
            "values": {"outcome": "success", "k": "1"},
            "weight": 3,
        },
        {"edge": "n->start", "taken": 1, "max_visits": 1},
    ]


def test_a_long_value_in_the_record_of_a_decision_is_cut() -> None:
    graph = graph_of('n start -> n -> exit [condition="k=1"]')
    (seen,) = survey(graph, NodeEnd(node="n", status="success"), {"k": "x" * 10_000}, {})
    assert len(dict(seen.values)["k"]) < 200
