"""Gates: what is recorded when, who wins, what never picks anything (humans.md H3-H7)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from pathlib import Path

import pytest
from gates import ENDS, GATE, Quick, Story, Work, answered, begun, continued, control_of, says, until
from msgspec.structs import replace

from orchestra.app.answering import find_question, look, too_late
from orchestra.app.plans import ResumeChanges
from orchestra.app.runs import Future, RunSetup, replay, resume
from orchestra.clock import SystemClock
from orchestra.config.settings import Settings
from orchestra.cxdb.memory import MemoryStore
from orchestra.engine.control import Control, SessionControl
from orchestra.engine.forking import TurnChoice
from orchestra.engine.mailbox import ANSWER, CANCEL, INTERRUPT, PAUSE, requests, send
from orchestra.engine.sessions import find, summarize
from orchestra.engine.shared import Interviews
from orchestra.errors import ConfigError, Source, StoreUnreachable
from orchestra.graph.model import Graph, Node
from orchestra.interview.interviewers import AutoApprove, Callback, MailboxInterviewer
from orchestra.interview.question_lines import question_lines
from orchestra.ports import Scope
from orchestra.run.events import (
    ControlRequested,
    InterviewCompleted,
    InterviewStarted,
    InterviewTimeout,
    PipelinePaused,
    StageCompleted,
    StageFailed,
    StageRetrying,
    WarningRaised,
)
from orchestra.run.outcome import Outcome, Status
from orchestra.run.questions import DONE, Answer, Question, QuestionType, exchange, options_of
from orchestra.run.state import Context
from orchestra.run.views import Phase
from support import CountingStore


async def waiting(folder: Path, text: str = GATE) -> Story:
    story = await begun(folder, text)
    assert story.run.state.waiting
    return story


async def test_the_chosen_edge_is_taken_and_the_gate_keys_are_set(tmp_path: Path) -> None:
    story = await begun(tmp_path, interviewer=says("n", "ship"))
    assert await story.path() == ["start", "plan", "review", "fix", "review", "ship", "exit"]
    context = story.run.state.context
    assert (context["human.gate.selected"], context["human.gate.label"]) == ("Y", "Ship")
    ends = [event for event in await story.of(StageCompleted) if isinstance(event, StageCompleted)]
    assert [event.preferred_label for event in ends if event.node == "review"] == ["Fix", "Ship"]


async def test_a_gate_in_a_loop_asks_under_another_id_at_each_visit(tmp_path: Path) -> None:
    story = await begun(tmp_path, interviewer=says("n", "n", "y"))
    assert await story.asked() == ["review#1.1", "review#2.1", "review#3.1"]


async def test_a_question_is_durable_before_anybody_is_asked(tmp_path: Path) -> None:
    seen: list[bool] = []

    class Looking(MailboxInterviewer):
        async def ask(self, question: object) -> object:  # type: ignore[override]
            seen.append(await story.of(InterviewStarted) != [])
            return await super().ask(question)  # type: ignore[arg-type]

    story = await begun(tmp_path, control=control_of(Looking()), walk=False)
    task = asyncio.create_task(story.run.walk())
    await until(lambda: bool(seen))
    assert seen == [True]
    await answered(story, "y")
    await task


async def test_the_question_shows_the_whole_last_response(tmp_path: Path) -> None:
    class Long(Work):
        async def __call__(self, node, context, graph, scope):  # type: ignore[no-untyped-def]
            outcome = await super().__call__(node, context, graph, scope)
            scope.response("x" * 3000)
            return outcome

    story = await begun(tmp_path, work=Long())
    (asked,) = story.run.state.pending
    assert asked.question.about == "x" * 3000


async def test_without_anybody_the_run_pauses_and_continues_after_the_answer(tmp_path: Path) -> None:
    story = await waiting(tmp_path)
    (paused,) = await story.of(PipelinePaused)
    assert isinstance(paused, PipelinePaused)
    assert paused.waiting
    summary = await summarize(story.store, await find(story.store, story.session), 0)
    assert summary.phase is Phase.WAITING
    assert [one.question for one in summary.questions] == [f"{story.session}/review#1.1"]
    again = await continued(story)
    assert again.run.state.waiting
    done = await answered(story, "Ship", text="looks good")
    assert done.won
    last = await continued(story)
    assert last.run.state.result is not None
    assert last.run.state.result.good
    assert story.work.done == ["plan", "ship"]
    assert last.run.state.context["human.gate.text"] == "looks good"
    assert await last.asked() == ["review#1.1"]


async def test_the_first_answer_counts_and_later_ones_see_who_answered(tmp_path: Path) -> None:
    story = await waiting(tmp_path)
    first = await answered(story, "n", who="anna")
    second = await answered(story, "y", who="bob")
    assert (first.won, second.won) == (True, False)
    assert (second.answer.who, second.answer.label) == ("anna", "Fix")
    later = await continued(story)
    assert await later.answers() == ["Fix"]
    found = await look(story.store, story.session, SystemClock())
    assert find_question(found, "review#1.1") is None
    told = await too_late(story.store, found, "review#1.1")
    assert told is not None
    assert (told.answer.who, told.answer.label) == ("anna", "Fix")


async def test_many_answers_at_once_have_one_winner(tmp_path: Path) -> None:
    story = await waiting(tmp_path)
    given = await asyncio.gather(*(answered(story, "ny"[i % 2], who=f"p{i}") for i in range(100)))
    winners = [one for one in given if one.won]
    assert len(winners) == 1
    assert {one.answer.who for one in given} == {winners[0].answer.who}
    last = await continued(story, AutoApprove())
    (first, *_rest) = await last.of(InterviewCompleted)
    assert isinstance(first, InterviewCompleted)
    assert first.who == winners[0].answer.who


async def test_the_answer_of_the_runners_own_interviewer_is_in_the_mailbox_first(tmp_path: Path) -> None:
    story = await begun(tmp_path, interviewer=says("y"))
    found = await requests(story.store, story.run.state.mailbox, 0)
    (answer,) = [one for one in found if one.action == ANSWER]
    (completed,) = await story.of(InterviewCompleted)
    assert isinstance(completed, InterviewCompleted)
    assert (answer.who, completed.request) == ("anna", answer.turn_id)


async def test_an_answer_from_elsewhere_ends_the_prompt(tmp_path: Path) -> None:
    told: list[str] = []
    asked: list[str] = []

    class Terminal(MailboxInterviewer):
        async def ask(self, question: Question) -> Answer:
            asked.append(question.id)
            return await super().ask(question)

        async def inform(self, message: str, stage: str) -> None:
            told.append(message)

    story = await begun(tmp_path, control=control_of(Terminal()), walk=False)
    task = asyncio.create_task(story.run.walk())
    await until(lambda: bool(asked))
    await answered(story, "y", who="bob")
    async with asyncio.timeout(3):
        await task
    assert told == ["answered elsewhere: Ship, by bob"]


@pytest.mark.parametrize("wrong", ["no way!", "3", "😀"])
async def test_a_wrong_answer_from_outside_is_refused_and_nothing_is_sent(tmp_path: Path, wrong: str) -> None:
    story = await waiting(tmp_path)
    with pytest.raises(ConfigError, match="is not an answer to"):
        await answered(story, wrong)
    assert not [one for one in await requests(story.store, story.run.state.mailbox, 0) if one.action == ANSWER]


async def test_a_message_that_is_no_answer_is_passed_over(tmp_path: Path) -> None:
    story = await waiting(tmp_path)
    mailbox, name = story.run.state.mailbox, f"{story.session}/review#1.1"
    for question, value in ((name, "Z"), (f"{story.session}/review#2.1", "Y"), ("", "Y"), (name, "")):
        await send(story.store, mailbox, story.session, ANSWER, who="eve", now_ms=1, question=question, value=value)
    assert (await continued(story)).run.state.waiting


# --- time (H5) ---------------------------------------------------------------------------------------

TIMED = GATE.replace('label="Ship it?"', 'label="Ship it?", human.timeout=3s, human.default_choice=fix')
ONE_WAY = TIMED.replace("fix -> review", "fix -> exit")


async def test_a_default_is_taken_when_time_is_up_and_marked_automatic(tmp_path: Path) -> None:
    story = await begun(tmp_path, ONE_WAY, clock=Quick())
    (completed,) = await story.of(InterviewCompleted)
    assert isinstance(completed, InterviewCompleted)
    assert (completed.label, completed.automatic) == ("Fix", True)
    assert len(await story.of(InterviewTimeout)) == 1
    assert not await story.of(StageRetrying, StageFailed)
    assert await story.path() == ["start", "plan", "review", "fix", "exit"]


@pytest.mark.parametrize("attribute", ["timeout=3s", "human.timeout=3s"])
async def test_without_a_default_time_that_is_up_is_a_retry(tmp_path: Path, attribute: str) -> None:
    text = GATE.replace('label="Ship it?"', f'label="Ship it?", {attribute}, max_retries=1, retry_policy=none')
    text = text.replace("retry_policy=none", "retry_policy=standard")
    story = await begun(tmp_path, text, control=control_of(MailboxInterviewer()), clock=Quick())
    assert story.run.state.failed
    assert await story.asked() == ["review#1.1", "review#1.2"]
    (retried,) = await story.of(StageRetrying)
    assert isinstance(retried, StageRetrying)
    assert "no answer in time" in retried.failure_reason


async def test_the_settings_limit_the_time_of_questions_that_set_none(tmp_path: Path) -> None:
    def slow(text: str, name: str) -> Awaitable[Story]:
        (tmp_path / name).mkdir()
        control = Control(SessionControl(Interviews(MailboxInterviewer(), timeout_ms=3000)))
        return begun(tmp_path / name, text, control=control, clock=Quick())

    default = GATE.replace('"Ship it?"', '"Ship it?", human.default_choice=ship')
    assert await (await slow(default, "a")).answers() == ["Ship"]
    (timed,) = await (await slow(default, "b")).of(InterviewTimeout)
    assert isinstance(timed, InterviewTimeout)
    assert timed.timeout_ms == 3000
    without = await slow(GATE.replace('"Ship it?"', '"Ship it?", max_retries=0'), "c")
    assert without.run.state.failed
    own = await slow(default.replace("human.default", "human.timeout=7s, human.default"), "d")
    (timed,) = await own.of(InterviewTimeout)
    assert isinstance(timed, InterviewTimeout)
    assert timed.timeout_ms == 7000


async def test_without_a_default_nobody_is_waited_for(tmp_path: Path) -> None:
    text = GATE.replace('label="Ship it?"', 'label="Ship it?", human.timeout=3s')
    story = await begun(tmp_path, text, clock=Quick())
    assert story.run.state.waiting


async def test_a_clock_that_is_set_does_not_move_the_deadline(tmp_path: Path) -> None:
    class Jumping(Quick):
        def now_ms(self) -> int:
            return super().now_ms() + (10**9 if self.ahead > 1 else 0)

    story = await begun(tmp_path, ONE_WAY, clock=Jumping())
    assert await story.answers() == ["Fix"]


# --- pause, cancel, and what comes after -----------------------------------------------------------


@pytest.mark.parametrize("action", [PAUSE, INTERRUPT, CANCEL])
async def test_an_open_gate_ends_within_a_second(tmp_path: Path, action: str) -> None:
    story = await begun(tmp_path, control=control_of(MailboxInterviewer()), walk=False)
    task = asyncio.create_task(story.run.walk())
    await until(lambda: bool(story.run.state.pending))
    await send(story.store, story.run.state.mailbox, story.session, action, who="me", now_ms=1)
    async with asyncio.timeout(1):
        await task
    assert bool(story.run.state.pending) is (action != CANCEL)
    if action == CANCEL:
        found = await look(story.store, story.session, SystemClock())
        assert find_question(found, "") is None
    else:
        assert (await answered(story, "y")).won
    last = await continued(story, says("y"))
    assert last.run.state.result is not None
    assert await last.asked() == ["review#1.1"]
    assert await last.answers() == ["Ship"]


async def test_a_fork_before_an_answered_gate_asks_again_under_its_own_id(tmp_path: Path) -> None:
    story = await begun(tmp_path, interviewer=says("y"))
    before = await story.events()
    run, _pipeline = await replay(
        RunSetup(store=story.store, settings=Settings(store=None), more={"codergen": Work()}),
        story.session,
        at=TurnChoice(node="review"),
        future=Future(),
    )
    await run.walk()
    assert run.state.waiting
    assert [one.question.id for one in run.state.pending] == [f"{run.session}/review#1.1"]
    assert await story.events() == before


async def test_an_answer_to_what_the_gate_offered_before_is_not_taken_for_another_choice(tmp_path: Path) -> None:
    story = await waiting(tmp_path)
    await answered(story, "y")
    changed = GATE.replace("[Y] Ship", "[Y] Burn the release")
    run, _pipeline = await resume(
        RunSetup(
            store=story.store, settings=Settings(store=None), control=control_of(), more={"codergen": story.work}
        ),
        story.session,
        changes=ResumeChanges(graph=Source(str(tmp_path / "p.dot"), changed)),
    )
    await run.walk()
    assert run.state.waiting
    assert story.work.done == ["plan"]
    (void,) = await story.of(WarningRaised)
    assert isinstance(void, WarningRaised)
    assert (void.rule, void.node) == ("answer_void", "review")
    assert "'Ship' of bob to review#1.1" in void.message
    assert (await answered(story, "burn the release")).won


async def test_an_answer_is_acted_on_once_wherever_the_runner_dies(tmp_path: Path) -> None:
    alone = CountingStore()
    await begun(tmp_path, interviewer=says("n", "y"), store=alone)
    points = alone.appends
    assert points > 15
    for point in range(3, points + 1):
        inner = MemoryStore()
        work = Work()
        dying = CountingStore(inner, fail_from=point)
        story = await begun(tmp_path, store=dying, work=work, interviewer=says("n", "y"), walk=False)
        with contextlib.suppress(StoreUnreachable):  # the very last append only gives the session back
            await story.run.walk()
        story.store = inner
        answers = {"review#1.1": "n", "review#2.1": "y"}

        def reply(question, answers=answers):  # type: ignore[no-untyped-def]
            return answers[question.id.partition("/")[2]]

        last = await continued(story, Callback(reply, who="anna"))
        assert last.run.state.result is not None, point
        assert last.run.state.result.good, point
        assert await last.asked() == ["review#1.1", "review#2.1"], point
        assert await last.answers() == ["Fix", "Ship"], point
        assert work.done.count("plan") <= 2
        sent = [one for one in await requests(inner, last.run.state.mailbox, 0) if one.action == ANSWER]
        assert len({(one.question, one.value) for one in sent}) == 2, point


async def test_a_conversation_that_continues_elsewhere_begins_with_its_messages(tmp_path: Path) -> None:
    class Talker(Work):
        async def __call__(self, node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
            number = 1
            while (await scope.ask(exchange("Interview", f"words {number}", number))).value != DONE:
                number += 1
            return Outcome(status=Status.SUCCESS)

    text = f"digraph talk {{ {ENDS} talk start -> talk -> exit }}"
    story = await begun(tmp_path, text, work=Talker(), interviewer=says("one", "two"))
    assert story.run.state.waiting
    seen: list[Question] = []
    replies = ["three", DONE]

    def reply(question: Question) -> str:
        seen.append(question)
        return replies.pop(0)

    last = await continued(story, Callback(reply, who="anna"))
    assert last.run.state.result is not None
    assert last.run.state.result.good
    assert [one.about for one in seen] == ["words 3", "words 4"]
    assert seen[0].earlier == (("words 1", "one"), ("words 2", "two"))
    assert seen[1].earlier == ()
    lines = "\n".join(question_lines(seen[0], 80, False))
    assert lines.index("words 1") < lines.index("> one") < lines.index("> two") < lines.index("words 3")


# --- conditions, free text, branches, children -----------------------------------------------------


async def test_only_edges_whose_condition_holds_are_offered(tmp_path: Path) -> None:
    text = GATE.replace('[label="[N] Fix"]', '[label="[N] Fix", condition="outcome=fail"]')
    story = await begun(tmp_path, text)
    (asked,) = story.run.state.pending
    assert [option.label for option in asked.question.options] == ["Ship"]


async def test_an_edge_that_is_used_up_is_not_offered(tmp_path: Path) -> None:
    text = GATE.replace('[label="[N] Fix"]', '[label="[N] Fix", max_visits=1]')
    story = await begun(tmp_path, text, interviewer=says("n"))
    (asked,) = story.run.state.pending
    assert [option.label for option in asked.question.options] == ["Ship"]


async def test_free_text_takes_its_edge(tmp_path: Path) -> None:
    text = GATE.replace('[label="[N] Fix"]', '[label="[N] Fix", human.freeform=true]')
    story = await begun(tmp_path, text, interviewer=says("please test it first", "y"))
    assert await story.path() == ["start", "plan", "review", "fix", "review", "ship", "exit"]
    (first, _second) = await story.of(InterviewCompleted)
    assert isinstance(first, InterviewCompleted)
    assert (first.said, first.value) == ("please test it first", "")


async def test_a_megabyte_of_words_is_kept_whole(tmp_path: Path) -> None:
    text = GATE.replace('[label="[N] Fix"]', '[label="[N] Fix", human.freeform=true]')
    words = "word " * 199_999 + "end"
    story = await begun(tmp_path, text, interviewer=says(words))
    value = story.run.state.context["human.gate.text"]
    resolved = await story.run.opened.journal.resolve(value)
    assert resolved == words


FAN = f"""digraph fan {{ {ENDS} fan [shape=component] join [shape=tripleoctagon] a b one two
    ga [shape=hexagon, label="A?"] gb [shape=hexagon, label="B?"] c
    start -> fan fan -> ga fan -> gb fan -> c
    ga -> a [label="[Y] Yes"] ga -> b [label="[N] No"] gb -> one [label="[Y] Yes"] gb -> two [label="[N] No"]
    a -> join b -> join one -> join two -> join c -> join join -> exit }}"""


async def test_gates_in_two_branches_are_answered_each(tmp_path: Path) -> None:
    story = await begun(tmp_path, FAN)
    assert story.run.state.waiting
    assert "c" in story.work.done
    summary = await summarize(story.store, await find(story.store, story.session), 0)
    assert summary.phase is Phase.WAITING
    names = sorted(one.question.partition("/")[2] for one in summary.questions)
    assert names == ["fan/ga/ga#1.1", "fan/gb/gb#1.1"]
    with pytest.raises(ConfigError, match="asks 2 questions"):
        await answered(story, "y")
    await asyncio.gather(answered(story, "y", "ga"), answered(story, "n", "fan/gb/gb#1.1"))
    last = await continued(story)
    assert last.run.state.result is not None
    assert last.run.state.result.good
    assert sorted(story.work.done) == ["a", "c", "two"]


async def test_many_questions_answered_often_at_once_have_one_answer_each(tmp_path: Path) -> None:
    items = ",".join(f'"{i}"' for i in range(40))
    text = f"""digraph many {{ {ENDS} list fan [shape=component, for_each="items", max_parallel=20]
        gate [shape=hexagon, label="OK?"] yes no join [shape=tripleoctagon]
        start -> list -> fan -> gate gate -> yes [label="[Y] Yes"] gate -> no [label="[N] No"]
        yes -> join no -> join join -> exit }}"""

    class Listing(Work):
        async def __call__(self, node, context, graph, scope):  # type: ignore[no-untyped-def]
            outcome = await super().__call__(node, context, graph, scope)
            return replace(outcome, context_updates={"items": f"[{items}]"}) if node.id == "list" else outcome

    story = await begun(tmp_path, text, work=Listing())
    found = await look(story.store, story.session, SystemClock())
    assert len(found.open) == 40
    names = [one.question.id for one in found.open]
    given = await asyncio.gather(
        *(answered(story, "yn"[(i + n) % 2], name, who=f"p{i}") for n, name in enumerate(names) for i in range(3))
    )
    won = {one.question.id: one.answer.label for one in given if one.won}
    assert sorted(won) == sorted(names)
    assert sum(one.won for one in given) == 40
    last = await continued(story)
    assert last.run.state.result is not None
    assert last.run.state.result.good
    labels = list(won.values())
    assert (story.work.done.count("yes"), story.work.done.count("no")) == (labels.count("Yes"), labels.count("No"))


async def test_the_question_of_a_child_is_answered_through_its_parent(tmp_path: Path) -> None:
    (tmp_path / "child.dot").write_text(GATE)
    text = f"""digraph parent {{ {ENDS} before run [type=pipeline, stack.child_dotfile="child.dot"] after
        start -> before -> run -> after -> exit }}"""
    story = await begun(tmp_path, text)
    assert story.run.state.waiting
    summary = await summarize(story.store, await find(story.store, story.session), 0)
    assert (summary.phase, len(summary.questions)) == (Phase.WAITING, 1)
    done = await answered(story, "y")
    assert done.won
    assert done.session != story.session
    last = await continued(story)
    assert last.run.state.result is not None
    assert last.run.state.result.good
    assert story.work.done == ["before", "plan", "ship", "after"]


def test_the_mailbox_message_of_an_answer_names_question_and_value() -> None:
    event = ControlRequested(action="answer", question="s/gate#1.1", value="Y", who="anna")
    assert (event.question, event.value, event.automatic) == ("s/gate#1.1", "Y", False)


@pytest.mark.parametrize(
    ("labels", "shown"), [(["Yes", "No"], ["1 [Y]", "2 [N]"]), (["3", "1", "2"], ["[3]", "[1]", "[2]"])]
)
def test_a_choice_has_a_number_in_the_list_only_where_that_number_picks_it(
    labels: list[str], shown: list[str]
) -> None:
    question = Question(text="How many?", type=QuestionType.MULTIPLE_CHOICE, options=options_of(labels))
    lines = list(question_lines(question, 80, False))[-len(labels) :]
    assert [line.strip().partition("]")[0] + "]" for line in lines] == shown
