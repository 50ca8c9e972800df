"""A turn whose own record is damaged hides none of those before it, and never brings in another's (S8)."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from orchestra.cxdb.embedded.contexts import parent_by_heads
from orchestra.cxdb.embedded.directory import Directory
from orchestra.cxdb.embedded.files import Files
from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.cxdb.format.layout import LOG, TURN_SIZE, read_turn
from orchestra.errors import Damaged
from orchestra.ports import NewTurn


async def _grown(store: EmbeddedStore, dice: random.Random, rounds: int) -> None:
    """Batches of several turns in several contexts, some of them forks, from wherever the store stands."""
    contexts = [row.context_id for row in await store.contexts()] or [(await store.create()).context_id]
    for number in range(rounds):
        what = dice.random()
        if what < 0.1:
            contexts.append((await store.create()).context_id)
        elif what < 0.3 and (known := await store.turns(dice.choice(contexts), limit=100)):
            contexts.append((await store.fork(dice.choice(known).turn_id)).context_id)
        else:
            payloads = [b"%d %d" % (number, part) for part in range(dice.randint(1, 5))]
            turns = [NewTurn(type_id="t.T", type_version=1, payload=payload) for payload in payloads]
            await store.append(dice.choice(contexts), turns)


def parents(path: Path) -> tuple[dict[int, int], dict[int, int | None]]:
    """Of each turn, as its record says and as heads tell."""
    directory = Directory(str(path), Files(), read_only=True)
    store = EmbeddedStore.open(path, read_only=True)
    directory.state = store._directory.state
    data = directory.read_all(LOG, 0, directory.state.lengths[LOG])
    records = [read_turn(data[at : at + TURN_SIZE]) for at in range(0, len(data), TURN_SIZE)]
    known = {record.turn_id: record.parent for record in records if record is not None}
    told = {turn_id: parent_by_heads(directory, turn_id) for turn_id in known}
    directory.close()
    store._handle.release()
    return known, told


@pytest.mark.parametrize("seed", range(3))
async def test_heads_contain_each_turns_parent(seed: int, tmp_path: Path) -> None:
    store = EmbeddedStore.open(tmp_path)
    await _grown(store, random.Random(seed), 60)
    await store.close()
    known, told = parents(tmp_path)
    assert told == known


@pytest.mark.parametrize("seed", range(3))
async def test_heads_contain_it_also_where_ids_were_dropped_and_used_again(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    store = EmbeddedStore.open(tmp_path)
    await _grown(store, dice, 60)
    await store.close()
    size = (tmp_path / "turns/turns.log").stat().st_size
    os.truncate(tmp_path / "turns/turns.log", size // TURN_SIZE // 2 * TURN_SIZE)
    store = EmbeddedStore.open(tmp_path, salvage=True)
    await _grown(store, dice, 60)
    await store.close()
    known, told = parents(tmp_path)
    wrong = {turn_id for turn_id, parent in told.items() if parent is not None and parent != known[turn_id]}
    assert not wrong
    assert sum(parent is not None for parent in told.values()) > len(known) * 0.9


async def test_nothing_is_reported_where_a_head_is_damaged_too(tmp_path: Path) -> None:
    store = EmbeddedStore.open(tmp_path)
    await _grown(store, random.Random(1), 60)
    context = max([row.head_depth, row.context_id] for row in await store.contexts())[1]
    turn = (await store.head(context)).turn_id
    await store.close()
    for name, at in (("turns/turns.log", (turn - 1) * TURN_SIZE + 20), ("turns/heads.tbl", 50)):
        data = bytearray((tmp_path / name).read_bytes())
        data[at] ^= 1
        (tmp_path / name).write_bytes(data)
    store = EmbeddedStore.open(tmp_path)
    with pytest.raises(Damaged):
        await store.turns(context, before=turn)
    await store.close()
