"""Folders that CXDB wrote, or wrote to after us (S5, S8, S9). Its writes are made here by hand."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path
from zlib import crc32

import pytest
from blake3 import blake3

from orchestra.cxdb.embedded.losses import losses
from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.cxdb.format.layout import CHECKS, INDEX, PATHS, TURN_INDEX
from orchestra.errors import Damaged
from orchestra.ports import NewTurn, Turn

TIME = 1_700_000_000_000


class Cxdb:
    """The writes of the server, one file after the other (S5)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for folder in ("blobs", "turns", "fs", "registry"):
            (path / folder).mkdir(parents=True, exist_ok=True)
        for name in PATHS[:7]:
            (path / name).touch()
        self.blobs = {}
        data = (path / "blobs/blobs.idx").read_bytes()
        for at in range(0, len(data), 52):
            self.blobs[data[at : at + 32]] = struct.unpack_from("<Q", data, at + 32)[0]

    def add(self, name: str, data: bytes) -> int:
        with (self.path / name).open("ab") as file:
            at = file.tell()
            file.write(data)
        return at

    def create(self, context: int, turn: int = 0, depth: int = 0) -> None:
        head = struct.pack("<QQIIQ", context, turn, depth, 0, TIME)
        self.add("turns/heads.tbl", head + struct.pack("<I", crc32(head)))

    def append(
        self, context: int, turn: int, parent: int, depth: int, payload: bytes, type_id: str = "t.T"
    ) -> None:
        digest = blake3(payload).digest()
        if digest not in self.blobs:
            body = struct.pack("<IHHII32s", 0x42534C42, 1, 0, len(payload), len(payload), digest) + payload
            at = self.blobs[digest] = self.add("blobs/blobs.pack", body + struct.pack("<I", crc32(body)))
            self.add("blobs/blobs.idx", struct.pack("<32sQIIHH", digest, at, len(payload), len(payload), 0, 0))
        record = struct.pack("<QQIIQ32sIQ", turn, parent, depth, 1, 0, digest, 0, TIME)
        at = self.add("turns/turns.log", record + struct.pack("<I", crc32(record)))
        self.add("turns/turns.idx", struct.pack("<QQ", turn, at))
        name = type_id.encode()
        meta = struct.pack("<QI", turn, len(name)) + name + struct.pack("<IIII", 3, 1, 0, len(payload))
        self.add("turns/turns.meta", meta)
        self.create(context, turn, depth)


def turn(turn_id: int, parent: int, depth: int, payload: bytes) -> Turn:
    return Turn(
        turn_id=turn_id,
        parent=parent,
        depth=depth,
        type_id="t.T",
        type_version=3,
        payload=payload,
        created_ms=TIME,
    )


def written(path: Path, turns: int = 30) -> dict[int, list[Turn]]:
    """Two contexts with turns in turns; every fifth payload is an old one."""
    server = Cxdb(path)
    chains: dict[int, list[Turn]] = {1: [], 2: []}
    server.create(1)
    server.create(2)
    for number in range(1, turns + 1):
        context = 1 + number % 2
        chain = chains[context]
        parent = chain[-1].turn_id if chain else 0
        payload = b"payload %d" % (number % 5 and number)
        server.append(context, number, parent, len(chain), payload)
        chain.append(turn(number, parent, len(chain), payload))
    return chains


async def test_a_folder_that_cxdb_wrote_is_read_without_changing_it(tmp_path: Path) -> None:
    chains = written(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    store = EmbeddedStore.open(tmp_path, read_only=True)
    for context, chain in chains.items():
        assert await store.turns(context) == chain
    assert await store.deep_check() == []
    await store.close()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


async def test_a_folder_that_cxdb_wrote_is_taken_over_with_progress(tmp_path: Path) -> None:
    chains = written(tmp_path)
    told: list[tuple[str, int, int]] = []
    store = EmbeddedStore.open(tmp_path, progress=lambda *what: told.append(what))
    assert {what for what, _, _ in told} == {"blobs", "turns", "contexts"}
    assert told[-1][1] == told[-1][2]
    for context, chain in chains.items():
        assert await store.turns(context) == chain
    (new,) = await store.append(1, [NewTurn(type_id="t.T", type_version=1, payload=b"ours")])
    assert (new.turn_id, new.parent) == (31, chains[1][-1].turn_id)
    assert await store.deep_check() == []
    await store.close()
    told.clear()
    store = EmbeddedStore.open(tmp_path, progress=lambda *what: told.append(what))
    assert told == []
    await store.close()


async def test_what_cxdb_added_to_a_settled_store_is_taken_over(tmp_path: Path) -> None:
    store = EmbeddedStore.open(tmp_path, now_ms=lambda: TIME)
    context = (await store.create()).context_id
    given = [NewTurn(type_id="t.T", type_version=3, payload=b"payload %d" % n) for n in range(20)]
    chain = [*await store.append(context, given)]
    await store.close()
    server = Cxdb(tmp_path)
    for number in range(21, 30):
        payload = b"payload %d" % (number - 15)
        server.append(context, number, number - 1, number - 1, payload)
        chain.append(turn(number, number - 1, number - 1, payload))
    server.create(2, 7, 6)
    for read_only in (True, False, False):
        store = EmbeddedStore.open(tmp_path, read_only=read_only)
        assert await store.turns(context) == chain
        assert await store.turns(2) == chain[:7]
        assert [(row.context_id, row.head_turn) for row in await store.contexts()] == [(2, 7), (1, 29)]
        assert await store.deep_check() == []
        await store.close()


async def test_a_missing_blobs_idx_is_made_from_the_pack(tmp_path: Path) -> None:
    chains = written(tmp_path)
    before = (tmp_path / "blobs/blobs.idx").read_bytes()
    (tmp_path / "blobs/blobs.idx").write_bytes(b"")
    (tmp_path / "turns/turns.idx").write_bytes(b"garbage")
    store = EmbeddedStore.open(tmp_path)
    assert await store.turns(1) == chains[1]
    assert await store.deep_check() == []
    await store.close()
    assert (tmp_path / "blobs/blobs.idx").read_bytes() == before


async def test_a_context_that_nobody_made_is_there(tmp_path: Path) -> None:
    chains = written(tmp_path)
    Cxdb(tmp_path).append(5000, 31, 30, 15, b"out of thin air")
    Cxdb(tmp_path).create(1 << 40)
    for _ in range(2):
        store = EmbeddedStore.open(tmp_path)
        assert (await store.head(5000)).turn_id == 31
        assert (await store.head(1 << 40)).turn_id == 0
        assert [row.context_id for row in await store.contexts()][-4:] == [1 << 40, 5000, 2, 1]
        assert await store.turns(2) == chains[2]
        await store.create()
        await store.close()


async def test_two_servers_at_once_leave_turns_that_are_still_found(tmp_path: Path) -> None:
    chains = written(tmp_path)
    server = Cxdb(tmp_path)
    server.append(1, 30, 29, 15, b"another turn thirty")
    server.append(1, 31, 30, 16, b"thirty-one")
    store = EmbeddedStore.open(tmp_path)
    assert (await store.turn(31)).payload == b"thirty-one"
    assert await store.turns(2, before=29) == [t for t in chains[2] if t.turn_id < 29]
    for number in range(32, 40):
        (new,) = await store.append(2, [NewTurn(type_id="t.T", type_version=1, payload=b"%d" % number)])
        assert new.turn_id == number
        assert await store.turn(number) == new
    await store.close()
    store = EmbeddedStore.open(tmp_path, read_only=True)
    assert (await store.turn(39)).payload == b"39"
    await store.close()


@pytest.mark.parametrize("number", [INDEX, TURN_INDEX, CHECKS], ids=["blobs.idx", "turns.idx", "meta.crc"])
async def test_files_that_others_describe_are_repaired(tmp_path: Path, number: int) -> None:
    chains = written(tmp_path)
    await EmbeddedStore.open(tmp_path).close()
    before = (tmp_path / PATHS[number]).read_bytes()
    spoilt = bytearray(before)
    for at in (5, len(before) // 2, len(before) - 3):
        spoilt[at] ^= 0x20
    (tmp_path / PATHS[number]).write_bytes(spoilt)
    store = EmbeddedStore.open(tmp_path)
    assert {finding.file for finding in await store.deep_check()} == {PATHS[number]}
    assert await store.turns(1) == chains[1]
    assert {finding.file for finding in await store.repair()} == {PATHS[number]}
    assert await store.deep_check() == []
    assert (tmp_path / PATHS[number]).read_bytes() == before
    assert await store.repair() == []
    await store.close()


async def test_a_store_that_lost_bytes_can_be_salvaged(tmp_path: Path) -> None:
    chains = written(tmp_path)
    await EmbeddedStore.open(tmp_path).close()
    os.truncate(tmp_path / "turns/turns.log", 80 * 20)
    with pytest.raises(Damaged, match="missing"):
        EmbeddedStore.open(tmp_path)
    store = EmbeddedStore.open(tmp_path, salvage=True)
    assert await store.turns(1) == [t for t in chains[1] if t.turn_id <= 20]
    assert (await store.append(1, [NewTurn(type_id="t.T", type_version=1, payload=b"on")]))[0].turn_id == 21
    (finding,) = (await store.health()).findings
    assert "lost" in finding[0]
    await store.close()
    store = EmbeddedStore.open(tmp_path)
    assert (await store.head(1)).turn_id == 21
    await store.close()


@pytest.mark.parametrize("lost", [1, 40, 333, 1000, 2500])
async def test_turns_whose_payloads_were_lost_are_dropped_and_the_store_is_sound(tmp_path: Path, lost: int) -> None:
    chains = written(tmp_path)
    await EmbeddedStore.open(tmp_path).close()
    pack = tmp_path / "blobs/blobs.pack"
    os.truncate(pack, max(8, pack.stat().st_size - lost))
    going = {loss.context_id: loss for loss in losses(str(tmp_path), lambda *_: None)}
    assert going
    store = EmbeddedStore.open(tmp_path, salvage=True)
    await store.repair()
    assert await store.deep_check() == []
    for context, chain in chains.items():
        left = await store.turns(context, limit=1000)
        assert left == chain[: len(left)]
        told = going[context].stretches if context in going else ()
        assert told == (((len(left), len(chain) - 1),) if len(left) < len(chain) else ())
        (turn,) = await store.append(context, [NewTurn(type_id="t.T", type_version=1, payload=b"on %d" % context)])
        assert turn.depth == len(left)
    await store.close()
    assert await EmbeddedStore.open(tmp_path).deep_check() == []


async def test_our_caches_can_all_be_deleted(tmp_path: Path) -> None:
    chains = written(tmp_path, turns=200)
    await EmbeddedStore.open(tmp_path).close()
    for name in ("contexts", "titles", "meta.crc", "wal", "lock"):
        path = tmp_path / "orchestra" / name
        if path.exists():
            path.unlink()
        try:
            store = EmbeddedStore.open(tmp_path)
        except Damaged:
            assert name == "meta.crc"
            store = EmbeddedStore.open(tmp_path, salvage=True)
        for context, chain in chains.items():
            assert await store.turns(context, limit=1000) == chain
        await store.close()
    shutil.rmtree(tmp_path / "orchestra")


async def test_many_blobs_are_found_by_their_hashes_in_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestra.cxdb.embedded.hashes.NEWEST", 16)
    store = EmbeddedStore.open(tmp_path, capacity=8192 + 6000)
    hashes = [await store.put_blob(b"blob %d" % n) for n in range(1000)]
    names = [p.name for p in (tmp_path / "orchestra").iterdir() if p.name.startswith("hashes.")]
    assert 0 < len(names) < 12
    reader = EmbeddedStore.open(tmp_path, read_only=True)
    for number, digest in enumerate(hashes):
        assert await store.get_blob(digest) == await reader.get_blob(digest) == b"blob %d" % number
        assert await store.put_blob(b"blob %d" % number) == digest
    assert os.path.getsize(tmp_path / "blobs/blobs.idx") == 52 * 1000
    await reader.close()
    await store.close()
    spoilt = max((tmp_path / "orchestra").glob("hashes.*"), key=lambda p: p.stat().st_size)
    data = bytearray(spoilt.read_bytes())
    data[: len(data) // 2] = bytes(len(data) // 2)
    spoilt.write_bytes(data)
    for read_only in (True, False):
        store = EmbeddedStore.open(tmp_path, read_only=read_only)
        for number, digest in enumerate(hashes):
            assert await store.get_blob(digest) == b"blob %d" % number
        await store.close()
    store = EmbeddedStore.open(tmp_path)
    assert [finding.file for finding in await store.repair()] == ["orchestra/hashes"]
    assert await store.deep_check() == []
    await store.close()
