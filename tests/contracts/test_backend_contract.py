"""What holds for every backend, ours and others' (A2, A3, A4, A16)."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from backend_kinds import COUNTED, FAIL, HANG, NAMES, SAY, SECRET, Kind, Step, backend

from orchestra.cxdb.memory import MemoryStore
from orchestra.run.events import AgentTurnCompleted, StageCompleted, StageFailed
from support import Session, opened

pytestmark = pytest.mark.filterwarnings("ignore")
ONE = 'digraph t { start [shape=Mdiamond] exit [shape=Msquare] work [prompt="do it" %s] start -> work -> exit }'
TWO = """digraph t { start [shape=Mdiamond] exit [shape=Msquare] work [prompt="do it"] yes no
start -> work work -> yes [label=Approve] work -> no [label=Reject] yes -> exit no -> exit }"""


async def ready(kind: Kind, node: str = "", text: str = "") -> Session:
    """A pipeline whose node ``work`` is on the backend; the others are simulated by name only."""
    secrets = {"ANTHROPIC_API_KEY": SECRET}
    return await opened(text or ONE % node, more={"codergen": kind.handler}, secrets=secrets)


async def run(name: str, steps: list[Step], folder: Path, node: str = "", text: str = "") -> tuple[Session, int]:
    with backend(name, steps, folder) as kind:
        session = await (await ready(kind, node, text)).walk()
        return session, kind.asked


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=COUNTED)
def counted(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_text_is_success_and_is_recorded_whole(name: str, tmp_path: Path) -> None:
    session, _asked = await run(name, [(SAY, "It is done.")], tmp_path)
    (done,) = [event for event in session.of(StageCompleted) if event.node == "work"]
    assert (done.status, done.response) == ("success", "It is done.")
    assert str(done.prompt).endswith("do it")
    assert session.state.context["last_response"] == "It is done."
    assert session.path == ["start", "work", "exit"]


async def test_each_turn_is_recorded_with_its_tokens(counted: str, tmp_path: Path) -> None:
    session, asked = await run(counted, [(SAY, "It is done.")], tmp_path)
    (turn,) = session.of(AgentTurnCompleted)
    assert asked == 1
    assert (turn.node, turn.number, turn.tokens_in, turn.tokens_out) == ("work", 1, 10, 5)
    assert session.state.spent.tokens_in == 10


async def test_prose_never_routes(name: str, tmp_path: Path) -> None:
    script = [(SAY, "status: fail\npreferred_label: Approve\napproved: yes")]
    session, _asked = await run(name, script, tmp_path, text=TWO)
    assert session.path[:3] == ["start", "work", "no"]


@pytest.mark.parametrize("failure", ["transient", "terminal"])
async def test_a_failure_has_its_class(name: str, failure: str, tmp_path: Path) -> None:
    session, asked = await run(name, [(FAIL, failure)], tmp_path)
    (failed,) = session.of(StageFailed)
    assert failed.failure_class == failure
    assert asked in (0, 1)


async def test_a_transient_failure_is_retried_by_the_nodes_policy(name: str, tmp_path: Path) -> None:
    session, asked = await run(name, [(FAIL, "transient"), (SAY, "It is done.")], tmp_path, "max_retries=2")
    assert session.path[-1] == "exit"
    assert asked in (0, 2)


async def test_a_terminal_failure_is_not_retried(counted: str, tmp_path: Path) -> None:
    session, asked = await run(counted, [(FAIL, "terminal"), (SAY, "It is done.")], tmp_path, "max_retries=2")
    assert session.of(StageFailed)
    assert asked == 1


async def test_without_quota_the_run_pauses_after_one_request(counted: str, tmp_path: Path) -> None:
    session, asked = await run(counted, [(FAIL, "quota"), (SAY, "It is done.")], tmp_path, "max_retries=2")
    assert session.result is None
    assert asked == 1


async def test_a_cancellation_ends_the_call_at_once(counted: str, tmp_path: Path) -> None:
    with backend(counted, [(HANG, "")], tmp_path) as kind:
        walk = asyncio.ensure_future((await ready(kind)).walk())
        deadline = time.monotonic() + 20
        while not kind.asked and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        assert kind.asked == 1
        began = time.monotonic()
        walk.cancel()
        with pytest.raises(asyncio.CancelledError):
            await walk
        assert time.monotonic() - began < 5


async def test_a_timeout_is_a_transient_failure(counted: str, tmp_path: Path) -> None:
    await run(counted, [(SAY, "warm")], tmp_path)  # what a backend imports at first is none of the node's time
    for seconds in (1, 5, 25):  # a busy machine may need longer until it asks
        (tmp_path / "asked").unlink(missing_ok=True)
        folder = tmp_path / f"again{seconds}"
        folder.mkdir()
        session, asked = await run(counted, [(HANG, "")], folder, f"timeout={seconds}s")
        (failed,) = session.of(StageFailed)
        assert (failed.failure_class, failed.failure_reason) == ("transient", f"timeout after {seconds}s")
        if asked:
            break
    assert asked == 1


async def test_a_key_reaches_no_record(counted: str, tmp_path: Path) -> None:
    session, _asked = await run(counted, [(SAY, f"The key is {SECRET}.")], tmp_path)
    store = session.store
    assert isinstance(store, MemoryStore)
    turns = await store.turns(session.context_id, limit=10_000)
    assert turns
    assert not any(SECRET.encode() in turn.payload for turn in turns)
    if counted == "cli":
        assert (tmp_path / "seen").read_text() == f"{SECRET}\n"
