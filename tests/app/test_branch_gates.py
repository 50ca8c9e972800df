"""Gates in two branches that two processes answer in the same instant: each acts once, and the join runs once."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_parallel_branches import SETTINGS, Work, events, outcome, pipeline_of, resumed

from orchestra.app.runs import RunSetup, start
from orchestra.clock import SystemClock
from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.engine.control import Control, SessionControl
from orchestra.engine.running import Run
from orchestra.engine.sessions import find, summarize
from orchestra.engine.shared import Interviews
from orchestra.ports import Store
from orchestra.run.events import (
    InterviewCompleted,
    ParallelBranchStarted,
    ParallelCompleted,
    StageCompleted,
)
from orchestra.run.views import Pending

GATES = """split [shape=component] meet [shape=tripleoctagon] g0 [shape=hexagon] g1 [shape=hexagon]
    start -> split split -> g0 split -> g1
    g0 -> y0 [label="[Y] Yes"] g0 -> n0 [label="[N] No"] y0 -> meet n0 -> meet
    g1 -> y1 [label="[Y] Yes"] g1 -> n1 [label="[N] No"] y1 -> meet n1 -> meet
    meet -> exit"""


@contextmanager
def two_processes() -> Iterator[list[subprocess.Popen[str]]]:
    command = [sys.executable, str(Path(__file__).with_name("answerer.py"))]
    pair = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        yield pair
    finally:
        for process in pair:
            process.communicate(timeout=10)


async def asked(store: Store, run: Run) -> tuple[Pending, ...]:
    """The questions of a run, once both gates have asked."""
    while True:
        found = (await summarize(store, await find(store, run.session), time.time_ns() // 1_000_000)).questions
        if len(found) == 2:
            return found
        await asyncio.sleep(0.001)


async def answered_at_once(folder: Path, store: Store, run: Run, pair: list[subprocess.Popen[str]]) -> None:
    at = time.time() + 0.03
    for process, question in zip(pair, await asked(store, run), strict=True):
        wanted = {"mailbox": run.state.mailbox, "session": run.session, "question": question.question}
        assert process.stdin is not None
        print(json.dumps({"folder": str(folder), "wanted": wanted, "at": at}), file=process.stdin, flush=True)
    for process in pair:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "answered\n"


async def begun(store: Store, work: Work, *, waits: bool) -> Run:
    return await start(
        RunSetup(
            store=store,
            settings=SETTINGS,
            clock=SystemClock(),
            control=Control(SessionControl(Interviews(None, always=waits))),
            more={"codergen": work},
        ),
        pipeline_of(GATES),
        variables={},
    )


async def one_round(folder: Path, pair: list[subprocess.Popen[str]], *, waits: bool) -> None:
    """Answer both gates at once, while a runner waits or after it has paused."""
    store, work = EmbeddedStore.open(folder), Work()
    run = await begun(store, work, waits=waits)
    if waits:
        walking = asyncio.ensure_future(run.walk())
        await answered_at_once(folder, store, run, pair)
        await asyncio.wait_for(walking, 20)
    else:
        await run.walk()
        assert run.state.result is None
        assert len(await asked(store, run)) == 2, "a paused run has its questions"
        await answered_at_once(folder, store, run, pair)
        run = await resumed(run, store, work)
    assert outcome(run)[0] == "success"
    assert sorted(work.seen) == ["y0", "y1"]
    main = await events(store, run.context_id)
    contexts = [event.branch_context for event in main if isinstance(event, ParallelBranchStarted)]
    told = [event for context in contexts for event in await events(store, context)]
    assert Counter(event.node for event in told if isinstance(event, InterviewCompleted)) == {"g0": 1, "g1": 1}
    assert sum(isinstance(event, ParallelCompleted) for event in main) == 1
    assert sum(isinstance(event, StageCompleted) and event.node == "meet" for event in main) == 1
    await store.close()


async def rounds(quick_path: Path, count: int) -> None:
    with two_processes() as pair:
        for number in range(count):
            await one_round(quick_path / f"{number}", pair, waits=number % 2 == 0)


async def test_gates_answered_in_one_instant_act_once_each_and_the_join_runs_once(quick_path: Path) -> None:
    await rounds(quick_path, 10)


@pytest.mark.long
@pytest.mark.timeout(1200)
async def test_gates_answered_in_one_instant_two_hundred_times(quick_path: Path) -> None:
    await rounds(quick_path, 200)
