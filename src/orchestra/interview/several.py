"""Several questions for one interviewer."""

from __future__ import annotations

from collections.abc import Sequence

from orchestra.ports import Interviewer
from orchestra.run.questions import Answer, Question


async def one_by_one(interviewer: Interviewer, questions: Sequence[Question]) -> list[Answer]:
    """Ask one question after the other, in their order."""
    return [await interviewer.ask(question) for question in questions]
