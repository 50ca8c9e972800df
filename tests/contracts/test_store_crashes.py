"""What was acknowledged is never lost, and a batch is whole or not there (S6, S7, S20)."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from store_script import BLOBS, PICTURES, SCRIPT, TIME, Call, Picture, append, new, picture, run

from faults import CountingFiles, KilledFiles, LossyFiles, PowerCut, RefusedFiles
from orchestra.cxdb.embedded.files import Files
from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.cxdb.format.packing import digest_of
from orchestra.cxdb.memory import MemoryStore
from orchestra.errors import SessionNotFound, StoreError, StoreFull, StoreUnreachable

SMALL_LOG = 8192 + 4000
"""A log that the script fills several times."""

Lossy: TypeAlias = Callable[..., LossyFiles]
"""Makes a file layer without power."""


def opened(path: Path, files: Files | None = None, capacity: int = SMALL_LOG) -> EmbeddedStore:
    return EmbeddedStore.open(path, files=files or CountingFiles(), now_ms=lambda: TIME, capacity=capacity)


def play(path: Path, files: Files, done: list[int], *, close: bool = True) -> None:
    """Run the script; ``done`` has one entry per acknowledged call."""
    store = opened(path, files)
    for number, call in enumerate(SCRIPT):
        run(call(store))  # type: ignore[arg-type]
        done.append(number)
    if close:
        run(store.close())


def changes(path: Path) -> list[str]:
    """The calls that change something while the script runs."""
    files = CountingFiles()
    play(path, files, [])
    return files.calls


def check(path: Path, acknowledged: int) -> None:
    """The store shows what was acknowledged, perhaps with the next batch whole, and works on."""
    seen_before = read_only_picture(path)
    store = opened(path)
    seen = run(picture(store))
    allowed = PICTURES[acknowledged : acknowledged + 2]
    assert seen in allowed
    assert seen_before is None or seen_before in allowed
    known = max((turn.turn_id for context in seen[0] for turn in context[3]), default=0)
    context = run(store.create()).context_id
    assert context == len(seen[0]) + 1
    turns = run(store.append(context, [new("after"), new("that")]))
    assert [turn.turn_id for turn in turns] == [known + 1, known + 2]
    run(store.close())
    store = opened(path)
    assert run(store.turns(context)) == list(turns)
    assert run(picture(store))[0][:-1] == seen[0]
    assert run(store.deep_check()) == []
    run(store.close())


def read_only_picture(path: Path) -> object:
    if not path.exists():
        return None
    store = EmbeddedStore.open(path, read_only=True)
    try:
        return run(picture(store))
    finally:
        run(store.close())


def kill_at(path: Path, at: int, *, halfway: bool) -> int:
    """Play the script in a child that kills itself at a change; how many calls were acknowledged."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        store = opened(path, KilledFiles(at, halfway=halfway))
        for call in SCRIPT:
            run(call(store))  # type: ignore[arg-type]
            os.write(writer, b".")
        run(store.close())
        os._exit(0)
    os.close(writer)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL
    acknowledged = len(os.read(reader, 1000))
    os.close(reader)
    return acknowledged


@pytest.mark.parametrize("halfway", [False, True], ids=["before", "in the middle of"])
def test_a_process_killed_at_any_change_loses_nothing(
    quick_path: Path, halfway: bool, pytestconfig: pytest.Config
) -> None:
    """In the short form at each change in one of the two ways."""
    ways = 1 if pytestconfig.getoption("--long") else 2
    for at in range(halfway % ways, len(changes(quick_path / "counted")), ways):
        path = quick_path / str(at)
        check(path, kill_at(path, at, halfway=halfway))
        shutil.rmtree(path)


def cut_power_at(path: Path, at: int, lossy: Lossy) -> tuple[LossyFiles, int]:
    files = lossy(cut_at=at)
    done: list[int] = []
    with pytest.raises(PowerCut):
        play(path, files, done)
    files.end()
    return files, len(done)


def lose_power(quick_path: Path, seeds: range, lossy: Lossy = LossyFiles) -> None:
    count = len(changes(quick_path / "counted"))
    for at in range(count):
        path = quick_path / "running"
        files, acknowledged = cut_power_at(path, at, lossy)
        for seed in seeds:
            after = quick_path / "after"
            files.disk.after_power_cut(str(path), str(after), random.Random(seed * 10_000 + at))
            after.mkdir(exist_ok=True)
            check(after, acknowledged)
            shutil.rmtree(after)
        shutil.rmtree(path)


def test_power_that_goes_at_any_change_takes_nothing_that_was_acknowledged(quick_path: Path) -> None:
    lose_power(quick_path, range(3))


@pytest.mark.long
def test_power_that_goes_takes_nothing_long(quick_path: Path) -> None:
    lose_power(quick_path, range(3, 60))


def refusable(quick_path: Path) -> list[int]:
    """The changes that a disk may refuse: freeing room is none."""
    freeing = {"truncate", "unlink"}
    return [at for at, name in enumerate(changes(quick_path / "counted")) if name not in freeing]


REFUSALS = ((errno.ENOSPC, StoreFull), (errno.EIO, StoreUnreachable), (errno.EROFS, StoreFull))
TIMES = (1, 3, 1000)


@pytest.mark.parametrize(("number", "kind"), REFUSALS)
@pytest.mark.parametrize("times", TIMES)
def test_a_refused_change_stops_the_call_and_nothing_else(
    quick_path: Path, number: int, kind: type[StoreError], times: int, pytestconfig: pytest.Config
) -> None:
    """In the short form each change is refused in each of the ways, and each number of times."""
    turn = REFUSALS.index((number, kind)) + TIMES.index(times)
    refused = refusable(quick_path)
    for at in refused if pytestconfig.getoption("--long") else refused[turn % 3 :: 3]:
        path = quick_path / "store"
        files = RefusedFiles(at, number, times=times)
        done: list[int] = []
        with pytest.raises(kind):
            play(path, files, done)
        files.end()
        check(path, len(done))
        shutil.rmtree(path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_after_one_refusal_the_same_handle_continues(quick_path: Path, number: int) -> None:
    for at in refusable(quick_path):
        path = quick_path / "store"
        files = RefusedFiles(at, number)
        try:
            store = opened(path, files)
        except StoreError:
            store = opened(path, files)
        refused = 0
        for call in SCRIPT:
            try:
                run(call(store))  # type: ignore[arg-type]
            except StoreError:
                refused += 1
                run(call(store))  # type: ignore[arg-type]
        assert refused <= 1
        assert run(picture(store)) == PICTURES[-1]
        try:
            run(store.close())
        except StoreError:
            refused += 1
        reopened = opened(path)
        assert run(picture(reopened)) == PICTURES[-1]
        run(reopened.close())
        shutil.rmtree(path)


def test_an_append_costs_one_sync(quick_path: Path) -> None:
    files = CountingFiles()
    store = EmbeddedStore.open(quick_path, files=files)
    run(store.create())
    files.calls.clear()
    for number in range(50):
        run(append(1, f"{number}", "x" * 1000, "y", "z")(store))  # type: ignore[arg-type]
    assert files.calls.count("fdatasync") == 50
    assert files.calls.count("sync_folder") == 0
    run(store.close())


LARGE = random.Random(3).randbytes(40_000)
"""A blob for which the log has no room."""


def test_a_batch_that_is_larger_than_the_log_is_whole_or_not_there(quick_path: Path) -> None:
    def store_it(path: Path, files: Files) -> None:
        store = opened(path, files)
        run(store.create())
        run(store.append(1, [new("small")]))
        run(store.append(1, [new("large")], blobs=(LARGE,)))
        done.append(1)
        run(store.append(1, [new("after")]))
        run(store.close())

    done: list[int] = []
    counted = CountingFiles()
    store_it(quick_path / "counted", counted)
    for at in range(len(counted.calls)):
        done.clear()
        files = LossyFiles(cut_at=at)
        with pytest.raises(PowerCut):
            store_it(quick_path / "store", files)
        files.end()
        after = quick_path / "after"
        after.mkdir()
        files.disk.after_power_cut(str(quick_path / "store"), str(after), random.Random(at))
        store = opened(after)
        contexts = run(store.contexts())
        texts = [turn.payload for turn in run(store.turns(1))] if contexts else []
        assert texts in [[], [b"small"], [b"small", b"large"], [b"small", b"large", b"after"]]
        if done:
            assert b"large" in texts
        if b"large" in texts:
            assert run(store.get_blob(digest_of(LARGE))) == LARGE
        assert run(store.deep_check()) == []
        run(store.close())
        assert (after / "orchestra/wal").stat().st_size <= max(SMALL_LOG, 8192 + 50_000)
        shutil.rmtree(quick_path / "store")
        shutil.rmtree(after)


def random_call(rng: random.Random, contexts: int, turns: int) -> Call:
    context = rng.randint(1, max(1, contexts))
    texts = [f"{rng.random()} " * rng.choice([1, 3, 40, 120]) for _ in range(rng.randint(1, 5))]
    blobs = tuple(rng.sample(BLOBS, rng.randint(0, 2)))
    turn, blob = rng.randint(1, max(1, turns)), rng.choice(BLOBS)
    return rng.choice(
        [
            *[append(context, *texts, blobs=blobs)] * 6,
            lambda store: store.create(),
            lambda store: store.fork(turn),
            lambda store: store.put_blob(blob),
        ]
    )


def play_at_random(path: Path, files: Files, model: MemoryStore, rng: random.Random) -> list[Picture]:
    """Two handles in turns until the power goes; what may be there then."""
    allowed = [run(picture(model))]
    handles: list[EmbeddedStore] = []
    try:
        handles += [opened(path, files, capacity=12_000)]
        handles += [opened(path, files, capacity=30_000)]
        for _ in range(60):
            if rng.random() < 0.08:
                run(handles[0].close())
                handles[0] = opened(path, files, capacity=16_000)
            known = allowed[-1]
            turns = max((turn.turn_id for context in known[0] for turn in context[3]), default=0)
            call = random_call(rng, len(known[0]), turns)
            try:
                run(call(model))  # type: ignore[arg-type]
            except SessionNotFound:
                continue
            allowed = [known, run(picture(model))]
            run(call(rng.choice(handles)))  # type: ignore[arg-type]
            allowed = allowed[1:]
    except PowerCut:
        pass
    finally:
        for handle in handles:
            handle._handle.release()
    return allowed


def random_power_cuts(quick_path: Path, seeds: range, lossy: Lossy = LossyFiles) -> None:
    for seed in seeds:
        rng = random.Random(seed)
        files = lossy(cut_at=rng.randint(20, 900))
        model = MemoryStore(now_ms=lambda: TIME)
        allowed = play_at_random(quick_path / "store", files, model, rng)
        for _ in range(3):
            after = quick_path / "after"
            after.mkdir()
            files.disk.after_power_cut(str(quick_path / "store"), str(after), rng)
            store = opened(after)
            assert run(picture(store)) in allowed, seed
            assert run(store.deep_check()) == []
            run(store.close())
            shutil.rmtree(after)
        shutil.rmtree(quick_path / "store")


def test_two_handles_at_random_survive_a_power_cut(quick_path: Path) -> None:
    random_power_cuts(quick_path, range(25))


@pytest.mark.long
def test_two_handles_at_random_survive_a_power_cut_long(quick_path: Path) -> None:
    random_power_cuts(quick_path, range(25, 1500))


# --- readers, deaths and failed syncs --------------------------------------------------------------


def test_a_reader_sees_whole_batches_at_every_change_of_a_writer(quick_path: Path) -> None:
    done: list[int] = []
    readers: list[EmbeddedStore] = []

    def look() -> None:
        for reader in readers:
            assert run(picture(reader)) in PICTURES[len(done) : len(done) + 2]

    store = opened(quick_path, LossyFiles(before_each=look))
    for number, call in enumerate(SCRIPT):
        if number % 4 == 0:
            readers += [EmbeddedStore.open(quick_path, read_only=True), opened(quick_path)]
        run(call(store))  # type: ignore[arg-type]
        done.append(number)
    run(store.close())
    for reader in readers:
        assert run(picture(reader)) == PICTURES[-1]
        run(reader.close())


def die_then_lose_power(path: Path, at: int, rng: random.Random, lossy: Lossy) -> tuple[LossyFiles, list[Picture]]:
    """One handle stops at a change, as if killed; another goes on for a while; then the power goes."""
    files = lossy(cut_at=at)
    model = MemoryStore(now_ms=lambda: TIME)
    seen = [run(picture(model))]
    store = opened(path, files)
    other = opened(path, lossy(disk=files.disk), capacity=rng.choice([SMALL_LOG, 60_000]))
    number = 0
    try:
        for call in SCRIPT:
            run(call(store))  # type: ignore[arg-type]
            run(call(model))  # type: ignore[arg-type]
            number += 1
        run(store.close())
    except PowerCut:
        pass
    store._handle.release()
    with other._handle.writing():
        pass
    if run(picture(other)) != run(picture(model)):
        run(SCRIPT[number](model))  # type: ignore[arg-type]
    for extra in range(rng.randint(0, 3)):
        contexts = run(picture(model))[0]
        call = append(1, f"extra {extra}" * rng.choice([1, 100])) if contexts else SCRIPT[0]
        run(call(other))  # type: ignore[arg-type]
        run(call(model))  # type: ignore[arg-type]
    seen = [run(picture(other))]
    assert seen == [run(picture(model))]
    other._handle.release()
    return files, seen


def deaths(quick_path: Path, seeds: range, lossy: Lossy = LossyFiles) -> None:
    start = len(changes_of_opening(quick_path / "opened"))
    count = len(changes(quick_path / "counted"))
    for at in range(start, count):
        for seed in seeds:
            rng = random.Random(seed * 10_000 + at)
            files, seen = die_then_lose_power(quick_path / "store", at, rng, lossy)
            after = quick_path / "after"
            after.mkdir()
            files.disk.after_power_cut(str(quick_path / "store"), str(after), rng)
            store = opened(after)
            assert run(picture(store)) in seen, (at, seed)
            assert run(store.deep_check()) == []
            run(store.close())
            shutil.rmtree(after)
            shutil.rmtree(quick_path / "store")


def changes_of_opening(path: Path) -> list[str]:
    files = CountingFiles()
    run(opened(path, files).close())
    return files.calls


def test_what_others_see_after_a_death_is_there_after_a_power_cut(quick_path: Path) -> None:
    deaths(quick_path, range(2))


@pytest.mark.long
def test_what_others_see_after_a_death_is_there_after_a_power_cut_long(quick_path: Path) -> None:
    deaths(quick_path, range(2, 40))


def failed_syncs(quick_path: Path, seeds: range) -> None:
    syncs = changes(quick_path / "counted").count("fdatasync")
    for at in range(syncs):
        for seed in seeds:
            rng = random.Random(seed * 10_000 + at)
            files = LossyFiles(fail_sync_at=at)
            seen = play_with_a_failed_sync(quick_path / "store", files, rng.randint(0, len(SCRIPT)))
            after = quick_path / "after"
            after.mkdir()
            files.disk.after_power_cut(str(quick_path / "store"), str(after), rng)
            store = opened(after)
            assert run(picture(store)) in seen, (at, seed)
            run(store.close())
            shutil.rmtree(after)
            shutil.rmtree(quick_path / "store")


def play_with_a_failed_sync(path: Path, files: LossyFiles, calls: int) -> list[Picture]:
    """Each call that fails is made once more, by another handle now and then; what may be there then."""
    try:
        store = opened(path, files)
    except StoreError:
        store = opened(path, files)
    other = opened(path, files, capacity=60_000)
    for number, call in enumerate(SCRIPT[:calls]):
        handle = other if number % 3 == 2 else store
        try:
            run(call(handle))  # type: ignore[arg-type]
        except StoreError:
            run(call(other if number % 2 else handle))  # type: ignore[arg-type]
    for handle in (store, other):
        handle._handle.release()
    return [PICTURES[calls]]


def test_a_sync_that_fails_and_is_forgotten_loses_nothing(quick_path: Path) -> None:
    failed_syncs(quick_path, range(4))


@pytest.mark.long
def test_a_sync_that_fails_and_is_forgotten_loses_nothing_long(quick_path: Path) -> None:
    failed_syncs(quick_path, range(4, 300))
