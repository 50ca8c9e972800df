"""Questions: what a typed text picks, what never picks anything, and who won (humans.md H2-H4, H7)."""

from __future__ import annotations

import pytest

from orchestra.run.questions import (
    NO,
    SKIPPED,
    TIMEOUT,
    YES,
    Answer,
    Question,
    QuestionType,
    SentAnswer,
    default_option,
    options_of,
    pick_option,
    question_id,
    read,
    short_id,
    to_answer,
    winner,
)


def asked(*labels: str, freeform: bool = False) -> Question:
    return Question(id="s/gate#1.1", text="Ship it?", options=options_of(labels), freeform=freeform)


SHIP = asked("[Y] Ship", "[N] Fix")


@pytest.mark.parametrize(
    ("typed", "label"),
    [
        ("[N] Fix", "Fix"),
        ("[n] fix", "Fix"),
        ("n", "Fix"),
        ("N", "Fix"),
        ("2", "Fix"),
        (" fix ", "Fix"),
        ("F", "Fix"),
        ("fi", "Fix"),
        ("ship", "Ship"),
        ("1", "Ship"),
        ("s", "Ship"),
        ("no way!", ""),
        ("", ""),
        ("   ", ""),
        ("\n", ""),
        ("😀", ""),
        ("3", ""),
        ("0", ""),
        ("-1", ""),
        ("２", ""),
        ("yes", ""),
        ("fix it", ""),
        ("[Y] Fix", ""),
        ("[N]", ""),
        ("n" * 1_000_000, ""),
        ("null", ""),
    ],
)
def test_a_key_a_label_one_beginning_or_a_number_picks_and_nothing_else_does(typed: str, label: str) -> None:
    found = pick_option(SHIP, typed)
    assert (found.label if found else "") == label


@pytest.mark.parametrize(
    ("typed", "label"), [("d", "Deploy"), ("e", "Delay"), ("de", ""), ("dep", "Deploy"), ("delay", "Delay")]
)
def test_two_labels_with_one_beginning_are_distinguished_by_key_or_more_letters(typed: str, label: str) -> None:
    found = pick_option(asked("Deploy", "Delay"), typed)
    assert (found.label if found else "") == label


@pytest.mark.parametrize(("typed", "label"), [("ok", "OK"), ("o", "OK"), ("no", "NO"), ("n", "NO"), ("okay", "")])
def test_a_label_that_is_only_a_key_is_picked_by_it(typed: str, label: str) -> None:
    found = pick_option(asked("[OK]", "[NO]"), typed)
    assert (found.label if found else "") == label


def test_a_number_that_also_begins_another_label_picks_nothing() -> None:
    question = asked("[A] 2 days", "[B] 1 day")
    assert pick_option(question, "2") is None
    assert pick_option(question, "2 days") is question.options[0]


def test_a_key_counts_before_a_number() -> None:
    question = asked("[2] Second", "[1] First")
    found = pick_option(question, "2")
    assert found is not None
    assert found.label == "Second"


def test_words_are_an_answer_only_where_they_are_asked_for() -> None:
    assert read(asked("[Y] Ship"), "because it rains") is None
    answer = read(asked("[Y] Ship", freeform=True), " because it rains ")
    assert answer is not None
    assert (answer.value, answer.text, answer.option) == ("", "because it rains", None)
    assert read(asked("[Y] Ship", freeform=True), "x" * 1_000_001) is None
    assert read(asked("[Y] Ship", freeform=True), " \t ") is None


def test_a_question_mark_or_a_mistyped_key_is_not_taken_for_words() -> None:
    gate = asked("[Y] Ship", "[N] Fix", freeform=True)
    words = asked(freeform=True)
    assert [read(gate, "?"), read(gate, " q "), read(words, "?")] == [None, None, None]
    assert read(words, "7") == Answer(value="", text="7")


def test_a_question_for_yes_or_no_is_answered_so() -> None:
    question = Question(text="Sure?", type=QuestionType.YES_NO)
    found = [
        answer.value if (answer := read(question, word)) else "" for word in ("y", "YES", "n", "no", "nope", "")
    ]
    assert found == [YES, YES, NO, NO, "", ""]


@pytest.mark.parametrize("wanted", ["y", "Ship", "[Y] Ship", "release", " SHIP "])
def test_a_default_is_named_by_key_label_or_target(wanted: str) -> None:
    question = Question(text="", options=options_of(["[Y] Ship", "[N] Fix"], ["release", "repair"]))
    found = default_option(question, wanted)
    assert found is not None
    assert found.key == "Y"


def test_nothing_is_the_default_where_none_is_named() -> None:
    assert default_option(SHIP, "") is None
    assert default_option(SHIP, "ship it") is None


def test_an_id_names_session_branch_node_visit_and_attempt() -> None:
    assert question_id("k3n7qa", "", "gate", 2, 1) == "k3n7qa/gate#2.1"
    assert question_id("k3n7qa", "fan/security", "ask", 1, 1, "4.2") == "k3n7qa/fan/security/ask#1.1.4.2"
    assert short_id("k3n7qa/fan/security/ask#1.1") == "fan/security/ask#1.1"


def sent(turn: int, value: str, text: str = "", question: str = "s/gate#1.1") -> SentAnswer:
    return SentAnswer(turn_id=turn, question=question, value=value, text=text, who=f"p{turn}", at=turn)


def test_the_first_message_that_is_an_answer_wins() -> None:
    mailbox = [
        sent(3, "Y", question="s/gate#1.2"),
        sent(4, "no way!"),
        sent(5, ""),
        sent(6, "", "free words"),
        sent(7, "n", "too early"),
        sent(8, "Y"),
    ]
    won = winner(SHIP, mailbox)
    assert won is not None
    assert (won.value, won.label, won.text, won.who, won.at, won.request) == ("N", "Fix", "too early", "p7", 7, 7)


def test_an_answer_to_what_was_asked_before_under_the_same_id_does_not_count() -> None:
    later = Question(id=SHIP.id, text="Ship it?", options=SHIP.options, after=7)
    assert to_answer(later, sent(7, "Y")) is None
    assert to_answer(later, sent(8, "Y")) is not None


def test_time_that_is_up_and_a_skip_are_answers_without_an_option() -> None:
    for value in (TIMEOUT, SKIPPED):
        answer = to_answer(SHIP, sent(5, value))
        assert answer is not None
        assert (answer.value, answer.option) == (value, None)
