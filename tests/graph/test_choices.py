"""The keys of a human gate's choices."""

from __future__ import annotations

import pytest
from lint_cases import graph_of

from orchestra.graph.choices import accelerator, choices


def keys(*labels: str) -> list[str]:
    edges = "\n".join(f'ask -> n{number} [label="{label}"]' for number, label in enumerate(labels))
    return [choice.key for choice in choices(graph_of(edges).outgoing("ask"))]


@pytest.mark.parametrize(
    ("label", "key", "rest"),
    [
        ("[A] Approve", "A", "Approve"),
        ("[OK] Fine", "OK", "Fine"),
        ("y) Yes", "y", "Yes"),
        ("N - No", "N", "No"),
        ("Approve", "", "Approve"),
        ("well-known", "", "well-known"),
        ("[A]", "A", "A"),
    ],
)
def test_a_label_names_its_key(label: str, key: str, rest: str) -> None:
    assert accelerator(label) == (key, rest)


def test_a_label_without_accelerator_gets_its_first_letter() -> None:
    assert keys("Approve", "Fix it") == ["A", "F"]


def test_a_clash_takes_the_next_free_letter_of_the_label_then_of_the_alphabet() -> None:
    assert keys("Approve", "Amend") == ["A", "m"]
    assert keys("a", "a", "a") == ["a", "b", "c"]


def test_named_keys_are_given_out_before_first_letters() -> None:
    assert keys("Approve", "[A] Amend") == ["p", "A"]


def test_a_label_without_letters_gets_a_key_too() -> None:
    assert keys("???", "!!!") == ["a", "b"]


def test_every_choice_has_a_key_of_its_own_however_many_there_are() -> None:
    given = keys(*["same"] * 60)
    assert len({key.lower() for key in given}) == 60
