"""Damage is found and named, everything else stays readable, and nothing is silently wrong (S8)."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import msgspec
import pytest
from store_script import BLOBS, PICTURES, SCRIPT, TIME, new, picture, run

from faults import CountingFiles
from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.cxdb.format.layout import CHECKS, META, PATHS, STRIDES
from orchestra.cxdb.format.packing import digest_of
from orchestra.errors import Damaged, SessionNotFound, StoreError
from orchestra.ports import NewTurn, Turn

THEIRS = PATHS[:-1]
"""The files that are CXDB's."""

TURNS: dict[int, Turn] = {turn.turn_id: turn for context in PICTURES[-1][0] for turn in context[3]}
HEADS = {context[0]: (context[1], context[2]) for context in PICTURES[-1][0]}


def opened(path: Path, *, read_only: bool = False) -> EmbeddedStore:
    return EmbeddedStore.open(
        path, read_only=read_only, files=CountingFiles(), now_ms=lambda: TIME, capacity=60_000
    )


def written(path: Path, *, settled: bool) -> Path:
    """A store with all of the script in it; not settled is as a killed process leaves it."""
    store = opened(path)
    for call in SCRIPT:
        run(call(store))  # type: ignore[arg-type]
    if settled:
        run(store.close())
    else:
        store._handle.release()
    return path


@pytest.fixture
def step(pytestconfig: pytest.Config) -> int:
    """Every length in the long form; in the short one in steps that meet each place of a record in one of three."""
    return 1 if pytestconfig.getoption("--long") else 7


def last_records(path: Path, number: int, step: int) -> list[int]:
    """The lengths that cut a file somewhere in its last three records, and at their ends."""
    size = (path / PATHS[number]).stat().st_size
    stride = STRIDES.get(number, 120)
    ends = {size - count * stride + off for count in (1, 2, 3) for off in (-1, 0, 1)} | {size - 1}
    lengths = {*range(size - 3 * stride, size, step), *ends}
    return sorted(length for length in lengths if max(0, size - 3 * stride) <= length < size)


def assert_never_wrong(store: EmbeddedStore) -> int:
    """Each read gives what was written, or is refused; how many were refused."""
    refused = 0
    for turn_id, turn in TURNS.items():
        try:
            assert run(store.turn(turn_id)) == turn
        except StoreError:
            refused += 1
    for context_id, (turn_id, depth) in HEADS.items():
        try:
            head = run(store.head(context_id))
            assert (head.turn_id, head.depth) == (turn_id, depth)
        except StoreError:
            refused += 1
    for data in BLOBS:
        try:
            assert run(store.get_blob(digest_of(data))) == data
        except StoreError:
            refused += 1
    try:
        assert run(store.fs_root(3)) == digest_of(BLOBS[0])
    except StoreError:
        refused += 1
    return refused


def found(store: EmbeddedStore) -> list[str]:
    return [finding.file for finding in run(store.deep_check())]


# --- cuts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(PATHS)), ids=PATHS)
def test_a_cut_file_of_a_settled_store_is_damage(quick_path: Path, number: int, step: int) -> None:
    good = written(quick_path / "good", settled=True)
    for length in last_records(good, number, step):
        path = quick_path / "cut"
        shutil.copytree(good, path)
        with (path / PATHS[number]).open("r+b") as file:
            file.truncate(length)
        with pytest.raises(Damaged) as caught:
            opened(path)
        assert (caught.value.file, caught.value.offset) == (PATHS[number], length)
        store = opened(path, read_only=True)
        assert_never_wrong(store)
        assert PATHS[number] in found(store)
        run(store.close())
        shutil.rmtree(path)


@pytest.mark.parametrize("number", range(len(PATHS)), ids=PATHS)
def test_a_cut_file_is_repaired_from_a_live_log(quick_path: Path, number: int, step: int) -> None:
    good = written(quick_path / "good", settled=False)
    for length in last_records(good, number, step):
        path = quick_path / "cut"
        shutil.copytree(good, path)
        with (path / PATHS[number]).open("r+b") as file:
            file.truncate(length)
        for read_only in (True, False):
            store = opened(path, read_only=read_only)
            assert assert_never_wrong(store) == 0
            assert run(picture(store)) == PICTURES[-1]
            run(store.close())
        shutil.rmtree(path)


@pytest.mark.parametrize("number", range(len(THEIRS)), ids=THEIRS)
def test_a_torn_tail_of_a_folder_without_our_log_is_cut_off(quick_path: Path, number: int, step: int) -> None:
    good = written(quick_path / "good", settled=True)
    shutil.rmtree(good / "orchestra")
    for length in last_records(good, number, step):
        path = quick_path / "cut"
        shutil.copytree(good, path)
        with (path / PATHS[number]).open("r+b") as file:
            file.truncate(length)
        pictures = []
        for read_only in (True, False, False):
            store = opened(path, read_only=read_only)
            assert_never_newer(store)
            pictures.append([run(store.head(context)) for context in HEADS])
            run(store.close())
        assert pictures[0] == pictures[1] == pictures[2]
        store = opened(path)
        (turn,) = run(store.append(1, [new("after")]))
        assert run(store.turns(1, limit=1)) == [turn]
        run(store.close())
        shutil.rmtree(path)


def assert_never_newer(store: EmbeddedStore) -> None:
    """Each context stands at a turn of its chain, and what can be read is what was written."""
    for context_id in HEADS:
        head = run(store.head(context_id))
        chain = next(context[3] for context in PICTURES[-1][0] if context[0] == context_id)
        assert (head.turn_id, head.depth) in {(0, 0), *((turn.turn_id, turn.depth) for turn in chain)}
        try:
            assert all(TURNS[turn.turn_id] == turn for turn in run(store.turns(context_id, limit=100)))
        except Damaged:
            continue


def test_a_torn_tail_is_kept_aside(quick_path: Path) -> None:
    path = written(quick_path / "store", settled=True)
    shutil.rmtree(path / "orchestra")
    with (path / "turns/heads.tbl").open("ab") as file:
        file.write(b"torn")
    run(opened(path).close())
    (kept,) = (path / "orchestra/lost").iterdir()
    assert kept.name.startswith("heads.tbl-")
    assert kept.read_bytes() == b"torn"


# --- bits ----------------------------------------------------------------------------------------


def flip_bits(quick_path: Path, seeds: range) -> None:
    good = written(quick_path / "good", settled=True)
    names = [path.relative_to(good) for path in sorted(good.rglob("*")) if path.is_file() and path.stat().st_size]
    content = {name: (good / name).read_bytes() for name in names}
    for seed in seeds:
        rng = random.Random(seed)
        name = rng.choice(names)
        data = bytearray(content[name])
        data[rng.randrange(min(len(data), 20_000))] ^= 1 << rng.randrange(8)
        (good / name).write_bytes(data)
        check_flipped(good, str(name))
        (good / name).write_bytes(content[name])


def check_flipped(path: Path, name: str) -> None:
    try:
        store = opened(path, read_only=True)
    except StoreError:
        return
    refused = assert_never_wrong(store)
    findings = found(store)
    if name in PATHS:
        assert name in findings
    else:
        assert refused == 0
    run(store.close())


def test_a_flipped_bit_is_found_and_never_read_as_something_else(quick_path: Path) -> None:
    flip_bits(quick_path, range(800))


@pytest.mark.long
def test_a_flipped_bit_is_found_long(quick_path: Path) -> None:
    flip_bits(quick_path, range(800, 10_000))


def test_a_flipped_bit_in_the_live_log_or_the_files_behind_it_changes_nothing(quick_path: Path) -> None:
    good = written(quick_path / "good", settled=False)
    names = [*PATHS, "orchestra/wal", "orchestra/lock"]
    for seed in range(150):
        rng = random.Random(seed)
        path = quick_path / "flipped"
        shutil.copytree(good, path)
        name = rng.choice(names)
        data = bytearray((path / name).read_bytes())
        data[rng.randrange(min(len(data), 20_000))] ^= 1 << rng.randrange(8)
        (path / name).write_bytes(data)
        for read_only in (True, False):
            store = opened(path, read_only=read_only)
            assert assert_never_wrong(store) == 0
            run(store.close())
        shutil.rmtree(path)


# --- what can be made anew -----------------------------------------------------------------------


def ours(number: int) -> NewTurn:
    payload = msgspec.msgpack.encode({1: "PipelineStarted", 2: 1, 3: f"session{number}"})
    return NewTurn(type_id="dev.orchestra.PipelineLifecycle", type_version=1, payload=payload)


def spoil(path: Path, number: int) -> None:
    name = path / PATHS[number]
    name.write_bytes(bytes(len(name.read_bytes())))


def test_our_check_records_are_found_again_from_the_other_files(quick_path: Path) -> None:
    path = written(quick_path / "store", settled=True)
    spoil(path, CHECKS)
    store = opened(path, read_only=True)
    assert assert_never_wrong(store) == 0
    run(store.close())


def test_what_turns_meta_says_of_our_types_is_made_again_from_the_payload(quick_path: Path) -> None:
    store = opened(quick_path)
    context = run(store.create()).context_id
    turns = run(store.append(context, [ours(1), ours(2)]))
    run(store.close())
    spoil(quick_path, META)
    store = opened(quick_path, read_only=True)
    assert run(store.turns(context)) == list(turns)
    assert found(store) == [PATHS[META], PATHS[META]]
    run(store.close())


def test_one_damaged_turn_leaves_the_others_readable(quick_path: Path) -> None:
    path = written(quick_path / "store", settled=True)
    data = bytearray((path / "blobs/blobs.pack").read_bytes())
    data[60] ^= 4
    (path / "blobs/blobs.pack").write_bytes(data)
    store = opened(path)
    with pytest.raises(Damaged) as caught:
        run(store.turns(1, limit=100))
    assert caught.value.file == "blobs/blobs.pack"
    assert run(store.turns(3)) == list(PICTURES[-1][0][2][3])
    assert run(store.append(1, [new("more")]))
    run(store.close())


def test_heads_that_point_nowhere_fall_back_to_the_newest_that_exists(quick_path: Path) -> None:
    path = written(quick_path / "store", settled=True)
    shutil.rmtree(path / "orchestra")
    log = path / "turns/turns.log"
    log.write_bytes(log.read_bytes()[: 80 * 9])
    store = opened(path)
    heads = {context: run(store.head(context)).turn_id for context in HEADS}
    assert heads == {1: 8, 2: 7, 3: 9}
    (turn,) = run(store.append(3, [new("anew")]))
    assert turn.turn_id == 10
    run(store.close())
    shutil.rmtree(path / "orchestra")
    store = opened(path)
    assert {context: run(store.head(context)).turn_id for context in HEADS} == {1: 8, 2: 7, 3: 10}
    run(store.close())


def test_an_unknown_blob_is_not_called_damage(quick_path: Path) -> None:
    store = opened(written(quick_path / "store", settled=True))
    with pytest.raises(SessionNotFound):
        run(store.get_blob(bytes(32)))
    run(store.close())
