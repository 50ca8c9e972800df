"""What every store promises (S1, S2)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from store_kinds import KINDS, Kind

from orchestra.errors import SessionNotFound, SessionTaken, StoreError
from orchestra.ports import Head, NewTurn, Store, Turn


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    kind: Kind = request.param
    async with kind(tmp_path) as opened:
        yield opened


def new(payload: bytes = b"\x80", type_id: str = "com.x.Y", version: int = 1) -> NewTurn:
    return NewTurn(type_id=type_id, type_version=version, payload=payload)


def first(title: str, *labels: str, keys: type = int) -> NewTurn:
    metadata = {keys(1): "orchestra", keys(2): title, keys(3): list(labels)}
    return new(msgspec.msgpack.encode({keys(1): "x", keys(30): metadata}))


async def filled(store: Store, count: int) -> tuple[int, list[Turn]]:
    context = (await store.create()).context_id
    turns: list[Turn] = []
    for number in range(count):
        turns += await store.append(context, [new(b"turn %d" % number)])
    return context, turns


# --- contexts ------------------------------------------------------------------------------------


async def test_contexts_are_numbered_from_one(store: Store) -> None:
    assert await store.create() == Head(1, 0, 0)
    assert await store.create() == Head(2, 0, 0)


async def test_an_empty_context_has_no_turns(store: Store) -> None:
    context = (await store.create()).context_id
    assert await store.turns(context) == []
    assert await store.head(context) == Head(context, 0, 0)


async def test_an_unknown_context_is_not_found(store: Store) -> None:
    for act in (store.head, store.turns):
        with pytest.raises(SessionNotFound):
            await act(7)
    with pytest.raises(SessionNotFound):
        await store.append(7, [new()])


async def test_a_context_can_begin_at_a_turn(store: Store) -> None:
    _, turns = await filled(store, 3)
    head = await store.create(turns[1].turn_id)
    assert head == Head(2, turns[1].turn_id, 1)
    assert await store.turns(2) == turns[:2]


async def test_a_fork_continues_from_its_turn_and_leaves_the_original_alone(store: Store) -> None:
    context, turns = await filled(store, 3)
    fork = await store.fork(turns[1].turn_id)
    (own,) = await store.append(fork.context_id, [new(b"other")])
    assert (own.parent, own.depth) == (turns[1].turn_id, 2)
    assert await store.turns(fork.context_id) == [*turns[:2], own]
    assert await store.turns(context) == turns


async def test_nothing_can_be_forked_from_a_turn_that_is_not_there(store: Store) -> None:
    for turn in (0, 1, 99):
        with pytest.raises(SessionNotFound):
            await store.fork(turn)
    with pytest.raises(SessionNotFound):
        await store.create(99)


# --- turns ---------------------------------------------------------------------------------------


async def test_turn_ids_are_global_and_dense_and_the_first_depth_is_zero(store: Store) -> None:
    one, two = [(await store.create()).context_id for _ in range(2)]
    a = await store.append(one, [new(b"1"), new(b"2")])
    b = await store.append(two, [new(b"3")])
    c = await store.append(one, [new(b"4")])
    assert [(t.turn_id, t.parent, t.depth) for t in (*a, *b, *c)] == [(1, 0, 0), (2, 1, 1), (3, 0, 0), (4, 2, 2)]


async def test_what_is_read_is_what_was_appended(store: Store) -> None:
    context = (await store.create()).context_id
    given = [
        new(b"", "", 0),
        new(b"a" * 100_000, "com.x.Ünïcode", 4_294_967_295),
        new(bytes(range(256)) * 3, "t" * 300),
        new(b"a" * 100),
        new(b"a" * 100),
    ]
    appended = await store.append(context, given)
    read = await store.turns(context)
    assert list(appended) == read
    assert [(t.type_id, t.type_version, t.payload) for t in read] == [
        (n.type_id, n.type_version, n.payload) for n in given
    ]
    assert [await store.turn(t.turn_id) for t in read] == read


async def test_the_head_is_the_newest_turn(store: Store) -> None:
    context, turns = await filled(store, 4)
    assert await store.head(context) == Head(context, turns[-1].turn_id, 3)


async def test_pages_go_back_from_the_newest_and_are_oldest_first(store: Store) -> None:
    context, turns = await filled(store, 10)
    assert await store.turns(context, limit=4) == turns[6:]
    assert await store.turns(context, before=turns[6].turn_id, limit=4) == turns[2:6]
    assert await store.turns(context, before=turns[2].turn_id, limit=4) == turns[:2]
    assert await store.turns(context, before=turns[0].turn_id, limit=4) == []
    assert await store.turns(context, limit=0) == []


async def test_a_page_before_an_unknown_turn_is_not_found(store: Store) -> None:
    context, _ = await filled(store, 2)
    for turn in (-1, 0, 3, 1 << 40):
        with pytest.raises(SessionNotFound):
            await store.turns(context, before=turn)
        with pytest.raises(SessionNotFound):
            await store.turn(turn)


async def test_pages_of_interleaved_chains_hold_only_their_own_turns(store: Store) -> None:
    contexts = [(await store.create()).context_id for _ in range(3)]
    own: dict[int, list[Turn]] = {context: [] for context in contexts}
    for number in range(60):
        context = contexts[number * 7 % 3]
        own[context] += await store.append(context, [new(b"%d" % number * 20)] * (number % 3 + 1))
    for context in contexts:
        assert await store.turns(context, limit=1000) == own[context]
        assert await store.turns(context, limit=5) == own[context][-5:]


async def test_appending_nothing_changes_nothing(store: Store) -> None:
    context, turns = await filled(store, 1)
    assert await store.append(context, []) == ()
    assert await store.turns(context) == turns


async def test_a_turn_knows_when_it_was_appended(store: Store) -> None:
    _, turns = await filled(store, 1)
    assert turns[0].created_ms > 1_700_000_000_000


# --- blobs ---------------------------------------------------------------------------------------


async def test_a_blob_is_found_by_its_hash(store: Store) -> None:
    digest = await store.put_blob(b"hello")
    assert digest.hex() == "ea8f163db38682925e4491c5e58d4bb3506ef8c14eb78a86e908c5624a67200f"
    assert await store.get_blob(digest) == b"hello"
    assert await store.put_blob(b"hello") == digest


async def test_blobs_of_any_content_come_back(store: Store) -> None:
    given = [b"", b"a" * 18, b"A" * 300, bytes(range(256)) * 400, b"x" * 3_000_000]
    hashes = [await store.put_blob(data) for data in given]
    assert [await store.get_blob(digest) for digest in hashes] == given


async def test_an_unknown_blob_is_not_found(store: Store) -> None:
    with pytest.raises(SessionNotFound):
        await store.get_blob(bytes(32))


async def test_blobs_are_stored_with_the_turns_that_name_them(store: Store) -> None:
    context = (await store.create()).context_id
    data = b"a long prompt " * 100
    digest = await store.put_blob(b"before")
    await store.append(context, [new(b"named")], blobs=[data, b"before", data])
    assert await store.get_blob(digest) == b"before"
    assert await store.get_blob(await store.put_blob(data)) == data


async def test_a_file_tree_is_attached_to_a_turn_that_exists(store: Store) -> None:
    _, turns = await filled(store, 1)
    root = await store.put_blob(b"\x90")
    await store.attach_fs(turns[0].turn_id, bytes_of_other := await store.put_blob(b"other"))
    assert bytes_of_other != root
    await store.attach_fs(turns[0].turn_id, root)
    with pytest.raises(SessionNotFound):
        await store.attach_fs(99, root)
    with pytest.raises(SessionNotFound):
        await store.attach_fs(turns[0].turn_id, bytes(32))


# --- listing -------------------------------------------------------------------------------------


async def test_contexts_are_listed_newest_first_with_their_metadata(store: Store) -> None:
    for number in range(3):
        context = (await store.create()).context_id
        await store.append(context, [first(f"title {number}", "kind:run", f"n:{number}")])
    await store.create()
    rows = await store.contexts()
    assert [(r.context_id, r.title, r.client_tag) for r in rows] == [
        (4, "", ""),
        (3, "title 2", "orchestra"),
        (2, "title 1", "orchestra"),
        (1, "title 0", "orchestra"),
    ]
    assert rows[1].labels == ("kind:run", "n:2")
    assert (rows[1].head_turn, rows[1].head_depth) == (3, 0)


async def test_a_listing_can_be_narrowed_and_paged(store: Store) -> None:
    for number in range(6):
        context = (await store.create()).context_id
        await store.append(context, [first("t", "even" if number % 2 == 0 else "odd"), new()])
    assert [r.context_id for r in await store.contexts(label="even")] == [5, 3, 1]
    assert [r.context_id for r in await store.contexts(label="even", limit=2)] == [5, 3]
    assert [r.context_id for r in await store.contexts(before=4, limit=2)] == [3, 2]
    assert await store.contexts(label="none") == []


async def test_metadata_may_have_digit_strings_for_keys(store: Store) -> None:
    context = (await store.create()).context_id
    await store.append(context, [first("text keys", "a", keys=str)])
    assert [(r.title, r.labels) for r in await store.contexts()] == [("text keys", ("a",))]


async def test_a_fork_shows_the_metadata_of_its_chain(store: Store) -> None:
    context = (await store.create()).context_id
    (turn, _) = await store.append(context, [first("root", "a"), new()])
    fork = await store.fork(turn.turn_id)
    await store.append(fork.context_id, [new()])
    rows = await store.contexts(label="a")
    assert [(r.context_id, r.title) for r in rows] == [(2, "root"), (1, "root")]


async def test_a_first_turn_without_metadata_is_an_empty_row(store: Store) -> None:
    for payload in (
        b"",
        b"\xc1",
        b"\x93\x01\x02\x03",
        b"\x81\x18\x1e",
        msgspec.msgpack.encode({30: {2: 5, 3: "x"}}),
    ):
        context = (await store.create()).context_id
        await store.append(context, [new(payload)])
    assert {(r.client_tag, r.title, r.labels) for r in await store.contexts()} == {("", "", ())}


async def test_a_row_knows_when_the_context_was_made_and_last_moved(store: Store) -> None:
    context = (await store.create()).context_id
    await asyncio.sleep(0.005)
    await store.append(context, [new()])
    (row,) = await store.contexts()
    assert 1_700_000_000_000 < row.created_ms < row.appended_ms


# --- watching ------------------------------------------------------------------------------------


async def test_a_watcher_is_notified_of_a_contexts_head_and_of_each_change(store: Store) -> None:
    context = (await store.create()).context_id
    seen: list[Head] = []

    async def watch() -> None:
        async for head in store.watch(context):
            seen.append(head)
            if head.depth == 2:
                return

    task = asyncio.get_running_loop().create_task(watch())
    await asyncio.sleep(0.05)
    for _ in range(3):
        await store.append(context, [new()])
        await asyncio.sleep(0.02)
    await asyncio.wait_for(task, 5)
    assert seen[0] == Head(context, 0, 0)
    assert seen[-1] == Head(context, 3, 2)


async def test_watching_an_unknown_context_is_not_found(store: Store) -> None:
    with pytest.raises(SessionNotFound):
        await anext(aiter(store.watch(5)))


# --- types, holding, health ----------------------------------------------------------------------


async def test_the_same_bundle_twice_is_once_and_another_under_its_id_is_refused(store: Store) -> None:
    bundle = json.dumps({"registry_version": 1, "bundle_id": "b#1", "types": {}}).encode()
    await store.publish_types("b#1", bundle)
    await store.publish_types("b#1", bundle)
    with pytest.raises(StoreError):
        await store.publish_types("b#1", bundle + b" ")


async def test_only_one_holds_a_session(store: Store) -> None:
    context = (await store.create()).context_id
    assert store.holder(context) is None
    hold = store.hold(context, "process 7 on here")
    assert store.holder(context) == "process 7 on here"
    with pytest.raises(SessionTaken, match="process 7 on here"):
        store.hold(context, "another")
    hold.release()
    hold.release()
    assert store.holder(context) is None
    store.hold(context, "another").release()


async def test_a_store_names_its_kind(store: Store) -> None:
    health = await store.health()
    assert health.kind
    assert health.findings == ()


async def test_a_store_is_closed_twice_without_harm(store: Store) -> None:
    await store.close()
    await store.close()


async def test_many_tasks_append_to_one_context_in_one_chain(store: Store) -> None:
    context = (await store.create()).context_id

    async def some(name: int) -> list[Turn]:
        found: list[Turn] = []
        for number in range(5):
            found += await store.append(
                context, [new(b"%d %d a" % (name, number)), new(b"%d %d b" % (name, number))]
            )
            await asyncio.sleep(0)
        return found

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(some(name)) for name in range(4)]
    appended = sorted((turn for task in tasks for turn in task.result()), key=lambda turn: turn.turn_id)
    assert [turn.turn_id for turn in appended] == list(range(1, 41))
    assert await store.turns(context) == appended
