"""The open questions of a session, its branches and its children (H7).

They are in the session's own chain, in those of its branches, and in those of its children. A question counts as
answered once there is an answer in the mailbox, although no runner may have recorded it yet.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from msgspec import Struct

from orchestra.engine.loading import backwards, newest_first, recorded_in
from orchestra.engine.mailbox import ANSWER, requests
from orchestra.ports import Store
from orchestra.run.declare import change
from orchestra.run.events import (
    ChildEnded,
    ChildStarted,
    InterviewCompleted,
    InterviewStarted,
    ParallelBranchCompleted,
    ParallelBranchStarted,
    PipelineForked,
    PipelineImported,
    Recorded,
)
from orchestra.run.interviews import answer_of, question_of
from orchestra.run.questions import Answer, AskedQuestion, Question, winner
from orchestra.run.state import NEW
from orchestra.run.views import counting, newest

FIRST_LOOK = 6
"""Turns that are read first; enough to reach the newest checkpoint of most chains."""


class OpenQuestion(Struct, frozen=True, kw_only=True):
    """An open question: its session, and the mailbox for the answer.

    ``answer`` is one that no runner has recorded yet.
    """

    session: str
    mailbox: int
    asked: AskedQuestion
    answer: Answer | None = None

    @property
    def question(self) -> Question:
        """What is asked."""
        return self.asked.question


async def since_checkpoint(store: Store, context_id: int) -> list[Recorded]:
    """The newest events of a chain (oldest first), back to its last checkpoint."""
    events: list[Recorded] = []
    async for page in backwards(store, context_id, FIRST_LOOK):
        events[:0] = filter(None, map(recorded_in, page))
        if newest(events) is not None:
            break
    return events


async def open_questions(
    store: Store, session: str, mailbox: int, events: Sequence[Recorded]
) -> list[OpenQuestion]:
    """Return a session's open questions, oldest first; ``events`` go back to a checkpoint."""
    found = [one async for one in _open_questions(store, session, mailbox, events)]
    boxes: dict[int, list[OpenQuestion]] = {}
    for each in found:
        boxes.setdefault(each.mailbox, []).append(each)
    answered = []
    for box, mine in boxes.items():
        after = min(one.question.after for one in mine)
        sent = [request.answer for request in await requests(store, box, after) if request.action == ANSWER]
        answered += [
            OpenQuestion(session=one.session, mailbox=box, asked=one.asked, answer=winner(one.question, sent))
            for one in mine
        ]
    return sorted(answered, key=lambda one: one.asked.at)


async def _open_questions(
    store: Store, session: str, mailbox: int, events: Sequence[Recorded]
) -> AsyncIterator[OpenQuestion]:
    """The questions that are pending by the chain and by those that hang below it."""
    for asked in (newest(events) or NEW).pending:
        yield OpenQuestion(session=session, mailbox=mailbox, asked=asked)
    branches, children = _below(counting(events))
    for context in branches:
        async for one in _open_questions(store, session, mailbox, await since_checkpoint(store, context)):
            yield one
    for child in children:
        async for one in _of_child(store, child):
            yield one


def _below(events: Sequence[Recorded]) -> tuple[list[int], list[ChildStarted]]:
    """Return the contexts of unfinished branches, and the unfinished children."""
    branches: dict[tuple[str, str], int] = {}
    children: dict[str, ChildStarted] = {}
    for recorded in events:
        match recorded.event:
            case ParallelBranchStarted(node=node, branch_id=branch, branch_context=context):
                branches[node, branch] = context
            case ParallelBranchCompleted(node=node, branch_id=branch):
                branches.pop((node, branch), None)
            case ChildStarted() as child:
                children[child.node] = child
            case ChildEnded(node=node):
                children.pop(node, None)
            case PipelineForked():
                branches, children = {}, {}
            case PipelineImported(branches=here) as event:
                places = {branch: here.get(str(context)) for branch, context in branches.items()}
                branches = {branch: context for branch, context in places.items() if isinstance(context, int)}
                children = _here(children, event)
            case _:
                pass
    return list(branches.values()), list(children.values())


def _here(children: Mapping[str, ChildStarted], event: PipelineImported) -> dict[str, ChildStarted]:
    """Return the children that were imported with a session, with their contexts here."""
    found = {}
    for node, child in children.items():
        match event.children.get(child.child_session):
            case [int(context), int(mailbox)]:
                found[node] = change(child, child_context=context, child_mailbox=mailbox)
            case _:
                pass
    return found


async def _of_child(store: Store, child: ChildStarted) -> AsyncIterator[OpenQuestion]:
    if not (await store.head(child.child_context)).turn_id:
        return
    events = await since_checkpoint(store, child.child_context)
    following = (newest(events) or NEW).following
    if following is not None:  # it asks as another session
        if (await store.head(following.context_id)).turn_id:
            events = await since_checkpoint(store, following.context_id)
            async for one in _open_questions(store, following.session, following.mailbox, events):
                yield one
        return
    async for one in _open_questions(store, child.child_session, child.child_mailbox, events):
        yield one


async def cost_below(store: Store, events: Sequence[Recorded]) -> int:
    """Return what unfinished branches and children have spent, in millionths of a dollar (E35).

    Their chain counts it only when they end. ``events`` are its newest ones, back to a checkpoint.
    """
    known = counting(events)
    state = newest(known) or NEW
    branches, children = _below(known)
    spent = 0
    for context in branches:
        place = next((at for at, one in enumerate(known) if _starts(one, context)), 0)
        base = newest(known[:place]) or state
        below = await since_checkpoint(store, context)
        spent += await _cost(store, below) - base.spent.cost_micros
    for child in children:
        if (await store.head(child.child_context)).turn_id:
            record = state.children.get(child.node)
            before = record.counted.cost_micros if record is not None else 0
            spent += await _cost(store, await since_checkpoint(store, child.child_context)) - before
    return max(0, spent)


async def _cost(store: Store, events: Sequence[Recorded]) -> int:
    """What a chain and all that runs below it have cost."""
    state = newest(events) or NEW
    if state.following is not None and (await store.head(state.following.context_id)).turn_id:
        return await _cost(store, await since_checkpoint(store, state.following.context_id))
    below = 0 if state.result is not None else await cost_below(store, events)
    return state.spent.cost_micros + below


def _starts(recorded: Recorded, context: int) -> bool:
    event = recorded.event
    return isinstance(event, ParallelBranchStarted) and event.branch_context == context


class GivenAnswer(Struct, frozen=True, kw_only=True):
    """A question that was answered, and how."""

    question: Question
    answer: Answer


async def answers_of(store: Store, context_id: int) -> list[GivenAnswer]:
    """The questions that a session, its branches and its children have answered, newest first."""
    contexts, seen = [context_id], {0}
    asked: dict[str, Question] = {}
    completed: dict[str, InterviewCompleted] = {}
    while contexts:
        chain = contexts.pop()
        if chain in seen:
            continue
        seen.add(chain)
        imports: list[PipelineImported] = []
        async for turn in newest_first(store, chain):
            known = recorded_in(turn)
            match known.event if known is not None else None:
                case InterviewCompleted() as event:
                    completed.setdefault(event.question, event)
                case InterviewStarted() as event:
                    asked.setdefault(event.question, question_of(event))
                case ParallelBranchStarted() | ChildStarted() as event:
                    contexts.append(_context_here(event, imports))
                case PipelineImported() as event:
                    imports.append(event)
                case _:
                    pass
    found = []
    for event in completed.values():
        question = asked.get(event.question) or Question(id=event.question, stage=event.node, text="")
        found.append(GivenAnswer(question=question, answer=answer_of(event, question)))
    return sorted(found, key=lambda one: -one.answer.at)


def _context_here(event: ParallelBranchStarted | ChildStarted, imports: Sequence[PipelineImported]) -> int:
    """The context of a branch or child in this store, after the imports since, newest first; 0 for none."""
    context: object = event.branch_context if isinstance(event, ParallelBranchStarted) else event.child_context
    for one in reversed(imports):
        if isinstance(event, ParallelBranchStarted):
            context = one.branches.get(str(context))
        else:
            place = one.children.get(event.child_session)
            context = place[0] if isinstance(place, list) else None
    return context if isinstance(context, int) else 0
