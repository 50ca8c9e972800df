"""Making room in a conversation (E40)."""

from __future__ import annotations

from orchestra.agents.compaction import boundary, replace_by_summary, tokens, transcript, without_results
from orchestra.run.conversation import Message, ToolCall


def said(role: str, text: str = "", **more: object) -> Message:
    return Message(role=role, text=text, **more)  # type: ignore[arg-type]


def turn(number: int, size: int = 4000) -> list[Message]:
    call = ToolCall(id=f"c{number}", name="read-file", arguments={"path": f"f{number}"})
    return [
        said("assistant", f"I read {number}", tool_calls=(call,)),
        said("tool", "x" * size, tool_call_id=f"c{number}", name="read-file"),
    ]


TALK = [said("user", "the task", name="a#1.1"), *turn(1), *turn(2), *turn(3)]


def test_what_stays_begins_at_an_answer_and_never_between_a_call_and_its_result() -> None:
    assert boundary(TALK, 1100) == 5
    assert boundary(TALK, 2500) == 3
    assert boundary(TALK, 10**6) == 0


def test_the_last_answer_stays_whole_however_long_its_results_are() -> None:
    assert boundary(TALK, 10) == 5


def test_a_summary_replaces_the_beginning_and_the_task_is_kept_word_for_word() -> None:
    shorter = replace_by_summary(TALK, 5, "two files read", "a#1.1")
    assert [one.role for one in shorter] == ["user", "user", "assistant", "tool"]
    assert "two files read" in shorter[0].text
    assert shorter[1] is TALK[0]


def test_the_oldest_results_go_first_and_those_of_the_last_answer_stay() -> None:
    shorter = without_results(TALK, 2200)
    assert "removed" in shorter[2].text
    assert shorter[4:] == TALK[4:]
    least = without_results(TALK, 0)
    assert least[-1] == TALK[-1]
    assert tokens(least) < 1200


def test_a_transcript_names_who_spoke_and_cuts_what_is_long() -> None:
    text = transcript(TALK)
    assert "[user] the task" in text
    assert 'calls read-file {"path": "f1"}' in text
    assert "[result of read-file] xxx" in text
    assert len(transcript(TALK, 1000)) < 1100
