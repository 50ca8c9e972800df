"""Runs with gates on a store in memory: what the tests of people share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestra.app.answering import AnswerResult, answer_to, find_question, give, look
from orchestra.app.pipelines import compile_pipeline, read
from orchestra.app.runs import RunSetup, resume, start
from orchestra.clock import SystemClock
from orchestra.config.settings import Settings
from orchestra.cxdb.memory import MemoryStore
from orchestra.engine.control import Control, SessionControl
from orchestra.engine.loading import event_of, history
from orchestra.engine.running import Run
from orchestra.engine.shared import Interviews
from orchestra.graph.model import Graph, Node
from orchestra.interview.interviewers import Callback
from orchestra.ports import Interviewer, Scope, Store
from orchestra.run.events import Event, InterviewCompleted, InterviewStarted, Recorded, StageCompleted
from orchestra.run.outcome import Outcome, Status
from orchestra.run.state import Context

SETTINGS = Settings(store=None)
ENDS = "start [shape=Mdiamond] exit [shape=Msquare]"
GATE = f"""digraph gate {{ {ENDS} plan ship fix [max_visits=5]
    review [shape=hexagon, label="Ship it?"]
    start -> plan -> review
    review -> ship [label="[Y] Ship"] review -> fix [label="[N] Fix"]
    fix -> review ship -> exit }}"""


@dataclass
class Work:
    """The agents: they count what they do."""

    done: list[str] = field(default_factory=list)
    after: Callable[[str], Awaitable[None]] | None = None

    async def __call__(self, node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        self.done.append(node.id)
        scope.response(f"what {node.id} says")
        if self.after is not None:
            await self.after(node.id)
        return Outcome(status=Status.SUCCESS)


class Quick(SystemClock):
    """Nobody waits, and every wait is time that has passed."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0.0

    def boot_seconds(self) -> float:
        return super().boot_seconds() + self.ahead

    async def sleep(self, seconds: float) -> None:
        self.ahead += seconds
        await asyncio.sleep(0)


@dataclass(kw_only=True)
class Story:
    """A session and who works on it."""

    run: Run
    store: Store
    work: Work

    @property
    def session(self) -> str:
        return self.run.session

    async def events(self, context_id: int = 0) -> list[Event]:
        turns = await history(self.store, context_id or self.run.context_id)
        return [one.event for turn in turns if isinstance(one := event_of(turn), Recorded)]

    async def of(self, *kinds: type) -> list[Event]:
        return [event for event in await self.events() if isinstance(event, kinds)]

    async def asked(self) -> list[str]:
        return [
            event.question.partition("/")[2] for event in await self.events() if isinstance(event, InterviewStarted)
        ]

    async def answers(self) -> list[str]:
        return [
            event.label or event.value for event in await self.events() if isinstance(event, InterviewCompleted)
        ]

    async def path(self) -> list[str]:
        return [event.node for event in await self.events() if isinstance(event, StageCompleted)]


def control_of(interviewer: Interviewer | None = None, *, always: bool = False) -> Control:
    return Control(SessionControl(Interviews(interviewer, always=always)))


def says(*replies: str) -> Callback:
    """Somebody who gives these answers, and then none."""
    left = list(replies)
    return Callback(lambda question: left.pop(0) if left else None, who="anna")


async def begun(
    folder: Path,
    text: str = GATE,
    *,
    interviewer: Interviewer | None = None,
    store: Store | None = None,
    work: Work | None = None,
    control: Control | None = None,
    clock: SystemClock | None = None,
    walk: bool = True,
    secrets: Mapping[str, str] | None = None,
) -> Story:
    (folder / "p.dot").write_text(text)
    source, found = read(folder / "p.dot")
    store, work = store or MemoryStore(), work or Work()
    run = await start(
        RunSetup(
            store=store,
            settings=replace(SETTINGS, secrets=secrets or {}),
            control=control or control_of(interviewer),
            more={"codergen": work},
            clock=clock or SystemClock(),
        ),
        compile_pipeline(source, found, variables={}, secrets=secrets or {}),
        variables={},
    )
    story = Story(run=run, store=store, work=work)
    if walk:
        await run.walk()
    return story


async def continued(
    story: Story, interviewer: Interviewer | None = None, *, control: Control | None = None, walk: bool = True
) -> Story:
    run, _pipeline = await resume(
        RunSetup(
            store=story.store,
            settings=SETTINGS,
            control=control or control_of(interviewer),
            more={"codergen": story.work},
        ),
        story.session,
    )
    if walk:
        await run.walk()
    return Story(run=run, store=story.store, work=story.work)


async def answered(story: Story, value: str, question: str = "", who: str = "bob", text: str = "") -> AnswerResult:
    """An answer from another process."""
    clock = SystemClock()
    found = await look(story.store, story.session, clock)
    one = find_question(found, question)
    assert one is not None, found.summary
    answer = answer_to(one.question, value, text)
    return await give(story.store, SETTINGS, found, one, answer, who=who, clock=clock)


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def labels(answers: Sequence[AnswerResult]) -> list[str]:
    return [one.answer.label for one in answers]
