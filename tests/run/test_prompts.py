"""What a node would have been asked with another prompt of its own."""

from __future__ import annotations

from orchestra.run.prompts import INSTRUCTED, prompt_as_asked


def test_what_stands_around_a_nodes_own_prompt_stays_when_that_changes() -> None:
    asked = f"Goal: g\n\nold\n\n{INSTRUCTED}hurry"
    assert prompt_as_asked("new", asked, "old") == f"Goal: g\n\nnew\n\n{INSTRUCTED}hurry"
    assert prompt_as_asked("old", asked) == asked
    assert prompt_as_asked("new", asked) == f"new\n\n{INSTRUCTED}hurry"
