"""Files of answers are read strictly, and every fault has its place (H1)."""

from __future__ import annotations

import pytest

from orchestra.config.answers import check_answers, parse_answers
from orchestra.errors import ConfigError, Source


def parsed(text: str):  # type: ignore[no-untyped-def]
    return parse_answers(Source("a.yaml", text))


def test_answers_are_listed_by_node_or_in_order() -> None:
    by_node = parsed("answers:\n  review: [Fix, {choice: Ship, text: at last}]\n  why: {text: because}\n").by_node
    assert [one.choice for one in by_node["review"]] == ["Fix", "Ship"]
    assert (by_node["review"][1].text, by_node["why"][0].text) == ("at last", "because")
    assert by_node["review"][0].who == "a.yaml:2"
    assert [one.choice for one in parsed("answers: [y, 2, {skip: true}]").any] == ["y", "2", ""]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("review: Ship\n", 1),
        ("answers: 3\n", 1),
        ("answers:\n  review: []\n", 2),
        ("answers:\n  review: {chioce: Ship}\n", 2),
        ("answers:\n  review:\n    - ''\n", 3),
        ("answers:\n  review: {skip: perhaps}\n", 2),
        ("answers:\n  review: {choice: [a]}\n", 2),
    ],
)
def test_a_fault_is_reported_with_its_place(text: str, line: int) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    span = caught.value.span
    assert span is not None
    assert span.source.position(span.start)[0] == line


def test_an_answer_to_a_node_that_asks_nobody_is_refused() -> None:
    answers = parsed("answers: {reveiw: Ship}")
    with pytest.raises(ConfigError, match="'reveiw'") as caught:
        check_answers(answers, ["review"])
    assert "review" in caught.value.fix
    check_answers(answers, ["review"], ["reveiw"])  # an agent may ask
