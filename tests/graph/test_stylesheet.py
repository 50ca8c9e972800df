"""The model stylesheet: its rules, who wins, and what is said of one that cannot be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra.errors import Source, StylesheetError
from orchestra.graph.dot import parse
from orchestra.graph.model import Graph
from orchestra.graph.stylesheet import apply, parse_stylesheet


def styled(sheet: str, body: str, *, more: str = "") -> Graph:
    text = f'digraph g {{\n model_stylesheet="{sheet}"\n {more}\n {body}\n}}'
    graph, found = parse(Source("g.dot", text))
    assert graph is not None
    assert not found
    return apply(graph)


def models(graph: Graph) -> dict[str, str]:
    return {node.id: node.text("llm_model") for node in graph.nodes.values()}


def refused(text: str) -> StylesheetError:
    with pytest.raises(StylesheetError) as error:
        parse_stylesheet(text)
    return error.value


# --- who wins ---------------------------------------------------------------------------------------

ATTRACTOR = """
    * { llm_model: claude-sonnet-4-5; llm_provider: anthropic; }
    .code { llm_model: claude-opus-4-6; llm_provider: anthropic; }
    #critical_review { llm_model: gpt-5.2; llm_provider: openai; reasoning_effort: high; }
"""


def test_attractors_example_sets_the_models_that_it_describes() -> None:
    graph = styled(ATTRACTOR, 'plan [class="planning"] implement [class="code"] critical_review [class="code"]')
    assert models(graph) == {
        "plan": "claude-sonnet-4-5",
        "implement": "claude-opus-4-6",
        "critical_review": "gpt-5.2",
    }
    assert graph.nodes["critical_review"].text("reasoning_effort") == "high"
    assert graph.nodes["implement"].text("reasoning_effort") == ""


@pytest.mark.parametrize(
    ("sheet", "model"),
    [
        ("* { llm_model: a } box { llm_model: b }", "b"),
        ("box { llm_model: b } * { llm_model: a }", "b"),
        (".x { llm_model: c } box { llm_model: b }", "c"),
        ("#n { llm_model: d } .x { llm_model: c }", "d"),
        (".x { llm_model: a } .y { llm_model: b }", "b"),
        (".y { llm_model: b } .x { llm_model: a }", "a"),
        (".x { llm_model: a } .x { llm_model: b }", "b"),
        ("* { llm_model: a; llm_model: b }", "b"),
        ("hexagon { llm_model: a } .z { llm_model: b } #m { llm_model: c }", ""),
        ("Box { llm_model: a }".replace("Box", "box"), "a"),
        (".loop-a { llm_model: a }", "a"),
        (".2-fast { llm_model: a }", "a"),
        ('* { llm_model: \\"a; b\\" }', "a; b"),
        ("* { llm_model: openai/gpt:5 }", "openai/gpt:5"),
        ("/* x { */ * /* y */ { /* z */ llm_model /* : */ : a /* ; */ ; /* } */ }", "a"),
        ("* { llm_model: two words }", "two words"),
    ],
)
def test_the_more_specific_and_then_the_later_rule_wins(sheet: str, model: str) -> None:
    body = 'subgraph a { label="Loop A" subgraph b { label="2 Fast" n [class="x, y"] } }'
    assert models(styled(sheet, body)) == {"n": model}


def test_what_a_node_says_itself_wins() -> None:
    graph = styled("#n { llm_model: sheet; llm_provider: p }", 'n [llm_model="own"]')
    assert models(graph) == {"n": "own"}
    assert graph.nodes["n"].text("llm_provider") == "p"


def test_the_stylesheet_overrides_a_default_block() -> None:
    graph = styled(".x { llm_model: sheet }", "node [llm_model=default] n [class=x] m")
    assert models(graph) == {"n": "sheet", "m": "default"}


def test_a_node_without_shape_is_a_box() -> None:
    assert models(styled("box { llm_model: a }", "n m [shape=ellipse]")) == {"n": "a", "m": ""}


def test_a_graph_without_a_stylesheet_stays_as_it_is() -> None:
    graph, _ = parse(Source("g.dot", "digraph g { a }"))
    assert graph is not None
    assert apply(graph) is graph


def test_a_value_keeps_the_place_of_its_rule_in_the_file() -> None:
    graph = styled('* { llm_provider: p; }\\n .x { llm_model: \\"m\\" }', "n [class=x]")
    attribute = graph.nodes["n"].attributes["llm_model"]
    assert attribute.origin == "stylesheet"
    assert attribute.span.text == '\\"m\\"'
    assert graph.nodes["n"].attributes["llm_provider"].span.text == "p"


def test_applying_twice_changes_nothing_more() -> None:
    graph = styled(ATTRACTOR, 'plan implement [class="code"]')
    assert apply(graph) == graph


# --- what cannot be read ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("^@^ { llm_model: a }", "shape"),
        ("^Box^ { llm_model: a }", "'box'"),
        ("^thing^ { llm_model: a }", ".thing"),
        ("* ^:^ llm_model: a", "{"),
        (".a^,^ .b { llm_model: a }", "one rule"),
        ("* ^{^ llm_model: a", "}"),
        ("* { ^model^: a }", "'llm_model'"),
        ("* { ^llm-model^: a }", "'llm_model'"),
        ("* { ^llm_modle^: a }", "'llm_model'"),
        ("* { ^effort^: a }", "'reasoning_effort'"),
        ("* { ^temperature^: 1 }", "llm_provider"),
        ("* { llm_model ^=^ a }", "llm_model:"),
        ("* { llm_model: ^;^ }", "llm_model:"),
        ("* { llm_model: ^}^", "llm_model:"),
        ("* { llm_model: a^\n^ llm_provider: b }", ";"),
        ("* { llm_model: a^ ^llm_provider: b }", ";"),
        ("* { llm_model: a^\n^ temperature: 1 }", ";"),
        ('* { llm_model: "a" ^l^lm_provider: b }', ";"),
        ('* { llm_model: ^"^a; }', '"'),
        ("* { reasoning_effort: ^huge^ }", "low"),
        ("^/*^ * { llm_model: a }", "*/"),
        ("^//^ x\n* { llm_model: a }", "/*"),
        ("* { llm_model: a;^;^ }", "remove"),
        ("* ^{ }^", "remove"),
        ("* { llm_model: a } ^}^", "shape"),
    ],
)
def test_a_mistake_gets_its_place_and_a_fix(text: str, fix: str) -> None:
    before, marked, after = text.split("^")
    error = refused(before + marked + after)
    assert (error.start, error.end) == (len(before), len(before) + len(marked))
    assert fix in error.fix


def test_a_mistake_is_shown_where_it_is_in_the_file() -> None:
    text = 'digraph g { model_stylesheet="* { llm_model: \\"m\\"; }\\n" /* "x" */ + ".x { model: y }" }'
    _graph, found = parse(Source("g.dot", text))
    assert [d.rule for d in found] == ["stylesheet_syntax"]
    assert found[0].span is not None
    assert found[0].span.text == "model"
    assert found[0].span.start == text.rindex("model")


@given(st.text(st.sampled_from('*.#{}:;"/\\ \nabox-') | st.characters(), max_size=40))
def test_any_text_is_a_stylesheet_or_an_error_inside_it(text: str) -> None:
    try:
        parse_stylesheet(text)
    except StylesheetError as error:
        found = error
    else:
        return
    assert 0 <= found.start <= len(text)
    assert found.start < found.end <= len(text) + 1


def test_many_rules_over_many_nodes_take_no_product_of_the_two() -> None:
    sheet = " ".join(f"#n{i} {{ llm_model: m{i} }}" for i in range(4000))
    graph = styled(sheet, " ".join(f"n{i}" for i in range(4000)))
    assert models(graph)["n3999"] == "m3999"


def test_a_comma_between_declarations_is_replaced_by_a_semicolon() -> None:
    with pytest.raises(StylesheetError) as error:
        parse_stylesheet("* { llm_model: haiku, reasoning_effort: low }")
    assert (error.value.start, error.value.end, error.value.put) == (20, 21, ";")
