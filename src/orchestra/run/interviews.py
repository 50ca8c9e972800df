"""What the events about people change in a run's state, and questions as events (H7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from orchestra.run.changes import on
from orchestra.run.codec import preview_of
from orchestra.run.events import InterviewCompleted, InterviewStarted, InterviewTimeout, Meta
from orchestra.run.questions import ALL_ALIKE, APPROVAL, Answer, AskedQuestion, Option, Question, QuestionType
from orchestra.run.state import RunState


def _on_interview_started(state: RunState, meta: Meta, event: InterviewStarted) -> dict[str, Any]:
    """A question is pending. Answers to earlier turns of the same agent were acted on, and are dropped."""
    stage = state.stage
    if stage is None:
        return {}
    question = question_of(event)
    known = stage.asked.get(question.id)
    at = known.at if known is not None else meta.at
    kept = {
        key: one
        for key, one in stage.asked.items()
        if one.answer is None or "." not in one.question.part or _turn(one.question) == _turn(question)
    }
    return {"stage": replace(stage, asked={**kept, question.id: AskedQuestion(question=question, at=at)})}


def _turn(question: Question) -> str:
    return question.part.partition(".")[0]


def _on_interview_completed(state: RunState, meta: Meta, event: InterviewCompleted) -> dict[str, Any]:
    """A question has its answer, which its node has still to act on."""
    stage = state.stage
    known = stage.asked.get(event.question) if stage is not None else None
    if stage is None or known is None:
        return {}
    done = replace(known, answer=answer_of(event, known.question), said=event.said)
    changes: dict[str, Any] = {"stage": replace(stage, asked={**stage.asked, event.question: done})}
    alike = known.question.metadata.get(APPROVAL)
    if isinstance(alike, str) and event.value == ALL_ALIKE and alike not in state.approved:
        changes["approved"] = (*state.approved, alike)
    return changes


def start_event(question: Question) -> InterviewStarted:
    """The event that makes a question pending."""
    return InterviewStarted(
        question=question.id,
        node=question.stage,
        text=question.text,
        kind=question.type.value,
        options=tuple(
            {"key": one.key, "label": one.label, **({"target": one.target} if one.target else {})}
            for one in question.options
        ),
        freeform=question.freeform,
        choice=question.default,
        timeout_ms=question.timeout_ms,
        about=question.about,
        part=question.part,
        after=question.after,
        details=question.metadata,
    )


def question_of(event: InterviewStarted) -> Question:
    """The question that an event makes pending."""
    kinds = {kind.value: kind for kind in QuestionType}
    return Question(
        id=event.question,
        stage=event.node,
        text=event.text,
        type=kinds.get(event.kind, QuestionType.MULTIPLE_CHOICE),
        options=tuple(_option(one) for one in event.options),
        freeform=event.freeform,
        default=event.choice,
        timeout_ms=event.timeout_ms,
        about=event.about,
        part=event.part,
        after=event.after,
        metadata=event.details,
    )


def _option(plain: Mapping[str, Any]) -> Option:
    return Option(
        key=str(plain.get("key", "")), label=str(plain.get("label", "")), target=str(plain.get("target", ""))
    )


def completion_event(question: Question, answer: Answer, duration_ms: int) -> InterviewCompleted:
    """The event that records an answer."""
    return InterviewCompleted(
        question=question.id,
        node=question.stage,
        value=answer.value,
        label=answer.option.label if answer.option is not None else "",
        target=answer.option.target if answer.option is not None else "",
        said=answer.text,
        who=answer.who,
        answered_ms=answer.at,
        automatic=answer.automatic,
        request=answer.request,
        duration_ms=max(0, duration_ms),
    )


def answer_of(event: InterviewCompleted, question: Question) -> Answer:
    """The answer that an event records; of a long text its beginning, the whole is in the event."""
    option = question.option(event.value) if event.value else None
    if option is None and event.label:
        option = Option(key=event.value, label=event.label, target=event.target)
    return Answer(
        value=event.value,
        option=option,
        text=event.said if isinstance(event.said, str) else preview_of(event.said),
        who=event.who,
        at=event.answered_ms,
        automatic=event.automatic,
        request=event.request,
    )


CHANGES = (
    on(InterviewStarted, _on_interview_started),
    on(InterviewCompleted, _on_interview_completed),
    on(InterviewTimeout),
)
