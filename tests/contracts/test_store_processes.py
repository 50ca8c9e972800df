"""Any number of processes at one store (S7, S16)."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from store_script import run

from faults import CountingFiles
from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.errors import Damaged, SessionTaken, StoreError, StoreGone, StoreUnreachable
from orchestra.ports import NewTurn, Turn

SMALL_LOG = 8192 + 20_000


def opened(path: Path, *, read_only: bool = False) -> EmbeddedStore:
    return EmbeddedStore.open(path, read_only=read_only, files=CountingFiles(), capacity=SMALL_LOG)


def new(text: str) -> NewTurn:
    return NewTurn(type_id="com.x.Y", type_version=1, payload=text.encode())


@contextmanager
def child(act: Callable[[], None]) -> Iterator[int]:
    """A forked process that does something; it is gone at the end."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
        except BaseException as error:
            os.write(2, f"child: {error!r}\n".encode())
            os._exit(1)
        os._exit(0)
    try:
        yield pid
    finally:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def append_many(path: Path, name: int, count: int) -> None:
    """Append to a context of one's own and to the first one, telling both what the other got."""
    store = opened(path)
    own = run(store.create()).context_id
    for number in range(count):
        text = f"{name} {number} "
        run(store.append(own, [new(text + "a"), new(text + "b" * (number * 13 % 600))]))
        run(store.append(1, [new(text + "c"), new(text + "d")], blobs=[f"blob {number}".encode() * 20]))
    run(store.close())


def test_eight_processes_append_at_once(quick_path: Path) -> None:
    count = 25
    store = opened(quick_path)
    run(store.create())
    children = [child(lambda name=name: append_many(quick_path, name, count)) for name in range(8)]
    pids = [one.__enter__() for one in children]
    assert [ended(pid) for pid in pids] == [0] * 8
    turns = [run(store.turn(turn_id)) for turn_id in range(1, 8 * count * 4 + 1)]
    assert [turn.turn_id for turn in turns] == list(range(1, 8 * count * 4 + 1))
    assert len({turn.payload for turn in turns}) == len(turns)
    contexts = {row.context_id: run(store.turns(row.context_id, limit=10_000)) for row in run(store.contexts())}
    assert set(contexts) == set(range(1, 10))
    assert sorted(t.turn_id for chain in contexts.values() for t in chain) == [t.turn_id for t in turns]
    assert_batches_whole(contexts[1], 2)
    for name in range(8):
        said = [turn.payload.split()[:2] for turn in contexts[1] if turn.payload.startswith(b"%d " % name)]
        assert said == [[b"%d" % name, b"%d" % n] for n in range(count) for _ in range(2)]
    assert run(store.deep_check()) == []
    run(store.close())


def assert_batches_whole(chain: list[Turn], size: int) -> None:
    assert len(chain) % size == 0
    for first, second in zip(chain[::size], chain[1::size], strict=True):
        assert second.turn_id == first.turn_id + 1
        assert second.payload.split()[:2] == first.payload.split()[:2]


def test_a_reader_sees_whole_batches_only_while_others_write(quick_path: Path) -> None:
    run(opened(quick_path).create())
    with (
        child(lambda: append_many(quick_path, 1, 60)) as pid,
        child(lambda: append_many(quick_path, 2, 60)) as other,
    ):
        reader = opened(quick_path, read_only=True)
        before = 0
        ends = [None, None]
        while None in ends:
            for at, one in enumerate((pid, other)):
                if ends[at] is None and os.waitpid(one, os.WNOHANG)[0]:
                    ends[at] = one  # type: ignore[call-overload]
            chain = run(reader.turns(1, limit=10_000))
            assert_batches_whole(chain, 2)
            assert len(chain) >= before
            before = len(chain)
            assert [row.context_id for row in run(reader.contexts())][-1] == 1
        assert len(run(reader.turns(1, limit=10_000))) == 2 * 60 * 2
        run(reader.close())


def kill_at_random(path: Path, seeds: range) -> None:
    run(opened(path).create())
    known = 0
    for seed in seeds:
        with child(lambda: append_many(path, 1, 10_000)) as pid, child(lambda: append_many(path, 2, 10_000)):
            time.sleep(random.Random(seed).uniform(0.002, 0.03))
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.002)
        store = opened(path)
        assert_batches_whole(run(store.turns(1, limit=500)), 2)
        depth = run(store.head(1)).depth
        assert depth >= known
        known = depth
        run(store.close())
    store = opened(path)
    assert_batches_whole(run(store.turns(1, limit=1_000_000)), 2)
    assert run(store.deep_check()) == []
    assert known > 0
    run(store.close())


def test_processes_killed_at_any_time_block_nobody_and_lose_nothing(quick_path: Path) -> None:
    kill_at_random(quick_path, range(25))


@pytest.mark.long
def test_processes_killed_at_any_time_long(quick_path: Path) -> None:
    kill_at_random(quick_path, range(25, 600))


# --- holding -------------------------------------------------------------------------------------


def test_a_hold_ends_with_its_process(quick_path: Path) -> None:
    store = opened(quick_path)
    reader, writer = os.pipe()

    def hold() -> None:
        opened(quick_path).hold(1, "the child")
        os.write(writer, b".")
        time.sleep(60)

    with child(hold) as pid:
        os.read(reader, 1)
        assert store.holder(1) == "the child"
        with pytest.raises(SessionTaken, match="the child"):
            store.hold(1, "me")
        os.kill(pid, signal.SIGKILL)
        ended(pid)
    assert store.holder(1) is None
    store.hold(1, "me").release()
    os.close(reader)
    os.close(writer)
    run(store.close())


def test_a_program_that_is_started_does_not_inherit_a_hold(quick_path: Path) -> None:
    store = opened(quick_path)
    hold = store.hold(1, "me")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False) as started:
        hold.release()
        other = opened(quick_path)
        other.hold(1, "another").release()
        run(other.close())
        started.kill()
    run(store.close())


# --- other programs ------------------------------------------------------------------------------


def test_a_folder_that_another_program_wrote_while_the_log_was_live_is_refused_once(quick_path: Path) -> None:
    store = opened(quick_path)
    run(store.create())
    store._handle.release()
    heads = quick_path / "turns/heads.tbl"
    heads.write_bytes(heads.read_bytes() * 2)
    with pytest.raises(StoreUnreachable, match="another program"):
        opened(quick_path)
    assert [path.name.split("-")[0] for path in (quick_path / "orchestra/lost").iterdir()].count("wal") == 1
    store = opened(quick_path)
    assert run(store.head(1)).context_id == 1
    run(store.close())


def test_an_open_store_notices_that_another_program_wrote(quick_path: Path) -> None:
    store = opened(quick_path)
    run(store.create())
    with (quick_path / "turns/heads.tbl").open("ab") as file:
        file.write(bytes(36))
    with pytest.raises(StoreUnreachable, match="another program"):
        run(store.append(1, [new("x")]))
    with pytest.raises(StoreUnreachable, match="another program"):
        run(store.head(1))
    run(store.close())
    store = opened(quick_path)
    run(store.append(1, [new("x")]))
    run(store.close())


def test_an_open_store_notices_that_its_log_was_set_aside(quick_path: Path) -> None:
    store = opened(quick_path)
    other = opened(quick_path)
    run(store.create())
    run(other.head(1))
    with (quick_path / "turns/heads.tbl").open("ab") as file:
        file.write(bytes(36))
    with pytest.raises(StoreUnreachable):
        run(store.create())
    run(opened(quick_path).close())
    with pytest.raises(StoreUnreachable, match="another process replaced the log"):
        run(other.append(1, [new("x")]))
    run(other.close())


@pytest.mark.parametrize("again", [False, True], ids=["removed", "made anew"])
def test_an_open_store_notices_that_its_folder_was_removed(again: bool, quick_path: Path) -> None:
    store = opened(quick_path)
    run(store.create())
    hold = store.hold(1, "me")
    shutil.rmtree(quick_path)
    if again:
        other = opened(quick_path)
        run(other.create())
        run(other.close())
    for _ in range(2):
        with pytest.raises(StoreGone, match="was removed"):
            run(store.append(1, [new("x")]))
    hold.release()
    run(store.close())
    assert quick_path.exists() is again
    quick_path.mkdir(exist_ok=True)


def test_a_store_that_another_program_emptied_is_refused_and_its_log_kept(quick_path: Path) -> None:
    store = opened(quick_path)
    run(store.create())
    run(store.append(1, [new("x")]))
    run(store.settle())
    run(store.append(1, [new("y")]))
    store._handle.release()
    for name in ("blobs/blobs.pack", "blobs/blobs.idx", "turns/turns.log", "turns/turns.meta", "turns/heads.tbl"):
        (quick_path / name).write_bytes(b"")
    log = (quick_path / "orchestra/wal").read_bytes()
    for _ in range(2):
        with pytest.raises(Damaged, match="are missing"):
            opened(quick_path)
    assert (quick_path / "orchestra/wal").read_bytes() == log
    store = EmbeddedStore.open(quick_path, salvage=True)
    assert run(store.create()).context_id == 1
    run(store.close())


# --- reading only --------------------------------------------------------------------------------


def tree(path: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_reading_changes_no_file_and_makes_none(quick_path: Path) -> None:
    store = opened(quick_path / "store")
    run(store.create())
    run(store.append(1, [new("x")]))
    for _ in range(2):
        before = tree(quick_path)
        reader = opened(quick_path / "store", read_only=True)
        assert len(run(reader.turns(1))) == 1
        assert reader.holder(1) is None
        with pytest.raises(StoreError):
            run(reader.append(1, [new("y")]))
        run(reader.close())
        assert tree(quick_path) == before
        run(store.close())


def test_a_folder_that_is_not_there_is_not_made_by_reading(quick_path: Path) -> None:
    with pytest.raises(StoreUnreachable):
        opened(quick_path / "none", read_only=True)
    assert not (quick_path / "none").exists()


def test_a_folder_that_nobody_may_write_to_can_be_read(quick_path: Path) -> None:
    path = quick_path / "store"
    store = opened(path)
    run(store.create())
    run(store.close())
    program = (
        "import asyncio, os, sys\n"
        "from orchestra.cxdb.embedded.store import EmbeddedStore\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "print(asyncio.run(EmbeddedStore.open(sys.argv[1], read_only=True).head(1)))\n"
    )
    if os.getuid() != 0:
        pytest.skip("only root can become somebody else")
    for folder, _, _ in os.walk(quick_path):
        os.chmod(folder, 0o755)
    result = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "context_id=1" in result.stdout


def test_a_reader_follows_a_writer(quick_path: Path) -> None:
    store = opened(quick_path)
    reader = opened(quick_path, read_only=True)
    context = run(store.create()).context_id
    for number in range(300):
        (turn,) = run(store.append(context, [new(f"{number}" * 30)]))
        assert run(reader.head(context)).turn_id == turn.turn_id
        assert run(reader.turns(context, limit=1)) == [turn]
    run(reader.close())
    run(store.close())


def test_a_forked_process_may_not_use_its_parents_store(quick_path: Path) -> None:
    store = opened(quick_path)
    run(store.create())

    def use() -> None:
        with pytest.raises(StoreError, match="fork"):
            run(store.head(1))

    with child(use) as pid:
        assert ended(pid) == 0
    run(store.close())


def test_threads_of_one_process_share_a_store(quick_path: Path) -> None:
    store = opened(quick_path)
    run(store.create())

    def some(name: int) -> None:
        for number in range(40):
            run(store.append(1, [new(f"{name} {number} a"), new(f"{name} {number} b")]))
            run(store.turns(1, limit=4))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(some, range(4)))
    chain = run(store.turns(1, limit=1000))
    assert [turn.turn_id for turn in chain] == list(range(1, 321))
    assert_batches_whole(chain, 2)
    run(store.close())
