"""Questions and answers on every kind of store, also where the server is lost and where two stores are one folder
(H7)."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from gates import ENDS, SETTINGS, Story, Work, answered, begun, continued, control_of, says
from msgspec.structs import replace

from orchestra.app.answering import AnswerResult, answer_to, give, look
from orchestra.clock import SystemClock
from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.cxdb.remote.requests import ServerPlace
from orchestra.cxdb.remote.store import RemoteStore
from orchestra.cxdb.server.http import Guard
from orchestra.cxdb.server.serve import serving
from orchestra.engine.mailbox import ANSWER, send
from orchestra.engine.pending import OpenQuestion
from orchestra.graph.model import Graph, Node
from orchestra.interview.interviewers import MailboxInterviewer
from orchestra.ports import Scope, Store
from orchestra.run.outcome import Outcome
from orchestra.run.state import Context


@asynccontextmanager
async def two_stores(kind: str, folder: Path) -> AsyncIterator[tuple[Store, Store]]:
    """Two stores over the same data, as two processes have them."""
    if kind == "folder":
        stores: list[Store] = [EmbeddedStore.open(folder / "store"), EmbeddedStore.open(folder / "store")]
        yield stores[0], stores[1]
        for store in stores:
            await store.close()
        return
    served = EmbeddedStore.open(folder / "store")
    async with serving(served, guard=Guard()) as at:
        place = ServerPlace(host=at.host, port=at.port, http_host=at.http_host, http_port=at.http_port)
        stores = [RemoteStore(place, patience=5), RemoteStore(place, patience=5)]
        yield stores[0], stores[1]
        for store in stores:
            await store.close()
    await served.close()


@pytest.mark.parametrize("kind", ["folder", "server"])
async def test_of_two_answers_in_the_same_millisecond_on_two_stores_one_wins_and_both_know(
    tmp_path: Path, kind: str
) -> None:
    class Stopped(SystemClock):
        def now_ms(self) -> int:
            return 1_700_000_000_000

    async with two_stores(kind, tmp_path) as (mine, yours):
        for number in range(8):
            folder = tmp_path / str(number)
            folder.mkdir()
            story = await begun(folder, store=mine)
            assert story.run.state.waiting

            async def given(store: Store, value: str, story: Story = story) -> AnswerResult:
                found = await look(store, story.session, Stopped())
                (one,) = found.open
                answer = answer_to(one.question, value, "")
                return await give(store, SETTINGS, found, one, answer, who=value, clock=Stopped())

            done = await asyncio.gather(given(mine, "y"), given(yours, "n"))
            assert [one.won for one in done].count(True) == 1
            assert done[0].answer == done[1].answer
            again = await given(yours, "n") if done[0].won else None
            assert again is None or not again.won
            last = await continued(story, says("y"))
            assert (await last.answers())[0] == done[0].answer.label
            assert last.work.done.count("ship") == 1


@pytest.mark.parametrize("kind", ["folder", "server"])
async def test_a_gate_is_answered_through_another_store_while_its_runner_waits_and_after_it_ended(
    tmp_path: Path, kind: str
) -> None:
    async with two_stores(kind, tmp_path) as (mine, yours):
        story = await begun(tmp_path, store=mine, control=control_of(MailboxInterviewer()), walk=False)
        task = asyncio.create_task(story.run.walk())
        elsewhere = Story(run=story.run, store=yours, work=story.work)
        async with asyncio.timeout(20):
            while not (await look(yours, story.session, SystemClock())).open:
                await asyncio.sleep(0.02)
            assert (await answered(elsewhere, "n")).won
            while await story.asked() != ["review#1.1", "review#2.1"]:
                await asyncio.sleep(0.02)
            story.run.control.pause("later")
            await task
        assert (await answered(elsewhere, "y")).won
        last = await continued(story)
        assert last.run.state.result is not None
        assert last.run.state.result.good
        assert await last.answers() == ["Fix", "Ship"]
        assert story.work.done == ["plan", "fix", "ship"]


# --- a server that is killed -----------------------------------------------------------------------


class Server:
    """``orchestra cxdb serve`` over a folder, at doors of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.doors = (free_port(), free_port())
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        binary, http = self.doors
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "orchestra", "cxdb", "serve", "--path", str(self._folder)),
                *("--bind", f"127.0.0.1:{binary}", "--http", f"127.0.0.1:{http}"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline()
        assert self._process.stdout.readline()

    def kill(self) -> None:
        """End it as a power cut does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.communicate()
            self._process = None

    def store(self) -> RemoteStore:
        """A client of its own."""
        binary, http = self.doors
        return RemoteStore(
            ServerPlace(host="127.0.0.1", port=binary, http_host="127.0.0.1", http_port=http), patience=120
        )


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class Listing(Work):
    """Gives the fan-out its items."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._items = ",".join(f'"{i}"' for i in range(count))

    async def __call__(self, node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        outcome = await super().__call__(node, context, graph, scope)
        return replace(outcome, context_updates={"items": f"[{self._items}]"}) if node.id == "list" else outcome


MANY = f"""digraph many {{ {ENDS} list fan [shape=component, for_each="items", max_parallel=50]
    gate [shape=hexagon, label="OK?"] yes no again [max_visits=3] join [shape=tripleoctagon]
    start -> list -> fan -> gate
    gate -> yes [label="[Y] Yes"] gate -> no [label="[N] No"] gate -> again [label="[A] Again"]
    again -> gate yes -> join no -> join join -> exit }}"""


class Crowd:
    """Sessions with many open questions, and people who answer them all at once."""

    def __init__(self, server: Server, clients: int) -> None:
        self.server = server
        self.stores = [server.store() for _ in range(clients)]
        self.stories: list[tuple[Story, list[OpenQuestion]]] = []
        """Each with questions of an earlier visit, which are answered."""
        self.done: list[AnswerResult] = []
        self._halfway = asyncio.Event()

    async def ask(self, folder: Path, sessions: int, gates: int) -> None:
        """Start the sessions; two gates of each come to their second visit."""
        for number in range(sessions):
            place = folder / str(number)
            place.mkdir()
            story = await begun(place, MANY, store=self.stores[0], work=Listing(gates))
            earlier = (await opened_in(story))[:2]
            await asyncio.gather(*(given(story, self.stores[0], one, "a", "before") for one in earlier))
            await continued(story)
            self.stories.append((story, earlier))

    async def answer(self, asked: Sequence[tuple[Story, OpenQuestion]]) -> None:
        """Answer each question three times, in any order, while the server is killed and started again."""
        tasks = [
            (story, one, "yn"[(place + person) % 2], f"p{person}")
            for place, (story, one) in enumerate(asked)
            for person in range(3)
        ]
        random.Random(5).shuffle(tasks)
        clients = len(self.stores)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._kill())
            group.create_task(self._stale())
            for number, store in enumerate(self.stores):
                group.create_task(self._client(store, tasks[number::clients], len(tasks) // 3))

    async def _client(
        self, store: Store, tasks: Sequence[tuple[Story, OpenQuestion, str, str]], third: int
    ) -> None:
        for story, one, value, who in tasks:
            self.done.append(await given(story, store, one, value, who))
            if len(self.done) > third:
                self._halfway.set()

    async def _stale(self) -> None:
        """Messages about earlier visits, and about questions of other sessions."""
        for story, earlier in self.stories:
            for one in earlier:
                other = one.question.id.replace(story.session, "zzzzzz")
                await late(story, self.stores[0], one, one.question.id)
                await late(story, self.stores[0], one, other)

    async def _kill(self) -> None:
        await self._halfway.wait()
        self.server.kill()
        await asyncio.sleep(0.1)
        await asyncio.to_thread(self.server.start)


async def test_many_questions_answered_often_at_once_while_the_server_is_killed_have_one_answer_each(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """In the long form 1 000 questions, 3 000 answers and 800 stale ones."""
    sessions, gates, clients = (200, 5, 20) if pytestconfig.getoption("--long") else (2, 5, 4)
    server = Server(tmp_path / "served")
    server.start()
    crowd = Crowd(server, clients)
    try:
        await crowd.ask(tmp_path, sessions, gates)
        asked = [(story, one) for story, _earlier in crowd.stories for one in await opened_in(story)]
        assert len(asked) == sessions * gates
        await crowd.answer(asked)
        won = {one.question.id: one.answer for one in crowd.done if one.won}
        assert len(crowd.done) == 3 * len(asked)
        assert sum(one.won for one in crowd.done) == len(asked)
        assert sorted(won) == sorted(one.question.id for _story, one in asked)
        assert all(one.answer == won[one.question.id] for one in crowd.done), "everybody is told the same"
        for story, _earlier in crowd.stories:
            last = await continued(story)
            assert last.run.state.result is not None
            assert last.run.state.result.good
            mine = [one.label for question, one in won.items() if question.startswith(f"{story.session}/")]
            did = story.work.done
            assert (did.count("yes"), did.count("no")) == (mine.count("Yes"), mine.count("No"))
            assert did.count("again") == 2
    finally:
        for store in crowd.stores:
            await store.close()
        server.kill()


async def opened_in(story: Story) -> list[OpenQuestion]:
    return list((await look(story.store, story.session, SystemClock())).open)


async def given(story: Story, store: Store, one: OpenQuestion, value: str, who: str) -> AnswerResult:
    found = await look(store, story.session, SystemClock())
    answer = answer_to(one.question, value, "")
    return await give(store, SETTINGS, found, one, answer, who=who, clock=SystemClock())


async def late(story: Story, store: Store, one: OpenQuestion, question: str) -> None:
    """A message about a question that is not open, as an old client may send it."""
    await send(
        store,
        one.mailbox,
        one.session,
        ANSWER,
        who="late",
        now_ms=SystemClock().now_ms(),
        question=question,
        value="N",
        label="No",
    )
