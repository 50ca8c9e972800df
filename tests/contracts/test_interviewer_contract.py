"""What every interviewer keeps to (H1, H4): it answers what was asked, or not at all, and never guesses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest
from msgspec.structs import replace

from orchestra.config.answers import WrittenAnswer
from orchestra.engine.asking import fits
from orchestra.errors import ConfigError
from orchestra.interview.console import Console
from orchestra.interview.interviewers import (
    AutoApprove,
    Callback,
    InTurn,
    MailboxInterviewer,
    Queue,
    RecordingInterviewer,
)
from orchestra.ports import Interviewer, Unanswered
from orchestra.run.questions import Answer, Question, QuestionType, options_of, read

GATE = Question(
    id="s/gate#1.1",
    stage="gate",
    text="Ship it?",
    options=options_of(["[Y] Ship", "[N] Fix"]),
    about="# Plan\n- one",
)
WORDS = Question(id="s/why#1.1", stage="why", text="Why?", type=QuestionType.FREEFORM, freeform=True)
SURE = Question(id="s/sure#1.1", stage="sure", text="Sure?", type=QuestionType.CONFIRMATION)


class Typed:
    """A terminal at which these lines are typed, and then nothing more."""

    above: Callable[[str], None] | None = None

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = list(lines)

    def forget(self) -> None:
        pass

    async def line(self, prompt: str) -> str:
        await asyncio.sleep(0)
        if not self._lines:
            raise EOFError
        return self._lines.pop(0)


class Screen:
    """Counts how often the terminal was taken and given back."""

    def __init__(self) -> None:
        self.held = 0
        self.taken = 0

    def hold(self, above: Callable[[str], None] | None) -> None:
        self.held += 1
        self.taken += 1

    def release(self) -> None:
        self.held -= 1


def console(lines: Sequence[str], screen: Screen | None = None) -> Console:
    return Console(who="anna", screen=screen or Screen(), reader=Typed(lines), width=lambda: 60, colour=False)


def queue(lines: Sequence[str]) -> Queue:
    return Queue([WrittenAnswer(choice=line, who="file:1") for line in lines])


def callback(lines: Sequence[str]) -> Callback:
    left = list(lines)
    return Callback(lambda question: left.pop(0) if left else None, who="program")


def mailbox(lines: Sequence[str]) -> MailboxInterviewer:
    left = list(lines)

    async def arrival(question: Question) -> Answer:
        if not left:
            raise Unanswered
        found = read(question, left.pop(0))
        assert found is not None
        return Answer(value=found.value, option=found.option, text=found.text, who="elsewhere", request=7)

    return MailboxInterviewer(arrival)


KINDS: dict[str, Callable[[Sequence[str]], Interviewer]] = {
    "console": console,
    "queue": queue,
    "callback": callback,
    "mailbox": mailbox,
    "recording": lambda lines: RecordingInterviewer(queue(lines)),
    "in turn": lambda lines: InTurn([Queue(), callback(lines)]),
    "auto-approve": lambda lines: AutoApprove(),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_an_answer_fits_its_question_and_says_who_gave_it(kind: str) -> None:
    interviewer = KINDS[kind](["Y", "because", "yes"])
    answers = [await interviewer.ask(question) for question in (GATE, WORDS, SURE)]
    for question, answer in zip((GATE, WORDS, SURE), answers, strict=True):
        fits(question, answer)
        assert answer.who
    assert [answer.value for answer in answers] == ["Y", "", "YES"]
    assert answers[1].text == ("auto-approved" if kind == "auto-approve" else "because")


async def test_several_questions_are_answered_in_their_order(kind: str) -> None:
    interviewer = KINDS[kind](["Y", "because"])
    answers = await interviewer.ask_multiple([GATE, WORDS])
    assert [answer.value for answer in answers] == ["Y", ""]


async def test_whoever_has_no_answer_says_so_and_picks_nothing(kind: str) -> None:
    if kind == "auto-approve":
        pytest.skip("it always has one")
    with pytest.raises(Unanswered):
        await KINDS[kind]([]).ask(GATE)


async def test_it_takes_an_announcement(kind: str) -> None:
    await KINDS[kind]([]).inform("the branch has ended", "gate")


async def test_an_automatic_answer_is_marked() -> None:
    assert (await AutoApprove().ask(GATE)).automatic
    assert (await queue(["n"]).ask(GATE)).automatic
    assert not (await console(["n"]).ask(GATE)).automatic


@pytest.mark.parametrize("above", [True, False], ids=["editing", "dumb"])
async def test_what_is_reported_during_a_question_leaves_its_prompt_and_the_screen_alone(
    above: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    screen, told, typed = Screen(), list[str](), asyncio.Event()

    class Slow(Typed):
        async def line(self, prompt: str) -> str:
            await typed.wait()
            return "n"

    reader = Slow([])
    reader.above = told.append if above else None
    asks = Console(who="anna", screen=screen, reader=reader, width=lambda: 60, colour=False)
    asked = asyncio.ensure_future(asks.ask(GATE))
    await asyncio.sleep(0)
    before = capsys.readouterr().err
    await asks.inform("answered elsewhere: Fix", "other")
    assert (screen.held, screen.taken) == (1, 1)
    assert "Ship it?" in before
    assert not capsys.readouterr().err
    assert told == (["  other: answered elsewhere: Fix"] if above else [])
    typed.set()
    assert (await asked).value == "N"
    assert ("answered elsewhere" in capsys.readouterr().err) is not above
    assert screen.held == 0


@pytest.mark.parametrize("wrong", ["no way!", "", "  ", "😀", "3", "fix it", "x" * 1_000_000])
async def test_the_console_asks_again_after_anything_else(wrong: str) -> None:
    screen = Screen()
    answer = await console([wrong, wrong, "fix"], screen).ask(GATE)
    assert answer.label == "Fix"
    assert (screen.held, screen.taken) == (0, 1)


async def test_the_end_of_input_picks_nothing_and_restores_the_terminal() -> None:
    screen = Screen()
    with pytest.raises(Unanswered):
        await console(["no way!"], screen).ask(GATE)
    assert screen.held == 0


async def test_a_prompt_that_is_canceled_restores_the_terminal() -> None:
    class Never(Typed):
        async def line(self, prompt: str) -> str:
            await asyncio.Event().wait()
            raise AssertionError

    screen = Screen()
    asking = Console(who="anna", screen=screen, reader=Never([]), width=lambda: 40, colour=False)
    task = asyncio.create_task(asking.ask(GATE))
    await asyncio.sleep(0.01)
    assert screen.held == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert screen.held == 0


async def test_the_console_shows_the_choices_and_what_is_to_be_decided(capsys: pytest.CaptureFixture[str]) -> None:
    await console(["?", "y"]).ask(GATE)
    shown = capsys.readouterr().err
    for part in ("Plan", "Ship it?", "[Y] Ship", "[N] Fix", "Ctrl-D"):
        assert part in shown


async def test_the_console_shows_which_files_are_changed_and_the_diff_when_it_is_asked_for(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAGER", "cat")
    changes = " a.py | 2 +-\n\ndiff --git a/a.py b/a.py\n-old words\n+new words"
    question = replace(GATE, about=f"Changes in app:\n\n```diff\n{changes}\n```")
    await console(["y"]).ask(question)
    shown = capfd.readouterr().err
    assert "a.py | 2" in shown
    assert "new words" not in shown
    await console(["d", "y"]).ask(question)
    assert "+new words" in capfd.readouterr().err


async def test_a_written_answer_that_does_not_fit_is_an_error_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"file:1: 'maybe' is not an answer to gate: \[Y\] Ship or \[N\] Fix"):
        await queue(["maybe"]).ask(GATE)


async def test_written_answers_go_by_node_and_each_is_used_once() -> None:
    asked = Queue([WrittenAnswer(choice="Y")], {"gate": [WrittenAnswer(choice="n", text="tests are red")]})
    first, second = await asked.ask(GATE), await asked.ask(GATE)
    assert (first.value, first.text, second.value) == ("N", "tests are red", "Y")
    with pytest.raises(Unanswered):
        await asked.ask(GATE)


async def test_a_callback_that_answers_nonsense_is_an_error() -> None:
    with pytest.raises(ConfigError, match="can be"):
        await Callback(lambda question: "maybe").ask(GATE)
    with pytest.raises(ConfigError, match="not one of"):
        fits(GATE, await Callback(lambda question: Answer(value="Z")).ask(GATE))


async def test_a_recording_keeps_every_exchange() -> None:
    recording = RecordingInterviewer(queue(["Y", "why not"]))
    await recording.ask(GATE)
    await recording.ask(WORDS)
    await recording.inform("done", "gate")
    assert [(question.stage, answer.label) for question, answer in recording.exchanges] == [
        ("gate", "Ship"),
        ("why", "why not"),
    ]
    assert recording.informed == [("done", "gate")]


async def test_auto_approve_does_not_cover_tool_calls_by_default() -> None:
    call = Question(text="rm -rf build", options=options_of(["Approve", "Deny"]), metadata={"approval": True})
    with pytest.raises(Unanswered):
        await AutoApprove().ask(call)
    assert (await AutoApprove(tools=True).ask(call)).label == "Approve"


async def test_a_key_that_is_no_choice_names_the_choices_and_own_words(capsys: pytest.CaptureFixture[str]) -> None:
    gate = replace(GATE, options=options_of(["[Y] Ship"]), freeform=True)
    with pytest.raises(Unanswered):
        await console(["n"]).ask(gate)
    shown = " ".join(capsys.readouterr().err.split())
    assert "'n' is not an answer here: type Y (Ship) or more than one character of your own words" in shown


async def test_a_question_without_choices_begins_with_no_or(capsys: pytest.CaptureFixture[str]) -> None:
    await console(["because"]).ask(WORDS)
    assert "  write what you want to say" in capsys.readouterr().err
