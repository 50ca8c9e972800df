"""Edge conditions: what they mean, what they read, and what is said of those that cannot be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra.errors import ConditionError, Source
from orchestra.graph.conditions import (
    UNCONDITIONAL,
    normalize_label,
    resolve,
    text_of,
)
from orchestra.graph.dot import parse
from orchestra.graph.parser.conditions import parse_condition

CONTEXT: dict[str, object] = {
    "tests_passed": True,
    "broken": False,
    "zero": 0,
    "count": 3,
    "ratio": 0.5,
    "big": 9007199254740993,
    "empty": "",
    "nothing": None,
    "text": "two words",
    "quoted": 'say "hi"\n',
    "number_text": "12",
    "names": ["ada", "bob", 3, True],
    "map": {"b": 1, "a": [None, "x"]},
    "context.only": "with prefix",
    "context.both": "with prefix",
    "both": "without",
    "mode": "summary:high",
    "version": "1.2.3",
    "log": "line 1\nerror: 42 failed\n",
    "odd": "x\ud800y",
}


def holds(text: str, outcome: str = "success", preferred_label: str = "", **more: object) -> bool:
    context = CONTEXT | more
    return parse_condition(text).holds(lambda key: resolve(key, outcome, preferred_label, context))


def refused(text: str) -> ConditionError:
    with pytest.raises(ConditionError) as caught:
        parse_condition(text)
    return caught.value


# --- Attractor's own (L30 to L33) ----------------------------------------------------------------


@pytest.mark.parametrize("text", ["", " ", "\n\t "])
def test_an_empty_condition_makes_the_edge_unconditional(text: str) -> None:
    assert parse_condition(text) is UNCONDITIONAL
    assert not parse_condition(text)
    assert parse_condition(text).holds(lambda key: "")


@pytest.mark.parametrize(
    "text",
    [
        "outcome=success",
        "outcome = success",
        "outcome!=fail",
        "outcome=success && context.tests_passed=true",
        "outcome=success&&context.tests_passed=true",
        "context.loop_state!=exhausted",
        'outcome="success"',
        "tests_passed",
        "context.tests_passed",
        "count=3",
        "context.count=+3",
        "broken=false",
        'empty=""',
        'nothing=""',
        'never_set=""',
        'text="two words"',
        'quoted="say \\"hi\\"\\n"',
        "mode=summary:high",
        'version="1.2.3"',
        'text\n=\n"two words"',
        'context.only="with prefix"',
        'context.both="with prefix"',
        "both=without",
        'context.text="two words"',
    ],
)
def test_a_condition_holds(text: str) -> None:
    assert holds(text)


@pytest.mark.parametrize(
    "text",
    [
        "outcome=fail",
        "outcome=Success",
        "outcome!=success",
        "tests_passed=True",
        "count=3.0",
        "count=03",
        "empty",
        "zero",
        "broken",
        "nothing",
        "never_set",
        "outcome=success && broken",
        'text="two  words"',
    ],
)
def test_a_condition_does_not_hold(text: str) -> None:
    assert not holds(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as is", "as is"),
        (True, "true"),
        (False, "false"),
        (None, ""),
        (0, "0"),
        (-7, "-7"),
        (3.0, "3"),
        (0.5, "0.5"),
        ([1, "a", None, False], '[1,"a",null,false]'),
        ({"k": {"n": 1}}, '{"k":{"n":1}}'),
        ({"ü": "ß"}, '{"ü":"ß"}'),
        (float("nan"), "nan"),
    ],
)
def test_values_compare_by_their_text(value: object, text: str) -> None:
    assert text_of(value) == text


def test_a_preferred_label_compares_as_in_routing() -> None:
    assert holds("preferred_label=fix", preferred_label="[F] Fix")
    assert holds('preferred_label="f) FIX"', preferred_label=" fix ")
    assert holds("preferred_label!=ship", preferred_label="Fix")
    assert not holds("preferred_label=fix", preferred_label="fixes")


@pytest.mark.parametrize(
    ("label", "normal"),
    [
        ("[Y] Yes, deploy", "yes, deploy"),
        ("Y) Yes", "yes"),
        ("Y - Yes", "yes"),
        ("[OK] Go", "go"),
        ("  Plain ", "plain"),
        ("[Y]", "[y]"),
        ("Re-do it", "re-do it"),
        ("", ""),
    ],
)
def test_labels_are_normalized(label: str, normal: str) -> None:
    assert normalize_label(label) == normal


# --- beyond Attractor (L34) ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "!broken",
        "!!tests_passed",
        "!outcome=fail",
        "!(outcome=fail || broken)",
        "broken || tests_passed",
        "broken && broken || tests_passed",
        "tests_passed || broken && broken",
        "(tests_passed || broken) && count=3",
        "count > 2",
        "count>=3",
        "count < 3.5",
        "count<=3",
        "count > -1",
        "number_text > 11",
        "big > 9007199254740992",
        "ratio > 0.25",
        "names contains ada",
        "names contains 3",
        "names contains true",
        "text contains wo",
        'text contains ""',
        'log matches "error: \\d+ failed"',
        'log matches "^error"' + " || tests_passed",
        'text matches "^two"',
        'odd matches "x.y"',
        "map contains x",
        'contains=""',
        "matches != x",
    ],
)
def test_an_extended_condition_holds(text: str) -> None:
    assert holds(text)


@pytest.mark.parametrize(
    "text",
    [
        "!tests_passed",
        "(broken || tests_passed) && broken",
        "broken && (tests_passed || tests_passed)",
        "count > 3",
        "text > 1",
        "count > text",
        "text < abc",
        "tests_passed > 0",
        "never_set < 1",
        "names contains ad",
        "text contains Two",
        'text matches "^words"',
        'never_set matches "x"',
    ],
)
def test_an_extended_condition_does_not_hold(text: str) -> None:
    assert not holds(text)


def test_no_pattern_hangs_a_run() -> None:
    assert not holds('trap matches "(a*)*b"', trap="a" * 200_000)


# --- what a condition reads ----------------------------------------------------------------------


def test_a_condition_names_the_keys_it_reads_once_in_order() -> None:
    condition = parse_condition("b.c=1 && (outcome=x || a) && !a && b.c!=2")
    assert condition.keys == ("b.c", "outcome", "a")


def test_a_condition_names_the_words_it_compares_the_outcome_with() -> None:
    condition = parse_condition('outcome=has_tests || !(outcome!="no tests") || other=word || outcome contains x')
    assert condition.outcome_words == ("has_tests", "no tests")


def test_a_condition_keeps_its_text_and_equals_one_of_the_same_text() -> None:
    text = ' outcome = success  && x matches "a+" '
    condition = parse_condition(text)
    assert condition.text == text
    assert condition == parse_condition(text)
    assert hash(condition) == hash(parse_condition(text))
    assert condition != parse_condition("outcome=fail")


# --- what cannot be read --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "at", "fix"),
    [
        ("outcome^==^success", "", "="),
        ("outcome^===^success", "", "="),
        ("a ^=>^ 3", "", ">="),
        ("a ^=<^ 3", "", "<="),
        ("a ^<>^ 3", "", "!="),
        ('a ^=~^ "x"', "", "matches"),
        ("a ^&^ b", "", "&&"),
        ("a ^|^ b", "", "||"),
        ("a ^and^ b", "", "&&"),
        ("a ^OR^ b", "", "||"),
        ("^not^  a", "", "!"),
        ("a=^'x'^", "", '\\"x\\"'),
        ("a=^1.2.3^", "", '\\"1.2.3\\"'),
        ("a=^/tmp/x^", "", '\\"/tmp/x\\"'),
        ("^$goal^=x", "", "goal"),
        ("a=b ^c^", "", "quotes"),
    ],
)
def test_a_likely_mistake_gets_its_place_and_a_fix(text: str, at: str, fix: str) -> None:
    before, marked, after = text.split("^")
    error = refused(before + marked + after)
    assert (error.start, error.end) == (len(before), len(before) + len(marked))
    assert fix in error.fix


@pytest.mark.parametrize(
    "text",
    [
        "^(^a",
        "a^)^",
        "(a ^b^)",
        'a=^"^x',
        'a matches ^"("^',
        'a matches ^"(?=x)"^',
        "a=^ ",
        "a ^&& ",
        "^&&^ a",
        "a && ^&&^ b",
        "a ^|| ",
        "^=^x",
        '^"a"^=x',
        "^a..b^=x",
        "^a.^=x",
        "^a:b^=x",
        "a^,^ b",
        "a^;^",
        "a != ^=^ b",
        "a=^(^b)",
        "a > ^>^ b",
        "^\ud800^",
    ],
)
def test_an_error_is_reported_at_the_position_of_the_mistake(text: str) -> None:
    before, _mark, rest = text.partition("^")
    error = refused(text.replace("^", ""))
    assert error.start == len(before) + (1 if rest == " " else 0)
    if "^" in rest:
        assert error.end == len(before) + rest.index("^")


@pytest.mark.parametrize("text", ["(" * 100_000 + "a", "!" * 100_000 + "a", "(" * 49 + "a" + ")" * 48])
def test_deep_nesting_is_an_error_of_its_own(text: str) -> None:
    refused(text)


def test_long_conditions_are_read() -> None:
    assert holds(" && ".join(["tests_passed"] * 20_000))
    assert holds("(" * 40 + "tests_passed" + ")" * 40)


def test_a_managers_stop_condition_is_read_at_the_door_too() -> None:
    text = 'digraph g { node ["manager.stop_condition"="x == 1"] a [shape=house] b }'
    graph, found = parse(Source("g.dot", text))
    assert graph is not None
    assert [(d.rule, d.node, d.span and d.span.text) for d in found] == [("condition_syntax", "a", "==")]


# --- properties ------------------------------------------------------------------------------------

KEYS = st.sampled_from(["outcome", "context.a", "a.b", "tests_passed", "count", "text"])
LITERALS = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=8).map(
        lambda t: '"' + t.replace("\\", "\\\\").replace('"', '\\"') + '"'
    ),
    st.integers().map(str),
    st.sampled_from(["success", "true", "x.y-z:1"]),
)
CLAUSES = st.one_of(
    KEYS,
    st.tuples(KEYS, st.sampled_from(["=", "!=", ">", "<=", " contains "]), LITERALS).map("".join),
)
CONDITIONS = st.recursive(
    CLAUSES,
    lambda inner: st.one_of(
        inner.map(lambda text: f"!({text})"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]}) && ({pair[1]})"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} || {pair[1]})"),
    ),
    max_leaves=8,
)


@given(CONDITIONS, CONDITIONS)
def test_operators_mean_what_they_mean(a: str, b: str) -> None:
    left, right = holds(f"({a})"), holds(f"({b})")
    assert holds(f"!({a})") is not left
    assert holds(f"({a}) && ({b})") is (left and right)
    assert holds(f"({a}) || ({b})") is (left or right)
    assert holds(f"!({a}) && ({b})") is (not left and right)


@given(st.text(st.characters(), max_size=20))
def test_a_quoted_literal_is_its_text(text: str) -> None:
    written = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    assert holds(f'value="{written}"', value=text)


@given(st.text(st.sampled_from("ab.=!&|()\"\\<> 19-+:,'$\n") | st.characters(), max_size=30))
def test_any_text_is_a_condition_or_an_error_inside_it(text: str) -> None:
    try:
        parse_condition(text).holds(lambda key: "")
    except ConditionError as error:
        found = error
    else:
        return
    assert 0 <= found.start <= len(text)
    assert found.start < found.end <= len(text) + 1


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("results[0].response contains good", True),
        ("context.results[1].score>=2", True),
        ("results[1].updates.deep[0]=x", True),
        ("results[7].response", False),
        ("results[0].nothing", False),
        ("results[0].response.more", False),
        ("whole.key=1", True),
        ("map.key=2", True),
    ],
)
def test_a_path_leads_into_lists_and_maps(text: str, holds: bool) -> None:
    results = [
        {"response": "very good", "score": 1},
        {"response": "bad", "score": 2.5, "updates": {"deep": ["x"]}, "none": None},
    ]
    context = {"results": results, "whole.key": 1, "map": {"key": 2}, "con": {"x": 1}}
    condition = parse_condition(text)
    assert condition.holds(lambda key: resolve(key, "success", "", context)) is holds
